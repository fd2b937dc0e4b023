package poller

import "fmt"

// New starts the engine of a name: "epoll", "netpoll", or "auto" for the best one of this system.
func New(name string, cfg Config) (Engine, error) {
	switch name {
	case "auto", "epoll":
		return NewEpoll(cfg)
	case "netpoll":
		return NewNetpoll(cfg)
	}
	return nil, fmt.Errorf("poller: no engine %q on this system", name)
}
