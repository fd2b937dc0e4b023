package figures

import (
	"bufio"
	"context"
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
func (c *child) cpu() (time.Duration, error) { return proc.CPU(c.cmd.Process.Pid) }

// rss is the resident memory in bytes.
func (c *child) rss() (int64, error) { return proc.RSS(c.cmd.Process.Pid) }
