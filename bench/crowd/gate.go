package crowd

import (
	"context"
	"sync"
)

// gate lets its members pass when all of them are there. Who leaves is not waited for any more.
type gate struct {
	mu      sync.Mutex
	members int
	waiting int
	open    chan struct{} // closed when those that wait may pass
}

func newGate(members int) *gate { return &gate{members: members, open: make(chan struct{})} }

// pass waits for the others. It reports false if ctx ended first.
func (g *gate) pass(ctx context.Context) bool {
	g.mu.Lock()
	g.waiting++
	open := g.open
	g.openIfAll()
	g.mu.Unlock()
	select {
	case <-open:
		return true
	case <-ctx.Done():
		return false
	}
}

func (g *gate) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.members--
	g.openIfAll()
}

// openIfAll must be called with the lock held.
func (g *gate) openIfAll() {
	if g.waiting > 0 && g.waiting >= g.members {
		close(g.open)
		g.waiting, g.open = 0, make(chan struct{})
	}
}
