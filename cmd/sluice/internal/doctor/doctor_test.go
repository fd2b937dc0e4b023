package doctor

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"sluice/gateway"
)

// Two goroutines of ants run from the start of a process to its end.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m, goleak.IgnoreCurrent()) }

// healthy are the files of a host that can carry a million connections.
func healthy() map[string]string {
	return map[string]string{
		"proc/self/limits": "Limit                     Soft Limit           Hard Limit\n" +
			"Max processes             unlimited            unlimited            processes\n" +
			"Max open files            1024                 2097152              files\n",
		"proc/self/cgroup": "0::/\n",
		"proc/meminfo":     "MemTotal:       16777216 kB\nMemFree: 1 kB\n",
		"proc/net/tcp":     tcpHead,
		"proc/net/tcp6":    tcpHead,

		"proc/sys/net/core/somaxconn":             "4096\n",
		"proc/sys/net/ipv4/tcp_max_syn_backlog":   "8192\n",
		"proc/sys/net/ipv4/ip_local_port_range":   "10240\t65535\n",
		"proc/sys/net/ipv4/tcp_mem":               "1000000 2000000 4000000\n",
		"proc/sys/net/netfilter/nf_conntrack_max": "4000000\n",
		"sys/fs/cgroup/memory.max":                "max\n",
	}
}

const tcpHead = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when\n"

// host writes the files below a directory of its own. An empty text removes a file.
func host(t *testing.T, changed map[string]string) Host {
	t.Helper()
	files := healthy()
	for name, text := range changed {
		files[name] = text
	}
	root := t.TempDir()
	for name, text := range files {
		if text == "" {
			continue
		}
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return Host{Root: root, Getenv: func(string) string { return "" }}
}

func find(t *testing.T, all []Finding, subject string) Finding {
	t.Helper()
	for _, f := range all {
		if f.Subject == subject {
			return f
		}
	}
	t.Fatalf("there is no finding on %s among %v", subject, all)
	return Finding{}
}

func TestHealthyHost(t *testing.T) {
	for _, conns := range []int{0, 1_000_000} {
		cfg := gateway.DefaultConfig()
		cfg.ConnectionsMax = conns
		for _, f := range host(t, nil).Examine(cfg) {
			if f.Level != OK || f.Mend != "" {
				t.Errorf("%d connections: %v", conns, f)
			}
		}
	}
}

func TestFindings(t *testing.T) {
	limits := func(soft, hard string) map[string]string {
		return map[string]string{"proc/self/limits": "Max open files " + soft + " " + hard + " files\n"}
	}
	one := func(name, text string) map[string]string { return map[string]string{name: text} }
	for _, tt := range []struct {
		name    string
		files   map[string]string
		conns   int
		subject string
		level   Level
		text    string // part of what is found
		mend    string // part of it
	}{
		{"files_too_few", limits("1024", "4096"), 10_000, "open files", Fail,
			"1024 (soft) and 4096 (hard): room for 3584 connections, not 10000", "LimitNOFILE=1048576"},
		{"files_too_few_for_many", limits("1024", "4096"), 2_000_000, "open files", Fail,
			"not 2000000", "LimitNOFILE=2000512"},
		{"files_just_enough", limits("1024", "4096"), 3584, "open files", OK, "room for 3584", ""},
		{"files_few_by_default", limits("1024", "1024"), 0, "open files", Warn,
			"768 connections only", "LimitNOFILE"},
		{"files_unlimited", limits("1024", "unlimited"), 1000, "open files", OK, "room for", ""},
		{"files_unknown", one("proc/self/limits", "nothing\n"), 0, "open files", Warn,
			"could not be examined", "root"},
		{"files_unreadable", one("proc/self/limits", ""), 0, "open files", Warn,
			"/proc/self/limits: no such file", "root"},

		{"accept_queue_short", one("proc/sys/net/core/somaxconn", "128\n"), 0, "accept queue", Warn,
			"128 connections may wait", "sysctl -w net.core.somaxconn=4096"},
		{"syn_queue_short", one("proc/sys/net/ipv4/tcp_max_syn_backlog", "512\n"), 0, "SYN queue", Warn,
			"512 handshakes", "sysctl -w net.ipv4.tcp_max_syn_backlog=4096"},
		{"syn_queue_garbage", one("proc/sys/net/ipv4/tcp_max_syn_backlog", "x\n"), 0, "SYN queue", Warn,
			"could not be examined", ""},

		{"ports_few", one("proc/sys/net/ipv4/ip_local_port_range", "32768 60999\n"), 100_000,
			"outgoing ports", Warn, "28232 connections to here, not 100000", `port_range="10240 65535"`},
		{"ports_few_by_default", one("proc/sys/net/ipv4/ip_local_port_range", "32768 60999\n"), 0,
			"outgoing ports", OK, "28232 connections", ""},
		{"ports_include_ours", one("proc/sys/net/ipv4/ip_local_port_range", "1024 65535\n"), 0,
			"outgoing ports", Warn, "Port 8080 is among 1024 to 65535", "ip_local_reserved_ports=8080"},

		{"conntrack_small", one("proc/sys/net/netfilter/nf_conntrack_max", "65536\n"), 100_000,
			"firewall table", Warn, "tracks 65536", "nf_conntrack_max=200000"},

		{"memory_short", one("proc/meminfo", "MemTotal: 1048576 kB\n"), 1_000_000, "memory", Fail,
			"1024 MiB of this host hold about 183500 idle connections, not 1000000",
			"--max-connections 183500"},
		{"memory_short_by_default", one("proc/meminfo", "MemTotal: 1048576 kB\n"), 0, "memory", Warn,
			"1024 MiB of this host", "--max-connections"},
		{"memory_of_the_group", one("sys/fs/cgroup/memory.max", "536870912\n"), 100_000, "memory", Fail,
			"512 MiB of the control group", "--max-connections 78643"},
		{"memory_tiny", one("proc/meminfo", "MemTotal: 1024 kB\n"), 1, "memory", Fail,
			"about 0 idle connections, not 1", ""},
		{"go_limit_unset", one("sys/fs/cgroup/memory.max", "1073741824\n"), 1, "Go memory limit", OK,
			"80 % of the group's: 819 MiB", ""},

		{"buffers_short", one("proc/sys/net/ipv4/tcp_mem", "1 2 50000\n"), 100_000, "socket buffers",
			Warn, "not one page for each of 100000", `tcp_mem="100000 150000 200000"`},
		{"buffers_garbled", one("proc/sys/net/ipv4/tcp_mem", "1 2\n"), 1, "socket buffers",
			Warn, "has 2 numbers, not 3", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg := gateway.DefaultConfig()
			cfg.ConnectionsMax = tt.conns
			f := find(t, host(t, tt.files).Examine(cfg), tt.subject)
			said := strings.Contains(f.Text, tt.text) && strings.Contains(f.Mend, tt.mend)
			if f.Level != tt.level || !said {
				t.Errorf("got %v %q mend %q", f.Level, f.Text, f.Mend)
			}
			if (f.Level == OK) != (f.Mend == "") {
				t.Errorf("%v with mend %q", f.Level, f.Mend)
			}
			if len(f.Mend) > 68 {
				t.Errorf("the command %q does not fit in a line", f.Mend)
			}
		})
	}
}

func TestGoLimitThatIsSet(t *testing.T) {
	h := host(t, map[string]string{"sys/fs/cgroup/memory.max": "1073741824\n"})
	h.Getenv = func(name string) string { return map[string]string{"GOMEMLIMIT": "900MiB"}[name] }
	f := find(t, h.Examine(gateway.DefaultConfig()), "Go memory limit")
	if f.Level != OK || !strings.Contains(f.Text, "900MiB") {
		t.Errorf("got %v", f)
	}
}

func TestCgroupMemory(t *testing.T) {
	for _, tt := range []struct {
		name  string
		files map[string]string
		want  int64
	}{
		{"v2_none", nil, unlimited},
		{"v2_of_a_parent", map[string]string{
			"proc/self/cgroup":                                     "0::/system.slice/sluice.service\n",
			"sys/fs/cgroup/system.slice/memory.max":                "1000\n",
			"sys/fs/cgroup/system.slice/sluice.service/memory.max": "max\n"}, 1000},
		{"v2_smallest_counts", map[string]string{
			"proc/self/cgroup":             "0::/a/b\n",
			"sys/fs/cgroup/a/memory.max":   "3000\n",
			"sys/fs/cgroup/a/b/memory.max": "2000\n"}, 2000},
		{"v2_path_of_the_host", map[string]string{
			"proc/self/cgroup": "0::/docker/abc\n", "sys/fs/cgroup/memory.max": "5000\n"}, 5000},
		{"v1", map[string]string{
			"proc/self/cgroup":                           "4:memory:/docker/abc\n1:cpu:/\n",
			"sys/fs/cgroup/memory/memory.limit_in_bytes": "7000\n"}, 7000},
		{"v1_none", map[string]string{
			"proc/self/cgroup":                           "4:memory:/\n",
			"sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n"}, unlimited},
		{"no_cgroups", map[string]string{"proc/self/cgroup": ""}, unlimited},
	} {
		if got := host(t, tt.files).cgroupMemory(); got != tt.want {
			t.Errorf("%s: %d, want %d", tt.name, got, tt.want)
		}
	}
}

// socketLine is a line of /proc/net/tcp.
func socketLine(local, state string, inode int) string {
	const format = "   0: %s 00000000:0000 %s 00000000:00000000 00:00000000 00000000 0 0 %d 1 0\n"
	return fmt.Sprintf(format, local, state, inode)
}

func TestPorts(t *testing.T) {
	const any6 = "00000000000000000000000000000000"
	for _, tt := range []struct {
		name, listen string
		tcp, tcp6    string
		used         bool
	}{
		{"same_address", "127.0.0.1:8080", socketLine("0100007F:1F90", "0A", 7), "", true},
		{"all_addresses", "127.0.0.1:8080", socketLine("00000000:1F90", "0A", 7), "", true},
		{"all_addresses_of_ipv6", "127.0.0.1:8080", "", socketLine(any6+":1F90", "0A", 7), true},
		{"ours_is_all", ":8080", socketLine("0100007F:1F90", "0A", 7), "", true},
		{"name", "localhost:8080", socketLine("0100007F:1F90", "0A", 7), "", true},
		{"named_port", "127.0.0.1:http", socketLine("0100007F:0050", "0A", 7), "", true},
		{"loopback_of_ipv6", "[::1]:8080", "",
			socketLine("00000000000000000000000001000000:1F90", "0A", 7), true},
		{"other_address", "127.0.0.1:8080", socketLine("0200007F:1F90", "0A", 7), "", false},
		{"other_port", "127.0.0.1:8080", socketLine("0100007F:1F91", "0A", 7), "", false},
		{"not_listening", "127.0.0.1:8080", socketLine("0100007F:1F90", "01", 7), "", false},
		{"garbled", "127.0.0.1:8080", socketLine("XX:1F90", "0A", 7) + "short\n", "", false},
		{"free", "127.0.0.1:8080", "", "", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := host(t, map[string]string{
				"proc/net/tcp": tcpHead + tt.tcp, "proc/net/tcp6": tcpHead + tt.tcp6,
			})
			_, used, err := h.Owner(tt.listen)
			if err != nil || used != tt.used {
				t.Errorf("used is %v, %v", used, err)
			}
		})
	}
}

func TestPortOfSomebody(t *testing.T) {
	for _, tt := range []struct {
		program string // empty if we may not know
		level   Level
		text    string
	}{
		{"nginx", Fail, "8080 is in use by nginx (pid 42)."},
		{"sluice", OK, "8080 is in use by sluice itself (pid 42)."},
		{"", Fail, "8080 is in use by a process of another user."},
	} {
		h := host(t, map[string]string{
			"proc/net/tcp":  tcpHead + socketLine("0100007F:1F90", "0A", 777),
			"proc/net/tcp6": "", // without IPv6
			"proc/42/comm":  tt.program,
		})
		fds := filepath.Join(h.Root, "proc/42/fd")
		if err := os.MkdirAll(fds, 0o755); err != nil {
			t.Fatal(err)
		}
		for fd, target := range map[string]string{"0": "/dev/null", "5": "socket:[777]"} {
			if err := os.Symlink(target, filepath.Join(fds, fd)); err != nil {
				t.Fatal(err)
			}
		}
		f := find(t, h.Examine(gateway.DefaultConfig()), "listen port")
		if f.Level != tt.level || f.Text != tt.text {
			t.Errorf("%q: %v %q", tt.program, f.Level, f.Text)
		}
		if f.Level == Fail && f.Mend != "ss -ltnp 'sport = :8080'" {
			t.Errorf("mended by %q", f.Mend)
		}
	}
}

func TestPortThatTheKernelChooses(t *testing.T) {
	cfg := gateway.DefaultConfig()
	cfg.Listen, cfg.Admin = "127.0.0.1:0", ""
	all := host(t, nil).Examine(cfg)
	if f := find(t, all, "listen port"); f.Level != OK {
		t.Errorf("got %v", f)
	}
	for _, f := range all {
		if f.Subject == "admin port" {
			t.Errorf("there is no admin listener, but %v", f)
		}
	}
}
