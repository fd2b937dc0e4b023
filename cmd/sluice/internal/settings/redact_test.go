package settings

import (
	"strings"
	"testing"

	"sluice/gateway"
)

func TestA10_redact(t *testing.T) {
	for text, want := range map[string]string{
		"": "", "50/s": "50/s", "[::1]:8080": "[::1]:8080",
		"https://a.example https://*.b.example": "https://a.example https://*.b.example",
		"url=https://h.example/p?key=s3cret":    "url=https://h.example/p?[redacted]",
		"url=https://h/p?a=s3cret,s3cret":       "url=https://h/p?[redacted]",
		"url=https://h/p?a=1,secret=@file":      "url=https://h/p?[redacted]",
		"url=https://ann:s3cret@h/p,calls=2":    "url=https://[redacted]@h/p,calls=2",
		"url=https://ann:s3/cr@et@h/p":          "url=https://[redacted]@h/p",
		"url=https://h/p#s3cret":                "url=https://h/p#[redacted]",
		"url=https://h/,secret=s3cret":          "url=https://h/,secret=[redacted]",
		"client-secret=s3cret,client-id=me":     "client-secret=[redacted],client-id=me",
		"addr=h:1,password=s3cret,db=1":         "addr=h:1,password=[redacted],db=1",
		"alg=HS256,key=s3cret":                  "alg=HS256,key=[redacted]",
		"alg=HS256,key=@file,issuer=https://us": "alg=HS256,key=@file,issuer=https://us",
		"url=https://h/, secret = s3cret":       "url=https://h/, secret=[redacted]",
		"url=https://h/ ,\tsecret= s3cret,db=1": "url=https://h/ ,\tsecret=[redacted],db=1",
		"alg=HS256,Key=s3cret":                  "alg=HS256,Key=[redacted]",
		"client-secret=a s3cret,client-id=me":   "client-secret=[redacted],client-id=me",
		"Client-Secret = @ s3cret":              "Client-Secret=[redacted]",
		"key=@a,alg=HS256 key=s3cret":           "key=@a,alg=HS256 key=[redacted]",
		"key=@a key = s3cret":                   "key=@a key=[redacted]",
		"addr=redis://:s3cret@h:6379/0":         "addr=redis://[redacted]@h:6379/0",
		"issuer=a,jwks=https://h/?s3cret  b=c":  "issuer=a,jwks=https://h/?[redacted]  b=c",
	} {
		if got := redact(text); got != want {
			t.Errorf("%q becomes %q, want %q", text, got, want)
		}
	}
}

// TestA10_nothing_shows_secrets_of_urls: neither the table, nor the file that is made of it, nor
// the log of a reload. A file that lacks what was left out is refused.
func TestA10_nothing_shows_secrets_of_urls(t *testing.T) {
	values, err := Load(Sources{Flags: map[string]string{
		"auth-hook": "url=https://ann:s3cret@hook.example/p?token=s3cret",
	}})
	if err != nil {
		t.Fatal(err)
	}
	var table, file strings.Builder
	if err := values.WriteTable(&table); err != nil {
		t.Fatal(err)
	}
	if err := values.WriteYAML(&file); err != nil {
		t.Fatal(err)
	}
	changes := Changes(gateway.DefaultConfig(), values.Config)
	for where, text := range map[string]string{
		"table": table.String(), "file": file.String(), "changes": changes[0].New,
	} {
		if strings.Contains(text, "s3cret") || !strings.Contains(text, "hook.example/p?[redacted]") {
			t.Errorf("the %s says %s", where, text)
		}
	}
	_, err = Load(Sources{File: writeFile(t, file.String())})
	if err == nil || !strings.Contains(err.Error(), "auth-hook") {
		t.Errorf("the file is taken: %v", err)
	}
}
