package auth

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
)

const (
	redacted = "[redacted]"
	// fileBytesMax bounds the files of keys and secrets.
	fileBytesMax = 1 << 20
)

// Secret is a text that no log and no error may show: it formats as "[redacted]" under every verb,
// in JSON and in slog. string(s) is the text.
type Secret string

// Format implements fmt.Formatter.
func (s Secret) Format(f fmt.State, _ rune) { io.WriteString(f, redacted) }

// LogValue implements slog.LogValuer.
func (s Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText implements encoding.TextMarshaler.
func (s Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// LoadSecret reads what a configuration says of a secret: "@path" is the content of a file without
// the newline at its end, anything else is the secret itself. An empty secret is an error.
func LoadSecret(source string) (Secret, error) {
	text := source
	if path, ok := strings.CutPrefix(source, "@"); ok {
		b, err := readFile(path)
		if err != nil {
			return "", err
		}
		text = strings.TrimRight(string(b), "\r\n")
	}
	if text == "" {
		return "", errors.New("auth: the secret is empty")
	}
	return Secret(text), nil
}

// readFile reads a file of keys or secrets.
func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("auth: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, fileBytesMax+1))
	if err != nil {
		return nil, fmt.Errorf("auth: %w", err)
	}
	if len(b) > fileBytesMax {
		return nil, fmt.Errorf("auth: %s is larger than %d bytes", path, fileBytesMax)
	}
	return b, nil
}
