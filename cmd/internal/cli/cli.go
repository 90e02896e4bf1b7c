// Package cli is how a command of refundctl speaks to a person or a script:
// results to standard output, progress to standard error, questions to the
// terminal, and which mistakes are the caller's.
package cli

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/sirupsen/logrus"
)

// Env is what a command gets from outside.
type Env struct {
	Getenv         func(string) string
	Environ        []string // all of it, for those who check it whole
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	Colours        bool // a person looks at standard output, and wants them
	// Redirect takes the RocketMQ client's log, once in a process: it is a
	// global of the client's.
	Redirect func(logrus.FieldLogger)
	// OpenTerminal opens the terminal for a question, if there is one.
	OpenTerminal func() (io.ReadWriteCloser, error)
}

// ErrFound is a verdict and not a mishap: what was looked at is not in order,
// and the output has told it.
var ErrFound = errors.New("something is not in order")

// UsageError is the caller's mistake; its text names the flag or variable.
type UsageError struct{ Text string }

func (e *UsageError) Error() string { return e.Text }

// WrongUsage makes one.
func WrongUsage(format string, args ...any) error {
	return &UsageError{fmt.Sprintf(format, args...)}
}

// IsTerminal reports whether a person may look at it.
func IsTerminal(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// OpenTerminal opens the terminal that the program runs on, whatever its
// standard input is.
func OpenTerminal() (io.ReadWriteCloser, error) { return os.OpenFile("/dev/tty", os.O_RDWR, 0) }
