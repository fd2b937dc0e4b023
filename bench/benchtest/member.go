package benchtest

import (
	"net"
	"slices"
	"sync"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
)

// member is a connection of a server. Everything in it is guarded by Server.mu.
type member struct {
	conn    net.Conn
	joined  bool // takes part in broadcasts
	left    bool
	writing bool       // has a writer
	pending [][]byte   // broadcasts for the writer
	changed *sync.Cond // pending or left has; nil without a writer
}

func newMember(c net.Conn) *member { return &member{conn: c} }

// send writes a broadcast and waits until it is written.
func (m *member) send(msg []byte) {
	if wsutil.WriteServerMessage(m.conn, ws.OpText, msg) != nil {
		m.conn.Close() // its reader notices
	}
}

// queue leaves a broadcast to the writer of the connection.
func (m *member) queue(s *Server, msg []byte) {
	if !m.writing {
		m.writing, m.changed = true, sync.NewCond(&s.mu)
		s.done.Go(func() { m.write(&s.mu) })
	}
	m.pending = append(m.pending, slices.Clone(msg))
	m.changed.Signal()
}

// write sends what is pending until the connection has left.
func (m *member) write(mu *sync.Mutex) {
	mu.Lock()
	defer mu.Unlock()
	for !m.left {
		if len(m.pending) == 0 {
			m.changed.Wait()
			continue
		}
		msg := m.pending[0]
		mu.Unlock()
		m.send(msg)
		mu.Lock()
		m.pending = m.pending[1:]
	}
}

// leave ends the writer.
func (m *member) leave() {
	m.left = true
	if m.changed != nil {
		m.changed.Signal()
	}
}
