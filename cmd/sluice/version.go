package main

import (
	"encoding/json"
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"
)

// build is what the binary knows of its making.
type build struct {
	Version  string            `json:"version"`
	Commit   string            `json:"commit,omitempty"`
	Date     string            `json:"date,omitempty"` // of the commit, RFC 3339
	Modified bool              `json:"modified"`       // built from files that were not committed
	Go       string            `json:"go"`
	Platform string            `json:"platform"`
	Modules  map[string]string `json:"modules"` // versions by path
}

// readBuild reads what the linker has left in the binary.
func readBuild() build {
	b := build{
		Version: "unknown", Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH,
		Modules: map[string]string{},
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return b
	}
	if v := info.Main.Version; v != "" {
		b.Version = strings.Trim(v, "()") // "(devel)" without version control
	}
	for _, m := range info.Deps {
		b.Modules[m.Path] = m.Version
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			b.Commit = s.Value
		case "vcs.time":
			b.Date = s.Value
		case "vcs.modified":
			b.Modified = s.Value == "true"
		}
	}
	return b
}

func (b build) text(asJSON bool) string {
	if asJSON {
		text, err := json.MarshalIndent(b, "", "  ")
		if err != nil {
			panic(err) // strings and booleans only
		}
		return string(text) + "\n"
	}
	text := fmt.Sprintf("sluice %s (%s, %s)\n", b.Version, b.Go, b.Platform)
	if b.Commit != "" {
		text += fmt.Sprintf("commit %s of %s", b.Commit, b.Date)
		if b.Modified {
			text += ", with changes"
		}
		text += "\n"
	}
	return text
}
