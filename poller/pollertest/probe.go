package pollertest

import "sluice/poller"

// probe is the handler of a connection in a contract test. It runs the test's script and checks the
// order of events that package poller promises.
type probe struct {
	poller.Conn
	bed     *bed
	tag     uint8
	blocked bool
	paused  bool
	closed  bool
	ended   chan error // gets what OnClose got
	got     []byte     // for the script's use
	data    any        // for the script's use
}

// enter notes the beginning of a callback; the result notes its end.
func (p *probe) enter(name string) (leave func()) {
	inside := &p.bed.inside[p.Loop().Index()]
	if *inside != 0 {
		p.bed.Errorf("%s is nested in another callback", name)
	}
	if p.closed {
		p.bed.Errorf("%s after OnClose", name)
	}
	*inside++
	return func() { *inside-- }
}

// OnData implements poller.Handler.
func (p *probe) OnData(b []byte) {
	defer p.enter("OnData")()
	if len(b) == 0 {
		p.bed.Error("OnData without bytes")
	}
	if p.paused {
		p.bed.Error("OnData while paused")
	}
	if f := p.bed.script.data; f != nil {
		f(p, b)
	}
}

// OnBlocked implements poller.Handler.
func (p *probe) OnBlocked() {
	defer p.enter("OnBlocked")()
	if p.blocked {
		p.bed.Error("OnBlocked twice")
	}
	p.blocked = true
	if p.Queue().Bytes == 0 {
		p.bed.Error("OnBlocked with nothing queued")
	}
	if f := p.bed.script.blocked; f != nil {
		f(p)
	}
}

// OnDrained implements poller.Handler.
func (p *probe) OnDrained() {
	defer p.enter("OnDrained")()
	if !p.blocked {
		p.bed.Error("OnDrained without OnBlocked")
	}
	p.blocked = false
	if q := p.Queue(); q != (poller.Queue{}) {
		p.bed.Errorf("OnDrained with a queue: %+v", q)
	}
	if f := p.bed.script.drained; f != nil {
		f(p)
	}
}

// OnTimer implements poller.Handler.
func (p *probe) OnTimer() {
	defer p.enter("OnTimer")()
	if f := p.bed.script.timer; f != nil {
		f(p)
	}
}

// OnClose implements poller.Handler.
func (p *probe) OnClose(err error) {
	defer p.enter("OnClose")()
	p.closed = true
	p.bed.closes.Add(1)
	p.ended <- err
	if f := p.bed.script.closed; f != nil {
		f(p, err)
	}
}

// Pause pauses the connection. On the loop only.
func (p *probe) Pause() {
	p.paused = true
	p.Conn.Pause()
}

// Resume resumes the connection. On the loop only.
func (p *probe) Resume() {
	p.paused = false
	p.Conn.Resume()
}

// do runs f on the connection's loop and waits for it.
func (p *probe) do(f func()) {
	p.bed.Helper()
	p.bed.on(p.Loop(), f)
}

// reason waits for the end of the connection.
func (p *probe) reason() error {
	p.bed.Helper()
	return await(p.bed, "OnClose", p.ended)
}
