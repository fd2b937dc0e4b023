package gateway

import (
	"fmt"
	"reflect"
	"strings"

	"sluice/gateway/metrics"
)

// coldFields are the fields of Config that a running gateway cannot change.
var coldFields = map[string]bool{
	"Listen": true, "Admin": true, "Engine": true, "Loops": true, "Workers": true,
	"SendBufferBytes":     true,
	"RequestLineBytesMax": true, "HeaderBytesMax": true, "HeadersMax": true,
	"Echo": true, "RoomDefault": true,
	"Compression": true, "CompressionLevel": true, "CompressionBytesMin": true,
	"CompressionTakeover": true, "CompressionMemoryMax": true,
	"AuthSources": true, "AuthJWT": true, "AuthIntrospection": true, "AuthHook": true,
	"AuthSessions": true, "AuthCacheTTL": true,
	"TrustedProxies": true, "ProxyProtocol": true, "ClientHeader": true,
	"ChatHMACKeyFile": true, "ChatHMACRooms": true,
	"AdminTokenFile": true, "AdminTLSCert": true, "AdminTLSKey": true,
	"TLSCerts": true, "TLSKeys": true, "TLSSelfSigned": true, "TLSClientCA": true,
	"TLSClientAuth": true, "TLSIdentity": true, "TLSHandshakesMax": true,
	"TLSHandshakeTimeout": true, "TLSMinVersion": true,
	"Pprof": true, "LogFormat": true, "AuditLog": true,
}

// NeedsRestart reports whether a change of a field of Config takes effect only after a restart.
func NeedsRestart(field string) bool { return coldFields[field] }

// Change is a field of Config that differs between two configurations.
type Change struct {
	Field    string
	Old, New any
}

// Changes lists the fields in which two configurations differ, in the order of Config.
func Changes(old, new Config) []Change {
	var list []Change
	a, b := reflect.ValueOf(old), reflect.ValueOf(new)
	for i := range a.NumField() {
		x, y := a.Field(i).Interface(), b.Field(i).Interface()
		if !reflect.DeepEqual(x, y) {
			list = append(list, Change{a.Type().Field(i).Name, x, y})
		}
	}
	return list
}

// RestartError says which changes a reload was refused for.
type RestartError struct{ Fields []string }

func (e *RestartError) Error() string {
	return fmt.Sprintf("a restart is needed to change %s", strings.Join(e.Fields, ", "))
}

// Reload puts a new configuration into force as a whole, or not at all: it fails if the
// configuration is invalid, or with a *RestartError if it changes what a running gateway cannot
// change. It closes no connection. Limits of messages hold for connections that come after it, all
// else at once. Certificates are loaded again, too; if that fails the old ones stay in use, and the
// rest of the configuration is in force all the same.
func (g *Gateway) Reload(cfg Config) error {
	g.reloading.Lock()
	defer g.reloading.Unlock()
	err := g.reload(cfg)
	if err != nil {
		g.reloadFailed()
	}
	return err
}

// ReloadFailed notes, for the metrics, that a new configuration could not even be read.
func (g *Gateway) ReloadFailed() {
	g.reloading.Lock()
	defer g.reloading.Unlock()
	g.reloadFailed()
}

func (g *Gateway) reloadFailed() {
	g.loaded.Store(&metrics.Reload{Failed: true, Loaded: g.loaded.Load().Loaded})
}

func (g *Gateway) reload(cfg Config) error {
	if err := cfg.Validate(); err != nil {
		return err
	}
	var cold []string
	for _, c := range Changes(g.current.Load().Config, cfg) {
		if NeedsRestart(c.Field) {
			cold = append(cold, c.Field)
		}
	}
	if len(cold) > 0 {
		return &RestartError{cold}
	}
	max, err := connectionsMax(&cfg)
	if err != nil {
		return err
	}
	g.install(cfg, max)
	g.reloadCertificates()
	return nil
}
