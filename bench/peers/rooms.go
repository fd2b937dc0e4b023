package main

import "sync"

// rooms is who is where.
type rooms[C comparable] struct {
	mu sync.RWMutex
	by map[string]map[C]struct{}
}

func (r *rooms[C]) join(room string, c C) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.by == nil {
		r.by = map[string]map[C]struct{}{}
	}
	if r.by[room] == nil {
		r.by[room] = map[C]struct{}{}
	}
	r.by[room][c] = struct{}{}
}

func (r *rooms[C]) leave(room string, c C) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.by[room], c)
	if len(r.by[room]) == 0 {
		delete(r.by, room)
	}
}

// others calls f for everybody in a room but one.
func (r *rooms[C]) others(room string, but C, f func(C)) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	for c := range r.by[room] {
		if c != but {
			f(c)
		}
	}
}
