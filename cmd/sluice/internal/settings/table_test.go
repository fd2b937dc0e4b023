package settings

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"testing"

	"go.uber.org/goleak"

	"sluice/gateway"
)

// Two goroutines of ants run from the start of a process to its end.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m, goleak.IgnoreCurrent()) }

func TestTableHasEveryFieldOnce(t *testing.T) {
	seen := map[string]int{}
	for _, s := range Table() {
		seen[s.Field]++
	}
	config := reflect.TypeFor[gateway.Config]()
	for i := range config.NumField() {
		name := config.Field(i).Name
		if seen[name] != 1 {
			t.Errorf("gateway.Config.%s is in the table %d times, not once", name, seen[name])
		}
		delete(seen, name)
	}
	for name := range seen {
		t.Errorf("gateway.Config has no field %s", name)
	}
}

func TestKeysAreKebabCaseAndUnique(t *testing.T) {
	kebab := regexp.MustCompile(`^[a-z]+(-[a-z]+)*$`)
	seen := map[string]bool{"config": true}
	for _, s := range Table() {
		if !kebab.MatchString(s.Key) || seen[s.Key] {
			t.Errorf("key %q is used twice or is not kebab-case", s.Key)
		}
		seen[s.Key] = true
		if announced.MatchString(s.Env()) {
			t.Errorf("%s would be taken for a variable of Kubernetes", s.Env())
		}
		if (s.Arg == "") != s.Switch() {
			t.Errorf("%s: only switches go without a value", s.Key)
		}
	}
}

func TestKeysThatScriptsUse(t *testing.T) {
	keys := map[string]bool{}
	for _, s := range Table() {
		keys[s.Key] = true
	}
	for _, key := range []string{
		"listen", "admin", "engine", "loops", "workers", "max-connections", "max-connections-per-ip",
		"accept-rate", "accept-rate-per-ip", "message-rate", "max-message-size", "max-fragments",
		"echo", "compression", "ping-interval", "pong-timeout", "slow-consumer", "drain-duration",
		"log-level",
	} {
		if !keys[key] {
			t.Errorf("there is no setting %s", key)
		}
	}
}

// samples are three values of a setting that are valid and differ from its default and, but for
// switches, from each other.
func samples(s Setting) [3]string {
	special := map[string][3]string{
		"allowed-origins":    {"https://a.com", "https://a.com  null", "*"},
		"listen":             {"127.0.0.1:1", ":2", "[::1]:3"},
		"admin":              {"127.0.0.1:4", ":5", ""},
		"engine":             {"epoll", "netpoll", "epoll"},
		"slow-consumer":      {"drop-oldest", "drop-newest", "latest"},
		"trusted-proxies":    {"10.0.0.0/8", "::1  10.1.1.1", "192.0.2.1"},
		"client-header":      {"forwarded", "x-forwarded-for", "forwarded"},
		"chat-hmac-key-file": {"a", "b", "c"},
		"admin-token-file":   {"a", "b", "c"},
		"admin-tls-cert":     {"a", "b", "a"},
		"admin-tls-key":      {"a", "b", "a"},
		"audit-log":          {"a", "b", "stderr"},
		"tls-cert":           {"a", "b", "a"},
		"tls-key":            {"a", "b", "a"},
		"tls-client-ca":      {"a", "b", "c"},
		"tls-client-auth":    {"request", "require", "request"},
		"tls-min-version":    {"1.3", "1.3", "1.3"},
		"tls-identity":       {"dns", "cn", "dns"},
		"log-format":         {"json", "text", "json"},
		"default-room":       {"a", "with space", "yes"},
		"drain-deadline":     {"61s", "2m", "1h30m"},
	}
	byKind := map[string][3]string{
		"count":    {"5", "6", "0.007k"},
		"size":     {"2KiB", "3000", "4KB"},
		"rate":     {"5", "6/s", "0.7k/s"},
		"duration": {"11s", "1m2s", "1300ms"},
		"level":    {"debug", "warn", "ERROR"},
		"list":     {"cookie:a", "cookie:a  query:b", "key=@a,user=b+c"},
	}
	if v, ok := special[s.Key]; ok {
		return v
	}
	if s.Switch() {
		if s.Text(gateway.DefaultConfig()) == "true" {
			return [3]string{"false", "off", "no"}
		}
		return [3]string{"true", "on", "yes"}
	}
	if s.Key == "drain-duration" || s.Key == "drain-delay" {
		return [3]string{"11s", "12s", "1300ms"}
	}
	return byKind[s.Kind()]
}

// needed are the settings without which a setting is not valid, as an environment.
func needed(key string) []string {
	switch key {
	case "proxy-protocol", "client-header":
		return []string{"SLUICE_TRUSTED_PROXIES=::1"}
	case "tls-cert":
		return []string{"SLUICE_TLS_KEY=k"}
	case "tls-key":
		return []string{"SLUICE_TLS_CERT=c"}
	case "tls-client-ca":
		return []string{"SLUICE_TLS_SELF_SIGNED=yes", "SLUICE_TLS_CLIENT_AUTH=request"}
	case "admin-tls-cert":
		return []string{"SLUICE_ADMIN_TLS_KEY=k"}
	case "admin-tls-key":
		return []string{"SLUICE_ADMIN_TLS_CERT=c"}
	case "tls-client-auth":
		return []string{"SLUICE_TLS_SELF_SIGNED=yes", "SLUICE_TLS_CLIENT_CA=ca.pem"}
	}
	return nil
}

// place puts a value of a setting into one of the sources.
func place(t *testing.T, src *Sources, o Origin, s Setting, text string) {
	t.Helper()
	switch o {
	case FromFile:
		src.File = writeFile(t, fmt.Sprintf("# a comment\n%s: %s\n", s.Key, quote(text)))
	case FromEnv:
		src.Environ = append(src.Environ, s.Env()+"="+text)
	case FromFlag:
		src.Flags = map[string]string{s.Key: text}
	}
}

func writeFile(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestSameTextInEverySource(t *testing.T) {
	for _, s := range Table() {
		for _, text := range samples(s) {
			parsed, err := s.kind.parse(text)
			if err != nil {
				t.Fatalf("%s: %v", s.Key, err)
			}
			want := s.Format(parsed)
			if s.Text(gateway.DefaultConfig()) == want {
				t.Fatalf("%s: the sample %q is the default", s.Key, text)
			}
			for _, o := range []Origin{FromFile, FromEnv, FromFlag} {
				src := Sources{Environ: needed(s.Key)}
				place(t, &src, o, s, text)
				v, err := Load(src)
				if err != nil {
					t.Errorf("%s = %q: %v", s.Key, text, err)
					continue
				}
				if got := s.Text(v.Config); got != want || v.Source(s.Key).Origin != o {
					t.Errorf("%s = %q from %v: %q from %v, want %q", s.Key, text, o, got,
						v.Source(s.Key), want)
				}
			}
		}
	}
}

func TestPrecedence(t *testing.T) {
	for _, s := range Table() {
		values := samples(s)
		// The texts grow in strength: file, environment, flag.
		for subset := range 8 {
			src := Sources{}
			if subset > 0 {
				src.Environ = needed(s.Key)
			}
			strongest, want := BuiltIn, s.Text(gateway.DefaultConfig())
			for i, o := range []Origin{FromFile, FromEnv, FromFlag} {
				if subset&(1<<i) == 0 {
					continue
				}
				place(t, &src, o, s, values[i])
				parsed, err := s.kind.parse(values[i])
				if err != nil {
					t.Fatal(err)
				}
				strongest, want = o, s.Format(parsed)
			}
			v, err := Load(src)
			if err != nil {
				t.Errorf("%s: %v", s.Key, err)
				continue
			}
			if got := s.Text(v.Config); got != want || v.Source(s.Key).Origin != strongest {
				t.Errorf("%s from %03b: got %q from %v, want %q", s.Key, subset, got,
					v.Source(s.Key), want)
			}
		}
	}
}

func TestHotFollowsTheGateway(t *testing.T) {
	for key, hot := range map[string]bool{"listen": false, "message-rate": true, "echo": false} {
		for _, s := range Table() {
			if s.Key == key && s.Hot() != hot {
				t.Errorf("%s: hot is %v", key, s.Hot())
			}
		}
	}
}
