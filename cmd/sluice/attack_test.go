//go:build linux

package main

import (
	"bufio"
	"bytes"
	"compress/flate"
	"fmt"
	"io"
	"net"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sluice/bench/proc"
	"sluice/gateway/wire"
)

// patience bounds a failure, nothing else.
const patience = 60 * time.Second

// binary builds the program as it is shipped: the race detector would multiply its memory.
var binary = sync.OnceValues(func() (string, error) {
	path := filepath.Join(buildDir, "sluice")
	out, err := exec.Command("go", "build", "-o", path, ".").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	return path, nil
})

// victim is the program under attack.
type victim struct {
	t    *testing.T
	cmd  *exec.Cmd
	addr string
	log  *bytes.Buffer
}

// attack starts the program through a shell that sets its limits first.
func attack(t *testing.T, limits string, args ...string) *victim {
	t.Helper()
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	line := limits + ` exec "$0" --listen 127.0.0.1:0 --admin "" --log-format json --ping-interval 0 "$@"`
	v := &victim{t: t, log: new(bytes.Buffer)}
	v.cmd = exec.Command("sh", append([]string{"-c", line, path}, args...)...)
	v.cmd.Stderr = v.log
	out, err := v.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := v.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if v.cmd.ProcessState == nil {
			v.cmd.Process.Kill()
			v.cmd.Wait()
		}
		if t.Failed() {
			t.Logf("log of the gateway: %.4000s", v.log)
		}
	})
	r := bufio.NewReader(out)
	for v.addr == "" {
		text, err := r.ReadString('\n')
		if err != nil {
			t.Fatalf("the gateway did not start: %v: %s", err, v.log)
		}
		if m := regexp.MustCompile(`ws://([0-9.:]+)/echo`).FindStringSubmatch(text); m != nil {
			v.addr = m[1]
		}
	}
	return v
}

// dial connects, without a word.
func (v *victim) dial() (net.Conn, error) {
	c, err := net.Dial("tcp", v.addr)
	if err != nil {
		return nil, err
	}
	return c, c.SetDeadline(time.Now().Add(patience))
}

// open opens a WebSocket. headers end in CRLF.
func (v *victim) open(path, headers string) (*bufio.Reader, net.Conn, error) {
	c, err := v.dial()
	if err != nil {
		return nil, nil, err
	}
	v.t.Cleanup(func() { c.Close() })
	fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n%s\r\n",
		path, headers)
	r := bufio.NewReader(c)
	for first := true; ; first = false {
		line, err := r.ReadString('\n')
		switch {
		case err != nil:
			return nil, nil, err
		case first && !strings.HasPrefix(line, "HTTP/1.1 101 "):
			return nil, nil, fmt.Errorf("refused: %q", line)
		case line == "\r\n":
			return r, c, nil
		}
	}
}

// mustEcho checks that the gateway serves.
func (v *victim) mustEcho() {
	v.t.Helper()
	r, c, err := v.open("/echo", "")
	if err != nil {
		v.t.Fatal(err)
	}
	defer c.Close()
	c.Write(masked(wire.OpText, false, []byte("alive")))
	got := make([]byte, 7)
	if _, err := io.ReadFull(r, got); err != nil || string(got) != "\x81\x05alive" {
		v.t.Fatalf("echo gave %q, %v", got, err)
	}
}

// stop ends the gateway, which must be alive for that.
func (v *victim) stop() {
	v.t.Helper()
	v.cmd.Process.Signal(syscall.SIGTERM)
	if err := v.cmd.Wait(); err != nil {
		v.t.Errorf("the gateway ended with %v", err)
	}
}

func (v *victim) peak() int64 {
	v.t.Helper()
	n, err := proc.PeakRSS(v.cmd.Process.Pid)
	if err != nil {
		v.t.Fatal(err)
	}
	return n
}

func masked(op wire.Opcode, rsv1 bool, payload []byte) []byte {
	return wire.AppendMaskedFrame(nil, op, rsv1, [4]byte{1, 2, 3, 4}, payload)
}

// bomb is a frame of little that inflates to size bytes.
func bomb(t *testing.T, size int) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := flate.NewWriter(&b, flate.BestCompression)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(make([]byte, size)); err != nil {
		t.Fatal(err)
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	return masked(wire.OpBinary, true, bytes.TrimSuffix(b.Bytes(), []byte{0, 0, 0xff, 0xff}))
}

// together runs f so many times at once and reports the errors.
func together(t *testing.T, n int, f func(i int) error) {
	t.Helper()
	errs := make(chan error, n)
	for i := range n {
		go func() { errs <- f(i) }()
	}
	failed := 0
	for range n {
		if err := <-errs; err != nil {
			if failed++; failed <= 3 {
				t.Error(err)
			}
		}
	}
	if failed > 3 {
		t.Errorf("and %d more", failed-3)
	}
}

func TestD01_a_thousand_bombs_at_once(t *testing.T) {
	for _, tt := range []struct {
		name string
		args []string
		size int
	}{
		{"D01_default_limit", nil, 40 << 20},
		{"D01_messages_of_1_MiB", []string{"--max-message-size", "1MiB"}, 64 << 20},
	} {
		t.Run(tt.name, func(t *testing.T) {
			v := attack(t, "GOMEMLIMIT=256MiB", append(tt.args, "--drain-duration", "0")...)
			frame := bomb(t, tt.size)
			const extension = "Sec-WebSocket-Extensions: permessage-deflate\r\n"
			var ready sync.WaitGroup
			ready.Add(1000)
			together(t, 1000, func(i int) error {
				r, c, err := v.open("/echo", extension)
				ready.Done()
				if err != nil {
					return err
				}
				ready.Wait()
				if _, err := c.Write(frame); err != nil {
					return fmt.Errorf("bomb %d: %w", i, err)
				}
				answer, err := io.ReadAll(r)
				if err != nil || !bytes.Contains(answer, []byte("\x03\xf1message too big (")) {
					return fmt.Errorf("bomb %d was answered %q, %v", i, answer, err)
				}
				return nil
			})
			v.mustEcho()
			if peak := v.peak(); peak > 300<<20 {
				t.Errorf("the gateway grew to %d MiB", peak>>20)
			} else {
				t.Logf("the gateway grew to %d MiB", peak>>20)
			}
			v.stop()
		})
	}
}

// never opens a reader of a room that never reads, with a small buffer so that it shows soon.
func (v *victim) never() (net.Conn, error) {
	d := net.Dialer{Control: func(_, _ string, c syscall.RawConn) error {
		return c.Control(func(fd uintptr) {
			unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, 4<<10)
		})
	}}
	c, err := d.Dial("tcp", v.addr)
	if err != nil {
		return nil, err
	}
	_, err = io.WriteString(c, "GET /chat/deaf HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"+
		"Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"+
		"Sec-WebSocket-Version: 13\r\n\r\n")
	return c, err
}

func TestM02_two_hundred_readers_that_never_read(t *testing.T) {
	v := attack(t, "", "--message-rate", "0", "--drain-duration", "0")
	healthy, hc, err := v.open("/chat/healthy", "")
	if err != nil {
		t.Fatal(err)
	}
	_, alice, err := v.open("/chat/alice", "")
	if err != nil {
		t.Fatal(err)
	}
	var deaf []net.Conn
	for range 200 {
		c, err := v.never()
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		deaf = append(deaf, c)
	}
	before, err := proc.RSS(v.cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	const messages, size = 5000, 4000 // 20 MB
	hc.SetDeadline(time.Now().Add(patience))
	// The author stays so little ahead that a healthy reader's queue never fills, whatever else
	// keeps this machine busy.
	read, ahead := make(chan error, 1), make(chan struct{}, 32)
	go func() { read <- wantNumbered(healthy, "alice: ", messages, size, ahead) }()
	for i := range messages {
		ahead <- struct{}{}
		if _, err := alice.Write(masked(wire.OpText, false, numbered(i, size))); err != nil {
			t.Fatal(err)
		}
	}
	close(ahead)
	if err := <-read; err != nil {
		t.Errorf("the healthy reader: %v", err)
	}
	if growth := v.peak() - before; growth > 200<<20 {
		t.Errorf("the gateway grew by %d MiB", growth>>20)
	} else {
		t.Logf("the gateway grew by %d MiB", growth>>20)
	}
	// Each of them got what its buffers held, and then the end of the stream.
	together(t, len(deaf), func(i int) error {
		deaf[i].SetDeadline(time.Now().Add(patience))
		n, err := io.Copy(io.Discard, deaf[i])
		if n > messages*size/2 {
			return fmt.Errorf("reader %d was kept: %d bytes, %v", i, n, err)
		}
		return nil
	})
	v.mustEcho()
	v.stop()
}

func numbered(i, size int) []byte {
	p := bytes.Repeat([]byte("."), size)
	copy(p, fmt.Sprintf("%08d", i))
	return p
}

// wantNumbered reads messages in frames with two bytes of length, all in order.
func wantNumbered(r *bufio.Reader, prefix string, messages, size int, ahead <-chan struct{}) error {
	defer func() {
		for range ahead { // lets the author go on when this fails
		}
	}()
	frame := make([]byte, 4+len(prefix)+size)
	for i := range messages {
		if _, err := io.ReadFull(r, frame); err != nil {
			return fmt.Errorf("message %d: %w", i, err)
		}
		if want := fmt.Sprintf("%s%08d", prefix, i); string(frame[4:4+len(want)]) != want {
			return fmt.Errorf("message %d is %.30q", i, frame[4:])
		}
		<-ahead
	}
	return nil
}

func TestR01_out_of_descriptors_three_times(t *testing.T) {
	v := attack(t, "ulimit -n 256;", "--drain-duration", "0", "--accept-burst", "100000",
		"--handshake-timeout", "60s")
	for round := range 3 {
		var crowd []net.Conn
		refused := 0
		for range 600 {
			c, err := v.dial()
			if err != nil {
				t.Fatalf("round %d: %v", round, err)
			}
			crowd = append(crowd, c)
		}
		// Whoever is turned away is told so, and the gateway sleeps although there are others
		// whom it cannot even accept.
		used := v.spends(t, time.Second)
		if used > 500*time.Millisecond {
			t.Errorf("round %d: %v of processor time in a second of want", round, used)
		}
		for _, c := range crowd {
			c.SetReadDeadline(time.Now().Add(time.Millisecond))
			got := make([]byte, 12)
			if n, _ := io.ReadFull(c, got); n == 12 && string(got) == "HTTP/1.1 503" {
				refused++
			}
		}
		if refused < 100 {
			t.Errorf("round %d: only %d of %d were told 503", round, refused, len(crowd))
		}
		for _, c := range crowd {
			c.Close()
		}
		v.recovers(t)
	}
	v.stop()
	if lines := strings.Count(v.log.String(), "cannot accept"); lines > 30 {
		t.Errorf("%d lines about accepting", lines)
	}
}

// spends measures the processor time of the gateway over a stretch of real time.
func (v *victim) spends(t *testing.T, d time.Duration) time.Duration {
	t.Helper()
	before, err := proc.CPU(v.cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	<-time.After(d)
	after, err := proc.CPU(v.cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	return after - before
}

// recovers waits until the gateway serves again.
func (v *victim) recovers(t *testing.T) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		_, c, err := v.open("/echo", "")
		if err == nil {
			c.Close()
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the gateway does not recover: %v", err)
		}
	}
}
