package pollertest

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"sync"
	"syscall"

	"sluice/poller"
)

var errMine = errors.New("mine")

var closeTests = []contractTest{
	{"close/by_the_peer", closeByPeer},
	{"close/first_reason_counts", closeReason},
	{"close/inside_each_callback", closeInside},
	{"close/of_another_connection", closeOther},
	{"close/panic_ends_only_its_connection", closePanics},
	{"close/reset_while_blocked", closeResetBlocked},
	{"close/descriptor_reuse", closeReuse},
}

func closeByPeer(b *bed) {
	rows := []struct {
		name string
		act  func(c *client)
		want error
	}{
		{"closes", func(c *client) { c.Close() }, io.EOF},
		{"half-closes", func(c *client) { c.CloseWrite() }, io.EOF},
		{"resets", (*client).reset, syscall.ECONNRESET},
	}
	b.start(poller.Config{}, script{})
	for _, r := range rows {
		for range 20 {
			c, p := b.connect()
			r.act(c)
			if err := p.reason(); err != r.want {
				b.Errorf("the peer %s: closed for %v", r.name, err)
			}
		}
	}
}

func closeReason(b *bed) {
	b.start(poller.Config{}, script{})
	for _, want := range []error{errMine, net.ErrClosed} {
		c, p := b.connect()
		p.do(func() {
			if want == errMine {
				p.Close(errMine)
			} else {
				p.Close(nil)
			}
			p.Close(io.ErrNoProgress)
		})
		if err := p.reason(); err != want {
			b.Errorf("closed for %v, want %v", err, want)
		}
		c.rest()
	}
}

// within makes a script that acts in one callback and brings it about.
func within(callback string, act func(p *probe)) script {
	s := script{open: func(p *probe) {
		p.SetTimer(poller.TimerTick) // would fire if the connection lived on
	}}
	provoke := func(p *probe, _ []byte) { p.WriteShared(make([]byte, 4<<20), 1) }
	switch callback {
	case "Open":
		s.open = act
	case "OnData":
		s.data = func(p *probe, _ []byte) { act(p) }
	case "OnBlocked":
		s.data, s.blocked = provoke, act
	case "OnDrained":
		s.data, s.drained = provoke, act
	case "OnTimer":
		s.timer = act
	case "OnClose":
		s.data = func(p *probe, _ []byte) { p.Close(errMine) }
		s.closed = func(p *probe, _ error) { act(p) }
	}
	return s
}

var callbacks = []string{"Open", "OnData", "OnBlocked", "OnDrained", "OnTimer", "OnClose"}

func closeInside(b *bed) {
	for _, name := range callbacks {
		s := within(name, func(p *probe) {
			p.Close(errMine)
			if p.closed && name != "OnClose" {
				b.Errorf("OnClose inside %s", name)
			}
		})
		one := &bed{T: b.T, newEngine: b.newEngine}
		one.start(tight, s)
		c := one.dial()
		c.Write([]byte("x"))
		go io.Copy(io.Discard, c)
		if err := one.accepted().reason(); err != errMine {
			b.Errorf("Close inside %s: closed for %v", name, err)
		}
		one.close()
	}
}

func closeOther(b *bed) {
	var mu sync.Mutex
	var all []*probe
	b.start(poller.Config{Loops: 1}, script{
		open: func(p *probe) {
			mu.Lock()
			defer mu.Unlock()
			all = append(all, p)
		},
		data: func(*probe, []byte) {
			for _, p := range all {
				p.Close(errMine)
				p.Write([]byte("ignored"))
			}
		},
	})
	var probes []*probe
	var last *client
	for range 20 {
		c, p := b.connect()
		last, probes = c, append(probes, p)
	}
	last.send("x")
	for _, p := range probes {
		if err := p.reason(); err != errMine {
			b.Errorf("closed for %v", err)
		}
	}
}

func closePanics(b *bed) {
	for _, name := range callbacks {
		s := within(name, func(p *probe) {
			if p.tag == 1 {
				panic("boom")
			}
		})
		one := &bed{T: b.T, newEngine: b.newEngine}
		one.start(quietly(tight), s)
		witness, seen := one.connect()
		one.verdict.Store(&poller.Admission{Tag: 1})
		c := one.dial()
		c.Write([]byte("x"))
		go io.Copy(io.Discard, c)
		switch name {
		case "Open":
			<-one.ended(c)
		case "OnClose":
			if err := one.accepted().reason(); err != errMine {
				b.Errorf("panic inside %s: closed for %v", name, err)
			}
		default:
			if err := one.accepted().reason(); !errors.Is(err, poller.ErrPanic) {
				b.Errorf("panic inside %s: closed for %v", name, err)
			}
		}
		seen.do(func() { seen.Write([]byte("alive")) })
		if got := string(witness.read(5)); got != "alive" {
			b.Errorf("got %q", got)
		}
		one.close()
	}
}

// closeResetBlocked loses the peer of a connection that has much to say.
func closeResetBlocked(b *bed) {
	blocked := make(chan struct{}, 1)
	b.start(tight, script{blocked: func(*probe) { blocked <- struct{}{} }})
	for range 20 {
		c, p := b.connect()
		p.do(func() { p.Write(make([]byte, 4<<20)) })
		await(b, "OnBlocked", blocked)
		c.reset()
		if err := p.reason(); !isHangUp(err) {
			b.Errorf("closed for %v", err)
		}
	}
}

// closeReuse opens and closes connections at such a rate that descriptors change owners while
// events of the last owner are under way. Every client sends its own number only, and every
// connection must hear one number only.
func closeReuse(b *bed) {
	const clients, rounds, word = 16, 100, 8
	b.start(poller.Config{}, script{data: func(p *probe, q []byte) {
		p.got = append(p.got, q...)
		for ; len(p.got) >= word; p.got = p.got[word:] {
			n := binary.BigEndian.Uint64(p.got)
			if p.data == nil {
				p.data = n
			}
			if p.data != n {
				p.bed.Errorf("connection of client %v heard %d", p.data, n)
			}
			if n%3 == 0 {
				p.Write(p.got[:word])
				p.Close(nil)
			}
		}
	}})
	var wg sync.WaitGroup
	for i := range clients {
		wg.Go(func() {
			for j := range rounds {
				b.speak(uint64(i*rounds + j))
			}
		})
	}
	wg.Wait()
}

// speak sends n a few times, and resets the connection or reads it to its end.
func (b *bed) speak(n uint64) {
	c, err := net.Dial("tcp", b.addr)
	if err != nil {
		b.Errorf("dial: %v", err)
		return
	}
	defer c.Close()
	w := binary.BigEndian.AppendUint64(nil, n)
	for range 5 {
		c.Write(w)
	}
	if n%3 != 0 {
		c.(*net.TCPConn).SetLinger(0)
		return
	}
	got, _ := io.ReadAll(c) // a reset by the server's early close is fine
	for ; len(got) >= len(w); got = got[len(w):] {
		if m := binary.BigEndian.Uint64(got); m != n {
			b.Errorf("client %d heard %d", n, m)
		}
	}
}
