package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
)

// patience bounds a failure, nothing else.
const patience = 3 * time.Minute

// start starts a peer as the harness does. It reports false if the peer cannot be had here.
func start(t *testing.T, name string) (url string, ok bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	cmd := exec.CommandContext(ctx, "./run", name)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		cmd.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err == nil {
		return strings.TrimSpace(line), true
	}
	cmd.Wait()
	if cmd.ProcessState.ExitCode() != 77 {
		t.Fatalf("%s: %v:\n%s", name, err, &said)
	}
	t.Logf("not on this machine: %s", &said)
	return "", false
}

func dial(t *testing.T, url string) net.Conn {
	t.Helper()
	c, early, _, err := ws.Dial(context.Background(), url)
	if err != nil {
		t.Fatal(err)
	}
	if early != nil {
		t.Fatal("bytes before the first message")
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(patience))
	return c
}

func TestPeers(t *testing.T) {
	for _, name := range []string{"gws", "gorilla", "coder", "gobwas", "cloudwego", "node", "fastapi"} {
		t.Run(name, func(t *testing.T) {
			url, ok := start(t, name)
			if !ok {
				return
			}
			testEcho(t, url)
			testChat(t, url)
		})
	}
}

func testEcho(t *testing.T, url string) {
	c := dial(t, url+"/echo")
	for _, size := range []int{0, 1, 125, 126, 65535, 65536} {
		for _, op := range []ws.OpCode{ws.OpText, ws.OpBinary} {
			want := bytes.Repeat([]byte("x"), size)
			if err := wsutil.WriteClientMessage(c, op, want); err != nil {
				t.Fatal(err)
			}
			got, gotOp, err := wsutil.ReadServerData(c)
			if err != nil || gotOp != op || !bytes.Equal(got, want) {
				t.Fatalf("%d bytes: %d as %v came back, %v", size, len(got), gotOp, err)
			}
		}
	}
}

// What is said in a room reaches everybody else there, in order, and nobody elsewhere.
func testChat(t *testing.T, url string) {
	const members, messages = 20, 50
	alice := dial(t, url+"/chat/alice?room=one")
	var others []net.Conn
	for i := range members {
		others = append(others, dial(t, fmt.Sprintf("%s/chat/user%d?room=one", url, i)))
	}
	stranger := dial(t, url+"/chat/stranger?room=two")
	// Somebody is in a room for certain when he has heard something there.
	neighbour := dial(t, url+"/chat/neighbour?room=two")
	for i := range messages {
		if err := wsutil.WriteClientText(alice, fmt.Append(nil, "hello ", i)); err != nil {
			t.Fatal(err)
		}
	}
	if err := wsutil.WriteClientText(neighbour, []byte("hi")); err != nil {
		t.Fatal(err)
	}
	for _, c := range others {
		for i := range messages {
			want := fmt.Sprint("alice: hello ", i)
			if got, _, err := wsutil.ReadServerData(c); err != nil || string(got) != want {
				t.Fatalf("got %q, %v, want %q", got, err, want)
			}
		}
	}
	if got, _, err := wsutil.ReadServerData(stranger); err != nil || string(got) != "neighbour: hi" {
		t.Errorf("the other room got %q, %v", got, err)
	}
	if err := wsutil.WriteClientText(others[0], []byte("bye")); err != nil {
		t.Fatal(err)
	}
	if got, _, err := wsutil.ReadServerData(alice); err != nil || string(got) != "user0: bye" {
		t.Errorf("alice got %q, %v: she hears herself?", got, err)
	}
}
