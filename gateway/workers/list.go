package workers

// list is a doubly linked list whose nodes are parts of its values, so that it allocates nothing.
// Its zero value is empty. It must not be copied.
type list[T any] struct{ root node[T] }

// node is the place of a value in a list. It is in one list at most.
type node[T any] struct {
	prev, next *node[T]
	value      T
}

func (l *list[T]) empty() bool { return l.root.next == nil || l.root.next == &l.root }

// first and last return the value at an end of a list that is not empty.
func (l *list[T]) first() T { return l.root.next.value }
func (l *list[T]) last() T  { return l.root.prev.value }

// push appends a node that is in no list.
func (l *list[T]) push(n *node[T], value T) {
	if l.root.next == nil {
		l.root.prev, l.root.next = &l.root, &l.root
	}
	n.value = value
	n.prev, n.next = l.root.prev, &l.root
	n.prev.next, n.next.prev = n, n
}

// remove takes a node out of this list.
func (l *list[T]) remove(n *node[T]) {
	n.prev.next, n.next.prev = n.next, n.prev
	n.prev, n.next = nil, nil
}
