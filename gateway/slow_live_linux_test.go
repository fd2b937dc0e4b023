package gateway

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"sluice/gateway/wire"
)

// throttled is a connection that is read at a steady rate, once it has a clock.
type throttled struct {
	net.Conn
	clock *time.Ticker
	bytes int // for each tick
}

func (c *throttled) Read(p []byte) (int, error) {
	if c.clock == nil {
		return c.Conn.Read(p)
	}
	<-c.clock.C
	return c.Conn.Read(p[:min(len(p), c.bytes)])
}

// narrow opens a chat of a client whose kernel keeps buffer bytes for it, over TLS if there is a
// configuration for it. It returns the connection below too.
func narrow(t *testing.T, g *Gateway, conf *tls.Config, target string, buffer int) (*peer, *throttled) {
	t.Helper()
	if conf == nil {
		raw := &throttled{Conn: deaf(t, g, target, buffer)}
		p := &peer{t: t, c: raw}
		p.dec.Init(&clientLimits, wire.Client, true)
		return p, raw
	}
	raw := &throttled{Conn: dialRaw(t, g)}
	if err := raw.Conn.(*net.TCPConn).SetReadBuffer(buffer); err != nil {
		t.Fatal(err)
	}
	return overTLS(t, raw, conf, target), raw
}

// onEachTransport runs a test against a gateway with each engine, without TLS and with it; then the
// test gets a configuration for clients.
func onEachTransport(t *testing.T, change func(*Config), test func(*testing.T, *Gateway, *tls.Config)) {
	t.Run("plain", func(t *testing.T) {
		onEachEngine(t, change, func(t *testing.T, g *Gateway) { test(t, g, nil) })
	})
	t.Run("tls", func(t *testing.T) {
		ca := newCertAuthority(t)
		onEachEngine(t, withTLS(t, ca, change), func(t *testing.T, g *Gateway) {
			test(t, g, &tls.Config{InsecureSkipVerify: true})
		})
	})
}

// A reader that reads all the time, but slower than its room talks, is not ended by the heartbeat:
// its queue runs over, and it reads its Close frame behind what the kernel had taken.
func TestM02_slow_readers_read_their_1008(t *testing.T) {
	const (
		every   = 20 * time.Millisecond
		written = 12_000 // bytes of a message, one for each tick
		read    = 10_000
	)
	change := func(cfg *Config) {
		cfg.MessageRate, cfg.QueueBytesMax = 0, 256<<10
		cfg.PingInterval, cfg.PongTimeout = 500*time.Millisecond, 100*time.Millisecond
		// The machine may be busy, and that must not decide.
		cfg.WriteTimeout, cfg.QueueAgeMax, cfg.CloseTimeout = time.Minute, time.Minute, time.Minute
	}
	onEachTransport(t, change, func(t *testing.T, g *Gateway, conf *tls.Config) {
		author, _ := narrow(t, g, conf, "/chat/author", 64<<10)
		slow, below := narrow(t, g, conf, "/chat/slow", 64<<10)
		below.clock, below.bytes = time.NewTicker(every), read
		defer below.clock.Stop()
		stop, stopped := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(stopped)
			tick := time.NewTicker(every)
			defer tick.Stop()
			frame := wire.AppendMaskedFrame(nil, wire.OpText, false, [4]byte{1, 2, 3, 4},
				bytes.Repeat([]byte("x"), written))
			for {
				select {
				case <-tick.C:
					author.c.Write(frame)
				case <-stop:
					return
				}
			}
		}()
		defer func() {
			close(stop)
			<-stopped
		}()
		messages := 0
		for {
			ev := slow.next()
			switch ev.Kind {
			case wire.KindMessage:
				messages++
				continue
			case wire.KindPing:
				slow.send(wire.OpPong, "")
				continue
			}
			if ev.Kind != wire.KindClose || ev.Code != 1008 || !strings.HasPrefix(string(ev.Payload), "slow consumer") {
				t.Errorf("ended by %v %d %q after %d messages", ev.Kind, ev.Code, ev.Payload, messages)
			}
			break
		}
		if _, err := slow.c.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("after its Close frame: %v", err)
		}
		if n := slowCount(g, SlowDisconnect); n != 1 {
			t.Errorf("%d were counted as slow", n)
		}
	})
}

// The kernel holds little for readers that never read, and nothing once they have had their time.
func TestM01_the_kernel_holds_little_for_those_who_never_read(t *testing.T) {
	const readers, mostBytes = 50, 256 << 10
	change := func(cfg *Config) {
		cfg.MessageRate, cfg.CloseTimeout = 0, 2*time.Second
	}
	onEachTransport(t, change, func(t *testing.T, g *Gateway, conf *tls.Config) {
		alice, _ := narrow(t, g, conf, "/chat/alice", 64<<10)
		healthy, _ := narrow(t, g, conf, "/chat/healthy", 1<<20)
		for i := range readers {
			narrow(t, g, conf, fmt.Sprint("/chat/deaf", i), 4<<10)
		}
		var published atomic.Bool
		go func() {
			defer published.Store(true)
			publishNumbered(t, alice, healthy)
		}()
		most, held := 0, 0
		settled(t, "rid of them", func() bool {
			total := 0
			for _, n := range kernelMemory(t, g) {
				most, total = max(most, n), total+n
			}
			held = max(held, total)
			return published.Load() && g.connections() == 2
		})
		t.Logf("at most %d KiB each, %d KiB together", most>>10, held>>10)
		if most > mostBytes {
			t.Errorf("the kernel held %d KiB for one of them", most>>10)
		}
		if n := slowCount(g, SlowDisconnect); n != readers {
			t.Errorf("%d were counted as slow, want %d", n, readers)
		}
		settled(t, "forgotten by the kernel", func() bool { return owing(t, g) == 0 })
	})
}

// port is that of the gateway.
func port(g *Gateway) int { return g.Addr().(*net.TCPAddr).Port }

// kernelMemory is what the kernel holds for each connection of the gateway, its own overhead
// included, by descriptor.
func kernelMemory(t *testing.T, g *Gateway) map[int]int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	held := map[int]int{}
	for _, e := range entries {
		fd, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		local, err := unix.Getsockname(fd)
		if a, ok := local.(*unix.SockaddrInet4); err != nil || !ok || a.Port != port(g) {
			continue
		}
		var info [9]uint32 // SK_MEMINFO_*
		size := uint32(unsafe.Sizeof(info))
		_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_SOCKET,
			unix.SO_MEMINFO, uintptr(unsafe.Pointer(&info)), uintptr(unsafe.Pointer(&size)), 0)
		if errno == 0 {
			held[fd] = int(info[0] + info[4] + info[5]) // received, reserved, to be sent
		}
	}
	return held
}

// owing counts the sockets of the gateway's port, orphans included, that have something to send.
func owing(t *testing.T, g *Gateway) (n int) {
	t.Helper()
	f, err := os.Open("/proc/net/tcp")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	const (
		local, state, queues = 1, 3, 4
		listening            = "0A"
	)
	here := fmt.Sprintf(":%04X", port(g))
	for lines := bufio.NewScanner(f); lines.Scan(); {
		f := strings.Fields(lines.Text())
		if len(f) > queues && strings.HasSuffix(f[local], here) && f[state] != listening &&
			!strings.HasPrefix(f[queues], "00000000:") {
			n++
		}
	}
	return n
}
