// Package child runs the servers that are measured, each in a process of its own.
package child

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"time"

	"sluice/bench/proc"
)

const (
	// startTimeout bounds how long a server may take to say where it listens, stopTimeout how long
	// it may take to end after that was asked of it.
	startTimeout = 10 * time.Second
	stopTimeout  = 5 * time.Second
)

// ErrUnavailable says that a server cannot be had on this machine; it has said why on standard
// error.
var ErrUnavailable = errors.New("not available on this machine")

// exitUnavailable is how a server that cannot be had exits.
const exitUnavailable = 77

// Child is a server in a process of its own. Its methods must not be called at once.
type Child struct {
	cmd    *exec.Cmd // nil if it was not started here
	cancel context.CancelFunc
	base   string
	pid    int
}

var listening = regexp.MustCompile(`wss?://[^/\s]+`)

// Attach stands for a server that runs already, at a URL ws(s)://host:port. Stop leaves it alone.
func Attach(pid int, url string) *Child { return &Child{base: url, pid: pid} }

// Start starts a server that says "ws://host:port" on its standard output.
func Start(ctx context.Context, command []string) (*Child, error) {
	ctx, cancel := context.WithCancel(ctx)
	c := &Child{cmd: exec.CommandContext(ctx, command[0], command[1:]...), cancel: cancel}
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
			c.pid = c.cmd.Process.Pid
			// What else it says fits into the pipe.
			return c, nil
		}
	}
	c.Stop()
	if c.cmd.ProcessState.ExitCode() == exitUnavailable {
		return nil, fmt.Errorf("%s: %w", command[0], ErrUnavailable)
	}
	return nil, fmt.Errorf("%s did not say where it listens", command[0])
}

// Stop ends the process and waits for it.
func (c *Child) Stop() {
	if c.cmd == nil {
		return
	}
	c.cancel()
	c.cmd.Wait() // it was told to end; how it does is of no interest
}

// URL is where the server listens: ws://host:port.
func (c *Child) URL() string { return c.base }

// PID is the number of the process.
func (c *Child) PID() int { return c.pid }

// CPU is the time that the process has spent on processors.
func (c *Child) CPU() (time.Duration, error) { return proc.CPU(c.PID()) }

// RSS is the resident memory in bytes.
func (c *Child) RSS() (int64, error) { return proc.RSS(c.PID()) }
