package auth

import "time"

// lru is a bounded map whose entries expire. When it is full, the entry that was not used for
// longest makes room. It is not safe for concurrent use.
type lru[K comparable, V any] struct {
	max     int
	entries map[K]*lruEntry[K, V]
	// root is the list's anchor: root.next was used last, root.prev is the next to go.
	root lruEntry[K, V]
}

type lruEntry[K comparable, V any] struct {
	key        K
	value      V
	until      time.Time
	prev, next *lruEntry[K, V]
}

func newLRU[K comparable, V any](entriesMax int) *lru[K, V] {
	l := &lru[K, V]{max: entriesMax, entries: map[K]*lruEntry[K, V]{}}
	l.root.prev, l.root.next = &l.root, &l.root
	return l
}

// get returns the value of a key, unless it has expired.
func (l *lru[K, V]) get(key K, now time.Time) (value V, ok bool) {
	e := l.entries[key]
	if e == nil {
		return value, false
	}
	l.unlink(e)
	if !now.Before(e.until) {
		delete(l.entries, key)
		return value, false
	}
	l.pushFront(e)
	return e.value, true
}

// put keeps a value until a moment.
func (l *lru[K, V]) put(key K, value V, until time.Time) {
	l.remove(key)
	if len(l.entries) >= l.max {
		l.remove(l.root.prev.key)
	}
	e := &lruEntry[K, V]{key: key, value: value, until: until}
	l.entries[key] = e
	l.pushFront(e)
}

func (l *lru[K, V]) remove(key K) {
	if e := l.entries[key]; e != nil {
		l.unlink(e)
		delete(l.entries, key)
	}
}

func (l *lru[K, V]) pushFront(e *lruEntry[K, V]) {
	e.prev, e.next = &l.root, l.root.next
	e.prev.next, e.next.prev = e, e
}

func (l *lru[K, V]) unlink(e *lruEntry[K, V]) {
	e.prev.next, e.next.prev = e.next, e.prev
	e.prev, e.next = nil, nil
}
