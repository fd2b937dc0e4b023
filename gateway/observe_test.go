package gateway

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"sluice/gateway/wire"
)

// ask gets a path of the admin listener.
func ask(t *testing.T, g *Gateway, path string) (status int, body string) {
	t.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get("http://" + g.AdminAddr().String() + path)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

func TestAdminListenerShowsTheGateway(t *testing.T) {
	cfg := quick()
	cfg.Admin = "127.0.0.1:0"
	cfg.ConnectionsMax = 2
	g := serve(t, cfg)
	alice, bob := join(t, g, "/chat/alice"), join(t, g, "/chat/bob")
	alice.send(wire.OpPing, "")
	alice.next()
	alice.send(wire.OpText, "hello")
	bob.wantMessage("alice: hello")
	// A read is counted when all of it has been handled.
	settled(t, "counted", func() bool {
		n := uint64(0)
		for i := range g.lanes {
			n += g.metrics.Shard(i).ReceivedText.Load()
		}
		return n == 1
	})

	_, text := ask(t, g, "/metrics")
	for _, line := range []string{
		"sluice_connections 2",
		"sluice_handshakes_total 2",
		"sluice_handshake_duration_seconds_count 2",
		`sluice_messages_received_total{opcode="text"} 1`,
		`sluice_messages_received_total{opcode="ping"} 1`,
		"sluice_broadcasts_total 1",
		"sluice_messages_sent_total 1",
		"sluice_control_frames_sent_total 1",
		"sluice_channels 1",
		"sluice_drain_state 0",
		"sluice_config_last_reload_successful 1",
	} {
		if !strings.Contains(text, "\n"+line+"\n") {
			t.Errorf("/metrics lacks %q", line)
		}
	}
	if status, body := ask(t, g, "/readyz"); status != 503 ||
		!strings.Contains(body, "2 of 2 connections") {
		t.Errorf("/readyz of a full gateway: %d %q", status, body)
	}
	if status, body := ask(t, g, "/demo.json"); status != 200 ||
		!strings.Contains(body, `"ws://`+g.Addr().String()+`"`) {
		t.Errorf("/demo.json: %d %q", status, body)
	}
	if status, _ := ask(t, g, "/debug/pprof/"); status != 404 {
		t.Errorf("pprof is served without being told to: %d", status)
	}
}

func TestP01ReadyzFailsAsSoonAsTheDrainBegins(t *testing.T) {
	cfg := quick()
	cfg.Admin = "127.0.0.1:0"
	g := serve(t, cfg)
	if status, body := ask(t, g, "/readyz"); status != 200 {
		t.Fatalf("/readyz: %d %q", status, body)
	}
	g.drain.begin()
	if status, body := ask(t, g, "/readyz"); status != 503 || !strings.Contains(body, "draining") {
		t.Errorf("/readyz of a draining gateway: %d %q", status, body)
	}
	if status, body := ask(t, g, "/livez"); status != 200 {
		t.Errorf("/livez of a draining gateway: %d %q", status, body)
	}
	// The announcement is for load balancers: whoever comes meanwhile is served.
	late := join(t, g, "/echo")
	late.send(wire.OpText, "in time")
	late.wantMessage("in time")
}

func TestLivezFailsOnceALoopHangs(t *testing.T) {
	for name, tt := range map[string]struct {
		since time.Duration
		want  string
	}{
		"idle":  {time.Second, ""},
		"hangs": {loopHangs + 2*time.Second, "loop 3 has not turned for 7s"},
	} {
		t.Run(name, func(t *testing.T) {
			got := ""
			if err := hangs(3, tt.since); err != nil {
				got = err.Error()
			}
			if got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestReloadShowsInTheMetrics(t *testing.T) {
	g := serve(t, quick())
	first := g.snapshot().Reload
	g.ReloadFailed()
	if r := g.snapshot().Reload; !r.Failed || r.Loaded != first.Loaded {
		t.Errorf("after a failure: %+v, first %+v", r, first)
	}
	if err := g.Reload(g.current.Load().Config); err != nil {
		t.Fatal(err)
	}
	if r := g.snapshot().Reload; r.Failed || !r.Loaded.After(first.Loaded) {
		t.Errorf("after a success: %+v, first %+v", r, first)
	}
	bad := g.current.Load().Config
	bad.Loops = -1
	if err := g.Reload(bad); err == nil || !g.snapshot().Reload.Failed {
		t.Errorf("an invalid configuration: %v, %+v", err, g.snapshot().Reload)
	}
}
