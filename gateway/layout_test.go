package gateway

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// imports lists what the packages of the module import, tests left out, and who has a package
// comment.
func imports(t *testing.T) (by map[string][]string, comments map[string]int) {
	t.Helper()
	by, comments = map[string][]string{}, map[string]int{}
	elsewhere := []string{"node_modules", ".git", "peers"} // bench/peers is a module of its own
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() && slices.Contains(elsewhere, d.Name()) {
			return filepath.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil,
			parser.ImportsOnly|parser.ParseComments)
		if err != nil {
			return err
		}
		pkg := strings.TrimPrefix(filepath.ToSlash(filepath.Dir(path)), "../")
		comments[pkg] += 0
		if f.Doc != nil {
			comments[pkg]++
		}
		for _, i := range f.Imports {
			name, err := strconv.Unquote(i.Path.Value)
			if err != nil {
				return err
			}
			by[pkg] = append(by[pkg], strings.TrimPrefix(name, "sluice/"))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return by, comments
}

func TestEveryPackageIsExplainedOnce(t *testing.T) {
	_, comments := imports(t)
	if len(comments) < 10 {
		t.Fatalf("only %d packages were found", len(comments))
	}
	for pkg, n := range comments {
		if n != 1 {
			t.Errorf("%s has %d package comments", pkg, n)
		}
	}
}

// Who may import what; docs/ARCHITECTURE.md says why.
func TestImportsGoDownwards(t *testing.T) {
	leaves := []string{"gateway/wire", "gateway/deflate", "gateway/limits", "gateway/workers",
		"gateway/hub", "gateway/metrics", "gateway/admin", "gateway/origin", "gateway/auth",
		"gateway/audit"}
	by, _ := imports(t)
	for pkg, list := range by {
		for _, dep := range list {
			switch {
			case slices.Contains(leaves, pkg) && (dep == "poller" || dep == "gateway"):
				t.Errorf("%s is a leaf, but imports %s", pkg, dep)
			case slices.Contains(leaves, pkg) && slices.Contains(leaves, dep):
				t.Errorf("the leaf %s imports the leaf %s", pkg, dep)
			case strings.HasPrefix(pkg, "poller") && strings.HasPrefix(dep, "gateway"):
				t.Errorf("%s must not know what the bytes mean, but imports %s", pkg, dep)
			case strings.HasPrefix(pkg, "bench") && dep == "gateway":
				t.Errorf("%s measures from outside, but imports the gateway", pkg)
			}
		}
	}
}

// A library is known to one package, which can replace it.
func TestLibrariesHaveOneUser(t *testing.T) {
	by, _ := imports(t)
	// The generator has its own reader of YAML: it knows nothing of the gateway's settings.
	others := []string{"bench/benchtest", "bench/crowd"}
	for library, owner := range map[string]string{
		"github.com/cloudwego/netpoll":        "poller",
		"github.com/panjf2000/ants":           "gateway/workers",
		"github.com/klauspost/compress":       "gateway/deflate",
		"github.com/prometheus/client_golang": "gateway/metrics",
		"github.com/gobwas/ws":                "gateway/wire",
		"go.yaml.in/yaml":                     "cmd/sluice/internal/settings",
		"github.com/golang-jwt/jwt":           "gateway/auth",
		"github.com/redis/rueidis":            "gateway/auth/sessions",
	} {
		used := false
		for pkg, list := range by {
			for _, dep := range list {
				if !strings.HasPrefix(dep, library) {
					continue
				}
				if pkg == owner {
					used = true
				} else if !slices.Contains(others, pkg) {
					t.Errorf("%s imports %s, which belongs to %s", pkg, dep, owner)
				}
			}
		}
		if !used {
			t.Errorf("%s does not import %s", owner, library)
		}
	}
}
