//go:build unix && !linux

package main

import "syscall"

// ownGroup starts a child in a process group of its own.
func ownGroup() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true}
}

// becomeReaper is for Linux; elsewhere process groups have to do.
func becomeReaper() {}

// killOrphans is for Linux; elsewhere process groups have to do.
func killOrphans() {}
