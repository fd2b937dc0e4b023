package setup

import (
	"strings"

	"sluice/gateway/auth"
)

// SecretFile is a file that a spec names and that holds a secret.
type SecretFile struct {
	Key  string // of the setting
	Path string
}

// SecretFiles lists the files that hold the secrets of the verifiers, not those of public keys.
func (c *Config) SecretFiles() (list []SecretFile) {
	for _, service := range []struct {
		key, name string
		specs     []string
	}{
		{"auth-jwt", "key", c.JWT},
		{"auth-introspection", "client-secret", c.Introspection},
		{"auth-hook", "secret", c.Hook},
		{"auth-sessions", "password", c.Sessions},
	} {
		for _, text := range service.specs {
			for pair := range strings.SplitSeq(text, ",") {
				name, value, _ := strings.Cut(pair, "=")
				path, isFile := strings.CutPrefix(value, "@")
				if name == service.name && isFile && auth.HoldsSecret(path) {
					list = append(list, SecretFile{service.key, path})
				}
			}
		}
	}
	return list
}
