package crowd

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"

	"sluice/bench/report"
	"sluice/bench/run"
)

// Worker plays a part for Run: its options come on in, and what comes of it goes to out. It ends
// early, with what there is, when in ends. A run that fails is no error of Worker: Run tells it.
func Worker(ctx context.Context, in io.Reader, out io.Writer) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	lines := bufio.NewReader(in)
	first, err := lines.ReadBytes('\n')
	if err != nil {
		return fmt.Errorf("worker: no options: %w", err)
	}
	var opts run.Options
	if err := json.Unmarshal(first, &opts); err != nil {
		return fmt.Errorf("worker: options: %w", err)
	}
	w := &worker{to: json.NewEncoder(out)}
	onward := make(chan struct{})
	go func() { // ends with in, which ends with the process at the latest
		defer cancel()
		for {
			if _, err := lines.ReadBytes('\n'); err != nil {
				return
			}
			select {
			case onward <- struct{}{}:
			case <-ctx.Done():
				return
			}
		}
	}()
	result, runErr := run.Run(ctx, opts, run.Observer{
		Point: func(p report.Point) { w.say(message{Point: &p}) },
		Connected: func(ctx context.Context) error {
			if err := w.say(message{Connected: true}); err != nil {
				return err
			}
			select {
			case <-onward:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		},
	})
	m := message{Result: result}
	if runErr != nil && (result == nil || !errors.Is(runErr, context.Canceled)) {
		m.Error = runErr.Error()
	}
	return w.say(m)
}

// worker writes messages.
type worker struct {
	mu sync.Mutex
	to *json.Encoder
}

func (w *worker) say(m message) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.to.Encode(m)
}
