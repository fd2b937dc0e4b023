package tlsio

import (
	"testing"

	"go.uber.org/goleak"

	"sluice/poller/pollertest"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, pollertest.IgnoreNetpoll())
}
