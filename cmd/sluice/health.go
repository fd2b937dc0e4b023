package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"sluice/cmd/sluice/internal/settings"
	"sluice/gateway/admin"
)

const (
	// healthTimeout is less than what container runtimes give a probe.
	healthTimeout = 2 * time.Second
	// healthBytesMax bounds the answer that is shown.
	healthBytesMax = 4 << 10
)

// health asks the admin listener of a running gateway. Every failure ends in exit code 1, the only
// one that container runtimes know.
func (a *app) health(src settings.Sources, ready bool) error {
	values, err := settings.Load(src)
	if err != nil {
		return &failure{exitRun, err}
	}
	path := "/livez"
	if ready {
		path = "/readyz"
	}
	// No proxy of the environment, and no redirects: it is this host that is asked.
	transport := &http.Transport{DisableKeepAlives: true}
	defer transport.CloseIdleConnections()
	if socket, ok := admin.SocketPath(values.Config.Admin); ok {
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		}
		return a.probe(transport, "http://localhost"+path, values.Config.Admin+path)
	}
	addr, err := reachable(values.Config.Admin)
	if err != nil {
		return err
	}
	url := "http://" + addr + path
	if values.Config.AdminTLSCert != "" {
		url = "https://" + addr + path
		// The certificate need not be for the address that this host is asked at. Nothing secret
		// is sent, and what answers at an address of this host is this host.
		transport.TLSClientConfig = &tls.Config{InsecureSkipVerify: true}
	}
	return a.probe(transport, url, url)
}

// reachable is where to ask a listener: one on every address is asked on loopback.
func reachable(admin string) (string, error) {
	if admin == "" {
		return "", errors.New("there is no admin listener to ask: the setting admin is empty")
	}
	host, port, err := net.SplitHostPort(admin)
	if err != nil {
		return "", err
	}
	if port == "0" {
		return "", errors.New(
			"the setting admin has port 0: nobody knows where to ask; choose a port")
	}
	switch ip := net.ParseIP(host); {
	case host == "" || ip != nil && ip.IsUnspecified() && ip.To4() != nil:
		host = "127.0.0.1"
	case ip != nil && ip.IsUnspecified():
		host = "::1"
	}
	return net.JoinHostPort(host, port), nil
}

// probe passes on what the gateway answers, and fails unless it is 200. where is what the URL is
// called in errors.
func (a *app) probe(transport *http.Transport, url, where string) error {
	ctx, cancel := context.WithTimeout(context.Background(), healthTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := transport.RoundTrip(req)
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("%s did not answer within %v", where, healthTimeout)
	}
	if err != nil {
		return fmt.Errorf("%s cannot be asked: %w", where, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, healthBytesMax))
	if err != nil {
		return fmt.Errorf("%s broke off its answer: %w", where, err)
	}
	text := strings.TrimSpace(string(body))
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %s\n%s", where, resp.Status, text)
	}
	return a.print(text + "\n")
}
