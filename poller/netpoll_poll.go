//go:build unix

package poller

import (
	"errors"
	"fmt"
	"io"
	"reflect"
	"sync"

	"github.com/cloudwego/netpoll"
	"golang.org/x/sys/unix"
)

// configureNetpoll sets what netpoll has process-wide, once, since its pollers read it without a
// lock, and starts the pollers. A process that uses netpoll for something else too shares all that.
var configureNetpoll = sync.OnceValue(func() error {
	// It has a line for every connection that is reset, so peers could fill a disk.
	err := netpoll.Configure(netpoll.Config{LoggerOutput: io.Discard})
	if err == nil {
		netpoll.Initialize()
	}
	return err
})

// findPoll returns one of netpoll's pollers, the next one in netpoll's turn.
//
// Poll and FDOperator are exported to watch descriptors whose owner reads and writes by itself, but
// no function of netpoll returns a Poll. A connection holds one, which is taken from a connection
// made for that purpose.
func findPoll() (netpoll.Poll, error) {
	r, w, err := pipe()
	if err != nil {
		return nil, fmt.Errorf("poller: pipe: %w", err)
	}
	defer unix.Close(w)
	conn, err := netpoll.NewFDConnection(r)
	if err != nil {
		return nil, fmt.Errorf("poller: netpoll: %w", err)
	}
	defer conn.Close()
	return pollOf(conn)
}

var errNetpollVersion = errors.New("poller: netpoll: no poller where this version should have it")

// pollOf returns the poller in conn.operator.poll. Names and types are compared before anything is
// taken, so a version of netpoll that changes them is refused.
func pollOf(conn any) (netpoll.Poll, error) {
	v := reflect.ValueOf(conn)
	for _, name := range []string{"operator", "poll"} {
		if v.Kind() != reflect.Pointer || v.IsNil() || v.Elem().Kind() != reflect.Struct {
			return nil, errNetpollVersion
		}
		if v = v.Elem().FieldByName(name); !v.IsValid() {
			return nil, errNetpollVersion
		}
		if name == "operator" && v.Type() != reflect.TypeFor[*netpoll.FDOperator]() {
			return nil, errNetpollVersion
		}
	}
	if v.Type() != reflect.TypeFor[netpoll.Poll]() || v.IsNil() {
		return nil, errNetpollVersion
	}
	return *(*netpoll.Poll)(v.Addr().UnsafePointer()), nil
}
