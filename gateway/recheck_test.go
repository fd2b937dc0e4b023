package gateway

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"sluice/poller"
)

// login opens a WebSocket whose credential is verified.
func (s *stage) login(target string, headers ...string) *actor {
	s.t.Helper()
	a := s.connect()
	a.Deliver([]byte(upgradeRequest(target, headers...)))
	var out []byte
	settled(s.t, "logged in", func() bool {
		s.fake.RunPosted()
		out = append(out, a.TakeOutput()...)
		return bytes.HasPrefix(out, []byte("HTTP/1.1 101 "))
	})
	return a
}

// alone is the only session on the stage.
func (s *stage) alone() (found *session) {
	s.fake.Do(func() {
		s.lanes[0].loop.Each(func(h poller.Handler) { found = h.(*session) })
	})
	return found
}

// oracle is a service that says what the test wants, and remembers what it was asked.
type oracle struct {
	url string

	mu      sync.Mutex
	status  int
	body    string
	asked   []string
	answers chan struct{} // a receive answers a recheck, if it is not nil
	holds   chan struct{} // holds up every answer until it is closed, if it is not nil
}

func newOracle(t *testing.T, body string) *oracle {
	t.Helper()
	o := &oracle{status: 200, body: body}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		question, err := io.ReadAll(r.Body)
		if err != nil {
			return // the gateway wants no answer any more
		}
		o.mu.Lock()
		o.asked = append(o.asked, string(question))
		status, body, answers, holds := o.status, o.body, o.answers, o.holds
		o.mu.Unlock()
		if holds != nil {
			select {
			case <-holds:
			case <-r.Context().Done():
			}
		}
		if answers != nil && strings.Contains(string(question), `"recheck":true`) {
			select {
			case <-answers:
			case <-r.Context().Done():
			}
		}
		w.WriteHeader(status)
		io.WriteString(w, body)
	}))
	t.Cleanup(server.Close)
	o.url = server.URL
	return o
}

func (o *oracle) say(status int, body string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.status, o.body = status, body
}

func (o *oracle) questions() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return append([]string(nil), o.asked...)
}

// reached waits until a service was asked n times and what it said has arrived.
func (s *stage) reached(o *oracle, n int) {
	s.t.Helper()
	settled(s.t, fmt.Sprintf("asked %d times", n), func() bool {
		s.fake.RunPosted()
		return len(o.questions()) == n && s.authority.pending.Load() == 0
	})
	s.fake.RunPosted()
}

// askedWithin advances the clock until a service is being asked, within a time, and waits until it
// was asked n times in all and what it said has arrived. A step at a time, as the answer comes when
// it comes, and a clock that went on meanwhile would have the service asked again.
func (s *stage) askedWithin(d time.Duration, o *oracle, n int) {
	s.t.Helper()
	for ; d > 0 && s.authority.pending.Load() == 0 && len(o.questions()) < n; d -= poller.TimerTick {
		s.fake.Advance(poller.TimerTick)
	}
	s.reached(o, n)
}

// TestB6_connections_are_verified_again has a hook without an end be asked again.
func TestB6_connections_are_verified_again(t *testing.T) {
	const every = 5 * time.Minute
	for _, r := range []struct {
		name   string
		status int
		body   string
		code   uint16 // 0 for a connection that stays
	}{
		{"welcome", 200, `{"user":"ann"}`, 0},
		{"logged_out", 401, ``, 3000},
		{"banned", 403, ``, 3003},
		{"room_lost", 200, `{"user":"ann","rooms":[]}`, 3003},
		{"somebody_else", 200, `{"user":"bob"}`, 3003},
		{"down", 500, ``, 0},
		{"nonsense", 200, `x`, 0},
		{"busy", 429, ``, 0},
	} {
		t.Run(r.name, func(t *testing.T) {
			o := newOracle(t, `{"user":"ann"}`)
			cfg := quick()
			cfg.AuthHook = []string{"headers=X-Tenant,url=" + o.url}
			s := newStage(t, cfg)
			a := s.login("/chat/ann", bearer("t0ken"), "X-Tenant: a", "X-Other: b")
			s.fake.Advance(every/2 - time.Second)
			if n := len(o.questions()); n != 1 {
				t.Fatalf("asked %d times in the first half of the interval", n)
			}
			o.say(r.status, r.body)
			s.askedWithin(every/2+time.Second, o, 2)
			if code := a.hear().code; code != r.code {
				t.Fatalf("closed with %d, want %d", code, r.code)
			}
			again := strings.TrimSuffix(o.questions()[0], "}") + `,"recheck":true}`
			if got := o.questions()[1]; got != again {
				t.Errorf("asked again with %s, want %s", got, again)
			}
			if r.code != 0 {
				return
			}
			// Whatever kept it, the next answer counts: in a minute if there was none.
			o.say(401, "")
			within := recheckRetry
			if r.name == "welcome" {
				within = every
			}
			s.askedWithin(within, o, 3)
			if code := a.hear().code; code != 3000 {
				t.Errorf("closed with %d in the end", code)
			}
		})
	}
}

// TestB6_introspected_tokens_are_verified_again although they have an end, and past the cache.
func TestB6_introspected_tokens_are_verified_again(t *testing.T) {
	o := newOracle(t, fmt.Sprintf(`{"active":true,"sub":"ann","exp":%d}`,
		time.Now().Add(time.Hour).Unix()))
	cfg := quick()
	cfg.AuthCacheTTL = time.Hour
	cfg.AuthIntrospection = []string{"url=" + o.url}
	s := newStage(t, cfg)
	first, second := s.login("/chat/ann", bearer("t0ken")), s.login("/chat/ann", bearer("t0ken"))
	if n := len(o.questions()); n != 1 {
		t.Fatalf("asked %d times; there is a cache", n)
	}
	o.say(200, `{"active":false}`)
	s.fake.Advance(cfg.AuthRecheck)
	s.reached(o, 3)
	for _, a := range []*actor{first, second} {
		if code := a.hear().code; code != 3000 {
			t.Errorf("closed with %d", code)
		}
	}
}

// TestB6_nothing_is_kept_in_vain looks at what a connection remembers of its credential.
func TestB6_nothing_is_kept_in_vain(t *testing.T) {
	soon := fmt.Sprint(time.Now().Add(2 * time.Minute).Unix())
	late := fmt.Sprint(time.Now().Add(2 * time.Hour).Unix())
	for _, r := range []struct {
		name, body string
		change     func(*Config, string)
		kept       bool
	}{
		{"jwt", "", func(cfg *Config, _ string) { guarded(t, cfg) }, false},
		{"hook", `{"user":"ann"}`, nil, true},
		{"hook_that_ends_late", `{"user":"ann","expires":` + late + `}`, nil, true},
		{"hook_that_ends_soon", `{"user":"ann","expires":` + soon + `}`, nil, false},
		{"never", `{"user":"ann"}`, func(cfg *Config, url string) {
			cfg.AuthHook, cfg.AuthRecheck = []string{"url=" + url}, 0
		}, false},
		{"introspection", `{"active":true,"sub":"ann"}`, func(cfg *Config, url string) {
			cfg.AuthIntrospection = []string{"url=" + url}
		}, true},
	} {
		t.Run(r.name, func(t *testing.T) {
			o := newOracle(t, r.body)
			cfg := quick()
			if r.change != nil {
				r.change(&cfg, o.url)
			} else {
				cfg.AuthHook = []string{"url=" + o.url}
			}
			s := newStage(t, cfg)
			s.login("/chat/ann", bearer(sign(t, jwt.MapClaims{"sub": "ann"})),
				"X-Large: "+strings.Repeat("x", 4<<10))
			p := s.alone().proof
			if (p.again != nil) != r.kept || (p.recheckAt != 0) != r.kept {
				t.Fatalf("kept: %v", p.again != nil)
			}
			if r.kept && len(p.again.kept) > 400 {
				t.Errorf("%d bytes are kept: %s", len(p.again.kept), string(p.again.kept))
			}
			if text := fmt.Sprintf("%+v %v", p.again, p.again); strings.Contains(text, "eyJ") {
				t.Errorf("it shows in %s", text)
			}
		})
	}
}

// TestB6_renewal_goes_before_a_recheck has a client renew while the hook thinks about it.
func TestB6_renewal_goes_before_a_recheck(t *testing.T) {
	o := newOracle(t, `{"user":"ann"}`)
	o.answers = make(chan struct{})
	cfg := quick()
	cfg.AuthHook = []string{"url=" + o.url}
	s := newStage(t, cfg)
	a := s.login("/chat/ann", bearer("first"))
	s.fake.Advance(cfg.AuthRecheck)
	settled(t, "asked again", func() bool { return len(o.questions()) == 2 })
	a.say(`{"token":"second"}`)
	s.reached(o, 3)
	p := s.alone().proof
	if !strings.Contains(string(p.again.kept), "second") || p.pending.Load() != nil {
		t.Errorf("the renewal did not count: %s", string(p.again.kept))
	}
	if code := a.hear().code; code != 0 {
		t.Errorf("closed with %d", code)
	}
}

// TestB6_recheck_switched_off takes away what there is to verify again.
func TestB6_recheck_switched_off(t *testing.T) {
	o := newOracle(t, `{"user":"ann"}`)
	cfg := quick()
	cfg.AuthHook = []string{"url=" + o.url}
	s := newStage(t, cfg)
	a := s.login("/chat/ann", bearer("t0ken"))
	cfg.AuthRecheck = 0
	if err := s.Reload(cfg); err != nil {
		t.Fatal(err)
	}
	s.fake.Advance(time.Hour)
	if n := len(o.questions()); n != 1 || a.closed() {
		t.Errorf("asked %d times, closed %v", n, a.closed())
	}
}

func TestB6_connection_age(t *testing.T) {
	cfg := quick()
	cfg.ConnectionAgeMax = 10 * time.Minute
	s := newStage(t, cfg)
	var all []*actor
	for range 20 {
		all = append(all, s.join("/chat/ann"))
	}
	s.fake.Advance(9*time.Minute - time.Second)
	for _, a := range all {
		if a.hear().code != 0 {
			t.Fatal("closed too early")
		}
	}
	s.fake.Advance(time.Minute)
	early := 0
	for _, a := range all {
		if code := a.hear().code; code == 1012 {
			early++
		} else if code != 0 {
			t.Errorf("closed with %d", code)
		}
	}
	if early == 0 || early == len(all) {
		t.Errorf("%d of %d are closed at the middle: they are not spread", early, len(all))
	}
	s.fake.Advance(time.Minute + 2*time.Second)
	for _, a := range all {
		if !a.closed() && a.hear().code != 1012 {
			t.Error("one is left")
		}
	}
	if n := s.lanes[0].m.Closed(uint8(endAge)).Load(); n == 0 {
		t.Error("nobody has counted them")
	}
}

// TestA09_far_end has tokens that end later than a time.Duration, or a deadline, can say.
func TestA09_far_end(t *testing.T) {
	const year9999 = 253402300799
	for name, exp := range map[string]int64{
		"year_9999": year9999, "in_a_month": time.Now().Add(31 * 24 * time.Hour).Unix(),
	} {
		t.Run(name, func(t *testing.T) {
			cfg := quick()
			guarded(t, &cfg)
			s := newStage(t, cfg)
			a := s.login("/chat/ann", bearer(sign(t, jwt.MapClaims{"sub": "ann", "exp": exp})))
			s.fake.Advance(time.Second)
			if code := a.hear().code; code != 0 {
				t.Fatalf("closed with %d at once", code)
			}
			s.fake.Advance(deadlineMax)
			if code := a.hear().code; code != 0 {
				t.Fatalf("closed with %d after the furthest deadline", code)
			}
			if s.alone().proof.deadline == 0 {
				t.Error("it has no deadline any more")
			}
		})
	}
}
