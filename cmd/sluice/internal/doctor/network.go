package doctor

import (
	"fmt"
	"net"
	"strings"
)

// backlogMin is what the queues of connections not yet accepted should hold, to survive that all
// clients reconnect at once.
const backlogMin = 4096

// backlogs examines the two queues that new connections wait in.
func (e *examination) backlogs() {
	for _, q := range []struct{ subject, sysctl, what string }{
		{"accept queue", "net.core.somaxconn", "connections may wait to be accepted"},
		{"SYN queue", "net.ipv4.tcp_max_syn_backlog", "handshakes may be half done"},
	} {
		n, err := e.numbers("proc/sys/"+strings.ReplaceAll(q.sysctl, ".", "/"), 1)
		switch {
		case err != nil:
			e.unreadable(q.subject, err)
		case n[0] < backlogMin:
			e.add(Warn, q.subject,
				fmt.Sprintf("%d %s; a storm of reconnects loses the rest.", n[0], q.what),
				fmt.Sprintf("sysctl -w %s=%d", q.sysctl, backlogMin))
		default:
			e.add(OK, q.subject, fmt.Sprintf("%d %s.", n[0], q.what), "")
		}
	}
}

// portRange examines the ports of outgoing connections: a proxy on one address has one per
// connection to the gateway, and a port of ours in the range may be taken before we start.
func (e *examination) portRange() {
	const subject, sysctl = "outgoing ports", "net.ipv4.ip_local_port_range"
	r, err := e.numbers("proc/sys/net/ipv4/ip_local_port_range", 2)
	if err != nil {
		e.unreadable(subject, err)
		return
	}
	for _, addr := range []string{e.cfg.Listen, e.cfg.Admin} {
		if p := int64(Port(addr)); p != 0 && p >= r[0] && p <= r[1] {
			e.add(Warn, subject,
				fmt.Sprintf("Port %d is among %d to %d: others may get it first.", p, r[0], r[1]),
				fmt.Sprintf("sysctl -w net.ipv4.ip_local_reserved_ports=%d", p))
			return
		}
	}
	n := r[1] - r[0] + 1
	text := fmt.Sprintf("A proxy on one address can open %d connections to here", n)
	if e.asked && n < e.conns && n < 50_000 {
		e.add(Warn, subject, fmt.Sprintf("%s, not %d.", text, e.conns),
			fmt.Sprintf(`sysctl -w %s="10240 65535"`, sysctl))
		return
	}
	e.add(OK, subject, text+".", "")
}

// conntrack examines the table of the firewall, if it keeps one.
func (e *examination) conntrack() {
	const subject, sysctl = "firewall table", "net.netfilter.nf_conntrack_max"
	n, err := e.numbers("proc/sys/net/netfilter/nf_conntrack_max", 1)
	if err != nil {
		return // connections are not tracked
	}
	if n[0] < e.conns {
		e.add(Warn, subject,
			fmt.Sprintf("It tracks %d connections; packets of more are dropped.", n[0]),
			fmt.Sprintf("sysctl -w %s=%d", sysctl, 2*e.conns))
		return
	}
	e.add(OK, subject, fmt.Sprintf("It tracks %d connections.", n[0]), "")
}

// port examines whether an address can be bound.
func (e *examination) port(key, addr string) {
	subject := key + " port"
	port := Port(addr)
	if port == 0 {
		e.add(OK, subject, "The kernel will choose one.", "")
		return
	}
	owner, used, err := e.Owner(addr)
	switch {
	case err != nil:
		e.unreadable(subject, err)
	case !used:
		e.add(OK, subject, addr+" is free.", "")
	case owner.Name == "sluice":
		text := fmt.Sprintf("%d is in use by sluice itself (pid %d).", port, owner.PID)
		e.add(OK, subject, text, "")
	default:
		e.add(Fail, subject, fmt.Sprintf("%d is in use by %s.", port, owner), FindOwner(port))
	}
}

// FindOwner is the command that shows who listens on a port.
func FindOwner(port int) string { return fmt.Sprintf("ss -ltnp 'sport = :%d'", port) }

// Port is the port of an address, 0 if there is none.
func Port(addr string) int {
	_, port := split(addr)
	return port
}

// split takes an address apart; the port is 0 if it is not a number.
func split(addr string) (host string, port int) {
	host, text, err := net.SplitHostPort(addr)
	if err != nil {
		return "", 0
	}
	n, err := net.LookupPort("tcp", text)
	if err != nil {
		return host, 0
	}
	return host, n
}
