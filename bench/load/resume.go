package load

import (
	"crypto/tls"
	"sync"
)

// sessions keep the last TLS session of each client, as a browser does, so that a client that comes
// back can resume it. There are at most as many as client numbers. Its methods may be called from
// any goroutine.
type sessions struct {
	mu      sync.Mutex
	clients map[int]*session
}

// of returns the cache of a client.
func (s *sessions) of(client int) *session {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.clients == nil {
		s.clients = map[int]*session{}
	}
	c := s.clients[client]
	if c == nil {
		c = new(session)
		s.clients[client] = c
	}
	return c
}

// session is a tls.ClientSessionCache for one client of one server.
type session struct {
	mu   sync.Mutex
	last *tls.ClientSessionState
}

// Get implements tls.ClientSessionCache.
func (s *session) Get(string) (*tls.ClientSessionState, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.last, s.last != nil
}

// Put implements tls.ClientSessionCache.
func (s *session) Put(_ string, last *tls.ClientSessionState) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last = last
}
