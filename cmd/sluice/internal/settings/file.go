package settings

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// fileBytesMax bounds a configuration file. A valid one is a few kilobytes.
const fileBytesMax = 1 << 20

// readFile reads the values of a YAML file, a flat mapping of keys to single values or lists.
func readFile(path string, table []Setting) ([]raw, error) {
	data, err := readBounded(path)
	if err != nil {
		return nil, err
	}
	doc, err := parseYAML(path, data)
	if doc == nil || err != nil {
		return nil, err
	}
	at := func(n *yaml.Node) Source { return Source{FromFile, path, n.Line} }
	root := doc.Content[0]
	if root.Kind == yaml.ScalarNode && root.Tag == "!!null" {
		return nil, nil // comments only
	}
	if root.Kind != yaml.MappingNode {
		return nil, fmt.Errorf("%s: the file must be lines of the form key: value", at(root))
	}
	var values []raw
	var errs []error
	lines := map[string]int{}
	for i := 0; i+1 < len(root.Content); i += 2 {
		k, v := root.Content[i], root.Content[i+1]
		if first := lines[k.Value]; first != 0 {
			errs = append(errs, &Error{k.Value, at(k),
				fmt.Sprintf("it is set in line %d already; remove one of the two", first)})
			continue
		}
		lines[k.Value] = k.Line
		text, err := value(v, isList(table, k.Value))
		if err != nil {
			errs = append(errs, &Error{k.Value, at(k), err.Error()})
			continue
		}
		values = append(values, raw{k.Value, text, at(k)})
	}
	return values, errors.Join(errs...)
}

// readBounded reads a file that may turn out to be a device or a pipe.
func readBounded(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("the configuration file cannot be opened: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, fileBytesMax+1))
	if err != nil {
		return nil, fmt.Errorf("the configuration file cannot be read: %w", err)
	}
	if len(data) > fileBytesMax {
		return nil, fmt.Errorf("%s is larger than 1MiB; it cannot be a configuration file", path)
	}
	return data, nil
}

// yamlLine finds the line in the errors of the parser.
var yamlLine = regexp.MustCompile(`^yaml: (?:line (\d+): )?`)

// parseYAML returns the document of a file, nil if it is empty.
func parseYAML(path string, data []byte) (*yaml.Node, error) {
	var doc, second yaml.Node
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	switch err := decoder.Decode(&doc); {
	case errors.Is(err, io.EOF):
		return nil, nil
	case err != nil:
		return nil, invalidYAML(path, err)
	}
	switch err := decoder.Decode(&second); {
	case errors.Is(err, io.EOF):
		return &doc, nil
	case err != nil:
		return nil, invalidYAML(path, err)
	}
	return nil, fmt.Errorf("%s:%d: a second document begins here; put all settings into one",
		path, second.Line)
}

func invalidYAML(path string, err error) error {
	where, text := path, err.Error()
	if m := yamlLine.FindStringSubmatch(text); m != nil {
		text = text[len(m[0]):]
		if m[1] != "" {
			where += ":" + m[1]
		}
	}
	return fmt.Errorf("%s: the file is not valid YAML: %s", where, text)
}

func isList(table []Setting, key string) bool {
	return slices.ContainsFunc(table, func(s Setting) bool { return s.Key == key && s.List() })
}

// value is a single value, or the items of a list with a space between them.
func value(n *yaml.Node, list bool) (string, error) {
	if n.Kind != yaml.SequenceNode || !list {
		return scalar(n)
	}
	items := make([]string, len(n.Content))
	for i, item := range n.Content {
		text, err := scalar(item)
		if err != nil {
			return "", err
		}
		if len(strings.Fields(text)) != 1 {
			return "", fmt.Errorf("%q is no item of a list: it must be one word", text)
		}
		items[i] = text
	}
	return strings.Join(items, " "), nil
}

// scalar is a value as it is written, whatever type YAML takes it for.
func scalar(n *yaml.Node) (string, error) {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	switch {
	case n.Kind == yaml.SequenceNode:
		return "", errors.New("it is a list; write a single value")
	case n.Kind != yaml.ScalarNode:
		return "", errors.New("it has settings below it; write every setting in a line of its " +
			"own, like max-connections: 10k")
	case n.Tag == "!!null":
		return "", errors.New("it has no value; write one, or remove the line to get the default")
	}
	return n.Value, nil
}
