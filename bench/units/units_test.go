package units

import (
	"strings"
	"testing"
)

func TestSet(t *testing.T) {
	for _, tt := range []struct {
		name  string
		value interface {
			Set(string) error
			String() string
		}
		text, want string // want is empty for an error
	}{
		{"count", new(Count), "100", "100"},
		{"count_thousands", new(Count), "10k", "10000"},
		{"count_fraction_of_a_million", new(Count), "1.5m", "1500000"},
		{"half_a_connection", new(Count), "0.5", ""},
		{"negative_count", new(Count), "-1", ""},
		{"count_with_a_foreign_unit", new(Count), "10KiB", ""},
		{"empty_count", new(Count), "", ""},
		{"endless_count", new(Count), "1e300", ""},
		{"not_a_number", new(Count), "NaN", ""},
		{"rate", new(Rate), "50k/s", "50000"},
		{"rate_without_a_unit", new(Rate), "0.5", "0.5"},
		{"rate_per_minute", new(Rate), "50/m", ""},
		{"size", new(Size), "16KiB", "16384"},
		{"decimal_size", new(Size), "1MB", "1000000"},
		{"plain_size", new(Size), "128", "128"},
		{"size_of_nothing", new(Size), "KiB", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := tt.value.Set(tt.text)
			if (err == nil) != (tt.want != "") || err == nil && tt.value.String() != tt.want {
				t.Errorf("%v, %v, want %q", tt.value, err, tt.want)
			}
			if err != nil && !strings.Contains(err.Error(), "like") {
				t.Errorf("%q shows no example", err)
			}
		})
	}
}
