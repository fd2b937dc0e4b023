package load

import (
	"bytes"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"math"
	"strings"
	"testing"
	"time"
)

func mustTemplate(tb testing.TB, text string, verify bool) *Template {
	tb.Helper()
	t, err := ParseTemplate(text, verify)
	if err != nil {
		tb.Fatal(err)
	}
	return t
}

func TestTemplateAppends(t *testing.T) {
	for _, tt := range []struct {
		name, text string
		verify     bool
		want       string
	}{
		{"empty", "", false, ""},
		{"no_placeholder", "hello", false, "hello"},
		{"all_numbers", "{i}/{seq}/{time}", false, "3/14/159"},
		{"repeated", "{i}{i} {seq}{time}", false, "33 14159"},
		{"json", `{"user":{i},"data":{"n":"{seq}"}}`, false, `{"user":3,"data":{"n":"14"}}`},
		{"empty_object", `{"a":{}}`, false, `{"a":{}}`},
		{"unclosed", "{i", false, "{i"},
		{"unclosed_size", "{random:7", false, "{random:7"},
		{"no_size_digits", "{random:}", false, "{random:}"},
		{"upper_case", "{I}", false, "{I}"},
		{"twice_opened", "{{i}}", false, "{3}"},
		{"sum", "x{i} {sum}", false, fmt.Sprintf("x3 %08x", crc("x3 "))},
		{"sum_before_text", "{i} {sum}]", false, fmt.Sprintf("3 %08x]", crc("3 "))},
		{"verify_appends", "hi", true, fmt.Sprintf("hi 3 14 159 %08x", crc("hi 3 14 159 "))},
		{"verify_appends_what_lacks", "{seq}. {i}", true,
			fmt.Sprintf("14. 3 159 %08x", crc("14. 3 159 "))},
		{"verify_empty", "", true, fmt.Sprintf(" 3 14 159 %08x", crc(" 3 14 159 "))},
	} {
		t.Run(tt.name, func(t *testing.T) {
			template := mustTemplate(t, tt.text, tt.verify)
			got := template.AppendTo([]byte("dst"), 3, 14, 159)
			if string(got) != "dst"+tt.want {
				t.Errorf("got %q, want %q", got, "dst"+tt.want)
			}
		})
	}
}

func crc(text string) uint32 { return crc32.Checksum([]byte(text), crc32.MakeTable(crc32.Castagnoli)) }

func TestTemplateRefuses(t *testing.T) {
	for _, tt := range []struct {
		name, text string
		verify     bool
		want       string
	}{
		{"unknown", "{user}", false, `"{user}" is none of`},
		{"no_size", "{random}", false, "a size belongs to {random:N}"},
		{"needless_size", "{seq:3}", false, "a size belongs to {random:N}"},
		{"zero_size", "{random:0}", false, "not within 1 and"},
		{"size_too_big", "{random:16777217}", false, "not within 1 and"},
		{"size_overflow", "{random:99999999999999999999}", false, "not within 1 and"},
		{"sizes_too_big", "{random:16777216}{random:1}", false, "more than"},
		{"too_many", strings.Repeat("{i}", piecesMax+1), false, "more than 100 placeholders"},
		{"after_sum", "{sum} {i}", false, "{i} comes after {sum}"},
		{"random_after_sum", "{sum}{random:3}", false, "{random:3} comes after {sum}"},
		{"two_sums", "{sum} {sum}", false, "{sum} comes after {sum}"},
		{"verify_missing_after_sum", "{seq} {sum}", true, "{i} comes after {sum}"},
		{"verify_two_numbers", "{i}{seq} {time}", true, "where {i} ends and {seq} begins"},
		{"verify_digit", "{i}0 {seq}", true, `where {i} ends and "0 " begins`},
		{"verify_digit_before", "{i} 1{seq}", true, `where " 1" ends and {seq} begins`},
		{"verify_random_before", "{random:3}{i}", true, "where {random:3} ends and {i} begins"},
		{"verify_random", "{seq}{random:3}", true, "where {seq} ends and {random:3} begins"},
		{"verify_sum", "{i} {time} {seq}{sum}", true, "where {seq} ends and {sum} begins"},
		{"verify_json", `{"a":{i}}`, true, "put {seq} {time} {sum} into a string"},
		{"verify_json_array", `[{i}]`, true, "put {seq} {time} {sum} into a string"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := ParseTemplate(tt.text, tt.verify)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

func TestTemplateRandom(t *testing.T) {
	template := mustTemplate(t, "{random:25}", false)
	one := string(template.AppendTo(nil, 1, 1, 0))
	if len(one) != 25 {
		t.Errorf("%d bytes", len(one))
	}
	if again := string(template.AppendTo(nil, 1, 1, 9)); again != one {
		t.Errorf("%q, then %q", one, again)
	}
	seen := map[string]bool{}
	for i := range 100 {
		for seq := range uint64(100) {
			seen[string(template.AppendTo(nil, i, seq, 0))] = true
		}
	}
	if len(seen) != 100*100 {
		t.Errorf("%d different texts of %d messages", len(seen), 100*100)
	}
	two := string(mustTemplate(t, "{random:10}{random:10}", false).AppendTo(nil, 1, 1, 0))
	if two[:10] == two[10:] {
		t.Errorf("twice %q", two[:10])
	}
}

var verifiedTemplates = []string{
	"", "hello", "{i} {seq} {time} {sum}", "m{i}: {seq} at {time}, {random:20}; {sum}.",
	"{random:100},{i}:{random:3}/{seq} {i}", " {i} ",
	`{"id":{seq},"from":"{i}","at":{time},"pad":"{random:300}","sum":"{sum}"}`,
}

func TestTemplateParses(t *testing.T) {
	numbers := []struct {
		i   int
		seq uint64
		at  time.Duration
	}{{0, 0, 0}, {1, 2, 3}, {99_999, 1 << 40, time.Hour}, {math.MaxInt, math.MaxUint64, math.MaxInt64},
		{-1, 1, -1}}
	for _, text := range verifiedTemplates {
		template := mustTemplate(t, text, true)
		for _, around := range [][2]string{
			{"", ""}, {"alice: ", ""}, {"[user 17] says: ", "\n"}, {`{"from":"m1:","text":"`, `"}`},
			{"0 1 2 3 4 5 6 7 8 9 10 ", " 11 12 13 14 15 "}, {"hello hello 3. ", "!"},
		} {
			for _, n := range numbers {
				payload := append([]byte(around[0]), template.AppendTo(nil, n.i, n.seq, n.at)...)
				payload = append(payload, around[1]...)
				i, seq, at, ok := template.Parse(payload)
				if !ok || i != n.i || seq != n.seq || at != n.at {
					t.Errorf("%q: %q gave %d, %d, %d, %v", text, payload, i, seq, at, ok)
				}
			}
		}
	}
}

// Every byte of a message matters, and no piece of it is taken for the whole.
func TestTemplateSeesChanges(t *testing.T) {
	for _, text := range verifiedTemplates {
		template := mustTemplate(t, text, true)
		message := template.AppendTo(nil, 17, 4711, 123_456)
		for k := range message {
			for _, bit := range []byte{1, 2, 16, 128} {
				changed := bytes.Clone(message)
				changed[k] ^= bit
				if _, _, _, ok := template.Parse(changed); ok {
					t.Errorf("%q: %q was taken for %q", text, changed, message)
				}
			}
			if _, _, _, ok := template.Parse(message[:k]); ok {
				t.Errorf("%q: %q is cut", text, message[:k])
			}
			if _, _, _, ok := template.Parse(message[k+1:]); ok {
				t.Errorf("%q: %q is cut", text, message[k+1:])
			}
		}
	}
}

func TestTemplateParsesNothingElse(t *testing.T) {
	verified := mustTemplate(t, "{i} {i} {seq} {time} {sum}", true)
	sum := func(text string) []byte { return appendSum([]byte(text), crc(text)) }
	for _, tt := range []struct {
		name    string
		payload []byte
		ok      bool
	}{
		{"good", sum("1 1 2 3 "), true},
		{"empty", nil, false},
		{"two_connections", sum("1 2 2 3 "), false},
		{"leading_zero", sum("1 1 02 3 "), false},
		{"overflow", sum("1 1 18446744073709551616 3 "), false},
		{"largest", sum("1 1 18446744073709551615 3 "), true},
		{"many_digits", sum("1 1 99999999999999999999 3 "), false},
		{"upper_case_sum", bytes.ToUpper(sum("1 1 2 3 ")), false},
		{"no_number", sum("1 1 x 3 "), false},
	} {
		if _, _, _, ok := verified.Parse(tt.payload); ok != tt.ok {
			t.Errorf("%s: %q gave %v", tt.name, tt.payload, ok)
		}
	}
	if _, _, _, ok := mustTemplate(t, "{i} {seq} {time} {sum}", false).Parse(sum("1 2 3 ")); ok {
		t.Error("a template that is not to be verified parses")
	}
}

// Whoever repeats false messages makes Parse give up instead of checksumming them all.
func TestTemplateGivesUp(t *testing.T) {
	template := mustTemplate(t, "x{i} {seq} {time} {sum}", true)
	good := template.AppendTo(nil, 1, 2, 3)
	false4 := bytes.Repeat([]byte("x1 2 3 00000000"), candidatesMax)
	if _, _, _, ok := template.Parse(append(false4[15:], good...)); !ok {
		t.Error("gave up too early")
	}
	if _, _, _, ok := template.Parse(append(false4, good...)); ok {
		t.Error("did not give up")
	}
}

func TestTemplateStaysJSON(t *testing.T) {
	template := mustTemplate(t, verifiedTemplates[len(verifiedTemplates)-1], true)
	for i := range 100 {
		if message := template.AppendTo(nil, i, 1<<60, time.Hour); !json.Valid(message) {
			t.Fatalf("%q is not JSON", message)
		}
	}
}

func TestTemplateDoesNotAllocate(t *testing.T) {
	template := mustTemplate(t, "hello {i} {seq} {time} {random:100} {sum}", true)
	dst := make([]byte, 0, 1024)
	message := append([]byte("alice: "), template.AppendTo(nil, 5, 6, 7)...)
	if n := testing.AllocsPerRun(100, func() { template.AppendTo(dst, 5, 6, 7) }); n != 0 {
		t.Errorf("AppendTo: %v allocations", n)
	}
	if n := testing.AllocsPerRun(100, func() { template.Parse(message) }); n != 0 {
		t.Errorf("Parse: %v allocations", n)
	}
}

// What is appended is parsed back, whatever surrounds it, unless the surroundings continue a
// number.
func FuzzTemplate(f *testing.F) {
	for _, text := range verifiedTemplates {
		f.Add(text, "alice: ", "", 1, uint64(2), int64(3))
	}
	f.Add("{random:100}{i}", "", "", 1, uint64(38), int64(3)) // the random text ends in a digit
	f.Add("{random:9}-{i}x{seq}y{time}z{sum}", "x", "zzz", -1, uint64(1), int64(0))
	f.Fuzz(func(t *testing.T, text, before, after string, i int, seq uint64, at int64) {
		template, err := ParseTemplate(text, true)
		if err != nil || strings.Contains(text, "{random:") && len(text) > 100 {
			return
		}
		total := 0
		for _, p := range template.pieces {
			total += p.n
		}
		if total > 1<<16 {
			return
		}
		message := template.AppendTo(nil, i, seq, time.Duration(at))
		gotI, gotSeq, gotAt, ok := template.Parse(message)
		if !ok || gotI != i || gotSeq != seq || gotAt != time.Duration(at) {
			t.Fatalf("%q: %q gave %d, %d, %d, %v", text, message, gotI, gotSeq, gotAt, ok)
		}
		prefixed := append([]byte("alice: "), message...)
		if _, gotSeq, _, ok := template.Parse(prefixed); !ok || gotSeq != seq {
			t.Fatalf("%q: %q gave %d, %v", text, prefixed, gotSeq, ok)
		}
		changed := bytes.Clone(message)
		changed[seq%uint64(len(message))] ^= 1 << (uint64(at) % 8)
		if _, _, _, ok := template.Parse(changed); ok {
			t.Fatalf("%q: %q was taken for %q", text, changed, message)
		}
		surrounded := append(append([]byte(before), message...), after...)
		template.Parse(surrounded) // must not panic
		template.Parse([]byte(before + after))
	})
}

func BenchmarkTemplate(b *testing.B) {
	for _, n := range []int{20, 200, 4000} {
		template := mustTemplate(b, fmt.Sprintf("hello {i} {seq} {time} {random:%d} {sum}", n), true)
		message := template.AppendTo(nil, 12345, 678_901, 23*time.Second)
		b.Run(fmt.Sprintf("append/random=%d", n), func(b *testing.B) {
			b.ReportAllocs()
			dst := make([]byte, 0, 8192)
			for seq := uint64(0); b.Loop(); seq++ {
				dst = template.AppendTo(dst[:0], 12345, seq, 23*time.Second)
			}
			b.SetBytes(int64(len(dst)))
		})
		b.Run(fmt.Sprintf("parse/random=%d", n), func(b *testing.B) {
			b.ReportAllocs()
			payload := append([]byte("alice: "), message...)
			b.SetBytes(int64(len(payload)))
			for b.Loop() {
				if _, _, _, ok := template.Parse(payload); !ok {
					b.Fatal("not parsed")
				}
			}
		})
	}
}
