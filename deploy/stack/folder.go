package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

const folderPrefix = "refundd-stack-"

// folder is the temporary folder of one run. Whoever runs holds the lock in it;
// a folder whose lock is free was left by a run that was killed.
type folder struct {
	path string
	lock *os.File
}

// newFolder also removes what killed runs have left.
func newFolder() (*folder, error) {
	removeStale(os.TempDir())
	path, err := os.MkdirTemp("", folderPrefix)
	if err != nil {
		return nil, fmt.Errorf("temporary folder: %w", err)
	}
	lock, err := lockFile(filepath.Join(path, "lock"), os.O_CREATE)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("temporary folder: %w", err), os.RemoveAll(path))
	}
	return &folder{path: path, lock: lock}, nil
}

func (f *folder) remove() error {
	defer f.lock.Close() //nolint:errcheck // empty
	if err := os.RemoveAll(f.path); err != nil {
		return fmt.Errorf("remove temporary folder: %w", err)
	}
	return nil
}

func removeStale(parent string) {
	stale, err := filepath.Glob(filepath.Join(parent, folderPrefix+"*"))
	if err != nil {
		return
	}
	for _, path := range stale {
		// Another run may be between making its folder and its lock, so a
		// folder without a lock is left alone.
		lock, err := lockFile(filepath.Join(path, "lock"), 0)
		if err != nil {
			continue
		}
		_ = os.RemoveAll(path)
		_ = lock.Close()
	}
}

// lockFile opens and locks the file, or fails at once if it is locked.
func lockFile(path string, create int) (*os.File, error) {
	file, err := os.OpenFile(path, os.O_RDWR|create, 0o600) //nolint:gosec // our own folder
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return file, nil
}
