package audit

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// Stderr is the Path that stands for the standard error.
const Stderr = "stderr"

// fileMode keeps the names of users from other users of the host.
const fileMode = 0o600

// file is a sink that is the log's own.
type file struct{ *os.File }

// openFile opens a file to append to. A pipe without a reader is an error, not a wait.
func openFile(path string) (io.Writer, error) {
	f, err := os.OpenFile(path,
		os.O_WRONLY|os.O_APPEND|os.O_CREATE|syscall.O_NONBLOCK|syscall.O_CLOEXEC, fileMode)
	if err != nil {
		return nil, fmt.Errorf("audit: %w", err)
	}
	return file{f}, nil
}

// closeSink closes a file after its content has reached the disk. What is no file stays open.
func closeSink(sink io.Writer) error {
	f, ok := sink.(file)
	if !ok {
		return nil
	}
	err := f.Sync()
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.ENOTSUP) {
		err = nil // a device or a pipe has nothing to sync
	}
	return errors.Join(err, f.Close())
}

// Check reports why a Log could not write to a path. It makes no file.
func Check(path string) error {
	if path == Stderr {
		return nil
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|syscall.O_NONBLOCK|syscall.O_CLOEXEC, 0)
	if err == nil {
		return f.Close()
	}
	if !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("audit: %w", err)
	}
	dir := filepath.Dir(path)
	if err := unix.Access(dir, unix.W_OK|unix.X_OK); err != nil {
		return fmt.Errorf("audit: no file can be made in %s: %w", dir, err)
	}
	return nil
}
