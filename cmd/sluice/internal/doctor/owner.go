package doctor

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Owner is the process that holds a socket.
type Owner struct {
	PID  int    // 0 if it belongs to somebody whose files we may not see
	Name string // of the program
}

func (o Owner) String() string {
	if o.PID == 0 {
		return "a process of another user"
	}
	return fmt.Sprintf("%s (pid %d)", o.Name, o.PID)
}

// Owner finds out whether somebody listens where addr would, and who.
func (h Host) Owner(addr string) (o Owner, used bool, err error) {
	inode, used, err := h.listener(addr)
	if err != nil || !used {
		return Owner{}, false, err
	}
	return h.holder("socket:[" + inode + "]"), true, nil
}

// listener finds the socket that listens on an address, or on one that includes it.
func (h Host) listener(addr string) (inode string, used bool, err error) {
	host, port := split(addr)
	for _, table := range []string{"proc/net/tcp", "proc/net/tcp6"} {
		text, err := h.read(table)
		if errors.Is(err, fs.ErrNotExist) && table == "proc/net/tcp6" {
			continue // without IPv6
		}
		if err != nil {
			return "", false, err
		}
		for line := range strings.Lines(text) {
			// slot, local address, remote address, state (0A is LISTEN), ..., inode
			f := strings.Fields(line)
			if len(f) < 10 || f[3] != "0A" {
				continue
			}
			if ip, p, ok := parseLocal(f[1]); ok && p == port && overlaps(host, ip) {
				return f[9], true, nil
			}
		}
	}
	return "", false, nil
}

// parseLocal reads an address of /proc/net/tcp: words in the byte order of the host, which is
// little endian, and the port in hexadecimal.
func parseLocal(s string) (net.IP, int, bool) {
	addr, port, ok := strings.Cut(s, ":")
	ip, err := hex.DecodeString(addr)
	n, perr := strconv.ParseInt(port, 16, 32)
	if !ok || err != nil || perr != nil || len(ip)%4 != 0 {
		return nil, 0, false
	}
	for i := 0; i < len(ip); i += 4 {
		slices.Reverse(ip[i : i+4])
	}
	return ip, int(n), true
}

// overlaps reports whether a listener on host collides with one on ip. A name collides with all.
func overlaps(host string, ip net.IP) bool {
	ours := net.ParseIP(host)
	return ours == nil || ours.IsUnspecified() || ip.IsUnspecified() || ours.Equal(ip)
}

// holder finds the process that has a descriptor of the given name.
func (h Host) holder(name string) Owner {
	links, _ := filepath.Glob(filepath.Join(h.Root, "proc/[0-9]*/fd/*")) // only a bad pattern fails
	for _, link := range links {
		if target, err := os.Readlink(link); err != nil || target != name {
			continue
		}
		dir := filepath.Dir(filepath.Dir(link))
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err != nil {
			continue
		}
		comm, err := os.ReadFile(filepath.Join(dir, "comm"))
		if err != nil {
			continue
		}
		return Owner{pid, strings.TrimSpace(string(comm))}
	}
	return Owner{}
}
