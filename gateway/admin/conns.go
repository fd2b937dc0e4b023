package admin

import (
	"context"
	"crypto/tls"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// connsMax bounds the connections. They take their descriptors from the same limit as the
	// gateway's.
	connsMax = 64
	// connsPerPeerMax bounds those of one address, IPv6 by /64, or of one user of a unix socket.
	connsPerPeerMax = 32
)

// conns are the open connections. A new one is always let in: past a bound another one makes room
// for it, so that nobody keeps the probes out by holding connections. Its methods may be called
// from any goroutine.
type conns struct {
	evicted atomic.Uint64

	mu     sync.Mutex
	all    map[*conn]bool
	byPeer map[string]int
}

func newConns() *conns {
	return &conns{all: map[*conn]bool{}, byPeer: map[string]int{}}
}

// conn is an open connection.
type conn struct {
	net.Conn
	of   *conns
	peer string // whose it is, for the bounds
	name string // the same for the record

	// What follows is guarded by of.mu.
	serving bool
	since   time.Time // when that last changed
}

// Close implements net.Conn.
func (c *conn) Close() error {
	c.of.mu.Lock()
	c.of.forgetLocked(c)
	c.of.mu.Unlock()
	return c.Conn.Close()
}

// CloseWrite sends FIN, by which net/http lets a client read its refusal before the end.
func (c *conn) CloseWrite() error {
	if w, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return w.CloseWrite()
	}
	return nil
}

// serve notes whether a request is being answered: a connection on which none is makes room first.
func (c *conn) serve(on bool) {
	if c == nil {
		return
	}
	c.of.mu.Lock()
	c.serving, c.since = on, time.Now()
	c.of.mu.Unlock()
}

// add takes a connection in, and closes another one if there is no room.
func (t *conns) add(raw net.Conn) *conn {
	c := &conn{Conn: raw, of: t, since: time.Now()}
	c.peer, c.name = identify(raw)
	t.mu.Lock()
	var victim *conn
	switch {
	case t.byPeer[c.peer] >= connsPerPeerMax:
		victim = t.victimLocked(func(peer string) bool { return peer == c.peer })
	case len(t.all) >= connsMax:
		most := 0
		for _, n := range t.byPeer {
			most = max(most, n)
		}
		victim = t.victimLocked(func(peer string) bool { return t.byPeer[peer] == most })
	}
	if victim != nil {
		t.forgetLocked(victim)
	}
	t.all[c] = true
	t.byPeer[c.peer]++
	t.mu.Unlock()
	if victim != nil {
		t.evicted.Add(1)
		victim.Conn.Close()
	}
	return c
}

// victimLocked chooses which connection of certain peers makes room: the one that has been without
// a request for longest, or else the one that has been answered for longest.
func (t *conns) victimLocked(of func(peer string) bool) (victim *conn) {
	for c := range t.all {
		if !of(c.peer) {
			continue
		}
		if victim == nil || c.serving == victim.serving && c.since.Before(victim.since) ||
			!c.serving && victim.serving {
			victim = c
		}
	}
	return victim
}

// forgetLocked takes a connection off; further calls do nothing.
func (t *conns) forgetLocked(c *conn) {
	if !t.all[c] {
		return
	}
	delete(t.all, c)
	if t.byPeer[c.peer]--; t.byPeer[c.peer] == 0 {
		delete(t.byPeer, c.peer)
	}
}

func (t *conns) len() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.all)
}

// listener hands out the connections of another one within the bounds.
type listener struct {
	net.Listener
	conns *conns
}

// Accept implements net.Listener.
func (l *listener) Accept() (net.Conn, error) {
	raw, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return l.conns.add(raw), nil
}

// identify says whose a connection is: peer for the bounds, name for the record.
func identify(raw net.Conn) (peer, name string) {
	addr := raw.RemoteAddr()
	switch addr := addr.(type) {
	case *net.TCPAddr:
		ip := addr.AddrPort().Addr().Unmap().WithZone("")
		if ip.Is4() {
			return ip.String(), addr.String()
		}
		return netip.PrefixFrom(ip, 64).Masked().String(), addr.String()
	case *net.UnixAddr:
		return identifyUser(raw)
	}
	return addr.String(), addr.String()
}

// connKey finds the connection in the context of a request.
type connKey struct{}

// withConn implements http.Server.ConnContext.
func withConn(ctx context.Context, c net.Conn) context.Context {
	if t, ok := c.(*tls.Conn); ok {
		c = t.NetConn()
	}
	return context.WithValue(ctx, connKey{}, c)
}

// connOf is the connection of a request; nil outside of a Server.
func connOf(ctx context.Context) *conn {
	c, _ := ctx.Value(connKey{}).(*conn)
	return c
}
