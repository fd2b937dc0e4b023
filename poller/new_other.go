//go:build !linux

package poller

import "fmt"

// New starts the engine of a name, or for "auto" the best one of this system.
func New(name string, cfg Config) (Engine, error) {
	return nil, fmt.Errorf("poller: no engine %q on this system", name)
}
