package audit

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// login is an event that a number tells from others.
func login(n int) Event {
	return Event{Time: time.Unix(int64(n), 0), Event: EventLogin, Subject: fmt.Sprint(n)}
}

// subjects are those of the lines of a text, in their order. Every line must be whole.
func subjects(t *testing.T, text string) (list []string) {
	t.Helper()
	for line := range strings.Lines(text) {
		var e Event
		if err := json.Unmarshal([]byte(line), &e); err != nil || !strings.HasSuffix(line, "\n") {
			t.Fatalf("%v: %q", err, line)
		}
		list = append(list, e.Subject)
	}
	return list
}

// wantSubjects checks that a text has the events from and to, and those between, once and in order.
func wantSubjects(t *testing.T, text string, from, to int) {
	t.Helper()
	var want []string
	for n := from; n <= to; n++ {
		want = append(want, fmt.Sprint(n))
	}
	if got := subjects(t, text); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%d events, want %d to %d: %.200v", len(got), from, to, got)
	}
}

// await waits until something holds.
func await(t *testing.T, ok func() bool) {
	t.Helper()
	late := time.After(30 * time.Second)
	look := time.NewTicker(time.Millisecond)
	defer look.Stop()
	for !ok() {
		select {
		case <-look.C:
		case <-late:
			t.Fatal("it never came")
		}
	}
}

func content(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestFileIsAppendedTo(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	for start := range 2 {
		l, err := Open(Config{Path: path})
		if err != nil {
			t.Fatal(err)
		}
		for i := range 1000 {
			l.Append(login(start*1000 + i))
		}
		if err := l.Close(time.Minute); err != nil {
			t.Fatal(err)
		}
		if s := l.Stats(); s.Written != 1000 || s.Waiting != 0 || s.Failed != 0 {
			t.Errorf("%+v", s)
		}
	}
	wantSubjects(t, content(t, path), 0, 1999)
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

func TestLine(t *testing.T) {
	closed := 0
	at := time.Date(2026, 1, 2, 3, 4, 5, 6789e5, time.FixedZone("", 3600))
	for _, tt := range []struct {
		event Event
		want  string
	}{
		{Event{Time: at, Event: EventLogin, Verdict: Refused, Reason: "expired", Issuer: "us",
			Subject: "ann", TokenID: "t1", KeyID: "k1", Unverified: true, Source: "header",
			Connection: "q3kzt-1f", Remote: "192.0.2.1:4711"},
			`{"time":"2026-01-02T02:04:05.678Z","event":"login","verdict":"refused",` +
				`"reason":"expired","issuer":"us","subject":"ann","token_id":"t1","key_id":"k1",` +
				`"unverified":true,"source":"header","connection":"q3kzt-1f",` +
				`"remote":"192.0.2.1:4711"}` + "\n"},
		{Event{Time: at, Event: EventRevocation, Subject: "ann", Until: at, Caller: "127.0.0.1",
			Closed: &closed},
			`{"time":"2026-01-02T02:04:05.678Z","event":"revocation","subject":"ann",` +
				`"until":"2026-01-02T02:04:05.678Z","caller":"127.0.0.1","closed":0}` + "\n"},
		{Event{Time: at, Event: EventRevocation, Subject: "ann", ToRestart: true, Closed: &closed},
			`{"time":"2026-01-02T02:04:05.678Z","event":"revocation","subject":"ann",` +
				`"closed":0,"until":"restart"}` + "\n"},
		{Event{Time: at, Event: EventLogin, Until: time.Unix(1<<40, 0)},
			`{"time":"2026-01-02T02:04:05.678Z","event":"login"}` + "\n"},
	} {
		if got := string(appendLine(nil, &tt.event)); got != tt.want {
			t.Errorf("got  %swant %s", got, tt.want)
		}
	}
}

// TestI02_hostile_values: whatever a peer claims, an event stays one short line of valid JSON.
func TestI02_hostile_values(t *testing.T) {
	for name, hostile := range map[string]string{
		"newline": "a\n{\"event\":\"login\"}", "escape": "\x1b[31mred", "nul": "a\x00b",
		"invalid_utf8": "\xff\xfe", "quote": `","verdict":"accepted`,
		"separator": "a\u2028b", "long": strings.Repeat("é", 1<<20),
		"long_invalid": strings.Repeat("\x80", 1<<10),
	} {
		e := Event{Verdict: Refused, Issuer: hostile, Subject: hostile, TokenID: hostile,
			KeyID: hostile, Remote: hostile, Caller: hostile}
		line := strings.TrimSuffix(string(appendLine(nil, &e)), "\n")
		var back Event
		if strings.ContainsAny(line, "\n\x1b\x00\u2028") || len(line) > 10<<10 ||
			json.Unmarshal([]byte(line), &back) != nil || back.Verdict != Refused {
			t.Errorf("%s: %d bytes: %.300q", name, len(line), line)
		}
	}
}

// gate is a sink that takes nothing until it is opened, and fails as long as room is used up.
type gate struct {
	open chan struct{}

	mu    sync.Mutex
	room  int // bytes that it takes before it fails; negative for any number
	taken bytes.Buffer
}

func newGate(room int) *gate { return &gate{open: make(chan struct{}), room: room} }

func (g *gate) Write(p []byte) (int, error) {
	<-g.open
	g.mu.Lock()
	defer g.mu.Unlock()
	n := len(p)
	if g.room >= 0 && n > g.room {
		n = g.room
	}
	if g.room >= 0 {
		g.room -= n
	}
	g.taken.Write(p[:n])
	if n < len(p) {
		return n, errors.New("no space left on device")
	}
	return n, nil
}

func (g *gate) makeRoom(bytes int) {
	g.mu.Lock()
	g.room = bytes
	g.mu.Unlock()
}

func (g *gate) text() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.taken.String()
}

// states notes what OnState is told.
type states struct{ told []error }

func (s *states) note(err error) { s.told = append(s.told, err) }

// TestP08_stuck_sink: Append does not block, nothing is lost, and Full says when to stop.
func TestP08_stuck_sink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sink := newGate(-1)
		l, err := Open(Config{Path: Stderr, Stderr: sink, LinesMax: 10})
		if err != nil {
			t.Fatal(err)
		}
		for i := range 30 {
			if l.Full() != (i >= 10) {
				t.Errorf("after %d events full is %v", i, l.Full())
			}
			l.Append(login(i))
			synctest.Wait()
		}
		if err := l.Err(); !errors.Is(err, ErrFull) {
			t.Errorf("error %v", err)
		}
		close(sink.open)
		synctest.Wait()
		if err := l.Err(); err != nil || l.Full() {
			t.Errorf("still full: %v", err)
		}
		wantSubjects(t, sink.text(), 0, 29)
		if err := l.Close(time.Second); err != nil {
			t.Error(err)
		}
	})
}

// TestP08_broken_sink: it is tried again every second, from the byte where it failed.
func TestP08_broken_sink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sink, s := newGate(37), new(states)
		close(sink.open)
		l, err := Open(Config{Path: Stderr, Stderr: sink, OnState: s.note})
		if err != nil {
			t.Fatal(err)
		}
		for i := range 1000 {
			l.Append(login(i))
		}
		synctest.Wait()
		if l.Err() == nil || l.Stats().Waiting != 1000 {
			t.Errorf("error %v, %+v", l.Err(), l.Stats())
		}
		sink.makeRoom(1000)
		time.Sleep(3 * retryEvery)
		if l.Err() == nil || len(sink.text()) != 1037 {
			t.Errorf("error %v, %d bytes", l.Err(), len(sink.text()))
		}
		sink.makeRoom(-1)
		time.Sleep(2 * retryEvery)
		wantSubjects(t, sink.text(), 0, 999)
		if err := l.Close(time.Second); err != nil || l.Err() != nil {
			t.Error(err, l.Err())
		}
		for i, err := range s.told {
			if failed := i%2 == 0; (err != nil) != failed || len(s.told)%2 != 0 {
				t.Errorf("told %v", s.told)
			}
		}
	})
}

func TestP08_close_waits_for_its_timeout_only(t *testing.T) {
	for name, broken := range map[string]bool{"stuck": false, "broken": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				sink := newGate(0)
				if broken {
					close(sink.open)
				}
				l, err := Open(Config{Path: Stderr, Stderr: sink})
				if err != nil {
					t.Fatal(err)
				}
				l.Append(login(1))
				start := time.Now()
				for range 2 {
					if err := l.Close(5 * time.Second); err == nil {
						t.Error("nothing is lost")
					}
				}
				if took := time.Since(start); took > 10*time.Second || took < 5*time.Second {
					t.Errorf("took %v", took)
				}
				l.Append(login(2)) // too late, and without harm
				if !broken {
					close(sink.open)
				}
				<-l.done
			})
		})
	}
}

func TestP08_full_disk(t *testing.T) {
	l, err := Open(Config{Path: "/dev/full"})
	if err != nil {
		t.Fatal(err)
	}
	l.Append(login(1))
	await(t, func() bool { return l.Err() != nil })
	if err := l.Close(0); err == nil {
		t.Error("nothing is lost")
	}
	<-l.done
	if s := l.Stats(); s.Failed == 0 || s.Waiting != 1 || s.Written != 0 {
		t.Errorf("%+v", s)
	}
}

func TestP08_pipe_that_nobody_reads(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(Config{Path: path}); err == nil {
		t.Error("a pipe without a reader is opened")
	}
}

func TestRotation(t *testing.T) {
	dir := t.TempDir()
	path, old := filepath.Join(dir, "audit.log"), filepath.Join(dir, "audit.log.1")
	l, err := Open(Config{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	settle := func(n int) {
		await(t, func() bool { return l.Stats().Written == uint64(n) })
	}
	l.Append(login(0))
	settle(1)
	if err := os.Rename(path, old); err != nil {
		t.Fatal(err)
	}
	l.Append(login(1))
	settle(2)
	l.Reopen()
	l.Append(login(2))
	settle(3)
	if err := l.Close(time.Minute); err != nil {
		t.Error(err)
	}
	wantSubjects(t, content(t, old), 0, 1)
	wantSubjects(t, content(t, path), 2, 2)
}

// TestRotationFails: the old sink stays in use, and the new one is tried again.
func TestRotationFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first, second, s := newGate(-1), newGate(-1), new(states)
		close(first.open)
		close(second.open)
		l, err := Open(Config{Path: Stderr, Stderr: first, OnState: s.note})
		if err != nil {
			t.Fatal(err)
		}
		tries := 0
		l.open = func() (io.Writer, error) {
			if tries++; tries < 4 {
				return nil, errors.New("too many open files")
			}
			return second, nil
		}
		l.Reopen()
		synctest.Wait()
		for i := range 600 { // more than a batch
			l.Append(login(i))
		}
		synctest.Wait()
		if l.Err() == nil || l.Stats().Waiting != 0 {
			t.Errorf("error %v, %+v", l.Err(), l.Stats())
		}
		time.Sleep(5 * retryEvery)
		l.Append(login(600))
		if err := l.Close(time.Second); err != nil || l.Err() != nil {
			t.Error(err, l.Err())
		}
		wantSubjects(t, first.text(), 0, 599)
		wantSubjects(t, second.text(), 600, 600)
		if len(s.told) != 2 || tries != 4 {
			t.Errorf("told %v after %d tries", s.told, tries)
		}
	})
}

// TestRotationOnAFullDisk: a line of which the old file has a part is whole in the new one.
func TestRotationOnAFullDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one := len(appendLine(nil, new(login(0))))
		first, second := newGate(one+one/2), newGate(-1)
		close(first.open)
		close(second.open)
		l, err := Open(Config{Path: Stderr, Stderr: first})
		if err != nil {
			t.Fatal(err)
		}
		l.open = func() (io.Writer, error) { return second, nil }
		for i := range 3 {
			l.Append(login(i))
		}
		synctest.Wait()
		l.Reopen()
		time.Sleep(2 * retryEvery)
		if err := l.Close(time.Second); err != nil {
			t.Error(err)
		}
		wantSubjects(t, first.text()[:one], 0, 0)
		wantSubjects(t, second.text(), 1, 2)
	})
}

func TestManyAppend(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	l, err := Open(Config{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for i := range 1000 {
				l.Append(login(i))
				if i%100 == 0 {
					l.Reopen()
				}
			}
		})
	}
	all.Wait()
	if err := l.Close(time.Minute); err != nil {
		t.Error(err)
	}
	if n := len(subjects(t, content(t, path))); n != 8000 {
		t.Errorf("%d events of 8000", n)
	}
}

func TestCheck(t *testing.T) {
	dir := t.TempDir()
	there := filepath.Join(dir, "there")
	if err := os.WriteFile(there, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for path, ok := range map[string]bool{
		Stderr: true, there: true, filepath.Join(dir, "new"): true, dir: false,
		filepath.Join(dir, "no", "such"): false,
	} {
		if err := Check(path); (err == nil) != ok {
			t.Errorf("%s: %v", path, err)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "new")); err == nil {
		t.Error("Check makes a file")
	}
}
