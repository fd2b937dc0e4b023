package admin

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"time"
)

const (
	// connsMax bounds the connections; whoever comes on top is disconnected. They take their
	// descriptors from the same limit as the gateway's.
	connsMax = 64
	// headerBytesMax bounds the header of a request. net/http adds 4 KiB of slack.
	headerBytesMax = 16 << 10

	headerTimeout = 5 * time.Second
	// requestTimeout bounds reading a request, with the body that nobody wants.
	requestTimeout = 10 * time.Second
	// answerTimeout is more than a scrape may take. Profiles extend it by their duration.
	answerTimeout = 30 * time.Second
	idleTimeout   = 60 * time.Second
)

// Server is a running admin listener. Its methods may be called from any goroutine.
type Server struct {
	http     http.Server
	listener net.Listener
	conns    atomic.Int64
	done     chan struct{} // closed when the listener is no longer served
}

// Start binds Config.Addr and serves it. Close must follow.
func Start(cfg Config) (*Server, error) {
	l, err := net.Listen("tcp", cfg.Addr)
	if err != nil {
		return nil, err
	}
	return serve(l, cfg), nil
}

func serve(l net.Listener, cfg Config) *Server {
	log := cfg.Logger
	if log == nil {
		log = slog.Default()
	}
	s := &Server{listener: l, done: make(chan struct{})}
	s.http = http.Server{
		Handler:           New(cfg, l.Addr()),
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       requestTimeout,
		WriteTimeout:      answerTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    headerBytesMax,
		ConnState:         s.bound,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
		// OPTIONS * would be answered past the guard.
		DisableGeneralOptionsHandler: true,
	}
	go func() {
		defer close(s.done)
		if err := s.http.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			log.Error("admin listener failed", "event", "admin_failed", "error", err)
		}
	}()
	return s
}

// bound keeps the connections within connsMax.
func (s *Server) bound(c net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew:
		if s.conns.Add(1) > connsMax {
			c.Close() // net/http reports it as closed, like any other
		}
	case http.StateClosed, http.StateHijacked:
		s.conns.Add(-1)
	}
}

// Addr is the bound address.
func (s *Server) Addr() net.Addr { return s.listener.Addr() }

// Close stops listening, waits for the requests that are being answered until ctx ends, and closes
// what is left. The error says that something was. Further calls return at once.
func (s *Server) Close(ctx context.Context) error {
	err := s.http.Shutdown(ctx)
	if err != nil {
		s.http.Close()
	}
	<-s.done
	return err
}
