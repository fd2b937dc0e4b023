package run

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"sluice/bench/load"
	"sluice/bench/report"
	"sluice/gateway/wire"
)

// fanout lets the first clients of every room publish; the others check that they get every message
// once and in order, and measure how a broadcast spreads. It is a script.
type fanout struct {
	opts     *Options
	size     int
	template *load.Template // nil for a stamp with filler
	lanes    []fanoutLane

	slow      atomic.Int64 // receivers that read slowly or not at all
	slowEnded errorCounts  // how those of them have ended that have

	mu         sync.Mutex
	publishers []*publisher // guarded by mu
}

// fanoutLane is the part of one event loop.
type fanoutLane struct {
	tally
	spread map[broadcast][]int32 // microseconds until each receiver got a traced broadcast
	traced int                   // samples in spread
	wire   []byte
}

// broadcast identifies a message of a publisher.
type broadcast struct{ publisher, seq uint32 }

// publisher is a client that publishes. It belongs to its loop.
type publisher struct {
	*load.Client
	id   uint32
	seq  uint32
	plan schedule
}

// receiver is what the other clients remember: the next message of each publisher of their room,
// once they know it.
type receiver struct {
	next  []uint32
	known []bool
}

// slowReceiver is what a client is that does not read.
type slowReceiver struct{}

// tracedMax bounds the samples that are kept of how broadcasts spread, per loop.
const tracedMax = 2 << 20

func newFanout(opts *Options) (f *fanout, err error) {
	f = &fanout{
		opts: opts, size: max(opts.Bytes, stampBytes), lanes: make([]fanoutLane, opts.Loops),
	}
	if opts.Message != "" {
		f.template, err = load.ParseTemplate(opts.Message, true)
	}
	return f, err
}

func (f *fanout) tally(lane int) *tally { return &f.lanes[lane].tally }

// Open implements load.Script.
func (f *fanout) Open(c *load.Client) {
	i := c.Index - f.opts.FirstIndex
	room, place := i/f.opts.roomSize(), i%f.opts.roomSize()
	if place >= f.opts.Publishers || room >= f.opts.Rooms {
		f.receive(c)
		return
	}
	p := &publisher{Client: c, id: uint32(c.Index/f.opts.roomSize()*f.opts.Publishers + place)}
	c.Data = p
	f.mu.Lock()
	defer f.mu.Unlock()
	f.publishers = append(f.publishers, p)
}

// slowPerRoom is the number of slow receivers in a room. They are the last of its clients.
func (o *Options) slowPerRoom() int {
	return int(o.SlowShare*float64(o.roomSize()-o.Publishers) + 0.5)
}

// slowReceiver reports whether client number i is a slow receiver.
func (o *Options) slowReceiver(i int) bool {
	return (i-o.FirstIndex)%o.roomSize() >= o.roomSize()-o.slowPerRoom()
}

// receive makes a receiver of a client.
func (f *fanout) receive(c *load.Client) {
	if f.opts.slowReceiver(c.Index) {
		c.Data = slowReceiver{}
		f.slow.Add(1)
		if c.ReadAtMost(f.opts.SlowRate); f.opts.SlowRate == 0 {
			c.Pause()
		}
		return
	}
	c.Data = &receiver{
		next: make([]uint32, f.opts.Publishers), known: make([]bool, f.opts.Publishers),
	}
}

// run implements script.
func (f *fanout) run(ctx context.Context, s *load.Swarm, w Window) {
	s.OnLanes(func(i int) {
		f.lanes[i].init(w)
		f.lanes[i].spread = map[broadcast][]int32{}
	})
	f.mu.Lock()
	publishers := slices.Clone(f.publishers)
	f.mu.Unlock()
	rate := f.opts.Rate / float64(max(len(publishers), 1))
	byLane := make([][]*publisher, len(f.lanes))
	begin := w.From - f.opts.Warmup
	for i, p := range publishers {
		// Publishers begin one after the other, spread over one interval.
		offset := time.Duration(float64(time.Second) / f.opts.Rate * float64(i))
		p.plan = newSchedule(begin+offset, rate, f.opts.Poisson)
		byLane[p.Lane()] = append(byLane[p.Lane()], p)
	}
	var paced sync.WaitGroup
	for lane, list := range byLane {
		if len(list) == 0 {
			continue
		}
		l := &f.lanes[lane]
		paced.Go(func() {
			metronome(ctx, func() {
				s.PostLane(lane, func() {
					for _, p := range list {
						l.publish(f, p)
					}
				})
			})
		})
	}
	paced.Wait()
}

// publish sends what is due of a publisher.
func (l *fanoutLane) publish(f *fanout, p *publisher) {
	for at := now(); p.plan.at <= min(at, l.window.To-1); p.plan.next() {
		l.late(p.plan.at, at)
		l.wire = f.compose(l.wire[:0], stamp{p.id, p.seq, p.plan.at, now()})
		p.seq++
		l.sent.Add(1)
		p.Send(wire.OpText, l.wire)
	}
}

// Message implements load.Script.
func (f *fanout) Message(c *load.Client, ev wire.Event) {
	l := &f.lanes[c.Lane()]
	r, ok := c.Data.(*receiver)
	if !ok {
		return // what other publishers of the room say
	}
	l.received.Add(1)
	s, ok := f.read(ev.Payload)
	if !ok {
		l.broken.Add(1)
		return
	}
	arrived := now()
	l.measure(s.planned, s.sent, arrived)
	l.check(r, s, f.opts.Publishers)
	l.trace(s, arrived)
}

// compose appends the message that a stamp belongs to.
func (f *fanout) compose(dst []byte, s stamp) []byte {
	if f.template == nil {
		return s.append(dst, f.size)
	}
	return f.template.AppendTo(dst, int(s.publisher), uint64(s.seq), s.planned)
}

// read finds the stamp of a message. A template has no room for the moment of sending: the planned
// one stands for it.
func (f *fanout) read(payload []byte) (s stamp, ok bool) {
	if f.template == nil {
		s, ok = readStamp(payload, f.size)
		return s, ok && (!f.opts.Verify || intact(payload))
	}
	publisher, seq, at, ok := f.template.Parse(payload)
	return stamp{uint32(publisher), uint32(seq), at, at}, ok
}

// check follows the sequence of a publisher.
func (l *fanoutLane) check(r *receiver, s stamp, publishers int) {
	place := int(s.publisher) % publishers
	switch next := r.next[place]; {
	case !r.known[place] || s.seq == next:
	case s.seq > next:
		l.lost.Add(uint64(s.seq - next))
	case s.seq == next-1 || l.lost.Load() == 0:
		l.repeated.Add(1)
		return
	default:
		// It had been taken for lost.
		l.reordered.Add(1)
		l.lost.Add(^uint64(0))
		return
	}
	r.next[place], r.known[place] = s.seq+1, true
}

// trace keeps how long a broadcast took to a receiver, for as many broadcasts as there is room for.
func (l *fanoutLane) trace(s stamp, arrived time.Duration) {
	if !l.window.holds(s.planned) || l.traced >= tracedMax {
		return
	}
	id := broadcast{s.publisher, s.seq}
	l.spread[id] = append(l.spread[id], int32(min(microseconds(arrived-s.planned), 1<<31-1)))
	l.traced++
}

// Closed implements load.Script.
func (f *fanout) Closed(*load.Client, error) {}

// wakeSlow lets the slow receivers read at last, so that they see what the server did to them.
func (f *fanout) wakeSlow(s *load.Swarm) {
	s.Each(func(c *load.Client) {
		if _, ok := c.Data.(slowReceiver); ok {
			c.ReadAtMost(0)
			c.Resume()
		}
	})
}

// slowNote says what the server did to the slow receivers.
func (f *fanout) slowNote() string {
	slow, ended, how := f.slow.Load(), uint64(0), []string{}
	by := f.slowEnded.all()
	for _, class := range slices.Sorted(maps.Keys(by)) {
		ended += by[class]
		how = append(how, fmt.Sprintf("%d %s", by[class], strings.TrimPrefix(class, "closed: ")))
	}
	if ended == 0 {
		return fmt.Sprintf("none of the %d slow receivers was disconnected", slow)
	}
	return fmt.Sprintf("%d of the %d slow receivers were disconnected: %s", ended, slow,
		strings.Join(how, ", "))
}

// healthy is the number of receivers of a room that read.
func (f *fanout) healthy() int {
	return f.opts.roomSize() - f.opts.Publishers - f.opts.slowPerRoom()
}

// spreads returns when the first, the median and the last receiver got each broadcast. It must be
// called when the swarm is closed.
func (f *fanout) spreads() (first, median, last *hdrhistogram.Histogram) {
	all := map[broadcast][]int32{}
	for i := range f.lanes {
		for id, delays := range f.lanes[i].spread {
			all[id] = append(all[id], delays...)
		}
	}
	first, median, last = load.NewHistogram(), load.NewHistogram(), load.NewHistogram()
	receivers := f.healthy()
	for _, delays := range all {
		if len(delays) < receivers {
			continue // lost on its way, or only traced in part
		}
		slices.Sort(delays)
		first.RecordValue(int64(delays[0]))
		median.RecordValue(int64(delays[len(delays)/2]))
		last.RecordValue(int64(delays[len(delays)-1]))
	}
	return first, median, last
}

// delivery says what became of the broadcasts.
func (f *fanout) delivery(all counts) *report.Delivery {
	d := &report.Delivery{
		Received: all.received, Lost: all.lost, Repeated: all.repeated, Reorder: all.reordered,
		Broken: all.broken,
	}
	if f.opts.Churn > 0 {
		// Who comes late or is cut misses some: only gaps can be told.
		d.Expected = all.received + all.lost
		return d
	}
	d.Expected = all.sent * uint64(f.healthy())
	// A message that nothing came after is missing without a gap.
	d.Lost = max(d.Lost, d.Expected-min(all.received, d.Expected))
	return d
}
