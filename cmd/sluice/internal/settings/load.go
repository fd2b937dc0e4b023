package settings

import (
	"cmp"
	"errors"
	"reflect"
	"slices"
	"strings"

	"sluice/gateway"
)

// Sources are the places that a configuration is read from, beside the defaults.
type Sources struct {
	// File is the path of the YAML file; empty means what SLUICE_CONFIG says, and none if it says
	// nothing.
	File string
	// Environ is the environment, as os.Environ returns it.
	Environ []string
	// Flags are the values of the flags that were given, by key.
	Flags map[string]string
}

// Values is a configuration, and where each value of it comes from.
type Values struct {
	Config gateway.Config
	File   string // the file that was read; empty if none was

	sources map[string]Source // by key; a key without one has its default
}

// Source is where the value of a key comes from.
func (v *Values) Source(key string) Source { return v.sources[key] }

// Count is how many settings come from a kind of place.
func (v *Values) Count(o Origin) int {
	n := 0
	for _, s := range v.sources {
		if s.Origin == o {
			n++
		}
	}
	return n
}

// Load reads and validates a configuration: defaults < file < environment < flags. It reports all
// that is wrong at once, joined; errors about a value are *Error.
func Load(src Sources) (*Values, error) {
	table := Table()
	v := &Values{Config: gateway.DefaultConfig(), File: src.File, sources: map[string]Source{}}
	fromEnv, file, envErrs := environment(src.Environ, table)
	if v.File == "" {
		v.File = file
	}
	var errs []error
	var values []raw
	if v.File != "" {
		fromFile, err := readFile(v.File, table)
		values, errs = fromFile, appendJoined(errs, err)
	}
	errs = append(errs, envErrs...)
	values = append(values, fromEnv...)
	values = append(values, flagValues(src.Flags)...)
	errs = append(errs, v.apply(table, values)...)
	errs = append(errs, v.validate(table, errs)...)
	slices.SortStableFunc(errs, byPlace)
	return v, errors.Join(errs...)
}

// byPlace orders errors like somebody reads who mends them: the file from top to bottom, then the
// environment, then the flags. What concerns no value comes first.
func byPlace(a, b error) int {
	place := func(err error) (p Source) {
		if e := (*Error)(nil); errors.As(err, &e) {
			p = e.Source
		}
		return p
	}
	x, y := place(a), place(b)
	return cmp.Or(cmp.Compare(x.Origin, y.Origin), cmp.Compare(x.Line, y.Line))
}

func asIs(key string) string { return key }

// flagValues returns the flags in a fixed order.
func flagValues(flags map[string]string) []raw {
	var values []raw
	for key, text := range flags {
		values = append(values, raw{key, text, Source{Origin: FromFlag, Name: "--" + key}})
	}
	slices.SortFunc(values, func(a, b raw) int { return strings.Compare(a.key, b.key) })
	return values
}

// apply sets the values in their order, so that later ones win. A value that a stronger source
// replaces must be right nevertheless: nobody should find out when that source goes away.
func (v *Values) apply(table []Setting, values []raw) (errs []error) {
	config := reflect.ValueOf(&v.Config).Elem()
	for _, r := range values {
		i := slices.IndexFunc(table, func(s Setting) bool { return s.Key == r.key })
		if i < 0 {
			errs = append(errs, unknown(r.key, r.source, r.key, keysOf(table), asIs))
			continue
		}
		parsed, err := table[i].kind.parse(r.text)
		if strings.Contains(r.text, redacted) {
			err = errors.New("sluice config has left out what may be secret; write it where " +
				redacted + " stands")
		}
		if err == nil {
			err = set(config.FieldByName(table[i].Field), parsed)
		}
		if err != nil {
			errs = append(errs, &Error{r.key, r.source, err.Error()})
		}
		v.sources[r.key] = r.source
	}
	return errs
}

// validate checks the ranges. A setting that has an error already is not reported again.
func (v *Values) validate(table []Setting, before []error) (errs []error) {
	told := map[string]bool{}
	for _, err := range before {
		if e := (*Error)(nil); errors.As(err, &e) {
			told[e.Key] = true
		}
	}
	for _, err := range appendJoined(nil, v.Config.Validate()) {
		var field *gateway.FieldError
		if !errors.As(err, &field) {
			errs = append(errs, err)
			continue
		}
		if key := keyOf(table, field.Field); !told[key] {
			errs = append(errs, &Error{key, v.sources[key], field.Reason})
		}
	}
	return errs
}

// keyOf is the key of a field.
func keyOf(table []Setting, field string) string {
	for _, s := range table {
		if s.Field == field {
			return s.Key
		}
	}
	return field
}

// Keys are the keys of fields of gateway.Config.
func Keys(fields []string) []string {
	table := Table()
	keys := make([]string, len(fields))
	for i, f := range fields {
		keys[i] = keyOf(table, f)
	}
	return keys
}

// Change is a setting that differs between two configurations, as written, without what may be
// secret.
type Change struct{ Key, Old, New string }

// Changes lists the settings in which two configurations differ, in the order of the table.
func Changes(old, new gateway.Config) []Change {
	var changes []Change
	for _, s := range Table() {
		if a, b := s.Text(old), s.Text(new); a != b {
			changes = append(changes, Change{s.Key, redact(a), redact(b)})
		}
	}
	return changes
}

// List returns the errors that were joined.
func List(err error) []error { return appendJoined(nil, err) }

// appendJoined appends the errors that err joins, at any depth.
func appendJoined(list []error, err error) []error {
	if err == nil {
		return list
	}
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return append(list, err)
	}
	for _, e := range joined.Unwrap() {
		list = appendJoined(list, e)
	}
	return list
}
