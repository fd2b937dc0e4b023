package admin

import (
	"context"
	"crypto/tls"
	"errors"
	stdlog "log"
	"log/slog"
	"net"
	"net/http"
	"time"
)

const (
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
	conns    *conns
	handler  *handler
	remove   func()        // what the listener has left in the file system
	done     chan struct{} // closed when the listener is no longer served
}

// Stats counts since the server started.
type Stats struct {
	Conns   int    // open connections
	Evicted uint64 // connections closed to make room for another one
	Denied  uint64 // requests that were refused for their token
	Limited uint64 // requests whose token was not looked at: their peer had shown too many
}

// Start binds Config.Addr and serves it. Close must follow.
func Start(cfg Config) (*Server, error) {
	l, remove, err := listen(cfg.Addr)
	if err != nil {
		return nil, err
	}
	s := serve(l, cfg)
	s.remove = remove
	return s, nil
}

func serve(l net.Listener, cfg Config) *Server {
	log := cfg.Logger
	if log == nil {
		log = slog.Default()
	}
	s := &Server{
		listener: l, conns: newConns(), handler: newHandler(cfg, l.Addr()), remove: func() {},
		done: make(chan struct{}),
	}
	guarded := newGuard(s.handler, cfg, l.Addr())
	s.http = http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			c := connOf(r.Context())
			c.serve(true)
			defer c.serve(false)
			guarded.ServeHTTP(w, r)
		}),
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       requestTimeout,
		WriteTimeout:      answerTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    headerBytesMax,
		ConnContext:       withConn,
		ErrorLog:          stdlog.New(&complaints{log: log}, "", 0),
		// OPTIONS * would be answered past the guard.
		DisableGeneralOptionsHandler: true,
	}
	var bounded net.Listener = &listener{l, s.conns}
	if cfg.TLS != nil {
		bounded = tls.NewListener(bounded, cfg.TLS)
	}
	go func() {
		defer close(s.done)
		if err := s.http.Serve(bounded); !errors.Is(err, http.ErrServerClosed) {
			log.Error("admin listener failed", "event", "admin_failed", "error", err)
		}
	}()
	return s
}

// Stats returns a snapshot.
func (s *Server) Stats() Stats {
	return Stats{
		Conns: s.conns.len(), Evicted: s.conns.evicted.Load(),
		Denied: s.handler.denied.Load(), Limited: s.handler.limited.Load(),
	}
}

// Addr is the bound address.
func (s *Server) Addr() net.Addr { return s.listener.Addr() }

// Close stops listening, waits for the requests that are being answered until ctx ends, and closes
// what is left. The error says that something was. Further calls return at once.
func (s *Server) Close(ctx context.Context) error {
	s.remove() // before somebody else may bind the same path
	err := s.http.Shutdown(ctx)
	if err != nil {
		s.http.Close()
	}
	<-s.done
	return err
}
