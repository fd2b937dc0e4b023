package main

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/url"
	"sync"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsflate"
)

// gobwasConn is a connection with a goroutine that reads and one that writes. The writer takes all
// that waits at once: one system call for many messages. The queue is bounded: who does not read is
// disconnected.
type gobwasConn struct {
	net.Conn
	deflate bool // agreed on

	mu     sync.Mutex
	ready  sync.Cond
	queue  net.Buffers
	closed bool
}

const gobwasMessageMax = 1 << 20

// serveGobwas upgrades without net/http, which leaves a connection without buffers for requests.
func serveGobwas(ln net.Listener, compress bool) error {
	var all rooms[*gobwasConn]
	for {
		c, err := ln.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer c.Close()
			p, deflate, err := gobwasUpgrade(c, compress)
			if err != nil {
				return
			}
			g := &gobwasConn{Conn: c, deflate: deflate}
			g.ready.L = &g.mu
			if p.echo {
				g.echo()
				return
			}
			go g.write()
			g.chat(&all, p)
		}()
	}
}

func gobwasUpgrade(c io.ReadWriter, compress bool) (p place, deflate bool, err error) {
	e := wsflate.Extension{Parameters: wsflate.Parameters{
		ServerNoContextTakeover: true, ClientNoContextTakeover: true,
	}}
	u := ws.Upgrader{OnRequest: func(uri []byte) error {
		at, err := url.ParseRequestURI(string(uri))
		if err == nil {
			p = placeOf(at.Path, at.Query().Get("room"))
		}
		return err
	}}
	if compress {
		u.Negotiate = e.Negotiate
	}
	_, err = u.Upgrade(c)
	_, deflate = e.Accepted()
	return p, deflate, err
}

// message is what a client has sent, unmasked and inflated.
type message struct {
	op      ws.OpCode
	payload []byte
}

// read reads messages, answering pings, until f fails or the connection ends.
func (g *gobwasConn) read(f func(message) error) {
	in := bufio.NewReaderSize(g, 4096)
	var buf []byte
	for {
		h, err := ws.ReadHeader(in)
		if err != nil || h.Length > gobwasMessageMax || !h.Fin {
			return
		}
		buf = append(buf[:0], make([]byte, h.Length)...)
		if _, err := io.ReadFull(in, buf); err != nil {
			return
		}
		ws.Cipher(buf, h.Mask, 0)
		payload := buf
		if h.Rsv1() {
			if payload, err = gobwasFlate.Decompress(payload); err != nil {
				return
			}
		}
		switch h.OpCode {
		case ws.OpClose:
			return
		case ws.OpPing:
			g.send(ws.MustCompileFrame(ws.NewPongFrame(bytes.Clone(payload))))
		case ws.OpPong:
		default:
			if f(message{h.OpCode, payload}) != nil {
				return
			}
		}
	}
}

// gobwasFlate compresses with the standard library's DEFLATE, as wsflate does.
var gobwasFlate = wsflate.DefaultHelper

// frame makes one of a message, for all receivers alike.
func frame(op ws.OpCode, payload []byte, deflate bool) []byte {
	f := ws.NewFrame(op, true, payload)
	if deflate {
		if c, err := wsflate.CompressFrame(f); err == nil {
			f = c
		}
	}
	return ws.MustCompileFrame(f)
}

func (g *gobwasConn) echo() {
	var out []byte
	g.read(func(m message) error {
		if g.deflate {
			_, err := g.Write(frame(m.op, m.payload, true))
			return err
		}
		b := bytes.NewBuffer(out[:0])
		ws.WriteHeader(b, ws.Header{Fin: true, OpCode: m.op, Length: int64(len(m.payload))})
		b.Write(m.payload)
		out = b.Bytes()
		_, err := g.Write(out)
		return err
	})
}

func (g *gobwasConn) send(p []byte) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.queue) >= queueMax {
		g.closed = true
		g.Close()
	} else if !g.closed {
		g.queue = append(g.queue, p)
	}
	g.ready.Signal()
}

func (g *gobwasConn) write() {
	var taken net.Buffers
	for {
		g.mu.Lock()
		for len(g.queue) == 0 && !g.closed {
			g.ready.Wait()
		}
		if g.closed {
			g.mu.Unlock()
			return
		}
		taken, g.queue = g.queue, taken[:0]
		g.mu.Unlock()
		out := taken // WriteTo moves it on
		if _, err := out.WriteTo(g.Conn); err != nil {
			g.end()
			return
		}
		clear(taken)
	}
}

// end lets the writer go.
func (g *gobwasConn) end() {
	g.mu.Lock()
	g.closed = true
	g.mu.Unlock()
	g.ready.Signal()
	g.Close()
}

func (g *gobwasConn) chat(all *rooms[*gobwasConn], p place) {
	all.join(p.room, g)
	defer g.end()
	defer all.leave(p.room, g)
	g.read(func(m message) error {
		text := append([]byte(p.name+": "), m.payload...)
		var plain, small []byte // made once, if somebody wants it
		all.others(p.room, g, func(to *gobwasConn) {
			switch {
			case to.deflate && small == nil:
				small = frame(ws.OpText, text, true)
			case !to.deflate && plain == nil:
				plain = frame(ws.OpText, text, false)
			}
			if to.deflate {
				to.send(small)
			} else {
				to.send(plain)
			}
		})
		return nil
	})
}
