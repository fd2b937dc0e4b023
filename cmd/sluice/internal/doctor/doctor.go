// Package doctor examines whether a Linux host can carry what a configuration asks for. It only
// reads below /proc and /sys.
package doctor

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"sluice/gateway"
	"sluice/gateway/admin"
)

// Level is how bad a finding is.
type Level int

// The levels. A gateway that starts with a Fail does not do what its configuration says.
const (
	OK Level = iota
	Warn
	Fail
)

func (l Level) String() string { return [...]string{"OK", "WARN", "FAIL"}[l] }

// Finding is the result of one examination.
type Finding struct {
	Level   Level
	Subject string // what was examined, in a few words
	Text    string // what was found, as a sentence
	Mend    string // the command or the setting that mends it; empty if nothing is wrong
}

// Host is what is examined.
type Host struct {
	// Root is the directory that has proc and sys in it; "/" but for tests.
	Root string
	// Getenv looks up environment variables, like os.Getenv.
	Getenv func(name string) string
}

const (
	// descriptorReserve is what the gateway keeps of the descriptor limit for all else.
	descriptorReserve = 512
	// connectionBytes is what an idle connection costs: about 4 KiB in the kernel, the rest here.
	connectionBytes = 5 << 10
	// processBytes is what a gateway without connections needs, generously.
	processBytes = 64 << 20
)

// examination is the work on one host for one configuration.
type examination struct {
	Host
	cfg      gateway.Config
	asked    bool  // the number of connections is configured, not derived from the limits
	conns    int64 // what the gateway will allow
	findings []Finding
}

// Examine returns what was found, one finding per subject at least.
func (h Host) Examine(cfg gateway.Config) []Finding {
	conns := int64(cfg.ConnectionsMax)
	e := &examination{Host: h, cfg: cfg, asked: conns > 0, conns: conns}
	e.openFiles()
	e.port("listen", cfg.Listen)
	if _, unix := admin.SocketPath(cfg.Admin); cfg.Admin != "" && !unix {
		e.port("admin", cfg.Admin)
	}
	e.backlogs()
	e.portRange()
	e.conntrack()
	e.memory()
	e.tcpMemory()
	return e.findings
}

func (e *examination) add(l Level, subject, text, mend string) {
	e.findings = append(e.findings, Finding{l, subject, text, mend})
}

// unreadable notes that something could not be examined.
func (e *examination) unreadable(subject string, err error) {
	e.add(Warn, subject, "It could not be examined: "+err.Error()+".", "run as root, on Linux")
}

// severity is Fail for what was asked for, and Warn for what follows from a limit.
func (e *examination) severity() Level {
	if e.asked {
		return Fail
	}
	return Warn
}

// openFiles compares the descriptor limit with the connections. The gateway raises the soft limit
// to the hard one by itself.
func (e *examination) openFiles() {
	const subject = "open files"
	soft, hard, err := e.fileLimits()
	if err != nil {
		e.unreadable(subject, err)
		return
	}
	room := max(hard-min(hard/4, descriptorReserve), 0)
	if !e.asked {
		e.conns = room
	}
	limits := fmt.Sprintf("The limit is %d (soft) and %d (hard)", soft, hard)
	need := e.conns + descriptorReserve
	mend := fmt.Sprintf("LimitNOFILE=%d in the unit; docker run --ulimit nofile=%[1]d",
		max(need, 1<<20))
	switch {
	case room < e.conns:
		text := fmt.Sprintf("%s: room for %d connections, not %d.", limits, room, e.conns)
		e.add(Fail, subject, text, mend)
	case !e.asked && room < 10_000:
		e.add(Warn, subject, fmt.Sprintf("%s: room for %d connections only.", limits, room), mend)
	default:
		e.add(OK, subject, fmt.Sprintf("%s: room for %d connections.", limits, room), "")
	}
}

// fileLimits reads the limits of this process.
func (e *examination) fileLimits() (soft, hard int64, err error) {
	const row = "Max open files"
	text, err := e.read("proc/self/limits")
	if err != nil {
		return 0, 0, err
	}
	for line := range strings.Lines(text) {
		rest, ok := strings.CutPrefix(line, row)
		if f := strings.Fields(rest); ok && len(f) >= 2 {
			return limit(f[0]), limit(f[1]), nil
		}
	}
	return 0, 0, fmt.Errorf("proc/self/limits has no line %q", row)
}

// unlimited stands for a limit that is none.
const unlimited = 1 << 40

// limit reads a number that may be the word for no limit.
func limit(s string) int64 {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n > unlimited {
		return unlimited
	}
	return n
}

// read returns a file below the root.
func (h Host) read(name string) (string, error) {
	b, err := os.ReadFile(filepath.Join(h.Root, name))
	if pe, ok := err.(*fs.PathError); ok {
		return "", fmt.Errorf("/%s: %w", name, pe.Err)
	}
	return strings.TrimSpace(string(b)), err
}

// numbers reads a file of integers.
func (h Host) numbers(name string, count int) ([]int64, error) {
	text, err := h.read(name)
	if err != nil {
		return nil, err
	}
	fields := strings.Fields(text)
	if len(fields) < count {
		return nil, fmt.Errorf("/%s has %d numbers, not %d", name, len(fields), count)
	}
	list := make([]int64, len(fields))
	for i, f := range fields {
		if list[i], err = strconv.ParseInt(f, 10, 64); err != nil {
			return nil, fmt.Errorf("/%s: %w", name, err)
		}
	}
	return list, nil
}
