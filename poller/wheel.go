package poller

import "time"

// wheelSlots times TimerTick (51 s) is one turn of the wheel. A later deadline stays in its slot
// for more turns, so the number costs only a look per turn, and heartbeats fit in one.
const wheelSlots = 512

// timerLinks is what an element of a wheel embeds: its place in a slot's list.
type timerLinks[T any] struct {
	next, prev T
	at         uint32 // deadline in ticks
	slot       uint16 // 1 + index of the list it stands in; 0 while unset
}

// timed is an element of a wheel: a pointer type that can name its links.
type timed[T any] interface {
	comparable
	links() *timerLinks[T]
}

// wheel is a hashed timer wheel with intrusive lists: setting and unsetting are O(1), allocate
// nothing, and an element costs the links only. It belongs to one loop.
type wheel[T timed[T]] struct {
	// heads of the lists; the last one holds what is expiring right now, so that a callback may
	// unset any timer, also one about to fire.
	heads [wheelSlots + 1]T
	now   uint32 // last tick that expire has handled
	set   int    // elements in the wheel
}

func toTick(now time.Duration) uint32 { return uint32(now / TimerTick) }

// arm sets e's deadline to d after now, rounded up to a tick.
func (w *wheel[T]) arm(e T, now, d time.Duration) {
	w.disarm(e)
	at := uint32((now + d + TimerTick - 1) / TimerTick)
	w.insert(e, max(at, w.now+1))
}

func (w *wheel[T]) insert(e T, at uint32) {
	e.links().at = at
	w.push(e, uint16(at%wheelSlots))
	w.set++
}

func (w *wheel[T]) push(e T, list uint16) {
	var none T
	l := e.links()
	l.slot, l.prev, l.next = list+1, none, w.heads[list]
	if l.next != none {
		l.next.links().prev = e
	}
	w.heads[list] = e
}

// disarm unsets e's deadline, if it has one.
func (w *wheel[T]) disarm(e T) {
	l := e.links()
	if l.slot == 0 {
		return
	}
	var none T
	if l.prev != none {
		l.prev.links().next = l.next
	} else {
		w.heads[l.slot-1] = l.next
	}
	if l.next != none {
		l.next.links().prev = l.prev
	}
	l.next, l.prev, l.slot = none, none, 0
	w.set--
}

// expire unsets and fires every deadline up to now. fire may arm and disarm anything. If it panics,
// the next call goes on with the rest.
func (w *wheel[T]) expire(now time.Duration, fire func(T)) {
	tick := toTick(now)
	w.fireExpiring(fire) // left over from a call that did not return
	if tick-w.now > wheelSlots {
		w.now = tick - wheelSlots
	}
	for w.now < tick {
		w.now++
		w.collect(uint16(w.now % wheelSlots))
		w.fireExpiring(fire)
	}
}

// collect moves what is due in a list to the expiring one.
func (w *wheel[T]) collect(list uint16) {
	var none T
	for e := w.heads[list]; e != none; {
		next := e.links().next
		if e.links().at <= w.now {
			w.disarm(e)
			w.push(e, wheelSlots)
			w.set++
		}
		e = next
	}
}

func (w *wheel[T]) fireExpiring(fire func(T)) {
	var none T
	for w.heads[wheelSlots] != none {
		e := w.heads[wheelSlots]
		w.disarm(e)
		fire(e)
	}
}

// wait is how long the loop may sleep before expire has work again, at most limit.
func (w *wheel[T]) wait(now, limit time.Duration) time.Duration {
	var none T
	if w.set == 0 {
		return limit
	}
	for i := uint32(1); i <= uint32(limit/TimerTick); i++ {
		if w.heads[(w.now+i)%wheelSlots] != none {
			return max(time.Duration(w.now+i)*TimerTick-now, 0)
		}
	}
	return limit
}
