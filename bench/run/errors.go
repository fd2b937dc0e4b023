package run

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"sync"
	"syscall"

	"sluice/bench/load"
	"sluice/gateway/wire"
	"sluice/poller"
)

// errorCounts counts errors by class. Its methods may be called from any goroutine.
type errorCounts struct {
	mu sync.Mutex
	by map[string]uint64
}

func (e *errorCounts) add(class string, n uint64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.by == nil {
		e.by = map[string]uint64{}
	}
	e.by[class] += n
}

func (e *errorCounts) all() map[string]uint64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	return maps.Clone(e.by)
}

// watched is a script whose connections are counted when they end before their time.
type watched struct {
	script
	errors *errorCounts
}

// Closed implements load.Script.
func (w watched) Closed(c *load.Client, err error) {
	if !errors.Is(err, poller.ErrEngineClosed) {
		w.errors.add("closed: "+closeClass(err), 1)
	}
	w.script.Closed(c, err)
}

// closeClass says in a word why a connection has ended. There are few such words.
func closeClass(err error) string {
	var closed *wire.CloseError
	var errno syscall.Errno
	switch {
	case errors.As(err, &closed) && closed.Text() == "":
		return fmt.Sprint("code ", closed.Code)
	case errors.As(err, &closed):
		return "by us, " + closed.Text()
	case errors.Is(err, io.EOF):
		return "by the server, without a code"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return "reset"
	case errors.As(err, &errno):
		return errno.Error()
	}
	return "other"
}
