package deflate

import "sync/atomic"

// budget bounds memory that many connections share.
type budget struct {
	bytesMax int64 // immutable
	bytes    atomic.Int64
}

// reserve takes n bytes, or reports that they are not there.
func (b *budget) reserve(n int64) bool {
	for {
		used := b.bytes.Load()
		if used+n > b.bytesMax {
			return false
		}
		if b.bytes.CompareAndSwap(used, used+n) {
			return true
		}
	}
}

// take takes n bytes even if they are not there; a negative n gives bytes back.
func (b *budget) take(n int64) { b.bytes.Add(n) }
