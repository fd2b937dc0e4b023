//go:build race

package tlsio

// raceEnabled says that the race detector is on.
const raceEnabled = true
