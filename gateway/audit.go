package gateway

import (
	"cmp"
	"errors"
	"io"
	"log/slog"
	"os"
	"time"

	"sluice/gateway/admin"
	"sluice/gateway/audit"
	"sluice/gateway/auth"
	"sluice/gateway/auth/setup"
	"sluice/gateway/metrics"
)

// auditTimeout is how long Close tries to write what waits.
const auditTimeout = 5 * time.Second

// sourceCertificate is the source of an identity that is no auth.Kind.
const sourceCertificate = "certificate"

// startAudit opens the audit log, if there is to be one.
func (g *Gateway) startAudit(cfg *Config, stderr io.Writer) (err error) {
	if cfg.AuditLog == "" {
		return nil
	}
	if stderr == nil {
		stderr = os.Stderr
	}
	g.audit, err = audit.Open(audit.Config{
		Path: cfg.AuditLog, Stderr: stderr, OnState: g.auditState,
	})
	return err
}

// auditState logs that the audit log begins to fail, or works again.
func (g *Gateway) auditState(err error) {
	if err == nil {
		g.log.Info("the audit log can be written again", "event", "audit_recovered")
		return
	}
	g.log.Error("the audit log cannot be written; it is tried again, and nobody is let in once "+
		"too many events wait", "event", "audit_failed", "error", err)
}

// ReopenLogs makes the audit log open its file anew, after a rotation has renamed it.
func (g *Gateway) ReopenLogs() {
	if g.audit != nil {
		g.audit.Reopen()
	}
}

// auditFull reports whether nobody may be let in because it could not be recorded.
func (g *Gateway) auditFull() bool { return g.audit != nil && g.audit.Full() }

// auditCheck is what readiness has to say of the audit log.
func (g *Gateway) auditCheck() admin.Check {
	return admin.Check{Name: "audit", Err: g.audit.Err()}
}

// auditStats is the state of the audit log for the metrics.
func (g *Gateway) auditStats() (a metrics.Audit) {
	if g.audit != nil {
		s := g.audit.Stats()
		a = metrics.Audit{Written: s.Written, Waiting: s.Waiting, Failed: s.Failed}
	}
	return a
}

// claimant is the user that a credential names. Its zero value is nobody.
type claimant struct {
	id *auth.Identity
	// verified says that somebody who is trusted here vouches for it.
	verified bool
}

// claimant returns the user that the credential names, once the verification is over.
func (v *verification) claimant() claimant {
	if v.id.User != "" { // also if it was revoked since
		return claimant{&v.id, true}
	}
	return claimant{&v.claimed, false}
}

// auditVerdict records what was said of a credential: of the one that a client came in with, or of
// one that renews. It may be called from any goroutine.
func (s *session) auditVerdict(err error, who claimant) {
	g := s.lane.g
	if g.audit == nil {
		return
	}
	e := audit.Event{Event: audit.EventLogin, Verdict: audit.Accepted, Source: s.proof.source}
	if s.proof.proven {
		e.Event, e.Source = audit.EventRenewal, auth.KindMessage.String()
	}
	if err != nil {
		reason := auth.Unavailable(err).Reason
		if reason == auth.ReasonAudit {
			g.logSampled(slog.LevelError, "audit full", "nobody is let in: the audit log is full",
				slog.String("event", "audit_full"))
			return
		}
		e.Verdict, e.Reason = audit.Refused, reason.String()
	}
	s.record(e, who)
}

// auditRefused records a login that was refused for another reason than its credential. The reason
// is a fixed word.
func (s *session) auditRefused(reason string, who claimant) {
	if s.lane.g.audit == nil || s.lane.g.authority == nil {
		return
	}
	e := audit.Event{Event: audit.EventLogin, Verdict: audit.Refused, Reason: reason}
	if s.proof != nil {
		e.Source = s.proof.source
	}
	s.record(e, who)
}

// auditEnd records that a session ends because its identity has ended.
func (s *session) auditEnd(why endReason) {
	if s.lane.g.audit == nil || s.proof == nil || !s.proof.proven || !endsIdentity(why) {
		return
	}
	s.record(audit.Event{Event: audit.EventEnd, Reason: why.String(), Source: s.proof.source},
		claimant{&s.proof.id, true})
}

// endsIdentity reports whether a session that was let in has ended for who its peer is.
func endsIdentity(why endReason) bool {
	switch why {
	case endExpired, endRevoked, endWithdrawn, endUnauthorized, endForbidden, endUserConnections:
		return true
	}
	return false
}

func (s *session) record(e audit.Event, who claimant) {
	e.Time, e.Connection, e.Remote = time.Now(), s.name(), s.remote()
	if id := who.id; id != nil {
		e.Issuer, e.Subject, e.TokenID, e.KeyID = id.Issuer, id.User, id.TokenID, id.KeyID
		e.Until = id.Expires
		e.Unverified = !who.verified && id.Issuer+id.User+id.TokenID+id.KeyID != ""
	}
	s.lane.g.audit.Append(e)
}

// auditRevocation records that somebody took credentials back, or tried to.
func (g *Gateway) auditRevocation(r Revocation, done Revoked, err error) {
	if g.audit == nil {
		return
	}
	e := audit.Event{
		Time: time.Now(), Event: audit.EventRevocation, Verdict: audit.Accepted,
		Issuer: cmp.Or(done.Issuer, r.Issuer), Subject: r.User, TokenID: r.TokenID,
		Until: done.Until, ToRestart: err == nil && done.Until.IsZero(),
		Caller: r.Caller, Closed: &done.Closed,
	}
	if err != nil {
		e.Verdict, e.Closed = audit.Refused, nil
		e.Reason = "failed"
		if errors.Is(err, auth.ErrRevocationsFull) {
			e.Reason = "full"
		}
		if _, ok := errors.AsType[*setup.IssuerError](err); ok {
			e.Reason = "issuer"
		}
	}
	g.audit.Append(e)
}
