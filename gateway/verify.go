package gateway

import (
	"context"
	"net/netip"
	"sync/atomic"
	"time"

	"sluice/gateway/auth"
	"sluice/gateway/auth/setup"
	"sluice/gateway/wire"
	"sluice/gateway/workers"
)

const (
	// verifiersPerService is how many verifications run at once: as many as one service gets
	// calls. They have workers of their own, as a service that is slow must not hold up chat.
	verifiersPerService = 64
	// verificationsMax bounds those that wait or run. Past it handshakes are answered 503.
	verificationsMax = 8192
)

// authority verifies credentials, and knows whose connections they and certificates let in.
type authority struct {
	setup   *setup.Setup
	workers *workers.Pool
	roster  *roster
	pending atomic.Int64
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
	pool, err := workers.New(workers.Config{
		Workers: verifiersPerService, InboxTasksMax: 1, InboxBytesMax: 1,
	})
	if err != nil {
		s.Close()
		return nil, err
	}
	return &authority{setup: s, workers: pool, roster: newRoster()}, nil
}

func (a *authority) close() error {
	a.setup.Close()
	return a.workers.Close(closeTimeout)
}

// verification is a credential on its way through the verifiers, and back to the loop of its
// session with what they said.
type verification struct {
	session    *session
	credential auth.Credential
	ctx        context.Context
	cancel     context.CancelFunc // once the session has ended, nobody wants to know
	inbox      workers.Inbox

	id      auth.Identity
	err     error
	claimed auth.Identity // by a token that was refused; empty without an audit log
}

// verify has a credential verified. It may be called from any goroutine. It returns an error if
// there is no room, and does nothing if another credential of the session is being verified.
func (s *session) verify(c auth.Credential) error {
	a := s.lane.g.authority
	if s.lane.g.auditFull() {
		return auth.Refuse(auth.ReasonAudit)
	}
	v := &verification{session: s, credential: c}
	v.ctx, v.cancel = context.WithCancel(context.Background())
	if !s.proof.pending.CompareAndSwap(nil, v) {
		v.cancel()
		return nil
	}
	if a.pending.Add(1) > verificationsMax {
		a.pending.Add(-1)
		v.cancel()
		s.proof.pending.Store(nil)
		return auth.Refuse(auth.ReasonBusy)
	}
	v.inbox.Init(v)
	a.workers.Put(&v.inbox, v, 0)
	return nil
}

// Run implements workers.Task.
func (v *verification) Run() {
	if v.ctx.Err() == nil {
		v.id, v.err = v.session.lane.g.authority.setup.Verify(v.ctx, v.credential)
	} else {
		v.err = auth.Refuse(auth.ReasonBusy)
	}
	if v.err != nil && v.session.lane.g.audit != nil {
		v.claimed = auth.Claimed(v.credential.Token)
	}
	v.finish()
}

func (v *verification) finish() {
	v.cancel()
	v.credential = auth.Credential{}
	v.session.lane.g.authority.pending.Add(-1)
	v.session.conn.Loop().Post((*verdict)(v))
}

// OnHalfEmpty implements workers.Owner: an inbox of one task has nobody who waits.
func (v *verification) OnHalfEmpty() {}

// OnPanic implements workers.Owner.
func (v *verification) OnPanic(p any, stack []byte) {
	v.session.lane.g.logPanic(v.session, p, stack)
	v.session.lane.m.Panics.Inc()
	v.err = auth.Refuse(auth.ReasonBackend)
	v.finish()
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

// Revocation takes back a user or a token.
type Revocation struct {
	// User loses every token made up to now, TokenID is a single one (claim jti). At least one is
	// set.
	User, TokenID string
	// Until is when the last token that this is about expires: it is remembered so long.
	Until time.Time
	// Caller is who asks for it, for the log and the audit log.
	Caller string
}

// Revoke takes a user or a token back: new handshakes are refused, and the connections that it let
// in are closed with 3000. It returns how many those are. It fails if there is no authentication,
// or no room for another revocation.
func (g *Gateway) Revoke(r Revocation) (closed int, err error) {
	closed, err = g.takeBack(r)
	g.auditRevocation(r, closed, err)
	return closed, err
}

func (g *Gateway) takeBack(r Revocation) (closed int, err error) {
	a := g.authority
	if a == nil {
		return 0, ErrNoAuthentication
	}
	var found []*session
	if r.User != "" {
		if err := a.setup.Revocations().RevokeUser(r.User, r.Until); err != nil {
			return 0, err
		}
		found = a.roster.ofUser(r.User)
	}
	if r.TokenID != "" {
		if err := a.setup.Revocations().RevokeToken(r.TokenID, r.Until); err != nil {
			return 0, err
		}
		found = append(found, a.roster.ofToken(r.TokenID)...)
	}
	for _, s := range found {
		s.conn.Loop().Post(&expulsion{s})
	}
	return len(found), nil
}

// expulsion ends a session whose token was taken back. It is a poller.Runner.
type expulsion struct{ session *session }

// Run implements poller.Runner.
func (e *expulsion) Run() {
	defer e.session.contain()
	e.session.end(endRevoked)
}
