package gateway

import (
	"fmt"
	"os"

	"sluice/gateway/audit"
)

// privateFile is a file that only the gateway should be able to read.
type privateFile struct{ key, path string }

// privateFiles lists the files of a configuration that hold secrets.
func (c *Config) privateFiles() (list []privateFile) {
	add := func(key string, paths ...string) {
		for _, path := range paths {
			if path != "" {
				list = append(list, privateFile{key, path})
			}
		}
	}
	add("admin-token-file", c.AdminTokenFile)
	add("admin-tls-key", c.AdminTLSKey)
	add("tls-key", c.TLSKeys...)
	add("chat-hmac-key-file", c.ChatHMACKeyFile)
	if c.AuditLog != audit.Stderr {
		add("audit-log", c.AuditLog) // it has the names of users
	}
	a := c.auth()
	for _, f := range a.SecretFiles() {
		add(f.Key, f.Path)
	}
	return list
}

// FileWarnings lists the files with secrets that other users of this host may read or change, in
// sentences. The group may read: that is how secrets are shared with a service. Files that are not
// there are left out.
func (c *Config) FileWarnings() (list []string) {
	for _, f := range c.privateFiles() {
		info, err := os.Stat(f.path)
		if err != nil || !info.Mode().IsRegular() {
			continue
		}
		mode := info.Mode().Perm()
		switch {
		case mode&0o007 != 0:
			list = append(list, fmt.Sprintf("%s: every user of this host may use %s (mode %#o): "+
				"chmod o= %[2]s", f.key, f.path, mode))
		case mode&0o020 != 0:
			list = append(list, fmt.Sprintf("%s: the group may change %s (mode %#o): "+
				"chmod g-w %[2]s", f.key, f.path, mode))
		}
	}
	return list
}
