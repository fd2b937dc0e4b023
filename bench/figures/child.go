package figures

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

const (
	// startTimeout bounds how long a server may take to say where it listens, stopTimeout how long
	// it may take to end after that was asked of it.
	startTimeout = 10 * time.Second
	stopTimeout  = 5 * time.Second
)

// child is a server under measurement, in a process of its own.
type child struct {
	cmd    *exec.Cmd
	cancel context.CancelFunc
	base   string // ws://host:port
}

var listening = regexp.MustCompile(`ws://[^/\s]+`)

// startChild starts a server that says "ws://host:port" on its standard output.
func startChild(ctx context.Context, command []string) (*child, error) {
	ctx, cancel := context.WithCancel(ctx)
	c := &child{cmd: exec.CommandContext(ctx, command[0], command[1:]...), cancel: cancel}
	c.cmd.Cancel = func() error { return c.cmd.Process.Signal(os.Interrupt) }
	c.cmd.WaitDelay = stopTimeout
	c.cmd.Stderr = os.Stderr
	out, err := c.cmd.StdoutPipe()
	if err == nil {
		err = c.cmd.Start()
	}
	if err != nil {
		cancel()
		return nil, fmt.Errorf("%s: %w", command[0], err)
	}
	late := time.AfterFunc(startTimeout, cancel)
	defer late.Stop()
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if c.base = listening.FindString(lines.Text()); c.base != "" {
			// What else it says fits into the pipe.
			return c, nil
		}
	}
	c.stop()
	return nil, fmt.Errorf("%s did not say where it listens", command[0])
}

// stop ends the process and waits for it.
func (c *child) stop() {
	c.cancel()
	c.cmd.Wait() // it was told to end; how it does is of no interest
}

// cpu is the time that the process has spent on processors.
func (c *child) cpu() (time.Duration, error) { return processorTime("/proc", c.cmd.Process.Pid) }

// rss is the resident memory in bytes.
func (c *child) rss() (int64, error) { return residentBytes("/proc", c.cmd.Process.Pid) }

// processorTime sums the nanoseconds of all threads, which the kernel counts without ticks.
func processorTime(proc string, pid int) (time.Duration, error) {
	files, err := filepath.Glob(filepath.Join(proc, strconv.Itoa(pid), "task", "*", "schedstat"))
	if err != nil || len(files) == 0 {
		return 0, errors.Join(err, fmt.Errorf("process %d has no schedstat", pid))
	}
	var total time.Duration
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			continue // the thread has ended
		}
		first, _, _ := strings.Cut(string(text), " ")
		ns, err := strconv.ParseInt(first, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("%s: %w", f, err)
		}
		total += time.Duration(ns)
	}
	return total, nil
}

func residentBytes(proc string, pid int) (int64, error) {
	text, err := os.ReadFile(filepath.Join(proc, strconv.Itoa(pid), "statm"))
	if err != nil {
		return 0, err
	}
	fields := strings.Fields(string(text))
	if len(fields) < 2 {
		return 0, fmt.Errorf("statm of process %d: %q", pid, text)
	}
	pages, err := strconv.ParseInt(fields[1], 10, 64)
	return pages * int64(os.Getpagesize()), err
}
