package gateway

import (
	"net/netip"
	"testing"
	"time"

	"sluice/gateway/hub"
	"sluice/gateway/wire"
	"sluice/poller"
)

// nullConn takes everything and keeps nothing.
type nullConn struct{ loop poller.Loop }

func (c *nullConn) Loop() poller.Loop              { return c.loop }
func (*nullConn) RemoteAddr() (a netip.AddrPort)   { return a }
func (*nullConn) Write([]byte)                     {}
func (*nullConn) WriteShared([]byte, int)          {}
func (*nullConn) Flush()                           {}
func (*nullConn) Queue() (q poller.Queue)          { return q }
func (*nullConn) DropOldest(int) (messages, n int) { return 0, 0 }
func (*nullConn) Pause()                           {}
func (*nullConn) Resume()                          {}
func (*nullConn) SetTimer(time.Duration)           {}
func (*nullConn) CloseWrite()                      {}
func (*nullConn) Close(error)                      {}
func (*nullConn) Abort(error)                      {}
func (*nullConn) Transit() (t poller.Transit)      { return t }

// onNull runs f with a session of alice that writes into nothing.
func onNull(t *testing.T, target string, f func(*session)) {
	t.Helper()
	cfg := quick()
	cfg.MessageRate = 0
	s := newStage(t, cfg)
	s.join(target)
	s.fake.Do(func() {
		s.lanes[0].loop.Each(func(h poller.Handler) {
			v := h.(*session)
			conn := v.conn
			v.conn = &nullConn{conn.Loop()}
			f(v)
			v.conn = conn
		})
	})
}

func TestFramesAllocateNothing(t *testing.T) {
	frame := wire.AppendMaskedFrame(nil, wire.OpText, false, [4]byte{1, 2, 3, 4}, make([]byte, 128))
	ping := wire.AppendMaskedFrame(nil, wire.OpPing, false, [4]byte{1, 2, 3, 4}, make([]byte, 8))
	buf := make([]byte, len(frame))
	onNull(t, "/echo", func(s *session) {
		if n := testing.AllocsPerRun(1000, func() {
			copy(buf, frame) // unmasked in place every time
			s.OnData(buf)
		}); n != 0 {
			t.Errorf("%v allocations to decode, encode and send an echo", n)
		}
		s.lane.g.current.Load().ControlRate = 1e9
		if n := testing.AllocsPerRun(1000, func() { s.OnData(buf[:copy(buf, ping)]) }); n != 0 {
			t.Errorf("%v allocations to answer a ping", n)
		}
	})
}

func TestDeliveryAllocatesNothing(t *testing.T) {
	frame := wire.AppendFrame(nil, wire.OpText, false, []byte("alice: hello"))
	onNull(t, "/chat/alice", func(s *session) {
		run := hub.Run{Frames: frame, Messages: 1, Last: frame}
		if n := testing.AllocsPerRun(1000, func() { s.Deliver(run) }); n != 0 {
			t.Errorf("%v allocations to deliver a frame", n)
		}
	})
}

// The frame and what describes it live as long as somebody has not taken them.
func TestPublicationAllocatesTwice(t *testing.T) {
	frame := wire.AppendMaskedFrame(nil, wire.OpText, false, [4]byte{1, 2, 3, 4}, []byte("hello"))
	buf := make([]byte, len(frame))
	onNull(t, "/chat/alice", func(s *session) {
		shard := s.lane.loop.Index()
		if n := testing.AllocsPerRun(1000, func() {
			copy(buf, frame)
			s.OnData(buf)
			s.lane.g.hub.RunShard(shard)
		}); n > 2 {
			t.Errorf("%v allocations for a publication, want 2", n)
		}
	})
}
