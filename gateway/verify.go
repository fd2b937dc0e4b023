package gateway

import (
	"context"
	"net/netip"
	"runtime"
	"sync/atomic"
	"time"

	"sluice/gateway/auth"
	"sluice/gateway/auth/setup"
	"sluice/gateway/metrics"
	"sluice/gateway/wire"
	"sluice/gateway/workers"
)

const (
	// computingMax is how many credentials may wait for the workers that verify without asking
	// anybody, computingWait how long each. Past either, handshakes are answered 503.
	computingMax  = 8192
	computingWait = 2 * time.Second
	// recheckShare is the part of a service's calls that rechecks may have: 1 in recheckShare.
	recheckShare = 4
)

// queue is the credentials that wait to be verified, by the address of the client: addresses take
// turns.
type queue = workers.Fair[netip.Addr]

// authority verifies credentials, and knows whose connections they and certificates let in.
//
// A credential is first decided about in computing, whose workers are as many as there are cores.
// If a service has to be asked, it goes on to the queue of that service, which has its own workers:
// a service that is slow delays no credential but its own.
type authority struct {
	setup     *setup.Setup
	computing *queue
	services  []*queue // by the numbers of setup.Setup
	roster    *roster
	pending   atomic.Int64
}

func (g *Gateway) newAuthority(cfg *Config) (*authority, error) {
	if !cfg.Authenticated() {
		return nil, nil
	}
	c := cfg.auth()
	c.OnRefresh = g.logKeys
	s, err := setup.New(c)
	if err != nil {
		return nil, err
	}
	a := &authority{setup: s, roster: newRoster()}
	a.computing = workers.NewFair[netip.Addr](workers.FairConfig{
		Workers: runtime.GOMAXPROCS(0), Background: 1, QueueMax: computingMax,
		WaitMax: computingWait,
	})
	for _, service := range s.Services() {
		a.services = append(a.services, workers.NewFair[netip.Addr](workers.FairConfig{
			Workers: service.CallsMax, Background: max(service.CallsMax/recheckShare, 1),
			QueueMax: service.QueueMax, WaitMax: service.WaitMax,
		}))
	}
	return a, nil
}

// close ends the calls of services, and with them the verifications.
func (a *authority) close() (err error) {
	a.setup.Close()
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	for _, q := range append(a.services, a.computing) {
		if e := q.Close(ctx); e != nil {
			err = e
		}
	}
	return err
}

// queues is the state of the queues for the metrics.
func (a *authority) queues() (list []metrics.AuthQueue) {
	add := func(service string, q *queue) {
		s := q.Stats()
		list = append(list, metrics.AuthQueue{
			Service: service, Waiting: s.Waiting, Running: s.Running, Dropped: s.Dropped,
		})
	}
	add("none", a.computing)
	for i, service := range a.setup.Services() {
		add(service.Name, a.services[i])
	}
	return list
}

// verification is a credential on its way through the verifiers, and back to the loop of its
// session with what they said. It is a workers.Job: the decision of what needs no service.
type verification struct {
	session    *session
	credential auth.Credential
	ctx        context.Context
	cancel     context.CancelFunc // once the session has ended, nobody wants to know
	// service is the number of the service that is asked, or would be; negative for none.
	service atomic.Int32
	// computes and asks are its places in the two queues.
	computes, asks workers.Ticket[netip.Addr]
	// recheck is what an open session is verified again with, instead of a credential; else nil.
	recheck *recheckable

	id      auth.Identity // what is to be verified again, until there is a result
	err     error
	claimed auth.Identity // by a token that was refused; empty without an audit log
	again   *recheckable  // what the identity can be verified again with; nil if it need not be
}

// verify has a credential verified. It may be called from any goroutine. It returns an error if
// there is no room, and does nothing if begin says that something else comes first.
func (s *session) verify(c auth.Credential) error {
	a := s.lane.g.authority
	if s.lane.g.auditFull() {
		return auth.Refuse(auth.ReasonAudit)
	}
	v := s.newVerification()
	v.credential = c
	if !s.proof.begin(a, v) {
		v.cancel()
		return nil
	}
	a.pending.Add(1)
	if why := a.computing.Put(&v.computes, v, turnsBy(s.clientAddr())); why != workers.Kept {
		a.pending.Add(-1)
		v.cancel()
		s.proof.pending.CompareAndSwap(v, nil)
		return dropError(why)
	}
	return nil
}

func (s *session) newVerification() *verification {
	v := &verification{session: s}
	v.service.Store(-1)
	v.ctx, v.cancel = context.WithCancel(context.Background())
	return v
}

// begin makes v what is being verified for a session. An older renewal makes room for it, as the
// newest token counts, and so does a recheck that has no result yet. It reports false if something
// else is being verified.
func (p *proof) begin(a *authority, v *verification) bool {
	for {
		old := p.pending.Load()
		switch {
		case old == nil:
		case old.recheck == nil && !p.proven:
			return false
		case old.recheck != nil && old.ctx.Err() != nil:
			return false // its result is on the way
		}
		if p.pending.CompareAndSwap(old, v) {
			if old != nil {
				a.abandon(old)
			}
			return true
		}
	}
}

// abandon ends a verification whose result nobody wants any more. If it waits, it leaves its queue.
func (a *authority) abandon(v *verification) {
	v.cancel()
	service := v.service.Load()
	if a.computing.Remove(&v.computes) || service >= 0 && a.services[service].Remove(&v.asks) {
		a.pending.Add(-1)
	}
}

// turnsBy is what an address counts as in a queue: an IPv6 address as the network of its household.
func turnsBy(addr netip.Addr) netip.Addr {
	addr = addr.Unmap().WithZone("")
	if addr.Is6() && !addr.IsLoopback() {
		return netip.PrefixFrom(addr, 56).Masked().Addr()
	}
	return addr
}

// dropError is the refusal of a credential that a queue has dropped.
func dropError(why workers.Drop) error {
	switch why {
	case workers.DropShare:
		return auth.Refuse(auth.ReasonShare)
	case workers.DropLate:
		return auth.Refuse(auth.ReasonWaited)
	}
	return auth.Refuse(auth.ReasonBusy)
}

// Run implements workers.Job.
func (v *verification) Run() {
	if v.ctx.Err() != nil {
		v.finish(auth.Identity{}, auth.Refuse(auth.ReasonBusy))
		return
	}
	a := v.session.lane.g.authority
	d := a.setup.Decide(v.ctx, v.credential)
	v.service.Store(int32(d.Service))
	if !d.Asks {
		v.finish(d.ID, d.Err)
		return
	}
	key := turnsBy(v.session.clientAddr())
	if why := a.services[d.Service].Put(&v.asks, (*serviceCall)(v), key); why != workers.Kept {
		v.Dropped(why)
	}
}

// Dropped implements workers.Job.
func (v *verification) Dropped(why workers.Drop) { v.finish(auth.Identity{}, dropError(why)) }

// OnPanic implements workers.Job.
func (v *verification) OnPanic(p any, stack []byte) {
	v.session.lane.g.logPanic(v.session, p, stack)
	v.session.lane.m.Panics.Inc()
	v.finish(auth.Identity{}, auth.Refuse(auth.ReasonBackend))
}

// serviceCall is a verification whose service has to be asked. It is a workers.Job.
type serviceCall verification

// Run implements workers.Job.
func (q *serviceCall) Run() {
	v := (*verification)(q)
	a, service := v.session.lane.g.authority, int(v.service.Load())
	switch {
	case v.ctx.Err() != nil:
		v.finish(auth.Identity{}, auth.Refuse(auth.ReasonBusy))
	case v.recheck != nil:
		v.finish(a.setup.Recheck(v.ctx, service, v.recheck.kept, v.id))
	default:
		v.finish(a.setup.Ask(v.ctx, service, v.credential))
	}
}

// Dropped implements workers.Job.
func (q *serviceCall) Dropped(why workers.Drop) { (*verification)(q).Dropped(why) }

// OnPanic implements workers.Job.
func (q *serviceCall) OnPanic(p any, stack []byte) { (*verification)(q).OnPanic(p, stack) }

// finish hands the result to the loop of the session.
func (v *verification) finish(id auth.Identity, err error) {
	v.id, v.err = id, err
	if err != nil && v.session.lane.g.audit != nil {
		v.claimed = auth.Claimed(v.credential.Token)
	}
	v.again = v.toRecheck()
	v.cancel()
	v.credential = auth.Credential{}
	v.session.lane.g.authority.pending.Add(-1)
	v.session.conn.Loop().Post((*verdict)(v))
}

// verdict is a verification that is over, on the loop of its session. It is a poller.Runner.
type verdict verification

// Run implements poller.Runner.
func (v *verdict) Run() {
	defer v.session.contain()
	v.session.judged((*verification)(v))
}

// request is what the verifiers get to see of a handshake.
func request(r *wire.Request, remote netip.Addr, connection string) *auth.Request {
	return &auth.Request{
		Header: r.Header, Path: r.Path, RawQuery: r.RawQuery, Protocols: r.Protocols,
		Remote: remote, Connection: connection,
	}
}
