//go:build linux

package floor

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"sluice/gateway/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds a failure, nothing else.
const patience = 30 * time.Second

// start runs a floor until the test ends and returns its address.
func start(t *testing.T, loops int) string {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	addr := startUntil(t, ctx, loops)
	t.Cleanup(cancel) // runs before what startUntil has left for the end
	return addr
}

// startUntil runs a floor until ctx is done, which must be before the test ends.
func startUntil(t *testing.T, ctx context.Context, loops int) string {
	t.Helper()
	ready, ended := make(chan string, 1), make(chan error, 1)
	go func() { ended <- Run(ctx, "127.0.0.1:0", loops, func(addr string) { ready <- addr }) }()
	select {
	case addr := <-ready:
		t.Cleanup(func() {
			if err := <-ended; err != nil {
				t.Errorf("it ended with %v", err)
			}
		})
		return addr
	case err := <-ended:
		t.Fatalf("it did not start: %v", err)
		return ""
	}
}

// client compares every byte that it gets.
type client struct {
	t    *testing.T
	conn net.Conn
	r    *bufio.Reader
}

func dial(t *testing.T, addr, path string) *client {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(patience))
	c := &client{t: t, conn: conn, r: bufio.NewReader(conn)}
	const key = "dGhlIHNhbXBsZSBub25jZQ=="
	c.write(fmt.Appendf(nil, "GET %s HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n"+
		"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %s\r\n\r\n", path, key))
	answer, err := http.ReadResponse(c.r, nil)
	if err != nil {
		t.Fatal(err)
	}
	// The pair of RFC 6455 section 1.3.
	if answer.StatusCode != 101 ||
		answer.Header.Get("Sec-WebSocket-Accept") != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" {
		t.Fatalf("the answer is %+v", answer)
	}
	return c
}

func (c *client) write(p []byte) {
	c.t.Helper()
	if _, err := c.conn.Write(p); err != nil {
		c.t.Fatal(err)
	}
}

func (c *client) send(op wire.Opcode, message []byte) {
	c.t.Helper()
	c.write(wire.AppendMaskedFrame(nil, op, false, maskKey, message))
}

// wants reads one frame for every message, and nothing else.
func (c *client) wants(op wire.Opcode, messages ...[]byte) {
	c.t.Helper()
	for _, m := range messages {
		want := wire.AppendFrame(nil, op, false, m)
		got := make([]byte, len(want))
		if _, err := io.ReadFull(c.r, got); err != nil {
			c.t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			c.t.Fatalf("got %.40x, want %.40x", got, want)
		}
	}
}

func (c *client) wantsEnd() {
	c.t.Helper()
	if b, err := c.r.ReadByte(); !errors.Is(err, io.EOF) {
		c.t.Errorf("got %x, %v instead of the end", b, err)
	}
}

func TestEcho(t *testing.T) {
	c := dial(t, start(t, 1), "/echo")
	for _, size := range []int{0, 1, 125, 126, 65535, 65536, 100_000} {
		c.send(wire.OpBinary, payload(size))
		c.wants(wire.OpBinary, payload(size))
	}
	var all []byte
	for i := range 32 {
		all = wire.AppendMaskedFrame(all, wire.OpText, false, maskKey, payload(i))
	}
	c.write(all)
	for i := range 32 {
		c.wants(wire.OpText, payload(i))
	}
	for _, b := range all {
		c.write([]byte{b})
	}
	for i := range 32 {
		c.wants(wire.OpText, payload(i))
	}
}

// What a client sends before it reads anything fills the buffers of the kernel several times.
func TestEchoToALateReader(t *testing.T) {
	const messages = 400
	c := dial(t, start(t, 1), "/echo")
	message := payload(40_000)
	for range messages {
		c.send(wire.OpBinary, message)
	}
	for range messages {
		c.wants(wire.OpBinary, message)
	}
}

func TestBroadcast(t *testing.T) {
	addr := start(t, 1)
	alice, bob, cathy := dial(t, addr, "/chat/a"), dial(t, addr, "/chat/b"), dial(t, addr, "/c")
	loner := dial(t, addr, "/echo")
	for i := range 100 {
		alice.send(wire.OpText, payload(i))
	}
	for i := range 100 {
		bob.wants(wire.OpText, payload(i))
		cathy.wants(wire.OpText, payload(i))
	}
	bob.send(wire.OpText, []byte("to alice"))
	alice.wants(wire.OpText, []byte("to alice")) // and nothing of her own before
	loner.send(wire.OpText, []byte("echo"))
	loner.wants(wire.OpText, []byte("echo")) // and nothing of theirs before
}

// Both ends are in this process: the new client takes the two descriptors of the one that left.
func TestWhoLeavesGetsNothing(t *testing.T) {
	for _, tt := range []struct {
		name  string
		leave func(bob *client)
	}{
		{"after_a_close_frame", func(bob *client) {
			bob.send(wire.OpClose, []byte{3, 0xE8})
			bob.wantsEnd()
		}},
		{"with_a_fin", func(bob *client) {
			bob.conn.(*net.TCPConn).CloseWrite()
			bob.wantsEnd()
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			addr := start(t, 1)
			alice, bob := dial(t, addr, "/chat/a"), dial(t, addr, "/chat/b")
			tt.leave(bob)
			bob.conn.Close()
			dave := dial(t, addr, "/chat/d")
			for _, text := range []string{"still here", "and once each"} {
				alice.send(wire.OpText, []byte(text))
				dave.wants(wire.OpText, []byte(text))
			}
		})
	}
}

func TestEveryLoopServes(t *testing.T) {
	addr := start(t, 2)
	for i := range 40 {
		c := dial(t, addr, "/echo")
		c.send(wire.OpText, payload(i))
		c.wants(wire.OpText, payload(i))
	}
}

// A loop waits in a system call that the runtime knows nothing of.
func TestTheCollectorGetsByAWaitingLoop(t *testing.T) {
	c := dial(t, start(t, 1), "/echo")
	for range 20 {
		runtime.GC()
	}
	c.send(wire.OpText, []byte("x"))
	c.wants(wire.OpText, []byte("x"))
}

func TestTheEndIsSeenByEverybody(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	c := dial(t, startUntil(t, ctx, 2), "/echo")
	cancel()
	c.wantsEnd()
}

func TestRunRefuses(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for _, tt := range []struct{ name, addr, want string }{
		{"no_port", "127.0.0.1", "is not an IPv4 address with a port"},
		{"a_name", "localhost:80", "is not an IPv4 address with a port"},
		{"ipv6", "[::1]:0", "is not an IPv4 address with a port"},
		{"taken", taken.Addr().String(), "listen: address already in use"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := Run(context.Background(), tt.addr, 1, func(string) { t.Error("it is ready") })
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}
