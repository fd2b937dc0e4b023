// Package proc reads from /proc what a process costs. It works where there is one: on Linux.
package proc

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// root is where the kernel tells about processes.
const root = "/proc"

// CPU is the time that a process has spent on processors, in user mode and in the kernel, to the
// nanosecond: the scheduler's own account, which knows no ticks. Threads that have ended are left
// out.
func CPU(pid int) (time.Duration, error) { return processorTime(root, pid) }

// RSS is the resident memory of a process in bytes.
func RSS(pid int) (int64, error) { return status(root, pid, "VmRSS") }

// PeakRSS is the most resident memory that a process has had, in bytes.
func PeakRSS(pid int) (int64, error) { return status(root, pid, "VmHWM") }

func processorTime(root string, pid int) (time.Duration, error) {
	files, err := filepath.Glob(filepath.Join(root, strconv.Itoa(pid), "task", "*", "schedstat"))
	if err != nil || len(files) == 0 {
		return 0, errors.Join(err, fmt.Errorf("process %d has no schedstat", pid))
	}
	var total time.Duration
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			continue // the thread has ended
		}
		first, _, _ := strings.Cut(string(text), " ")
		ns, err := strconv.ParseInt(first, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("%s: %w", f, err)
		}
		total += time.Duration(ns)
	}
	return total, nil
}

// status reads a field of a process's status that is in kilobytes.
func status(root string, pid int, field string) (int64, error) {
	text, err := os.ReadFile(filepath.Join(root, strconv.Itoa(pid), "status"))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, field+":"); ok {
			kb, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
			return kb << 10, err
		}
	}
	return 0, fmt.Errorf("process %d has no %s", pid, field)
}

// Slope is that of the line through points by least squares: of memory over connections, bytes per
// connection. There must be at least two different xs.
func Slope(xs, ys []float64) float64 {
	var sx, sy, sxx, sxy float64
	for i, x := range xs {
		sx, sy, sxx, sxy = sx+x, sy+ys[i], sxx+x*x, sxy+x*ys[i]
	}
	n := float64(len(xs))
	return (n*sxy - sx*sy) / (n*sxx - sx*sx)
}
