//go:build !linux

package run

import "time"

// rest sleeps.
func rest(d time.Duration) { time.Sleep(d) }
