package main

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"syscall"

	"sluice/cmd/sluice/internal/doctor"
	"sluice/gateway"
)

// addresses are where a gateway listens; admin is nil without an admin listener.
type addresses struct{ clients, admin net.Addr }

// banner is what somebody sees who starts a gateway: six lines at most.
func banner(b build, engine string, loops int, at addresses,
	cfg gateway.Config) string {
	var out strings.Builder
	fmt.Fprintf(&out, "sluice %s (%s, %s)\n", b.Version, b.Go, b.Platform)
	plural := "s"
	if loops == 1 {
		plural = ""
	}
	fmt.Fprintf(&out, "engine  %s, %d loop%s\n", engine, loops, plural)
	scheme := "ws"
	if cfg.Encrypted() {
		scheme = "wss"
	}
	fmt.Fprintf(&out, "chat    %s://%s/chat/{name}?room={room}\n", scheme, dialable(at.clients))
	if cfg.ServesEcho() {
		fmt.Fprintf(&out, "echo    %s://%s/echo\n", scheme, dialable(at.clients))
	}
	switch {
	case at.admin == nil:
	case at.admin.Network() == "unix":
		fmt.Fprintf(&out, "admin   unix:%s\n", at.admin)
	case cfg.AdminTLSCert != "":
		fmt.Fprintf(&out, "demo    https://%s/\n", dialable(at.admin))
	default:
		fmt.Fprintf(&out, "demo    http://%s/\n", dialable(at.admin))
	}
	if loopback(at.clients) {
		fmt.Fprintf(&out, "Only this machine can connect. To let others in: --listen :%d\n",
			port(at.clients))
	}
	return out.String()
}

// dialable is the address for a URL that works on this host.
func dialable(addr net.Addr) string {
	tcp, ok := addr.(*net.TCPAddr)
	if ok && tcp.IP.IsUnspecified() {
		return net.JoinHostPort("localhost", strconv.Itoa(tcp.Port))
	}
	return addr.String()
}

func loopback(addr net.Addr) bool {
	tcp, ok := addr.(*net.TCPAddr)
	return ok && tcp.IP.IsLoopback()
}

func port(addr net.Addr) int {
	if tcp, ok := addr.(*net.TCPAddr); ok {
		return tcp.Port
	}
	return 0
}

// warnOpen says at every start what others can reach, and what else an operator may not want.
func warnOpen(log *slog.Logger, at addresses, cfg gateway.Config) {
	for _, text := range append(cfg.Warnings(), cfg.FileWarnings()...) {
		log.Warn(text, "event", "unsafe_configuration")
	}
	if at.admin != nil && at.admin.Network() != "unix" && !loopback(at.admin) {
		log.Warn("the admin listener is not on loopback: anyone who can reach it can read metrics",
			"event", "listener_open", "key", "admin", "address", at.admin.String())
	}
}

// startError says what to do about a listener that cannot be opened.
func (a *app) startError(cfg gateway.Config, err error) error {
	var op *net.OpError
	if !errors.As(err, &op) || op.Addr == nil {
		return fmt.Errorf("the gateway cannot start: %w", err)
	}
	if op.Addr.Network() == "unix" {
		if errors.Is(err, syscall.EADDRINUSE) {
			return fmt.Errorf("admin %s is in use: somebody listens on that socket already",
				cfg.Admin)
		}
		return fmt.Errorf("admin %s cannot be opened: %w", cfg.Admin, err)
	}
	key, addr := "listen", cfg.Listen
	port := port(op.Addr)
	if port != 0 && port != doctor.Port(cfg.Listen) {
		key, addr = "admin", cfg.Admin
	}
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		by := ""
		if owner, used, err := (doctor.Host{Root: a.root}).Owner(addr); err == nil && used {
			by = " by " + owner.String()
		}
		return fmt.Errorf("port %d (%s %s) is in use%s; this shows the owner: %s\n"+
			"Stop that program, or choose another port with --%s",
			port, key, addr, by, doctor.FindOwner(port), key)
	case errors.Is(err, syscall.EACCES):
		return fmt.Errorf("port %d (%s %s) may not be opened: ports below 1024 need a privilege; "+
			"use a port above, or: setcap cap_net_bind_service=+ep sluice", port, key, addr)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return fmt.Errorf("%s %s cannot be opened: no interface of this host has that address; "+
			"this lists them: ip addr", key, addr)
	}
	return fmt.Errorf("%s %s cannot be opened: %w", key, addr, err)
}
