package gateway

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"time"

	"sluice/gateway/admin"
	"sluice/gateway/origin"
	"sluice/gateway/proxy"
)

// FieldError is what Validate reports of one field.
type FieldError struct {
	Field  string // name of the field of Config
	Reason string // what is wrong with its value, without the name
}

func (e *FieldError) Error() string { return e.Field + ": " + e.Reason }

// Validate reports every value that is out of its range, each as a *FieldError, joined.
func (c *Config) Validate() error {
	var v validator
	v.address("Listen", c.Listen)
	v.admin(c)
	v.origins(c)
	v.tls(c)
	v.proxies(c)
	v.choices(c)
	v.counts(c)
	v.rates(c)
	v.durations(c)
	return errors.Join(v.errs...)
}

// validator collects what is wrong.
type validator struct{ errs []error }

func (v *validator) check(ok bool, field, format string, args ...any) {
	if !ok {
		v.errs = append(v.errs, &FieldError{field, fmt.Sprintf(format, args...)})
	}
}

func (v *validator) address(field, addr string) {
	_, _, err := net.SplitHostPort(addr)
	v.check(err == nil, field, "%q is not host:port", addr)
}

func (v *validator) admin(c *Config) {
	path, unix := admin.SocketPath(c.Admin)
	switch {
	case c.Admin == "":
	case unix:
		if err := admin.CheckSocketPath(path); err != nil {
			v.errs = append(v.errs, &FieldError{"Admin", err.Error()})
		}
	default:
		v.address("Admin", c.Admin)
	}
	v.check((c.AdminTLSKey == "") == (c.AdminTLSCert == ""), "AdminTLSKey",
		"a certificate needs a key, and a key a certificate")
	v.check(c.AdminTLSCert == "" || c.Admin != "" && !unix, "AdminTLSCert",
		"only an admin listener on a network has TLS")
}

// origins checks the allow-list, and that there is one where browsers prove who their user is by
// themselves, whatever page asks them to (faults H17).
func (v *validator) origins(c *Config) {
	list, err := origin.Parse(c.Origins)
	if err != nil {
		v.errs = append(v.errs, &FieldError{"Origins", err.Error()})
		return
	}
	authentication := c.auth()
	v.check(list.Len() > 0 || !authentication.Ambient(), "Origins",
		"browsers send cookies and passwords for every page: list the origins that may use them")
}

func (v *validator) tls(c *Config) {
	v.check(len(c.TLSKeys) == len(c.TLSCerts), "TLSKeys",
		"there are %d keys for %d certificates", len(c.TLSKeys), len(c.TLSCerts))
	v.check(!c.TLSSelfSigned || len(c.TLSCerts) == 0, "TLSSelfSigned",
		"there is a certificate already")
	v.check(c.TLSClientAuth == "none" || c.TLSSelfSigned || len(c.TLSCerts) > 0, "TLSClientAuth",
		"clients can only show certificates to a listener with TLS")
	v.check(c.TLSClientAuth == "none" || c.TLSClientCA != "", "TLSClientCA",
		"it must name the authorities whose certificates count")
	v.check(c.TLSClientAuth != "none" || c.TLSClientCA == "", "TLSClientAuth",
		"no client is asked for a certificate of tls-client-ca: say request or require")
}

func (v *validator) proxies(c *Config) {
	if _, err := proxy.ParseTrust(c.TrustedProxies); err != nil {
		v.errs = append(v.errs, &FieldError{"TrustedProxies", err.Error()})
	}
	asks := c.ProxyProtocol || c.ClientHeader != "none"
	v.check(!asks || len(c.TrustedProxies) > 0, "TrustedProxies",
		"anybody could claim to be anybody: list the networks of the proxies")
}

func (v *validator) choices(c *Config) {
	for _, r := range []struct {
		field, value string
		of           []string
	}{
		{"Engine", c.Engine, []string{"auto", "epoll", "netpoll"}},
		{"SlowConsumer", string(c.SlowConsumer), policyNames()},
		{"Echo", string(c.Echo), []string{string(EchoAuto), string(EchoOn), string(EchoOff)}},
		{"ClientHeader", c.ClientHeader, slices.Sorted(maps.Keys(clientHeaders))},
		{"TLSMinVersion", c.TLSMinVersion, []string{"1.2", "1.3"}},
		{"TLSClientAuth", c.TLSClientAuth, []string{"none", "request", "require"}},
		{"TLSIdentity", c.TLSIdentity, []string{"uri", "dns", "cn"}},
		{"LogFormat", c.LogFormat, []string{"auto", "json", "text"}},
	} {
		v.check(slices.Contains(r.of, r.value), r.field, "%q is not one of %s", r.value,
			strings.Join(r.of, ", "))
	}
}

func (v *validator) counts(c *Config) {
	for _, r := range []struct {
		field            string
		value, low, high int64
	}{
		{"Loops", int64(c.Loops), 0, 1024},
		{"Workers", int64(c.Workers), 0, 65536},
		{"ConnectionsMax", int64(c.ConnectionsMax), 0, 16 << 20},
		{"ConnectionsPerIPMax", int64(c.ConnectionsPerIPMax), 0, 16 << 20},
		{"ConnectionsPerUserMax", int64(c.ConnectionsPerUserMax), 0, 1 << 20},
		{"TLSHandshakesMax", int64(c.TLSHandshakesMax), 0, 1 << 16},
		{"BadHandshakeBurst", int64(c.BadHandshakeBurst), 1, 1 << 20},
		{"ByteBurst", int64(c.ByteBurst), 1, 1 << 30},
		{"AcceptBurst", int64(c.AcceptBurst), 1, 1 << 20},
		{"AcceptBurstPerIP", int64(c.AcceptBurstPerIP), 1, 1 << 20},
		{"RequestLineBytesMax", int64(c.RequestLineBytesMax), 64, 64 << 10},
		{"HeaderBytesMax", int64(c.HeaderBytesMax), 256, 1 << 20},
		{"HeadersMax", int64(c.HeadersMax), 4, 1000},
		{"MessageBytesMax", int64(c.MessageBytesMax), 1, 1 << 30},
		{"FragmentsMax", int64(c.FragmentsMax), 0, 1 << 30},
		{"MessageBurst", int64(c.MessageBurst), 1, 1 << 20},
		{"ControlBurst", int64(c.ControlBurst), 1, 1 << 20},
		{"SendBufferBytes", int64(c.SendBufferBytes), 0, 1 << 30},
		{"RenewalBurst", int64(c.RenewalBurst), 1, 1 << 20},
		{"QueueBytesMax", int64(c.QueueBytesMax), 1 << 10, 1 << 30},
		{"QueueMessagesMax", int64(c.QueueMessagesMax), 1, 1 << 20},
		{"CompressionLevel", int64(c.CompressionLevel), 1, 9},
		{"CompressionBytesMin", int64(c.CompressionBytesMin), 0, 1 << 30},
		{"CompressionMemoryMax", c.CompressionMemoryMax, 0, 1 << 50},
	} {
		v.check(r.value >= r.low && r.value <= r.high, r.field, "%d is not within %d and %d",
			r.value, r.low, r.high)
	}
}

func (v *validator) rates(c *Config) {
	for _, r := range []struct {
		field string
		value float64
	}{
		{"AcceptRate", c.AcceptRate}, {"AcceptRatePerIP", c.AcceptRatePerIP},
		{"MessageRate", c.MessageRate}, {"ControlRate", c.ControlRate},
		{"BadHandshakeRate", c.BadHandshakeRate}, {"ByteRate", c.ByteRate},
		{"RenewalRate", c.RenewalRate},
	} {
		v.check(r.value >= 0 && r.value <= 1e9, r.field, "%v is not within 0 and 1e9", r.value)
	}
}

func (v *validator) durations(c *Config) {
	for _, r := range []struct {
		field string
		value time.Duration
		zero  bool // 0 is allowed
	}{
		{"HandshakeTimeout", c.HandshakeTimeout, false},
		{"MessageTimeout", c.MessageTimeout, false},
		{"QueueAgeMax", c.QueueAgeMax, false},
		{"WriteTimeout", c.WriteTimeout, false},
		{"CloseTimeout", c.CloseTimeout, false},
		{"PingInterval", c.PingInterval, true},
		{"PongTimeout", c.PongTimeout, false},
		{"IdleTimeout", c.IdleTimeout, true},
		{"TLSHandshakeTimeout", c.TLSHandshakeTimeout, false},
		{"AuthCacheTTL", c.AuthCacheTTL, true},
		{"AuthTimeout", c.AuthTimeout, false},
		{"AuthGrace", c.AuthGrace, true},
		{"AuthRecheck", c.AuthRecheck, true},
		{"ConnectionAgeMax", c.ConnectionAgeMax, true},
		{"DrainDelay", c.DrainDelay, true},
		{"DrainDuration", c.DrainDuration, true},
		{"DrainDeadline", c.DrainDeadline, false},
	} {
		ok := r.value >= 100*time.Millisecond && r.value <= 24*time.Hour || r.zero && r.value == 0
		v.check(ok, r.field, "%v is not within 100ms and 24h", r.value)
	}
	v.check(c.DrainDeadline >= c.DrainDelay+c.DrainDuration, "DrainDeadline",
		"%v is before the end of the drain (delay %v and duration %v)",
		c.DrainDeadline, c.DrainDelay, c.DrainDuration)
}
