//go:build !linux

package floor

import "context"

// Run always fails: there is no epoll here.
func Run(context.Context, string, int, func(addr string)) error { return ErrUnsupported }
