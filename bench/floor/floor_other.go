//go:build !linux

package floor

// Run always fails: there is no epoll here.
func Run(string, func(addr string)) error { return ErrUnsupported }
