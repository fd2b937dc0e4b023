package settings

import (
	"regexp"
	"slices"
	"strings"
)

const (
	envPrefix = "SLUICE_"
	// envConfig names the configuration file, like --config.
	envConfig = envPrefix + "CONFIG"
)

// Kubernetes announces every Service of a namespace to its pods in variables that begin with the
// name of the Service. They are none of ours, even if the Service is called sluice.
var (
	announced = regexp.MustCompile(`_SERVICE_HOST$|_SERVICE_PORT(_[A-Z0-9_]+)?$|` +
		`_PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?$`)
	announcedPort = regexp.MustCompile(`_PORT=(tcp|udp|sctp)://`)
)

// environment finds the values among NAME=value pairs, and the configuration file that they name.
func environment(environ []string, table []Setting) (values []raw, file string, errs []error) {
	keys := map[string]string{}
	for _, s := range table {
		keys[s.Env()] = s.Key
	}
	names := append(keysOf(table), "config")
	for _, pair := range slices.Sorted(slices.Values(environ)) {
		name, text, _ := strings.Cut(pair, "=")
		source := Source{Origin: FromEnv, Name: name}
		switch key, known := keys[name]; {
		case !strings.HasPrefix(name, envPrefix):
		case known:
			values = append(values, raw{key, text, source})
		case name == envConfig:
			file = text
		case announced.MatchString(name) || announcedPort.MatchString(pair):
		default:
			errs = append(errs, unknown(name, source, name[len(envPrefix):], names, EnvName))
		}
	}
	return values, file, errs
}

func keysOf(table []Setting) []string {
	keys := make([]string, len(table))
	for i, s := range table {
		keys[i] = s.Key
	}
	return keys
}
