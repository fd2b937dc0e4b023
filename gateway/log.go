package gateway

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"sluice/gateway/limits"
	"sluice/gateway/wire"
)

// What peers can cause is logged at most logRate times a second per kind; the counters stay exact.
const (
	logRate  = 10
	logBurst = 10
)

// sampler lets through a bounded number of lines of each kind.
type sampler struct {
	mu      sync.Mutex
	buckets map[string]*sampled
}

type sampled struct {
	bucket  limits.Bucket
	skipped int
}

// allow reports whether a line of a kind may be written, and how many were not since the last one.
// kinds come from fixed sets, so the map is bounded.
func (p *sampler) allow(kind string, now time.Duration) (skipped int, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.buckets == nil {
		p.buckets = map[string]*sampled{}
	}
	b := p.buckets[kind]
	if b == nil {
		b = &sampled{bucket: limits.NewBucket(logRate, logBurst)}
		p.buckets[kind] = b
	}
	if !b.bucket.Allow(now) {
		b.skipped++
		return 0, false
	}
	skipped, b.skipped = b.skipped, 0
	return skipped, true
}

// logSampled writes a line about something that a peer has caused.
func (g *Gateway) logSampled(level slog.Level, kind, msg string, attrs ...slog.Attr) {
	if !g.log.Enabled(context.Background(), level) {
		return
	}
	skipped, ok := g.sampler.allow(kind, time.Since(g.start))
	if !ok {
		return
	}
	if skipped > 0 {
		attrs = append(attrs, slog.Int("skipped", skipped))
	}
	g.log.LogAttrs(context.Background(), level, msg, attrs...)
}

func (g *Gateway) logPanic(s *session, v any, stack []byte) {
	g.logSampled(slog.LevelError, "panic", "panic in a session; it was closed",
		slog.String("event", "panic"), slog.String("connection", s.name()), slog.Any("panic", v),
		slog.String("stack", string(stack)))
}

// logKeys notes that the keys of an issuer could not be fetched.
func (g *Gateway) logKeys(issuer string, err error) {
	if err == nil {
		return
	}
	g.logSampled(slog.LevelWarn, "keys", "keys of an issuer could not be fetched",
		slog.String("event", "keys_failed"), slog.String("issuer", issuer),
		slog.String("error", err.Error()))
}

// logRefused notes a handshake that was refused. Nothing of the request is logged: it may carry
// secrets.
func (g *Gateway) logRefused(s *session, r *wire.Refusal) {
	g.logSampled(slog.LevelInfo, "refused "+r.Reason.String(), "handshake refused",
		slog.String("event", "handshake_refused"), slog.Int("status", r.Status),
		slog.String("reason", r.Reason.String()),
		slog.String("connection", s.name()), slog.String("remote", s.remote()))
}

// logClosed notes the end of a session: at debug level if it is in the nature of things.
func (g *Gateway) logClosed(s *session) {
	level := slog.LevelInfo
	switch s.ended {
	case endRefused:
		return // logRefused has said it
	case endPeerClosed, endPeerGone, endDrain, endShutdown, endIdle:
		level = slog.LevelDebug
	}
	if !g.log.Enabled(context.Background(), level) {
		return // before texts are made for a line that is not written
	}
	g.logSampled(level, "closed "+s.ended.String(), "session closed",
		slog.String("event", "session_closed"), slog.String("reason", s.ended.String()),
		slog.Int("code", int(endings[s.ended].code)),
		slog.String("user", s.user),
		slog.String("connection", s.name()), slog.String("remote", s.remote()))
}
