package admin

import (
	"log/slog"
	"strings"
	"sync"
	"time"
)

const (
	// denialBurst and denialEvery bound the tokens that one peer may try: so many at once, and then
	// one each time that passes.
	denialBurst = 10
	denialEvery = 6 * time.Second
	// denialPeersMax bounds the peers that are remembered. Past it newcomers share one bucket.
	denialPeersMax = 1024
	// complaintBurst and complaintEvery bound the lines about requests that failed.
	complaintBurst = 10
	complaintEvery = 100 * time.Millisecond
)

// bucket is a token bucket. Its zero value is full.
type bucket struct {
	used float64   // tokens that are not there
	at   time.Time // when that was
}

// refill adds the tokens of the time that has passed.
func (b *bucket) refill(now time.Time, every time.Duration) {
	b.used = max(0, b.used-float64(now.Sub(b.at))/float64(every))
	b.at = now
}

// denials bounds how often peers may guess the admin token. Its methods may be called from any
// goroutine.
type denials struct {
	mu    sync.Mutex
	peers map[string]*bucket
}

func newDenials() *denials { return &denials{peers: map[string]*bucket{}} }

// try takes one of the guesses of a peer, if one is left. right gives it back.
func (d *denials) try(peer string, now time.Time) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	b := d.bucketLocked(peer, now)
	b.refill(now, denialEvery)
	if b.used+1 > denialBurst {
		return false
	}
	b.used++
	return true
}

// right gives back the guess of a peer that has shown the right token.
func (d *denials) right(peer string, now time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if b := d.bucketLocked(peer, now); b.used >= 1 {
		b.used--
	}
}

func (d *denials) bucketLocked(peer string, now time.Time) *bucket {
	if b := d.peers[peer]; b != nil {
		return b
	}
	if len(d.peers) >= denialPeersMax {
		for p, b := range d.peers {
			if b.refill(now, denialEvery); b.used == 0 {
				delete(d.peers, p)
			}
		}
	}
	if len(d.peers) >= denialPeersMax {
		peer = "others"
		if b := d.peers[peer]; b != nil {
			return b
		}
	}
	b := &bucket{at: now}
	d.peers[peer] = b
	return b
}

// complaints passes what net/http says of requests that failed on to the log, a bounded number of
// lines: peers can cause them.
type complaints struct {
	log *slog.Logger

	mu      sync.Mutex
	bucket  bucket
	skipped int
}

// Write implements io.Writer for a log.Logger, of which p is one entry.
func (c *complaints) Write(p []byte) (int, error) {
	now := time.Now()
	c.mu.Lock()
	c.bucket.refill(now, complaintEvery)
	skipped := c.skipped
	ok := c.bucket.used+1 <= complaintBurst
	if ok {
		c.bucket.used++
		c.skipped = 0
	} else {
		c.skipped++
	}
	c.mu.Unlock()
	if !ok {
		return len(p), nil
	}
	text, stack, _ := strings.Cut(strings.TrimSpace(string(p)), "\n")
	attrs := []any{"event", "admin_request_failed", "error", text}
	if stack != "" {
		attrs = append(attrs, "stack", stack)
	}
	if skipped > 0 {
		attrs = append(attrs, "skipped", skipped)
	}
	c.log.Warn("a request to the admin listener failed", attrs...)
	return len(p), nil
}
