package settings

import (
	"errors"
	"io/fs"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"sluice/gateway"
)

// TestWrong holds the sentences that people read. PATH stands for the path of the file.
func TestWrong(t *testing.T) {
	for _, tt := range []struct {
		name string
		file string
		env  []string
		flag map[string]string
		want []string
	}{
		{name: "key_typo", file: "listen: :1\n\nmax-mesage-size: 64KiB\n",
			want: []string{"max-mesage-size (PATH:3): there is no such setting; " +
				"did you mean max-message-size?"}},
		{name: "key_unheard_of", file: "colour: red\n",
			want: []string{"colour (PATH:1): there is no such setting"}},
		{name: "key_twice", file: "loops: 1\nlisten: :1\nloops: 2\n",
			want: []string{"loops (PATH:3): it is set in line 1 already; remove one of the two"}},
		{name: "no_value", file: "listen:\n",
			want: []string{"listen (PATH:1): it has no value; write one, " +
				"or remove the line to get the default"}},
		{name: "list", file: "listen: [a, b]\n",
			want: []string{"listen (PATH:1): it is a list; write a single value"}},
		{name: "nested", file: "max:\n  connections: 1\n",
			want: []string{"max (PATH:1): it has settings below it; write every setting in a line of " +
				"its own, like max-connections: 10k"}},
		{name: "no_mapping", file: "# c\nhello\n",
			want: []string{"PATH:2: the file must be lines of the form key: value"}},
		{name: "no_yaml", file: "listen: :1\n\techo: true\n",
			want: []string{"PATH:2: the file is not valid YAML: " +
				"found a tab character that violates indentation"}},
		{name: "two_documents", file: "listen: :1\n---\necho: true\n",
			want: []string{"PATH:2: a second document begins here; put all settings into one"}},
		{name: "type", file: "echo: 7\n",
			want: []string{`echo (PATH:1): "7" is neither true nor false, nor auto`}},
		{name: "range_in_file", file: "\nmax-connections: 99m\n",
			want: []string{"max-connections (PATH:2): 99000000 is not within 0 and 16777216"}},
		{name: "range_in_env", env: []string{"SLUICE_COMPRESSION_LEVEL=10"},
			want: []string{"compression-level (SLUICE_COMPRESSION_LEVEL): 10 is not within 1 and 9"}},
		{name: "range_in_flag", flag: map[string]string{"max-headers": "1"},
			want: []string{"max-headers (--max-headers): 1 is not within 4 and 1000"}},
		{name: "choice", flag: map[string]string{"engine": "kqueue"},
			want: []string{`engine (--engine): "kqueue" is not one of auto, epoll, netpoll`}},
		{name: "default_that_no_longer_fits", flag: map[string]string{"drain-duration": "90s"},
			want: []string{"drain-deadline (default): 1m0s is before the end of the drain " +
				"(delay 0s and duration 1m30s)"}},
		{name: "env_typo", env: []string{"SLUICE_MAX_CONECTIONS=1"},
			want: []string{"SLUICE_MAX_CONECTIONS: there is no such setting; " +
				"did you mean SLUICE_MAX_CONNECTIONS?"}},
		{name: "env_port_is_not_of_kubernetes", env: []string{"SLUICE_PORT=8080"},
			want: []string{"SLUICE_PORT: there is no such setting"}},
		{name: "env_empty", env: []string{"SLUICE_LOOPS="},
			want: []string{`loops (SLUICE_LOOPS): "" is not a count; write it like 500, 10k or 1m`}},
		{name: "weaker_source_is_checked_too", file: "loops: many\n",
			flag: map[string]string{"loops": "1"},
			want: []string{`loops (PATH:1): "many" is not a count; write it like 500, 10k or 1m`}},
		{name: "all_at_once_in_order", file: "engine: x\nlops: 1\n", env: []string{"SLUICE_LOOPS=x"},
			flag: map[string]string{"workers": "-1"},
			want: []string{`engine (PATH:1): "x" is not one of auto, epoll, netpoll`,
				"lops (PATH:2): there is no such setting; did you mean loops?",
				`loops (SLUICE_LOOPS): "x" is not a count; write it like 500, 10k or 1m`,
				`workers (--workers): "-1" is not a count; write it like 500, 10k or 1m`}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			src := Sources{Environ: tt.env, Flags: tt.flag}
			if tt.file != "" {
				src.File = writeFile(t, tt.file)
			}
			_, err := Load(src)
			var got []string
			for _, e := range List(err) {
				text := e.Error()
				if src.File != "" {
					text = strings.ReplaceAll(text, src.File, "PATH")
				}
				got = append(got, text)
			}
			if strings.Join(got, "\n") != strings.Join(tt.want, "\n") {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(tt.want, "\n"))
			}
		})
	}
}

func TestFileThatCannotBeRead(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "none.yaml")
	for name, src := range map[string]Sources{
		"flag": {File: missing}, "variable": {Environ: []string{"SLUICE_CONFIG=" + missing}},
	} {
		_, err := Load(src)
		if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), missing) {
			t.Errorf("%s: a missing file gives %v", name, err)
		}
	}
	if _, err := Load(Sources{File: t.TempDir()}); err == nil {
		t.Error("a directory is taken for a file")
	}
	big := writeFile(t, strings.Repeat("#", fileBytesMax+1))
	if _, err := Load(Sources{File: big}); err == nil || !strings.Contains(err.Error(), "1MiB") {
		t.Errorf("a huge file gives %v", err)
	}
}

func TestFilesWithoutSettings(t *testing.T) {
	for name, content := range map[string]string{
		"empty": "", "comments": "# listen: :1\n", "separator": "---\n", "null": "null\n",
	} {
		v, err := Load(Sources{File: writeFile(t, content)})
		if err != nil || !reflect.DeepEqual(v.Config, gateway.DefaultConfig()) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAnchorsWork(t *testing.T) {
	v, err := Load(Sources{File: writeFile(t, "loops: &n 3\nworkers: *n\n")})
	if err != nil || v.Config.Loops != 3 || v.Config.Workers != 3 {
		t.Errorf("%+v, %v", v.Config, err)
	}
}

func TestFlagNamesTheFileBeforeTheVariable(t *testing.T) {
	one, two := writeFile(t, "loops: 1\n"), writeFile(t, "loops: 2\n")
	v, err := Load(Sources{File: one, Environ: []string{"SLUICE_CONFIG=" + two}})
	if err != nil || v.Config.Loops != 1 || v.File != one {
		t.Errorf("%d from %s, %v", v.Config.Loops, v.File, err)
	}
	v, err = Load(Sources{Environ: []string{"SLUICE_CONFIG=" + two}})
	if err != nil || v.Config.Loops != 2 || v.File != two {
		t.Errorf("%d from %s, %v", v.Config.Loops, v.File, err)
	}
}

func TestVariablesOfKubernetesAreIgnored(t *testing.T) {
	v, err := Load(Sources{Environ: []string{
		"SLUICE_SERVICE_HOST=10.0.0.1",
		"SLUICE_SERVICE_PORT=8080",
		"SLUICE_SERVICE_PORT_HTTP=8080",
		"SLUICE_PORT=tcp://10.0.0.1:8080",
		"SLUICE_PORT_8080_TCP=tcp://10.0.0.1:8080",
		"SLUICE_PORT_8080_TCP_PROTO=tcp",
		"SLUICE_PORT_8080_TCP_PORT=8080",
		"SLUICE_PORT_8080_TCP_ADDR=10.0.0.1",
		"SLUICE_ADMIN_SERVICE_HOST=10.0.0.2",
		"SLUICE_ADMIN_PORT=tcp://10.0.0.2:9090",
		"SLUICE_ADMIN_PORT_9090_TCP_ADDR=10.0.0.2",
		"SLUICED=not ours", "PATH=/bin",
	}})
	if err != nil || !reflect.DeepEqual(v.Config, gateway.DefaultConfig()) {
		t.Errorf("%+v, %v", v.Config, err)
	}
}

func TestCount(t *testing.T) {
	v, err := Load(Sources{File: writeFile(t, "loops: 1\nworkers: 2\n"),
		Environ: []string{"SLUICE_LOOPS=3"}, Flags: map[string]string{"echo": "true"}})
	if err != nil {
		t.Fatal(err)
	}
	for o, want := range map[Origin]int{FromFile: 1, FromEnv: 1, FromFlag: 1} {
		if got := v.Count(o); got != want {
			t.Errorf("%d settings are from %d, want %d", got, o, want)
		}
	}
}

func TestChangesAreInKeys(t *testing.T) {
	old := gateway.DefaultConfig()
	new := old
	new.MessageRate, new.Listen = 5, ":1"
	got := Changes(old, new)
	want := []Change{{"listen", "127.0.0.1:8080", ":1"}, {"message-rate", "50/s", "5/s"}}
	if len(got) != 2 || got[0] != want[0] || got[1] != want[1] {
		t.Errorf("got %v, want %v", got, want)
	}
	keys := Keys([]string{"Listen", "QueueBytesMax"})
	if keys[0] != "listen" || keys[1] != "max-queue-size" {
		t.Errorf("keys are %v", keys)
	}
}
