//go:build unix

package poller

import (
	"slices"
	"sync"

	"github.com/cloudwego/netpoll"
)

// behindFactor times Config.PausedBytesMax is what a connection may have sent that its loop has not
// taken yet. A loop that is behind is no fault of the peer, so it is more than for a paused one.
const behindFactor = 16

// inbox is where netpoll's goroutines leave what a loop has to know of a connection. Its methods
// may be called from any goroutine. Those that report tell ask their caller to put the connection
// among the loop's news; it is asked once until the loop has taken the news.
type inbox struct {
	mu         sync.Mutex
	in         []byte // what has arrived since the loop last took it
	taken      int    // bytes that the loop has taken and not delivered yet
	max        int    // bound of all these bytes
	wrote      int    // bytes that a blocked write has brought away
	err        error  // how that write failed
	told       bool
	paused     bool // the loop is not interested in bytes
	discarding bool // nor will it ever be
	overflow   bool // more than max came
	unread     bool // bytes were thrown away
	gone       bool // netpoll has let go of the descriptor
}

// news is what the loop takes out of an inbox, beside the bytes.
type news struct {
	overflow, gone bool
	wrote          int
	err            error
}

func (b *inbox) tell() bool {
	if b.told {
		return false
	}
	b.told = true
	return true
}

// receive moves what netpoll has read into the inbox.
func (b *inbox) receive(from netpoll.Connection, chunks *sync.Pool) (tell bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	r := from.Reader()
	n := r.Len()
	if !b.discarding && !b.overflow && b.taken+len(b.in)+n > b.max {
		b.overflow = true
	}
	if b.discarding || b.overflow {
		r.Skip(n)
		r.Release()
		b.unread = true
		return b.overflow && b.tell()
	}
	if b.in == nil && n <= chunkBytes {
		b.in = chunks.Get().(*[chunkBytes]byte)[:0]
	}
	b.in = slices.Grow(b.in, n)
	had := len(b.in)
	got, _ := from.Read(b.in[had : had+n]) // n bytes are there, so it neither waits nor fails
	b.in = b.in[:had+got]
	return !b.paused && b.tell()
}

// hungUp notes that netpoll has let go of the descriptor.
func (b *inbox) hungUp() (tell bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.gone = true
	return b.tell()
}

// written notes the end of a blocked write.
func (b *inbox) written(n int, err error) (tell bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.wrote, b.err = n, err
	return b.tell()
}

// setPaused says whether the loop wants bytes, and how many the inbox may hold.
func (b *inbox) setPaused(paused bool, bytesMax int) (tell bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.paused, b.max = paused, bytesMax
	return !paused && (b.gone || b.taken+len(b.in) > 0) && b.tell()
}

// discard says that the loop wants no bytes any more.
func (b *inbox) discard() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.unread = b.unread || b.taken+len(b.in) > 0
	b.discarding, b.in = true, nil
}

// abandoned reports whether bytes were thrown away.
func (b *inbox) abandoned() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.unread
}

// take takes the news.
func (b *inbox) take() news {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := news{overflow: b.overflow, gone: b.gone, wrote: b.wrote, err: b.err}
	b.told, b.wrote, b.err = false, 0, nil
	return n
}

// takeBytes takes what has arrived.
func (b *inbox) takeBytes() []byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	p := b.in
	b.in, b.taken = nil, len(p)
	return p
}

// delivered notes that n of the bytes taken were given to the handler. It asks to be told of what
// is left.
func (b *inbox) delivered(n int) (tell bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.taken -= n
	return !b.paused && b.taken+len(b.in) > 0 && b.tell()
}

func (b *inbox) empty() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.taken+len(b.in) == 0
}
