package run

import (
	"errors"
	"testing"
)

func TestSearch(t *testing.T) {
	for _, tt := range []struct {
		name             string
		low, high, limit float64
		least            float64 // of the answer
	}{
		{"within", 100, 1e6, 12_345, 12_345 * 0.95},
		{"all_hold", 100, 5000, 1e9, 5000},
		{"none_holds", 100, 1000, 99, 0},
		{"only_the_first", 100, 1000, 101, 100},
		{"small_numbers", 1, 64, 3, 3},
	} {
		t.Run(tt.name, func(t *testing.T) {
			trials := 0
			got, err := Search(tt.low, tt.high, 0.05, func(v float64) (bool, error) {
				if trials++; v > tt.high || v < tt.low {
					t.Errorf("%v is out of bounds", v)
				}
				return v <= tt.limit, nil
			})
			if err != nil || got > tt.limit || got < tt.least || trials > 30 {
				t.Errorf("%v after %d trials, %v; want %v at least", got, trials, err, tt.least)
			}
		})
	}
	broken := errors.New("broken")
	if _, err := Search(1, 2, 0.1, func(float64) (bool, error) { return false, broken }); err != broken {
		t.Errorf("got %v", err)
	}
}
