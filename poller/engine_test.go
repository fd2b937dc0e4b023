package poller_test

import (
	"testing"

	"sluice/poller"
	"sluice/poller/pollertest"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, pollertest.IgnoreNetpoll()) }

// TestContract runs the contract tests on every engine of this system.
func TestContract(t *testing.T) {
	for _, name := range []string{"auto", "netpoll"} {
		newEngine := func(t *testing.T, cfg poller.Config) poller.Engine {
			e, err := poller.New(name, cfg)
			if err != nil {
				t.Fatal(err)
			}
			return e
		}
		t.Run(name, func(t *testing.T) { pollertest.RunContract(t, newEngine) })
	}
}

func TestNewWantsAKnownName(t *testing.T) {
	if _, err := poller.New("select", poller.Config{}); err == nil {
		t.Error("an engine of an unknown name was started")
	}
}
