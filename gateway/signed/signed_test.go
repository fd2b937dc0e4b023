package signed

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

var (
	master = bytes.Repeat([]byte("k"), MasterBytesMin)
	now    = time.UnixMilli(1_767_225_600_000)
)

func signer(t testing.TB) *Signer {
	t.Helper()
	s, err := New(master, DefaultSkew)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// up signs a message like a client does.
func up(s *Session, text string, seq uint64, at time.Time) string {
	ts := uint64(at.UnixMilli())
	b, _ := json.Marshal(text)
	mac := base64.RawURLEncoding.EncodeToString(s.sum('U', "", text, seq, ts))
	return fmt.Sprintf(`{"text":%s,"seq":%d,"ts":%d,"mac":"%s"}`, b, seq, ts, mac)
}

func TestA11_verify(t *testing.T) {
	s := signer(t)
	other := s.session("other")
	good := func(s *Session) string { return up(s, "hello", 5, now) }
	rows := []struct {
		name string
		in   func(s *Session) string
		want error
	}{
		{"good", good, nil},
		{"text", func(s *Session) string { return up(s, "\"q\" \\ \x00 \u00e4 \U0001F600", 5, now) }, nil},
		{"empty_text", func(s *Session) string { return up(s, "", 5, now) }, nil},
		{"gap_is_fine", func(s *Session) string { return up(s, "hello", 500, now) }, nil},
		{"order_of_members", func(s *Session) string {
			var m map[string]any
			d := json.NewDecoder(strings.NewReader(good(s)))
			d.UseNumber()
			d.Decode(&m)
			b, _ := json.Marshal(m)
			return string(b)
		}, nil},
		{"A11_replay", func(s *Session) string { return up(s, "hello", 4, now) }, ErrSequence},
		{"A11_reorder", func(s *Session) string { return up(s, "hello", 3, now) }, ErrSequence},
		{"A11_other_connection", func(*Session) string { return good(other) }, ErrMAC},
		{"A11_other_direction", func(s *Session) string {
			mac := base64.RawURLEncoding.EncodeToString(
				s.sum('D', "", "hello", 5, uint64(now.UnixMilli())))
			return fmt.Sprintf(`{"text":"hello","seq":5,"ts":%d,"mac":"%s"}`, now.UnixMilli(), mac)
		}, ErrMAC},
		{"A11_changed_text", func(s *Session) string {
			return strings.Replace(good(s), "hello", "hallo", 1)
		}, ErrMAC},
		{"A11_changed_seq", func(s *Session) string {
			return strings.Replace(good(s), `"seq":5`, `"seq":6`, 1)
		}, ErrMAC},
		{"A11_truncated_mac", func(s *Session) string {
			return strings.Replace(good(s), `"}`, ``, 1)[:len(good(s))-10] + `"}`
		}, ErrMAC},
		{"A11_empty_mac", func(*Session) string {
			return fmt.Sprintf(`{"text":"hello","seq":5,"ts":%d,"mac":""}`, now.UnixMilli())
		}, ErrMAC},
		{"A11_padded_mac", func(s *Session) string {
			return strings.Replace(good(s), `"}`, `="}`, 1)
		}, ErrMAC},
		{"A11_clock_at_the_bound", func(s *Session) string {
			return up(s, "hello", 5, now.Add(time.Minute))
		}, nil},
		{"A11_clock_ahead", func(s *Session) string {
			return up(s, "hello", 5, now.Add(time.Minute+time.Millisecond))
		}, ErrSkew},
		{"A11_clock_behind", func(s *Session) string {
			return up(s, "hello", 5, now.Add(-5*time.Minute))
		}, ErrSkew},
		{"A11_duplicate_member", func(s *Session) string {
			return strings.Replace(good(s), `{"text"`, `{"text":"x","text"`, 1)
		}, ErrEnvelope},
		{"A11_duplicate_by_case", func(s *Session) string {
			return strings.Replace(good(s), `{"text"`, `{"Text":"x","text"`, 1)
		}, ErrEnvelope},
		{"unknown_member", func(s *Session) string {
			return strings.Replace(good(s), `{"text"`, `{"from":"x","text"`, 1)
		}, ErrEnvelope},
		{"missing_member", func(*Session) string { return `{"text":"x","seq":5,"ts":1}` }, ErrEnvelope},
		{"trailing", func(s *Session) string { return good(s) + "{}" }, ErrEnvelope},
		{"array", func(*Session) string { return `["hello"]` }, ErrEnvelope},
		{"plain_text", func(*Session) string { return "hello" }, ErrEnvelope},
		{"empty", func(*Session) string { return "" }, ErrEnvelope},
		{"deep", func(*Session) string { return strings.Repeat(`{"text":`, 10_000) }, ErrEnvelope},
		{"seq_zero", func(s *Session) string { return up(s, "x", 0, now) }, ErrEnvelope},
		{"seq_fraction", func(s *Session) string {
			return strings.Replace(good(s), `"seq":5`, `"seq":5.0`, 1)
		}, ErrEnvelope},
		{"seq_exponent", func(s *Session) string {
			return strings.Replace(good(s), `"seq":5`, `"seq":5e0`, 1)
		}, ErrEnvelope},
		{"seq_text", func(s *Session) string {
			return strings.Replace(good(s), `"seq":5`, `"seq":"5"`, 1)
		}, ErrEnvelope},
		{"seq_beyond_2_53", func(s *Session) string { return up(s, "x", 1<<53, now) }, ErrEnvelope},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			session := s.session("connection")
			if _, err := session.Verify([]byte(up(session, "before", 4, now)), now); err != nil {
				t.Fatal(err)
			}
			in := r.in(session)
			_, err := session.Verify([]byte(in), now)
			if !errors.Is(err, r.want) {
				t.Fatalf("%s: %v, want %v", in, err, r.want)
			}
			_, again := session.Verify([]byte(in), now)
			switch {
			case r.want == nil && !errors.Is(again, ErrSequence):
				t.Errorf("a replay is %v", again)
			case r.want != nil:
				if _, err := session.Verify([]byte(up(session, "after", 501, now)), now); err != nil {
					t.Errorf("after a refusal: %v", err)
				}
			}
		})
	}
}

func TestKeysAreTheConnectionsOwn(t *testing.T) {
	s := signer(t)
	a, b := s.Session(), s.Session()
	if a.id == b.id || a.key == b.key {
		t.Error("two connections have the same id or key")
	}
	if bytes.Contains(a.AppendWelcome(nil), master) {
		t.Error("the master key is told")
	}
	if _, err := New(master[:MasterBytesMin-1], DefaultSkew); err == nil {
		t.Error("a short key was taken")
	}
	if _, err := New(master, 0); err == nil {
		t.Error("no window was taken")
	}
}

func TestMessagesDownAreNumbered(t *testing.T) {
	s := signer(t).session("connection")
	for want := uint64(1); want < 4; want++ {
		var m struct {
			From, Text, MAC string
			Seq, TS         uint64
		}
		const text = "a \"b\" \\ \n\x7f \u2028 \u00e4"
		if err := json.Unmarshal(s.AppendMessage(nil, "ann", text, now), &m); err != nil {
			t.Fatal(err)
		}
		mac := base64.RawURLEncoding.EncodeToString(s.sum('D', "ann", text, want, m.TS))
		if m.From != "ann" || m.Text != text || m.Seq != want || m.MAC != mac {
			t.Errorf("%+v", m)
		}
	}
}

// TestInJavaScript holds the module of the demo page to this package: it verifies what Go signs,
// refuses what is spoilt, and signs what Go verifies.
func TestInJavaScript(t *testing.T) {
	s := signer(t).session("connection")
	at := time.Now()
	in := map[string]any{
		"welcome": json.RawMessage(s.AppendWelcome(nil)),
		"down": []string{
			string(s.AppendMessage(nil, "ann", "hello", at)),
			string(s.AppendMessage(nil, "b\u00f6b", "\"\\ \n \U0001F600 \u2028", at)),
		},
		"texts": []string{"hello", "", "\"\\ \n \U0001F600 \u2028"},
	}
	question, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	node := exec.Command("node", "testdata/signed.test.mjs")
	node.Stdin, node.Stderr = bytes.NewReader(question), os.Stderr
	out, err := node.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	var answer struct {
		Down []struct{ From, Text string }
		Up   []string
	}
	if err := json.Unmarshal(out, &answer); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if len(answer.Down) != 2 || answer.Down[1].From != "b\u00f6b" || len(answer.Up) != 3 {
		t.Fatalf("answered %+v", answer)
	}
	for i, envelope := range answer.Up {
		text, err := s.Verify([]byte(envelope), at)
		if err != nil || text != in["texts"].([]string)[i] {
			t.Errorf("%s: %q, %v", envelope, text, err)
		}
	}
}

// FuzzVerify holds that nothing is good that was not signed, and that what is signed is.
func FuzzVerify(f *testing.F) {
	f.Add([]byte(`{"text":"x","seq":1,"ts":1767225600000,"mac":"AAAA"}`), "hello")
	f.Add([]byte(`{}`), "\xff")
	f.Fuzz(func(t *testing.T, payload []byte, text string) {
		s := signer(t).session("connection")
		if text, err := s.Verify(payload, now); err == nil {
			t.Errorf("%s is good: %q", payload, text)
		}
		if !utf8.ValidString(text) {
			return
		}
		if got, err := s.Verify([]byte(up(s, text, 1, now)), now); err != nil || got != text {
			t.Errorf("%q: %q, %v", text, got, err)
		}
		var m struct{ Text string }
		if err := json.Unmarshal(s.AppendMessage(nil, "a", text, now), &m); err != nil || m.Text != text {
			t.Errorf("%q comes down as %q, %v", text, m.Text, err)
		}
	})
}

func BenchmarkSession(b *testing.B) {
	s := signer(b)
	b.ReportAllocs()
	for b.Loop() {
		s.Session()
	}
}

func BenchmarkAppendMessage(b *testing.B) {
	s := signer(b).Session()
	text, dst := strings.Repeat("x", 128), []byte(nil)
	b.ReportAllocs()
	for b.Loop() {
		dst = s.AppendMessage(dst[:0], "ann", text, now)
	}
}

func BenchmarkVerify(b *testing.B) {
	s := signer(b).Session()
	payload := []byte(up(s, strings.Repeat("x", 128), 1, now))
	b.ReportAllocs()
	for b.Loop() {
		s.up = 0
		if _, err := s.Verify(payload, now); err != nil {
			b.Fatal(err)
		}
	}
}
