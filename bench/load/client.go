package load

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
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
	relay    *Relay       // of wss; nil for plain connections
	zip      *Compression // nil if none was agreed on
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
)

// begin sends the handshake.
func (c *Client) begin() {
	cfg := &c.swarm.cfg
	request, err := cfg.AppendTo(nil, c.Index, c.key, cfg.Extensions)
	if err != nil {
		c.fail(err)
		return
	}
	c.conn.Write(request)
	c.upgrade = time.Now()
	c.conn.SetTimer(handshakeTimeout)
}

// Send queues a message in a frame of its own, masked with a random key.
func (c *Client) Send(op wire.Opcode, payload []byte) {
	l := &c.swarm.lanes[c.conn.Loop().Index()]
	k := rand.Uint32()
	mask := [4]byte{byte(k), byte(k >> 8), byte(k >> 16), byte(k >> 24)}
	if c.zip != nil && (op == wire.OpText || op == wire.OpBinary) {
		l.scratch = c.zip.AppendFrame(l.scratch[:0], op, mask, payload)
	} else {
		l.scratch = wire.AppendMaskedFrame(l.scratch[:0], op, false, mask, payload)
	}
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
	if c.relay != nil {
		c.relay.Cut()
	} else {
		resetOnClose(c.fd)
	}
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
			if err := c.message(ev); err != nil {
				c.conn.Close(err)
				return
			}
		case wire.KindPing:
			c.Send(wire.OpPong, ev.Payload)
		case wire.KindClose:
			c.conn.Close(&wire.CloseError{Code: ev.Code})
			return
		}
	}
}

// message gives a message to the script, inflated if compression was agreed on.
func (c *Client) message(ev wire.Event) error {
	if c.zip != nil {
		l := &c.swarm.lanes[c.Lane()]
		inflated, err := c.zip.Inflate(l.inflated[:0], ev)
		if err != nil {
			return err
		}
		l.inflated, ev.Payload, ev.Compressed = inflated, inflated, false
	}
	c.swarm.cfg.Script.Message(c, ev)
	return nil
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

// check accepts nothing but a 101 for our key that grants no more than was offered.
func (c *Client) check(head []byte) error {
	cfg := &c.swarm.cfg
	answer, err := CheckAnswer(head, cfg.Offered(c.key, cfg.Extensions))
	if err != nil {
		return err
	}
	granted := answer.Extensions != ""
	if cfg.Deflate != nil {
		params, ok, err := cfg.Deflate.Accept(answer.Extensions)
		if err != nil {
			return err
		}
		if granted = ok; ok {
			c.zip = NewCompression(c.swarm.codec, params)
		}
	}
	c.dec.Init(&messageLimits, wire.Client, granted)
	return nil
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
	if c.zip != nil {
		c.zip.Close()
	}
	if c.relay != nil {
		c.relay.Close()
		if why := c.relay.Ended(); why != nil && errors.Is(err, io.EOF) {
			err = why
		}
	}
	c.swarm.closed(c, err)
}
