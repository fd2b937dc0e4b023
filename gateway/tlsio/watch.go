package tlsio

import (
	"os"
	"slices"
	"sync"
	"time"
)

// Watch reloads the files when one of them has changed, looking every so often; every
// must be positive. It follows symbolic links, so it notices the swap of a mounted Kubernetes
// secret, and it works where notifications of the file system do not, as over NFS.
//
// After each reload report gets its outcome, on the watch's goroutine. Files that fail to load are
// tried again when they change again: a certificate may be written before its key. stop ends the
// goroutine and returns when it has ended; further calls return at once.
func (s *Store) Watch(
	every time.Duration, report func(warnings []string, err error),
) (stop func()) {
	quit, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		ticker := time.NewTicker(every)
		defer ticker.Stop()
		for {
			select {
			case <-quit:
				return
			case <-ticker.C:
			}
			if s.changed() {
				report(s.Reload())
			}
		}
	}()
	var once sync.Once
	return func() {
		once.Do(func() { close(quit) })
		<-ended
	}
}

// changed reports whether a file is not what it was before the last reload.
func (s *Store) changed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !slices.EqualFunc(s.seen, s.stat(), sameFile)
}

// stat describes the files of the store; nil stands for one that cannot be read.
func (s *Store) stat() []os.FileInfo {
	var names []string
	for _, p := range s.files.Pairs {
		names = append(names, p.CertFile, p.KeyFile)
	}
	if s.files.Authorities != "" {
		names = append(names, s.files.Authorities)
	}
	infos := make([]os.FileInfo, len(names))
	for i, name := range names {
		if info, err := os.Stat(name); err == nil {
			infos[i] = info
		}
	}
	return infos
}

func sameFile(a, b os.FileInfo) bool {
	if a == nil || b == nil {
		return a == b
	}
	return os.SameFile(a, b) && a.ModTime().Equal(b.ModTime()) && a.Size() == b.Size()
}
