package pollertest

import (
	"sync"
	"time"

	"sluice/poller"
)

var loopTests = []contractTest{
	{"loop/runs_posts_in_order", loopPosts},
	{"loop/refuses_posts_once_closed", loopClosed},
	{"loop/post_from_a_runner", loopRepost},
	{"loop/panic_of_a_runner", loopPanic},
	{"loop/Each_visits_all_and_may_close", loopEach},
	{"loop/Backlog_ends", loopBacklog},
	{"loop/deals_in_turn_and_counts", loopStats},
}

func loopPosts(b *bed) {
	const posters, posts = 8, 2000
	b.start(poller.Config{Loops: 1}, script{})
	l := b.engine.Loops()[0]
	last := make([]int, posters) // without a lock: the loop runs one at a time
	var wg sync.WaitGroup
	for i := range posters {
		wg.Go(func() {
			for j := range posts {
				l.Post(runFunc(func() {
					if last[i] != j {
						b.Errorf("poster %d: run %d, want %d", i, j, last[i])
					}
					last[i]++
				}))
			}
		})
	}
	wg.Wait()
	b.on(l, func() {
		for i, n := range last {
			if n != posts {
				b.Errorf("poster %d: %d posts have run", i, n)
			}
		}
	})
}

func loopClosed(b *bed) {
	b.start(poller.Config{Loops: 2}, script{})
	ran := make(chan int, 2)
	for i, l := range b.engine.Loops() {
		if l.Index() != i {
			b.Errorf("loop %d has index %d", i, l.Index())
		}
		if !l.Post(runFunc(func() { ran <- i })) {
			b.Error("Post to a running loop")
		}
	}
	b.engine.Close()
	if len(ran) != 2 {
		b.Error("Post was true, but the runner did not run")
	}
	for _, l := range b.engine.Loops() {
		if l.Post(runFunc(func() { b.Error("ran after Close") })) {
			b.Error("Post to a loop that has ended")
		}
	}
}

func loopRepost(b *bed) {
	b.start(poller.Config{Loops: 1}, script{})
	l := b.engine.Loops()[0]
	done := make(chan struct{})
	n := 0
	var again runFunc
	again = func() {
		if n++; n == 1000 {
			close(done)
			return
		}
		l.Post(again)
	}
	l.Post(again)
	await(b, "the last post", done)
}

func loopPanic(b *bed) {
	b.start(quietly(poller.Config{Loops: 1}), script{data: echo})
	c, p := b.connect()
	p.Loop().Post(runFunc(func() { panic("boom") }))
	ran := false
	p.do(func() { ran = true })
	c.exchange("alive")
	if !ran {
		b.Error("the runner behind a panic was lost")
	}
}

func loopEach(b *bed) {
	const conns = 50
	b.start(poller.Config{Loops: 1}, script{})
	var probes []*probe
	for range conns {
		_, p := b.connect()
		probes = append(probes, p)
	}
	seen := map[poller.Handler]bool{}
	visit := func(h poller.Handler) {
		if seen[h] {
			b.Error("visited twice")
		}
		seen[h] = true
		h.(*probe).Close(errMine)
	}
	l := b.engine.Loops()[0]
	b.on(l, func() { l.Each(visit) })
	for _, p := range probes {
		if err := p.reason(); err != errMine || !seen[p] {
			b.Errorf("closed for %v, visited: %v", err, seen[p])
		}
	}
	b.on(l, func() {
		l.Each(func(poller.Handler) { b.Error("visited a closed connection") })
	})
}

func loopBacklog(b *bed) {
	const conns = 700
	b.start(poller.Config{Loops: 1}, script{})
	var clients []*client
	var probes []*probe
	for range conns {
		c, p := b.connect()
		clients, probes = append(clients, c), append(probes, p)
	}
	l := b.engine.Loops()[0]
	b.on(l, func() {
		for _, p := range probes {
			p.Write([]byte("x"))
		}
	})
	for _, c := range clients {
		c.read(1)
	}
	b.on(l, func() {}) // the turn that sent the last ones has ended after this one
	b.on(l, func() {
		if n := l.Backlog(); n != 0 {
			b.Errorf("backlog %d", n)
		}
	})
}

func loopStats(b *bed) {
	const conns = 10
	b.start(poller.Config{Loops: 2}, script{data: echo})
	perLoop := [2]int{}
	for range conns {
		c, p := b.connect()
		c.exchange("12345678")
		perLoop[p.Loop().Index()]++
		if p.RemoteAddr().String() != c.LocalAddr().String() {
			b.Errorf("remote address %v, want %v", p.RemoteAddr(), c.LocalAddr())
		}
	}
	if perLoop != [2]int{conns / 2, conns / 2} {
		b.Errorf("connections per loop %v", perLoop)
	}
	for _, l := range b.engine.Loops() {
		b.on(l, func() {})
		b.on(l, func() {}) // a turn after the counters were renewed
		st := l.Stats()
		if st.Conns != conns/2 || st.BytesIn != conns/2*8 || st.BytesOut != conns/2*8 ||
			st.Queued != 0 || st.Turns == 0 || st.Reads == 0 || st.Writes == 0 {
			b.Errorf("stats %+v", st)
		}
	}
	if st := b.engine.Stats(); st.Accepted != conns {
		b.Errorf("accept stats %+v", st)
	}
}

var timerTests = []contractTest{
	{"timer/once_and_not_early", timerOnce},
	{"timer/replaced_and_unset", timerReplaced},
	{"timer/set_again_from_OnTimer", timerAgain},
	{"timer/dies_with_its_connection", timerClosed},
}

func timerOnce(b *bed) {
	type setting struct{ loop, wall time.Duration }
	began := time.Now()
	now := func(p *probe) setting { return setting{p.Loop().Now(), time.Since(began)} }
	const d = 3 * poller.TimerTick
	fired := make(chan setting, 10)
	b.start(poller.Config{Loops: 1}, script{
		open:  func(p *probe) { p.data = now(p); p.SetTimer(d) },
		timer: func(p *probe) { fired <- now(p) },
	})
	_, p := b.connect()
	at := await(b, "OnTimer", fired)
	p.do(func() {
		set := p.data.(setting)
		if at.loop-set.loop < d {
			b.Errorf("fired after %v, want %v", at.loop-set.loop, d)
		}
		// The loop's clock stands still during a turn, so it may be as late as the turn is long.
		if at.wall-set.wall < d-poller.TimerTick {
			b.Errorf("fired after %v of real time, want %v", at.wall-set.wall, d)
		}
	})
	b.tick(p, 4)
	if len(fired) != 0 {
		b.Error("fired twice")
	}
}

// tick lets n ticks pass on the loop of p, by the timer of another connection.
func (b *bed) tick(p *probe, n time.Duration) {
	b.Helper()
	passed := make(chan struct{})
	clock := p.Loop()
	start := time.Duration(-1)
	var wait runFunc
	wait = func() {
		if start < 0 {
			start = clock.Now()
		}
		if clock.Now()-start > n*poller.TimerTick {
			close(passed)
			return
		}
		clock.Post(wait)
	}
	clock.Post(wait)
	await(b, "passing of time", passed)
}

func timerReplaced(b *bed) {
	fired := make(chan *probe, 10)
	b.start(poller.Config{Loops: 1}, script{timer: func(p *probe) { fired <- p }})
	_, unset := b.connect()
	_, later := b.connect()
	_, sooner := b.connect()
	unset.do(func() {
		unset.SetTimer(poller.TimerTick)
		unset.SetTimer(0)
		unset.SetTimer(poller.TimerTick)
		unset.SetTimer(-1)
		later.SetTimer(poller.TimerTick)
		later.SetTimer(6 * poller.TimerTick)
		sooner.SetTimer(time.Hour)
		sooner.SetTimer(2 * poller.TimerTick)
	})
	for _, want := range []*probe{sooner, later} {
		if got := await(b, "OnTimer", fired); got != want {
			b.Error("the wrong timer fired")
		}
	}
}

func timerAgain(b *bed) {
	done := make(chan struct{})
	b.start(poller.Config{Loops: 1}, script{
		open: func(p *probe) { p.data = 0; p.SetTimer(1) },
		timer: func(p *probe) {
			n := p.data.(int) + 1
			if p.data = n; n == 3 {
				close(done)
				return
			}
			p.SetTimer(1)
		},
	})
	_, p := b.connect()
	await(b, "third OnTimer", done)
	b.tick(p, 3)
	p.do(func() {
		if p.data != 3 {
			b.Errorf("fired %v times", p.data)
		}
	})
}

func timerClosed(b *bed) {
	b.start(poller.Config{Loops: 1}, script{timer: func(*probe) { b.Error("fired") }})
	_, witness := b.connect()
	var probes []*probe
	for i := range 20 {
		c, p := b.connect()
		probes = append(probes, p)
		p.do(func() {
			p.SetTimer(3 * poller.TimerTick)
			if i%2 == 0 {
				p.Close(nil)
				p.SetTimer(poller.TimerTick)
			}
		})
		if i%2 != 0 {
			c.Close()
		}
	}
	for _, p := range probes {
		p.reason()
	}
	b.tick(witness, 5)
}
