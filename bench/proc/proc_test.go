//go:build linux

package proc

import (
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// childMark makes the test binary a process that is busy for a moment.
const childMark = "SLUICE_PROC_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(childMark) != "" {
		began := time.Now()
		for time.Since(began) < 200*time.Millisecond {
		}
		fmt.Println("done")
		io.Copy(io.Discard, os.Stdin)
		return
	}
	m.Run()
}

func TestBusyChild(t *testing.T) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childMark+"=1")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 1)); err != nil { // it has been busy
		t.Fatal(err)
	}
	used, err := CPU(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	rss, err := RSS(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	peak, err := PeakRSS(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	in.Close()
	cmd.Wait()
	// Whatever else runs here, it got a part of its time, and no Go runtime is smaller.
	if used < 10*time.Millisecond || rss < 1<<20 || peak < rss {
		t.Errorf("%v of processor time, %d bytes, %d at its peak", used, rss, peak)
	}
}

func TestReaders(t *testing.T) {
	root := t.TempDir()
	write := func(path, text string) {
		full := filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(full, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("7/task/7/schedstat", "1500 20 3\n")
	write("7/task/9/schedstat", "2500 20 3\n")
	write("7/status", "Name:\tx\nVmHWM:\t    12 kB\nVmRSS:\t     8 kB\n")
	if d, err := processorTime(root, 7); err != nil || d != 4000 {
		t.Errorf("%v, %v", d, err)
	}
	if n, err := status(root, 7, "VmHWM"); err != nil || n != 12<<10 {
		t.Errorf("%v, %v", n, err)
	}
	if _, err := status(root, 7, "VmSwap"); err == nil {
		t.Error("a field that is not there has a value")
	}
	if _, err := processorTime(root, 8); err == nil {
		t.Error("a process that is not there has used the processor")
	}
}

func TestSlope(t *testing.T) {
	if s := Slope([]float64{1000, 5000, 9000}, []float64{1e6, 3e6, 5e6}); math.Abs(s-500) > 1e-9 {
		t.Errorf("slope %v, want 500", s)
	}
}
