package gateway

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// secretNames are names of values that nobody may guess byte by byte from how long a comparison
// takes.
var secretNames = regexp.MustCompile(`(?i)^(mac|digest|sum|secret|password|signature|hash|want\w*token|given\w*token)$`)

// leaks lists the comparisons in a file that take longer the more of a secret is right.
func leaks(file *ast.File) (found []token.Pos) {
	secret := func(e ast.Expr) bool {
		switch e := e.(type) {
		case *ast.Ident:
			return secretNames.MatchString(e.Name)
		case *ast.SelectorExpr:
			return secretNames.MatchString(e.Sel.Name)
		case *ast.SliceExpr:
			id, ok := e.X.(*ast.Ident)
			return ok && secretNames.MatchString(id.Name)
		case *ast.CallExpr: // string(mac)
			id, ok := e.Fun.(*ast.Ident)
			if ok && id.Name == "string" && len(e.Args) == 1 {
				arg, ok := e.Args[0].(*ast.Ident)
				return ok && secretNames.MatchString(arg.Name)
			}
		}
		return false
	}
	empty := func(e ast.Expr) bool { // whether there is one at all is no secret
		switch e := e.(type) {
		case *ast.Ident:
			return e.Name == "nil"
		case *ast.BasicLit:
			return e.Value == `""`
		}
		return false
	}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.BinaryExpr:
			compares := n.Op == token.EQL || n.Op == token.NEQ
			if compares && (secret(n.X) || secret(n.Y)) && !empty(n.X) && !empty(n.Y) {
				found = append(found, n.Pos())
			}
		case *ast.CallExpr:
			f, ok := n.Fun.(*ast.SelectorExpr)
			if !ok || f.Sel.Name != "Equal" && f.Sel.Name != "Compare" {
				return true
			}
			pkg, ok := f.X.(*ast.Ident)
			if ok && (pkg.Name == "bytes" || pkg.Name == "slices" || pkg.Name == "strings") {
				found = append(found, n.Pos())
			}
		}
		return true
	})
	return found
}

func TestA12_secrets_are_compared_in_constant_time(t *testing.T) {
	for text, want := range map[string]int{
		`mac == want`: 1, `s.secret != given`: 1, `string(mac) == x`: 1, `bytes.Equal(a, b)`: 1,
		`secret == ""`: 0, `mac == nil`: 0, `hmac.Equal(mac, want)`: 0, `len(mac) == 32`: 0,
	} {
		f, err := parser.ParseFile(token.NewFileSet(), "", "package p\nvar _ = "+text, 0)
		if err != nil {
			t.Fatal(err)
		}
		if n := len(leaks(f)); n != want {
			t.Errorf("%s: %d are found, want %d", text, n, want)
		}
	}
	looked := 0
	for _, dir := range []string{"auth", "signed", "admin"} {
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			looked++
			set := token.NewFileSet()
			f, err := parser.ParseFile(set, path, nil, 0)
			if err != nil {
				return err
			}
			for _, pos := range leaks(f) {
				t.Errorf("%v: a comparison that may tell of a secret", set.Position(pos))
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if looked < 20 {
		t.Errorf("only %d files were looked at", looked)
	}
}
