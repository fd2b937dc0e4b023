package auth

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"unicode"
	"unicode/utf8"
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

// LoadSecret reads what a configuration says of a secret: "@path" is the content of a file,
// anything else is the secret itself. A file of text loses one line end, LF or CRLF, which editors
// add; of other files every byte counts. An empty secret is an error.
func LoadSecret(source string) (Secret, error) {
	text := source
	if path, ok := strings.CutPrefix(source, "@"); ok {
		b, err := readFile(path)
		if err != nil {
			return "", err
		}
		text = string(cutLineEnd(b))
	}
	if text == "" {
		return "", errors.New("auth: the secret is empty")
	}
	return Secret(text), nil
}

// cutLineEnd cuts one line end off a text. What has other control characters, or is not UTF-8, is
// no text: a random key may well end in the byte of a line feed.
func cutLineEnd(b []byte) []byte {
	for _, r := range string(b) {
		if r == utf8.RuneError || unicode.IsControl(r) && r != '\n' && r != '\r' && r != '\t' {
			return b
		}
	}
	if cut, ok := bytes.CutSuffix(b, []byte("\n")); ok {
		return bytes.TrimSuffix(cut, []byte("\r"))
	}
	return b
}

// HoldsSecret reports whether a file of a key or a secret, if it can be read, is one that nobody
// else may know: anything but a public key.
func HoldsSecret(path string) bool {
	b, err := readFile(path)
	if err != nil {
		return false
	}
	text := strings.TrimSpace(string(b))
	switch {
	case strings.HasPrefix(text, "-----BEGIN"):
		return strings.Contains(text, "PRIVATE KEY-----")
	case strings.HasPrefix(text, "{"): // members of a JWK that are private, RFC 7518 section 6
		return strings.Contains(text, `"k"`) || strings.Contains(text, `"d"`)
	}
	return true
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
