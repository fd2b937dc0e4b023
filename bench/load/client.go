package load

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	"sluice/gateway/wire"
	"sluice/poller"
)

const (
	// handshakeTimeout bounds the time from the connect to the 101.
	handshakeTimeout = 20 * time.Second
	// responseBytesMax bounds the head of the server's answer.
	responseBytesMax = 8 << 10
	// messageBytesMax bounds what a server may send in one message.
	messageBytesMax = 64 << 20
)

var messageLimits = wire.MessageLimits{MessageBytesMax: messageBytesMax}

// Client is one WebSocket of a Swarm. It belongs to its loop: its methods are for callbacks of the
// Script and for what Swarm.Each runs.
type Client struct {
	// Index is the number of the connection, from 0. Data is for the Script's use.
	Index int
	Data  any

	swarm    *Swarm
	conn     poller.Conn
	dec      wire.Decoder
	fd       int       // belongs to the engine; for socket options while the connection is open
	began    time.Time // when the connect began
	upgrade  time.Time // when the handshake was sent, then when it was done
	head     []byte    // of the response, until it is complete
	key      string
	readRate int // bytes a second; 0 means as they come
	open     bool
	heard    bool  // a message has arrived
	err      error // why the handshake failed
}

// ErrCut is what a connection ends with that Client.Cut has ended.
var ErrCut error = &Error{Class: "closed: cut by us", Err: errors.New("cut by the generator")}

var (
	errTimeout = &Error{
		Class: "handshake: timed out", Err: errors.New("handshake: no answer in time"),
	}
	errResponse = &Error{
		Class: "handshake: bad answer", Err: errors.New("handshake: the answer is too long"),
	}
	errAccept = &Error{
		Class: "handshake: bad answer",
		Err:   errors.New("handshake: the server's Sec-WebSocket-Accept is wrong"),
	}
)

// begin sends the handshake.
func (c *Client) begin() {
	c.dec.Init(&messageLimits, wire.Client, c.swarm.cfg.Extensions != "")
	request := c.swarm.cfg.Target.appendRequest(nil, c.Index, c.key, c.swarm.cfg.Extensions)
	c.conn.Write(request)
	c.upgrade = time.Now()
	c.conn.SetTimer(handshakeTimeout)
}

// Send queues a message in a frame of its own, masked with a random key.
func (c *Client) Send(op wire.Opcode, payload []byte) {
	l := &c.swarm.lanes[c.conn.Loop().Index()]
	k := rand.Uint32()
	mask := [4]byte{byte(k), byte(k >> 8), byte(k >> 16), byte(k >> 24)}
	l.scratch = wire.AppendMaskedFrame(l.scratch[:0], op, false, mask, payload)
	c.conn.Write(l.scratch)
}

// Lane is the index of the client's loop: what a Script keeps per lane needs no lock.
func (c *Client) Lane() int { return c.conn.Loop().Index() }

// Close sends a Close frame and FIN.
func (c *Client) Close(code uint16) {
	c.Send(wire.OpClose, []byte{byte(code >> 8), byte(code)})
	c.conn.CloseWrite()
}

// ReadAtMost makes the client read bytesPerSecond on average; 0 means as they come. What arrives in
// one piece is read in one piece, and makes up for it by a pause.
func (c *Client) ReadAtMost(bytesPerSecond int) { c.readRate = bytesPerSecond }

// Cut ends the connection with an RST.
func (c *Client) Cut() {
	resetOnClose(c.fd)
	c.conn.Close(ErrCut)
}

// Pause stops reading from the server; Resume goes on.
func (c *Client) Pause()  { c.conn.Pause() }
func (c *Client) Resume() { c.conn.Resume() }

// OnData implements poller.Handler.
func (c *Client) OnData(p []byte) {
	if !c.open {
		p = c.response(p)
	}
	if c.readRate > 0 && len(p) > 0 {
		c.conn.Pause()
		c.conn.SetTimer(time.Duration(len(p)) * time.Second / time.Duration(c.readRate))
	}
	for len(p) > 0 {
		ev, n, err := c.dec.Next(p)
		p = p[n:]
		if err != nil {
			c.conn.Close(err)
			return
		}
		switch ev.Kind {
		case wire.KindMessage:
			if !c.heard {
				c.heard = true
				c.swarm.phase(c.swarm.phases.First, time.Since(c.upgrade))
			}
			c.swarm.cfg.Script.Message(c, ev)
		case wire.KindPing:
			c.Send(wire.OpPong, ev.Payload)
		case wire.KindClose:
			c.conn.Close(&wire.CloseError{Code: ev.Code})
			return
		}
	}
}

// response collects the answer to the handshake and returns what follows it.
func (c *Client) response(p []byte) (rest []byte) {
	before := len(c.head)
	c.head = append(c.head, p...)
	end := bytes.Index(c.head, []byte("\r\n\r\n"))
	if end < 0 {
		if len(c.head) > responseBytesMax {
			c.fail(errResponse)
		}
		return nil
	}
	if err := c.check(c.head[:end+2]); err != nil {
		c.fail(err)
		return nil
	}
	c.head, c.open = nil, true
	c.conn.SetTimer(0)
	now := time.Now()
	c.swarm.phase(c.swarm.phases.Upgrade, now.Sub(c.upgrade))
	c.upgrade = now
	c.swarm.opened(c, now.Sub(c.began))
	return p[end+4-before:]
}

// check accepts nothing but a 101 for our key.
func (c *Client) check(head []byte) error {
	status, _, _ := bytes.Cut(head, []byte("\r\n"))
	if !bytes.HasPrefix(status, []byte("HTTP/1.1 101 ")) {
		return refusal(bytes.TrimSpace(status))
	}
	for line := range bytes.Lines(head) {
		name, value, _ := bytes.Cut(line, []byte(":"))
		if bytes.EqualFold(name, []byte("Sec-WebSocket-Accept")) &&
			string(bytes.TrimSpace(value)) == wire.AcceptKey(c.key) {
			return nil
		}
	}
	return errAccept
}

// refusal is the error for a status line other than 101.
func refusal(status []byte) error {
	class := "handshake: bad answer"
	if _, code, ok := bytes.Cut(status, []byte(" ")); ok && len(code) >= 3 {
		if _, err := strconv.ParseUint(string(code[:3]), 10, 16); err == nil {
			class = "handshake: status " + string(code[:3])
		}
	}
	return &Error{Class: class, Err: fmt.Errorf("handshake: the server answered %q", status)}
}

func (c *Client) fail(err error) {
	c.err = err
	c.conn.Close(err)
}

// OnTimer implements poller.Handler.
func (c *Client) OnTimer() {
	if c.open {
		c.conn.Resume()
		return
	}
	c.fail(errTimeout)
}

// OnBlocked implements poller.Handler.
func (c *Client) OnBlocked() {}

// OnDrained implements poller.Handler.
func (c *Client) OnDrained() {}

// OnClose implements poller.Handler.
func (c *Client) OnClose(err error) {
	c.dec.Release()
	c.swarm.closed(c, err)
}
