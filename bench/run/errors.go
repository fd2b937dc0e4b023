package run

import (
	"errors"
	"maps"
	"sync"

	"sluice/bench/load"
	"sluice/poller"
)

// errorCounts counts errors by class. Its methods may be called from any goroutine.
type errorCounts struct {
	mu sync.Mutex
	by map[string]uint64
}

func (e *errorCounts) add(class string, n uint64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.by == nil {
		e.by = map[string]uint64{}
	}
	e.by[class] += n
}

func (e *errorCounts) all() map[string]uint64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	return maps.Clone(e.by)
}

// watched is a script whose connections are counted when they end before their time. That slow
// receivers are cut off is no error, but what their scenario is about.
type watched struct {
	script
	errors *errorCounts
}

// Closed implements load.Script.
func (w watched) Closed(c *load.Client, err error) {
	if !errors.Is(err, poller.ErrEngineClosed) && !errors.Is(err, load.ErrCut) {
		counts := w.errors
		if _, ok := c.Data.(slowReceiver); ok {
			counts = &w.script.(*fanout).slowEnded
		}
		counts.add(load.Class(err), 1)
	}
	w.script.Closed(c, err)
}
