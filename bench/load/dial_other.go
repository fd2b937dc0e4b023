//go:build unix && !linux

package load

// lateBinding does nothing: this system binds the port at once.
func lateBinding(int) {}
