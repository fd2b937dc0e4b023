package main

import (
	"bytes"
	"context"
	"io"
	"net"
	"sync"

	"github.com/cloudwego/netpoll"
	"github.com/gobwas/ws"
)

// netpollConn is a connection on netpoll's event loops: no goroutine while it is idle. Writes go
// through the connection's own buffer, flushed once for all messages of a read.
type netpollConn struct {
	netpoll.Connection
	place place
	open  bool

	mu sync.Mutex // writers of a room are many
}

type netpollKey struct{}

// serveNetpoll uses netpoll directly, with gobwas/ws for the protocol. It does not compress: there
// is nothing in either for that with netpoll's buffers.
func serveNetpoll(ln net.Listener, _ bool) error {
	var all rooms[*netpollConn]
	loop, err := netpoll.NewEventLoop(
		func(ctx context.Context, _ netpoll.Connection) error {
			return ctx.Value(netpollKey{}).(*netpollConn).serve(&all)
		},
		netpoll.WithOnPrepare(func(c netpoll.Connection) context.Context {
			n := &netpollConn{Connection: c}
			c.AddCloseCallback(func(netpoll.Connection) error {
				if n.open && !n.place.echo {
					all.leave(n.place.room, n)
				}
				return nil
			})
			return context.WithValue(context.Background(), netpollKey{}, n)
		}))
	if err != nil {
		return err
	}
	l, err := netpoll.ConvertListener(ln)
	if err != nil {
		return err
	}
	return loop.Serve(l)
}

// serve handles what has arrived.
func (n *netpollConn) serve(all *rooms[*netpollConn]) error {
	if !n.open {
		p, _, err := gobwasUpgrade(struct {
			io.Reader
			io.Writer
		}{n.Connection, n.Connection}, false)
		if err != nil {
			return n.Close()
		}
		n.place, n.open = p, true
		if !p.echo {
			all.join(p.room, n)
		}
	}
	r := n.Reader()
	for {
		size, h, ok := netpollHeader(r)
		if !ok || r.Len() < size+int(h.Length) {
			break
		}
		r.Skip(size)
		payload, err := r.ReadBinary(int(h.Length))
		if err != nil || h.Length > gobwasMessageMax {
			return n.Close()
		}
		ws.Cipher(payload, h.Mask, 0)
		switch h.OpCode {
		case ws.OpClose:
			return n.Close()
		case ws.OpPing:
			n.send(ws.MustCompileFrame(ws.NewPongFrame(payload)), true)
		case ws.OpPong:
		default:
			n.message(all, h.OpCode, payload)
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.Writer().Flush()
}

// netpollHeader looks at the next header without taking it.
func netpollHeader(r netpoll.Reader) (size int, h ws.Header, ok bool) {
	head, err := r.Peek(min(r.Len(), ws.MaxHeaderSize))
	if err != nil || len(head) < ws.MinHeaderSize {
		return 0, h, false
	}
	b := bytes.NewReader(head)
	h, err = ws.ReadHeader(b)
	return len(head) - b.Len(), h, err == nil
}

func (n *netpollConn) message(all *rooms[*netpollConn], op ws.OpCode, payload []byte) {
	if n.place.echo {
		n.send(frame(op, payload, false), false)
		return
	}
	f := frame(ws.OpText, append([]byte(n.place.name+": "), payload...), false)
	all.others(n.place.room, n, func(to *netpollConn) { to.send(f, true) })
}

// send writes a frame. Flush hands it to the kernel at once.
func (n *netpollConn) send(f []byte, flush bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.Writer().WriteBinary(f)
	if flush {
		n.Writer().Flush()
	}
}
