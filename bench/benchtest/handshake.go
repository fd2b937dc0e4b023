package benchtest

import (
	"net"
	"net/http"
	"strings"

	"github.com/gobwas/ws"
)

// Handshake is what a client has sent to open a connection.
type Handshake struct {
	// Target is the path with the query, as it came.
	Target string
	Host   string
	// Header has the other lines, but of the WebSocket ones only Sec-WebSocket-Protocol.
	Header http.Header
}

// upgrade answers the handshake of a client, as the faults say, and returns its target.
func (s *Server) upgrade(c net.Conn) (target string, err error) {
	h := Handshake{Header: http.Header{}}
	joined := false
	u := ws.Upgrader{
		OnRequest: func(uri []byte) error { h.Target = string(uri); return nil },
		OnHost:    func(host []byte) error { h.Host = string(host); return nil },
		OnHeader: func(name, value []byte) error {
			h.Header.Add(string(name), string(value))
			return nil
		},
		ProtocolCustom: func(offered []byte) (string, bool) {
			h.Header.Add("Sec-WebSocket-Protocol", string(offered))
			return s.faults.Subprotocol, true
		},
		OnBeforeUpgrade: func() (ws.HandshakeHeader, error) {
			header, err := s.judge(h)
			if err == nil {
				// Who has its answer gets every broadcast from then on, and none before it.
				s.mu.Lock()
				joined, s.conns[c].joined = true, !isEcho(h.Target)
			}
			return header, err
		},
	}
	_, err = u.Upgrade(c)
	if joined {
		s.mu.Unlock()
	}
	return h.Target, err
}

func isEcho(target string) bool { return strings.HasPrefix(target, "/echo") }

// judge returns the refusal of a handshake, or what is added to its acceptance.
func (s *Server) judge(h Handshake) (ws.HandshakeHeader, error) {
	status := s.faults.Status
	if status == 0 && s.faults.Check != nil {
		status = s.faults.Check(h)
	}
	if status == 0 {
		return headerLine("Sec-WebSocket-Extensions", s.faults.Extensions), nil
	}
	return nil, ws.RejectConnectionError(ws.RejectionStatus(status),
		ws.RejectionHeader(headerLine("Retry-After", s.faults.RetryAfter)))
}

// headerLine is a line of an answer, or nothing if the value is empty.
func headerLine(name, value string) ws.HandshakeHeaderString {
	if value == "" {
		return ""
	}
	return ws.HandshakeHeaderString(name + ": " + value + "\r\n")
}
