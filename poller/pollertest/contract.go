// Package pollertest holds what shows that an engine keeps the contract of package poller, and what
// lets others be tested without one: RunContract drives an engine over real sockets, and Fake is an
// engine in memory whose clock and kernel the test plays.
package pollertest

import (
	"testing"

	"sluice/poller"
)

// NewEngine starts the engine under test.
type NewEngine func(t *testing.T, cfg poller.Config) poller.Engine

// RunContract runs the contract tests as subtests of t, on sockets of 127.0.0.1. Each one also
// fails if a callback comes out of order, or if the closed engine leaves a goroutine or a
// descriptor behind. They must not run in parallel with anything: they count both.
func RunContract(t *testing.T, newEngine NewEngine) {
	warmUp(t, newEngine)
	groups := [][]contractTest{
		readTests, pauseTests, floodTests, writeTests, slowReaderTests, transitTests, closeTests,
		loopTests, timerTests, acceptTests, adoptTests, churnTests,
	}
	for _, g := range groups {
		for _, c := range g {
			t.Run(c.name, func(t *testing.T) {
				verifyNoLeaks(t)
				c.run(&bed{T: t, newEngine: newEngine})
			})
		}
	}
}

type contractTest struct {
	name string
	run  func(b *bed)
}

// warmUp starts what a process keeps once it has it: the runtime's poller, and an engine's, if it
// shares one.
func warmUp(t *testing.T, newEngine NewEngine) {
	t.Helper()
	b := &bed{T: t, newEngine: newEngine}
	b.start(poller.Config{Loops: 1}, script{data: echo})
	b.dial().exchange("warm")
	b.close()
}
