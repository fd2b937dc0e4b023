package pollertest

import (
	"os"
	"runtime"
	"slices"
	"testing"

	"go.uber.org/goleak"
)

// IgnoreNetpoll excuses the goroutines of cloudwego/netpoll's pollers from leak checks: they belong
// to the process, start with the first engine and cannot be stopped.
func IgnoreNetpoll() goleak.Option {
	return goleak.IgnoreAnyFunction("github.com/cloudwego/netpoll.(*defaultPoll).Wait")
}

// verifyNoLeaks fails t if there are more goroutines or descriptors at its end than now.
func verifyNoLeaks(t *testing.T) {
	t.Helper()
	before := openDescriptors(t)
	goroutines := goleak.IgnoreCurrent()
	t.Cleanup(func() {
		if t.Failed() {
			return // what failed may have left something on its way
		}
		goleak.VerifyNone(t, goroutines, IgnoreNetpoll())
		if after := openDescriptors(t); len(after) != len(before) {
			t.Errorf("%d descriptors are open, %d were before", len(after), len(before))
		}
	})
}

// openDescriptors lists the descriptors of the process, but for the one it needs itself.
func openDescriptors(t *testing.T) []string {
	t.Helper()
	dir := "/dev/fd"
	if runtime.GOOS == "linux" {
		dir = "/proc/self/fd"
	}
	f, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	names, err := f.Readdirnames(-1)
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(names)
	return names
}
