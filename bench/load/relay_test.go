package load

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sluice/bench/benchtest"
	"sluice/poller"
)

// carried is a relay between a descriptor and a server.
type carried struct {
	relays Relays
	relay  *Relay
	fd     net.Conn  // the end that an engine would have
	server *tls.Conn // of the server
}

// carry starts a relay. It must have ended when the test ends.
func carry(tb testing.TB) *carried {
	tb.Helper()
	ln, roots := benchtest.ListenTLS(tb, benchtest.Identity{})
	accepted := make(chan *tls.Conn, 1)
	go func() {
		c, err := ln.Accept()
		if err != nil {
			tb.Error(err)
			close(accepted)
			return
		}
		server := c.(*tls.Conn)
		if err := server.Handshake(); err != nil {
			tb.Error(err)
		}
		accepted <- server
	}()
	remote, err := StartTLS(tb.Context(), connected(tb, ln.Addr().String()), "127.0.0.1",
		&tls.Config{RootCAs: roots})
	if err != nil {
		tb.Fatal(err)
	}
	c := &carried{server: <-accepted}
	var fd int
	if c.relay, fd, err = c.relays.Start(remote); err != nil {
		tb.Fatal(err)
	}
	if c.fd, err = takeSocket(fd, "fd"); err != nil {
		tb.Fatal(err)
	}
	for _, conn := range []net.Conn{c.fd, c.server} {
		if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
			tb.Fatal(err)
		}
	}
	tb.Cleanup(func() {
		c.closeFD()
		c.relays.Wait()
		c.server.Close()
	})
	return c
}

// closeFD does what an engine does.
func (c *carried) closeFD() {
	c.relay.Close()
	c.fd.Close()
}

// receive reads as much as want has, which it must be.
func receive(t *testing.T, r io.Reader, want []byte) {
	t.Helper()
	got := make([]byte, len(want))
	if n, err := io.ReadFull(r, got); err != nil || !bytes.Equal(got, want) {
		t.Errorf("got other bytes, %d of %d, %v", n, len(want), err)
	}
}

func send(t *testing.T, w io.Writer, p []byte) {
	t.Helper()
	if _, err := w.Write(p); err != nil {
		t.Error(err)
	}
}

// receiveEnd fails the test unless the end is next.
func receiveEnd(t *testing.T, r io.Reader) {
	t.Helper()
	if n, err := r.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("got %d bytes, %v, want the end", n, err)
	}
}

func TestRelayCarriesBothWays(t *testing.T) {
	c := carry(t)
	up, down := bytes.Repeat([]byte("0123456789"), 200_000), bytes.Repeat([]byte("abcdefg"), 300_000)
	var ways sync.WaitGroup
	ways.Go(func() { send(t, c.fd, up) })
	ways.Go(func() { send(t, c.server, down) })
	ways.Go(func() { receive(t, c.server, up) })
	ways.Go(func() { receive(t, c.fd, down) })
	ways.Wait()
}

func TestRelayEndsWithTheServer(t *testing.T) {
	for _, tt := range []struct {
		name  string
		close func(*tls.Conn) error
		class string
	}{
		{"goodbye", (*tls.Conn).Close, "closed: by the server, without a code"},
		{"half", (*tls.Conn).CloseWrite, "closed: by the server, without a code"},
		{"without_goodbye", func(c *tls.Conn) error { return c.NetConn().Close() },
			"closed: by the server, without a code"},
		{"inside_a_record", func(c *tls.Conn) error {
			_, err := c.NetConn().Write([]byte{23, 3, 3, 0, 99, 1})
			return errors.Join(err, c.NetConn().Close())
		}, "closed: inside a TLS record"},
		{"reset", func(c *tls.Conn) error {
			return errors.Join(c.NetConn().(*net.TCPConn).SetLinger(0), c.NetConn().Close())
		}, "closed: reset"},
		{"nonsense", func(c *tls.Conn) error {
			_, err := c.NetConn().Write([]byte("this is no record at all"))
			return err
		}, "closed: TLS failed"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := carry(t)
			send(t, c.server, []byte("last words"))
			receive(t, c.fd, []byte("last words"))
			if err := c.relay.Ended(); err != nil {
				t.Errorf("ended by %v", err)
			}
			if err := tt.close(c.server); err != nil {
				t.Fatal(err)
			}
			receiveEnd(t, c.fd)
			if err := c.relay.Ended(); err == nil || Class(err) != tt.class {
				t.Errorf("ended by %v as %q, want %q", err, Class(err), tt.class)
			}
			c.closeFD()
			c.relays.Wait()
		})
	}
}

// Nothing that was sent before the close gets lost, however slow the server is.
func TestRelayDeliversBeforeItEnds(t *testing.T) {
	c := carry(t)
	message := bytes.Repeat([]byte("0123456789"), relaySocketBytes/10/4)
	send(t, c.fd, message)
	c.closeFD()
	receive(t, c.server, message)
	receiveEnd(t, c.server)
	c.relays.Wait()
	if err := c.relay.Ended(); err != nil {
		t.Errorf("ended by %v", err)
	}
}

func TestRelayPassesHalfClose(t *testing.T) {
	c := carry(t)
	send(t, c.fd, []byte("question"))
	if err := c.fd.(*net.UnixConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	receive(t, c.server, []byte("question"))
	receiveEnd(t, c.server)
	send(t, c.server, []byte("answer"))
	if err := c.server.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	receive(t, c.fd, []byte("answer"))
	receiveEnd(t, c.fd)
	c.relays.Wait() // both ways have ended: nobody has to close anything
}

// A server that ignores our half-close holds a relay only until the descriptor is closed.
func TestRelayEndsAfterHalfClose(t *testing.T) {
	for _, tt := range []struct {
		name string
		end  func(*carried)
	}{
		{"closed", (*carried).closeFD},
		{"cut", func(c *carried) { c.relay.Cut() }},
		{"lingered", func(c *carried) { c.relay.remote.SetReadDeadline(time.Now()) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := carry(t)
			if err := c.fd.(*net.UnixConn).CloseWrite(); err != nil {
				t.Fatal(err)
			}
			receiveEnd(t, c.server)
			for !c.relay.halfClosed.Load() {
				runtime.Gosched() // it is about to be
			}
			c.relay.remote.SetReadDeadline(time.Time{}) // as if lingerMax was endless
			tt.end(c)
			c.relays.Wait()
		})
	}
}

// A server that does not read cannot hold a relay whose descriptor is closed.
func TestRelayEndsBesideADeafServer(t *testing.T) {
	c := carry(t)
	if err := c.fd.SetWriteDeadline(time.Now().Add(deliverMax / 4)); err != nil {
		t.Fatal(err)
	}
	chunk := make([]byte, 64<<10)
	sent := 0
	for {
		n, err := c.fd.Write(chunk)
		sent += n
		if errors.Is(err, os.ErrDeadlineExceeded) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	c.closeFD()
	c.relays.Wait()
	if got, err := io.Copy(io.Discard, c.server); int(got) >= sent && err == nil {
		t.Errorf("all of %d bytes arrived", sent)
	}
}

// A descriptor that nobody reads holds the server up, and its close frees it.
func TestRelayEndsBesideADeafDescriptor(t *testing.T) {
	c := carry(t)
	wrote := make(chan error, 1)
	go func() {
		chunk := make([]byte, 64<<10)
		for {
			if _, err := c.server.Write(chunk); err != nil {
				wrote <- err
				return
			}
		}
	}()
	receive(t, c.fd, make([]byte, 1000))
	c.closeFD()
	c.relays.Wait()
	if err := <-wrote; errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("the server did not notice")
	}
}

func TestRelayCuts(t *testing.T) {
	c := carry(t)
	c.relay.Cut()
	if _, err := c.server.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the server got %v", err)
	}
	receiveEnd(t, c.fd)
	c.relay.Cut()
	c.relay.Close()
	c.relays.Wait()
	if err := c.relay.Ended(); err != nil {
		t.Errorf("ended by %v", err)
	}
}

func TestRelaysLeaveNoDescriptors(t *testing.T) {
	count := func() int {
		entries, err := os.ReadDir("/dev/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(entries)
	}
	count() // the runtime opens its own with the first
	before := count()
	t.Run("carried", func(t *testing.T) {
		for range 20 {
			carry(t)
		}
	})
	if after := count(); after != before {
		t.Errorf("%d descriptors, %d before", after, before)
	}
}

// The loop's end neither blocks nor leaks into the processes that are started.
func TestSocketPairIsNonblocking(t *testing.T) {
	local, fd, err := socketPair()
	if err != nil {
		t.Fatal(err)
	}
	defer local.Close()
	defer unix.Close(fd)
	if _, err := unix.Read(fd, make([]byte, 1)); err != unix.EAGAIN {
		t.Errorf("got %v", err)
	}
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
	if err != nil || flags&unix.FD_CLOEXEC == 0 {
		t.Errorf("flags %x, %v", flags, err)
	}
}

// upgrading is a connection of an engine that makes a handshake and sends one message.
type upgrading struct {
	conn   poller.Conn
	relay  *Relay
	head   []byte
	answer chan error
	closed chan error
}

func (u *upgrading) OnData(p []byte) {
	u.head = append(u.head, p...)
	head, _, done := bytes.Cut(u.head, []byte("\r\n\r\n"))
	if !done {
		return
	}
	_, err := CheckAnswer(append(head, "\r\n"...), Offered{Key: testKey})
	u.answer <- err
	u.conn.Close(nil)
}
func (u *upgrading) OnTimer()   {}
func (u *upgrading) OnBlocked() {}
func (u *upgrading) OnDrained() {}
func (u *upgrading) OnClose(err error) {
	u.relay.Close()
	u.closed <- err
}

// An engine takes what a relay gives it for a connection like any other.
func TestRelayFeedsAnEngine(t *testing.T) {
	s := benchtest.New(t, benchtest.Faults{TLS: &benchtest.Identity{}, Check: func(h benchtest.Handshake) int {
		if h.Header.Get("Authorization") != "Bearer tok7" || h.Host != "127.0.0.1:1" {
			return 401
		}
		return 0
	}})
	engine, err := poller.New("auto", poller.Config{Loops: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer engine.Close()
	remote, err := StartTLS(t.Context(), connected(t, s.Addr), "127.0.0.1",
		&tls.Config{RootCAs: s.Roots()})
	if err != nil {
		t.Fatal(err)
	}
	var relays Relays
	relay, fd, err := relays.Start(remote)
	if err != nil {
		t.Fatal(err)
	}
	r := Request{Target: mustTarget(t, "/echo"), Token: tokenOf}
	request, err := r.AppendTo(nil, 7, testKey, "")
	if err != nil {
		t.Fatal(err)
	}
	u := &upgrading{relay: relay, answer: make(chan error, 1), closed: make(chan error, 1)}
	if err := engine.Adopt(fd, func(conn poller.Conn) poller.Handler {
		u.conn = conn
		conn.Write(request)
		return u
	}); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-u.answer:
		if err != nil {
			t.Error(err)
		}
	case err := <-u.closed:
		t.Errorf("closed by %v", err)
	case <-time.After(patience):
		t.Fatal("no answer")
	}
	relays.Wait()
}

// BenchmarkRelay is a round trip of 256 bytes, by crypto/tls alone and with a relay before it.
func BenchmarkRelay(b *testing.B) {
	for _, name := range []string{"direct", "relayed"} {
		b.Run(name, func(b *testing.B) {
			c := carry(b)
			deadline := time.Now().Add(10 * time.Minute)
			c.fd.SetDeadline(deadline)
			c.server.SetDeadline(deadline)
			echoed := make(chan struct{})
			message := make([]byte, 256)
			var client net.Conn = c.fd
			if name == "direct" {
				client = directTLS(b)
			} else {
				go func() {
					defer close(echoed)
					io.Copy(c.server, c.server)
				}()
			}
			b.ReportAllocs()
			for b.Loop() {
				if _, err := client.Write(message); err != nil {
					b.Fatal(err)
				}
				if _, err := io.ReadFull(client, message); err != nil {
					b.Fatal(err)
				}
			}
			c.closeFD()
			c.relays.Wait()
			if name != "direct" {
				<-echoed
			}
		})
	}
}

// directTLS returns a connection to an echoing server of TLS.
func directTLS(b *testing.B) net.Conn {
	b.Helper()
	ln, roots := benchtest.ListenTLS(b, benchtest.Identity{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		c, err := ln.Accept()
		if err != nil {
			return
		}
		io.Copy(c, c)
		c.Close()
	}()
	conn, err := StartTLS(b.Context(), connected(b, ln.Addr().String()), "127.0.0.1",
		&tls.Config{RootCAs: roots})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		conn.Close()
		<-done
	})
	return conn
}
