package doctor

import (
	"fmt"
	"os"
	"path"
	"strings"
)

// memory compares what idle connections cost with what there is.
func (e *examination) memory() {
	const subject = "memory"
	total, err := e.memoryTotal()
	if err != nil {
		e.unreadable(subject, err)
		return
	}
	there, whose := total, "of this host"
	group := e.cgroupMemory()
	if group < total {
		there, whose = group, "of the control group"
	}
	fixed := int64(processBytes)
	if e.cfg.Compression {
		fixed += e.cfg.CompressionMemoryMax
	}
	room := max(there-fixed, 0) / connectionBytes
	text := fmt.Sprintf("%s %s hold about %d idle connections", mebibytes(there), whose, room)
	if e.conns > room {
		e.add(e.severity(), subject, fmt.Sprintf("%s, not %d.", text, e.conns),
			fmt.Sprintf("--max-connections %d, or more memory", room))
	} else {
		e.add(OK, subject, text+".", "")
	}
	e.goLimit(group, total)
}

// goLimit examines whether the garbage collector knows of the limit of the control group.
func (e *examination) goLimit(group, total int64) {
	const subject = "Go memory limit"
	switch set := e.Getenv("GOMEMLIMIT"); {
	case group >= total:
	case set != "":
		e.add(OK, subject, "GOMEMLIMIT is "+set+".", "")
	default:
		e.add(OK, subject, fmt.Sprintf("The gateway takes 80 %% of the group's: %d MiB.",
			group*80/100>>20), "")
	}
}

// tcpMemory examines the bound of all socket buffers together.
func (e *examination) tcpMemory() {
	const subject, sysctl = "socket buffers", "net.ipv4.tcp_mem"
	pages, err := e.numbers("proc/sys/net/ipv4/tcp_mem", 3)
	if err != nil {
		e.unreadable(subject, err)
		return
	}
	most := pages[2]
	bytes := mebibytes(most * int64(os.Getpagesize()))
	// A connection that transfers something holds a page at the least.
	if most < e.conns {
		e.add(Warn, subject,
			fmt.Sprintf("%s in all: not one page for each of %d connections.", bytes, e.conns),
			fmt.Sprintf(`sysctl -w %s="%d %d %d"`, sysctl, e.conns, e.conns*3/2, e.conns*2))
		return
	}
	e.add(OK, subject, bytes+" in all.", "")
}

func mebibytes(n int64) string { return fmt.Sprintf("%d MiB", n>>20) }

// memoryTotal is the memory of the host.
func (h Host) memoryTotal() (int64, error) {
	text, err := h.read("proc/meminfo")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(text) {
		var kib int64
		if n, _ := fmt.Sscanf(line, "MemTotal: %d kB", &kib); n == 1 {
			return kib << 10, nil
		}
	}
	return 0, fmt.Errorf("/proc/meminfo has no line MemTotal")
}

// cgroupMemory is the smallest limit of the control groups that the process is in.
func (h Host) cgroupMemory() int64 {
	groups, err := h.read("proc/self/cgroup")
	if err != nil {
		return unlimited
	}
	least := int64(unlimited)
	for line := range strings.Lines(groups) {
		// id, controllers (none in version 2), path
		f := strings.SplitN(strings.TrimSpace(line), ":", 3)
		switch {
		case len(f) < 3:
		case f[1] == "":
			least = min(least, h.groupLimit("sys/fs/cgroup", f[2], "memory.max"))
		case f[1] == "memory":
			least = min(least, h.groupLimit("sys/fs/cgroup/memory", f[2], "memory.limit_in_bytes"))
		}
	}
	return least
}

// groupLimit is the smallest limit from a group up to the root. In a container the path is that of
// the host, and only the root is there.
func (h Host) groupLimit(mount, group, file string) int64 {
	least := int64(unlimited)
	for dir := path.Clean("/" + group); ; dir = path.Dir(dir) {
		if text, err := h.read(mount + path.Join(dir, file)); err == nil {
			least = min(least, limit(text))
		}
		if dir == "/" {
			return least
		}
	}
}
