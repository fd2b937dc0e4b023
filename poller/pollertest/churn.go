package pollertest

import (
	"io"
	"math/rand/v2"
	"net"
	"sync"

	"sluice/poller"
)

var churnTests = []contractTest{
	{"churn/H23_10000_connections_aborted_at_random", churn},
}

// churn opens and aborts 10,000 connections, some dozens at a time, and wants each one closed.
func churn(b *bed) {
	const clients, each = 40, 250
	b.start(poller.Config{}, script{
		data: func(p *probe, q []byte) {
			p.Write(q)
			if q[0] == 'c' {
				p.Close(nil)
			}
		},
		drained: func(p *probe) { p.Close(nil) },
	})
	seed := rand.Uint64()
	b.Logf("seed %d", seed)
	var wg sync.WaitGroup
	for i := range clients {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(seed, uint64(i)))
			for range each {
				b.abort(rnd)
			}
		})
	}
	wg.Wait()
	accepted := b.engine.Stats().Accepted
	if accepted < clients*each*9/10 { // some are reset while they wait to be accepted
		b.Errorf("%d connections were accepted", accepted)
	}
}

// abort connects, talks a little or much, and ends the connection in one of four ways.
func (b *bed) abort(rnd *rand.Rand) {
	conn, err := net.Dial("tcp", b.addr)
	if err != nil {
		b.Errorf("dial: %v", err)
		return
	}
	c := conn.(*net.TCPConn)
	defer c.Close()
	for range rnd.IntN(3) {
		size := 1 << rnd.IntN(8)
		if rnd.IntN(50) == 0 {
			size = 1 << 20 // its echo blocks
		}
		p := make([]byte, size)
		p[0] = "ec"[rnd.IntN(2)]
		c.Write(p)
	}
	switch rnd.IntN(4) {
	case 0, 1:
		c.SetLinger(0)
	case 2:
		c.CloseWrite()
		io.Copy(io.Discard, c)
	}
}
