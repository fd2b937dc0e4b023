package gateway

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"sluice/gateway/wire"
)

// slowHook is a hook that answers a question only when the test says so. It vouches for the user
// with the name of the token.
type slowHook struct {
	url   string
	asked chan string   // tokens, as questions about them arrive
	next  chan struct{} // a receive answers one
	once  sync.Once
}

// release answers all questions from now on. It must be called before the gateway is closed, whose
// end waits for the connections of the hook.
func (h *slowHook) release() { h.once.Do(func() { close(h.next) }) }

func newSlowHook(t *testing.T) *slowHook {
	t.Helper()
	h := &slowHook{asked: make(chan string, 1<<10), next: make(chan struct{})}
	h.url = hookServer(t, func(q map[string]any) (int, string) {
		h.asked <- q["token"].(string)
		<-h.next
		return 200, fmt.Sprintf(`{"user":%q}`, q["token"])
	})
	t.Cleanup(h.release) // at the latest before the server is closed
	return h
}

// flood sends requests with opaque tokens from an address, and returns their connections.
func flood(t *testing.T, g *Gateway, from string, n int) (conns []net.Conn) {
	t.Helper()
	for i := range n {
		c := dialFrom(t, g, from)
		io.WriteString(c, upgradeRequest("/echo", bearer(fmt.Sprintf("%s-%d", from, i))))
		conns = append(conns, c)
	}
	return conns
}

// answerTo is the status of an answer to a handshake, and its Retry-After.
func answerTo(t *testing.T, c net.Conn) (status int, retry string) {
	t.Helper()
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, resp.Header.Get("Retry-After")
}

// TestB3_slow_hook_delays_its_own_only floods a hook that answers nothing from four addresses, 18
// tokens each. Tokens that need no hook are verified at once, and a fifth address has its turn.
func TestB3_slow_hook_delays_its_own_only(t *testing.T) {
	const calls, queue, each = 4, 24, 18
	hook := (*slowHook)(nil)
	onEachEngine(t, func(cfg *Config) {
		guarded(t, cfg)
		hook = newSlowHook(t)
		cfg.AuthJWT[0] += ",issuer=us"
		cfg.AuthHook = []string{fmt.Sprintf("url=%s,timeout=25s,calls=%d,queue=%d", hook.url, calls,
			queue)}
		cfg.HandshakeTimeout = 30 * time.Second
	}, func(t *testing.T, g *Gateway) {
		defer hook.release()
		attackers := []string{"127.0.0.11", "127.0.0.12", "127.0.0.13", "127.0.0.14"}
		for _, from := range attackers {
			flood(t, g, from, each)
		}
		asks := g.authority.services[0]
		settled(t, "the queue of the hook is full", func() bool {
			s := asks.Stats()
			return s.Running == calls && s.Waiting == queue && s.Dropped == 4*each-calls-queue
		})
		for range calls {
			<-hook.asked
		}

		token := sign(t, jwt.MapClaims{"sub": "ann", "iss": "us"})
		p, _ := dialWebSocket(t, g, "/echo", bearer(token))
		p.send(wire.OpText, "here")
		p.wantMessage("here")
		if s := g.authority.computing.Stats(); s.Waiting != 0 {
			t.Errorf("%d tokens wait for who only computes", s.Waiting)
		}

		// One of the attackers has to make room, and the newcomer is asked about after at most
		// one token of each of them.
		newcomer := flood(t, g, "127.0.0.15", 1)[0]
		settled(t, "an attacker has made room", func() bool {
			return asks.Stats().Dropped == 4*each-calls-queue+1
		})
		var order []string
		for range len(attackers) + 1 {
			hook.next <- struct{}{}
			order = append(order, <-hook.asked)
		}
		if !strings.Contains(strings.Join(order, " "), "127.0.0.15-0") {
			t.Errorf("the newcomer waits behind %v", order)
		}
		for range calls {
			hook.next <- struct{}{}
		}
		if status, _ := answerTo(t, newcomer); status != 101 {
			t.Errorf("the newcomer gets %d", status)
		}
	})
}

// TestB3_share_of_a_queue reads what those are told that a full queue drops.
func TestB3_share_of_a_queue(t *testing.T) {
	hook := (*slowHook)(nil)
	onEachEngine(t, func(cfg *Config) {
		hook = newSlowHook(t)
		cfg.AuthHook = []string{"url=" + hook.url + ",timeout=25s,calls=1,queue=2"}
		cfg.HandshakeTimeout = 30 * time.Second
	}, func(t *testing.T, g *Gateway) {
		defer hook.release()
		asks := g.authority.services[0]
		waiting := func(n int) {
			t.Helper()
			settled(t, "in the queue", func() bool { return asks.Stats().Waiting == n })
		}
		flood(t, g, "127.0.0.11", 1)
		<-hook.asked
		second := flood(t, g, "127.0.0.11", 1)[0]
		waiting(1)
		third := flood(t, g, "127.0.0.11", 1)[0]
		waiting(2)
		fourth := flood(t, g, "127.0.0.11", 1)[0]
		want := func(name string, c net.Conn, status int) {
			t.Helper()
			got, retry := answerTo(t, c)
			if got != status || retry == "" {
				t.Errorf("%s gets %d, Retry-After %q; want %d", name, got, retry, status)
			}
		}
		want("one past the share of its address", fourth, 429)
		flood(t, g, "127.0.0.12", 1)
		want("the newest of the address with most", third, 429)
		want("one more where all have as many", flood(t, g, "127.0.0.13", 1)[0], 503)
		second.Close()
		waiting(1) // who leaves, leaves the queue
	})
}

// TestA13_wait_is_bounded has a credential wait for a service that does not answer.
func TestA13_wait_is_bounded(t *testing.T) {
	hook := (*slowHook)(nil)
	onEachEngine(t, func(cfg *Config) {
		hook = newSlowHook(t)
		cfg.AuthHook = []string{"url=" + hook.url + ",timeout=25s,calls=1,wait=100ms"}
		cfg.HandshakeTimeout = 30 * time.Second
	}, func(t *testing.T, g *Gateway) {
		defer hook.release()
		flood(t, g, "127.0.0.11", 1)
		<-hook.asked
		status, retry := answerTo(t, flood(t, g, "127.0.0.12", 1)[0])
		if status != 503 || retry == "" {
			t.Errorf("%d, Retry-After %q", status, retry)
		}
		if n := g.authority.pending.Load(); n != 1 {
			t.Errorf("%d are being verified", n)
		}
	})
}

// TestA14_verifiers_that_compute_are_as_many_as_cores floods a gateway with bad tokens.
func TestA14_verifiers_that_compute_are_as_many_as_cores(t *testing.T) {
	onEachGuarded(t, nil, func(t *testing.T, g *Gateway) {
		var conns []net.Conn
		for _, from := range []string{"127.0.0.11", "127.0.0.12"} {
			conns = append(conns, flood(t, g, from, 40)...)
		}
		if n := g.authority.computing.Stats().Running; n > runtime.GOMAXPROCS(0) {
			t.Errorf("%d run at once", n)
		}
		ann := sign(t, jwt.MapClaims{"sub": "ann"})
		dialWebSocket(t, g, "/chat/ann", bearer(ann))
		for _, c := range conns {
			if status, _ := answerTo(t, c); status != 401 {
				t.Errorf("a bad token gets %d", status)
			}
		}
		if s := g.authority.computing.Stats(); s.Dropped != 0 {
			t.Errorf("%d were dropped", s.Dropped)
		}
	})
}

// TestB3_queues_are_shown looks for what an operator needs to find a slow service.
func TestB3_queues_are_shown(t *testing.T) {
	cfg := quick()
	guarded(t, &cfg)
	hook := newSlowHook(t)
	cfg.Admin = "127.0.0.1:0"
	cfg.AuthJWT[0] += ",issuer=us"
	cfg.AuthHook = []string{"url=" + hook.url + ",timeout=25s,calls=1"}
	g := serve(t, cfg)
	defer hook.release()
	flood(t, g, "127.0.0.11", 2)
	<-hook.asked
	settled(t, "in the queue", func() bool { return g.authority.services[0].Stats().Waiting == 1 })
	_, page := ask(t, g, "/metrics")
	for _, line := range []string{
		`sluice_auth_queue_waiting{service="hook"} 1`, `sluice_auth_queue_running{service="hook"} 1`,
		`sluice_auth_queue_waiting{service="none"} 0`, `sluice_auth_verifying 2`,
	} {
		if !strings.Contains(page, line) {
			t.Errorf("there is no %q", line)
		}
	}
}
