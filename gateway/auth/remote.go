package auth

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"time"
)

// answerBytesMax bounds the answers of introspection endpoints and hooks.
const answerBytesMax = 64 << 10

// retryAfterMax bounds how long a service may send a peer away.
const retryAfterMax = 5 * time.Minute

// checkURL returns an error unless tokens and keys may travel to and from an address: by https, or
// within this machine.
func checkURL(raw string) error {
	u, err := url.Parse(raw)
	if err != nil {
		// The error quotes the URL, which may have a password in it.
		return errors.New("auth: not a URL")
	}
	switch {
	case u.User != nil || u.Fragment != "" || u.Hostname() == "":
		return errors.New("auth: a URL needs a host, and no user or fragment")
	case u.Scheme == "https" || u.Scheme == "http" && isLoopback(u.Hostname()):
		return nil
	}
	return fmt.Errorf("auth: %s is neither https nor on this machine", u.Host)
}

func isLoopback(host string) bool {
	if host == "localhost" {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.IsLoopback()
}

// newHTTPClient returns a client that follows no redirect, so that a token, or the trust in keys,
// stays with the host that was configured. Deadlines are the contexts'.
func newHTTPClient(config *tls.Config, connectionsMax int) *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			Proxy:                  http.ProxyFromEnvironment,
			DialContext:            (&net.Dialer{KeepAlive: 15 * time.Second}).DialContext,
			TLSClientConfig:        config,
			ForceAttemptHTTP2:      true,
			MaxConnsPerHost:        connectionsMax,
			MaxIdleConnsPerHost:    connectionsMax,
			IdleConnTimeout:        time.Minute,
			MaxResponseHeaderBytes: 16 << 10,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error {
			return http.ErrUseLastResponse
		},
	}
}

// answer is what a service said.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// ask sends a request and reads the whole answer, so that the connection can be used again.
func ask(ctx context.Context, client *http.Client, r *http.Request) (answer, error) {
	resp, err := client.Do(r.WithContext(ctx))
	if err != nil {
		return answer{}, Unavailable(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, answerBytesMax+1))
	if err != nil {
		return answer{}, Unavailable(err)
	}
	if len(body) > answerBytesMax {
		return answer{}, Unavailable(errors.New("the answer is too large"))
	}
	return answer{status: resp.StatusCode, header: resp.Header, body: body}, nil
}

// unexpected is the error of an answer that has the wrong status.
func (a *answer) unexpected() error {
	return Unavailable(fmt.Errorf("the answer has the status %d", a.status))
}

// retryAfter is what an answer says of coming back, RFC 9110 section 10.2.3, in seconds; zero if it
// says nothing.
func (a *answer) retryAfter() time.Duration {
	n, err := strconv.Atoi(a.header.Get("Retry-After"))
	if err != nil || n < 0 {
		return 0
	}
	return min(time.Duration(n)*time.Second, retryAfterMax)
}
