package gateway

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"
	"unsafe"

	"sluice/gateway/wire"
)

// A session of more than 160 bytes is one of 176: that is 16 bytes for every idle connection.
func TestSessionStaysInItsSizeClass(t *testing.T) {
	if n := unsafe.Sizeof(session{}); n > 160 {
		t.Errorf("a session has %d bytes", n)
	}
}

func TestConnIDs(t *testing.T) {
	form := regexp.MustCompile(`^[a-z2-7]{5}-[0-9a-z]{1,10}$`)
	var a, b connIDs
	a.start()
	b.start()
	seen := map[string]bool{}
	for range 100 {
		for _, ids := range []*connIDs{&a, &b} {
			text := ids.text(ids.next())
			if seen[text] || !form.MatchString(text) {
				t.Errorf("%q, seen before: %v", text, seen[text])
			}
			seen[text] = true
		}
	}
	for _, n := range []uint64{1, 1 << 31, 1<<48 - 1} {
		if got := newConnID(n).number(); got != n {
			t.Errorf("%d became %d", n, got)
		}
	}
}

// entry is a line of the log or of the audit log.
type entry map[string]any

// entries are the lines of an event.
func (l *logged) entries(t *testing.T, event string) (found []entry) {
	t.Helper()
	for _, line := range l.lines() {
		var e entry
		if line == "" {
			continue
		}
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("%v: %q", err, line)
		}
		if e["event"] == event {
			found = append(found, e)
		}
	}
	return found
}

// TestOneNameForAConnection: what the hook was asked about, what the client is told at the end and
// what the log says can be matched.
func TestOneNameForAConnection(t *testing.T) {
	asked := make(chan string, 2)
	url := hookServer(t, func(q map[string]any) (int, string) {
		asked <- q["connection"].(string)
		if q["path"] == "/chat/eve" {
			return 403, ""
		}
		return 200, `{"user":"ann"}`
	})
	log := new(logged)
	cfg := quick()
	cfg.AuthHook = []string{"url=" + url}
	g := serveLogged(t, cfg, log)

	p, _ := dialWebSocket(t, g, "/chat/ann", "X: y")
	name := <-asked
	p.send(wire.OpBinary, "x")
	ev := p.next()
	if want := "text messages only (" + name + ")"; ev.Code != 1003 || string(ev.Payload) != want {
		t.Errorf("closed with %d %q, want %q", ev.Code, ev.Payload, want)
	}
	p.c.Close()
	refusedWith(t, g, "/chat/eve", "X: y")
	other := <-asked
	if other == name {
		t.Errorf("two connections are called %s", name)
	}
	for event, want := range map[string]string{"session_closed": name, "handshake_refused": other} {
		settled(t, event+" is logged", func() bool {
			found := log.entries(t, event)
			return len(found) == 1 && found[0]["connection"] == want
		})
	}
}

// TestCloseReasonsFitTheirFrame: no text is so long that the name is cut off.
func TestCloseReasonsFitTheirFrame(t *testing.T) {
	var ids connIDs
	ids.start()
	last := ids.text(newConnID(1<<48 - 1))
	for r, e := range endings {
		if n := len(e.text) + len(" ()") + len(last); n > wire.CloseReasonMax {
			t.Errorf("%v: %d bytes", endReason(r), n)
		}
		if strings.ContainsAny(e.text, "()") {
			t.Errorf("%v: %q", endReason(r), e.text)
		}
	}
}
