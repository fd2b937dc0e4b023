package gateway

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"sluice/gateway/wire"
)

func TestP09_floods_are_sampled(t *testing.T) {
	var s sampler
	lines, skipped := 0, 0
	for i := range 100_000 { // in ten seconds
		n, ok := s.allow("refused", time.Duration(i)*100*time.Microsecond)
		if ok {
			lines++
			skipped += n
		}
	}
	if max := logBurst + 10*logRate; lines > max || lines < max/2 {
		t.Errorf("%d lines of 100,000 in ten seconds, want about %d", lines, max)
	}
	if n, ok := s.allow("another kind", 0); !ok || n != 0 {
		t.Error("one kind's flood hides another kind")
	}
	n, _ := s.allow("refused", time.Hour)
	if total := lines + skipped + n; total != 100_000 {
		t.Errorf("lines and skipped make %d", total)
	}
}

// logged is a log that may be read while it is written.
type logged struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logged) lines() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Split(strings.TrimSpace(l.b.String()), "\n")
}

// I02, I03, I05: what peers send shows up in no log line, no metric and no answer.
func TestI02_I03_hostile_input_stays_outside(t *testing.T) {
	const secret = "s3cr3t-t0ken"
	log := new(logged)
	cfg := quick()
	cfg.Admin = "127.0.0.1:0"
	cfg.LogLevel = slog.LevelDebug
	g, err := New(cfg, Options{Logger: slog.New(slog.NewJSONHandler(log,
		&slog.HandlerOptions{Level: slog.LevelDebug}))})
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	if err := g.Start(); err != nil {
		t.Fatal(err)
	}
	join(t, g, "/echo").c.Close()
	_, before := ask(t, g, "/metrics")

	var answers strings.Builder
	for i := range 300 {
		c := dialRaw(t, g)
		switch i % 6 {
		case 0:
			io.WriteString(c, upgradeRequest("/"+secret+fmt.Sprint(i)))
		case 1:
			io.WriteString(c, upgradeRequest("/echo?token="+secret, "User-Agent: \x1b[31m"+secret))
		case 2:
			io.WriteString(c, strings.Replace(upgradeRequest("/echo"), "GET", secret+fmt.Sprint(i), 1))
		case 3:
			io.WriteString(c, upgradeRequest("/chat/"+secret+"%0a%22"))
		case 4:
			io.WriteString(c, upgradeRequest("/echo", "Authorization: Bearer "+secret, "Cookie: a\x00b"))
		case 5:
			io.WriteString(c, upgradeRequest("/echo"))
			code := 3000 + i
			c.Write(wire.AppendMaskedFrame(nil, wire.OpClose, false, [4]byte{1, 2, 3, 4},
				append([]byte{byte(code >> 8), byte(code)}, secret...)))
		}
		c.SetReadDeadline(time.Now().Add(30 * time.Second))
		if i%6 == 1 {
			c.Close()
			continue
		}
		answer, _ := io.ReadAll(c)
		answers.Write(answer)
		c.Close()
	}
	settled(t, "empty", func() bool { return g.connections() == 0 })

	_, after := ask(t, g, "/metrics")
	if b, a := strings.Count(before, "\n"), strings.Count(after, "\n"); a > b+60 || a > 500 {
		t.Errorf("%d lines of metrics before, %d after", b, a)
	}
	for where, text := range map[string]string{
		"the log": strings.Join(log.lines(), "\n"), "the metrics": after, "an answer": answers.String(),
	} {
		if i := strings.Index(text, secret); i >= 0 {
			t.Errorf("%s has the secret: %.100q", where, text[i:])
		}
	}
	for _, line := range log.lines() {
		var fields map[string]any
		if err := json.Unmarshal([]byte(line), &fields); err != nil || fields["event"] == nil {
			t.Errorf("%v: %.200q", err, line)
		}
	}
}
