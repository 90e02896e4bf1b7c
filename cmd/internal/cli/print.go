package cli

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"sync"
	"text/tabwriter"
	"time"
)

// Format is how results are printed: text or json.
type Format string

// JSON reports whether they are.
func (f Format) JSON() bool { return f == "json" }

// Print prints a result: the value as JSON, or the line.
func (f Format) Print(env Env, value any, line string, args ...any) error {
	if f.JSON() {
		return PrintJSON(env.Stdout, value)
	}
	if _, err := fmt.Fprintf(env.Stdout, line, args...); err != nil {
		return fmt.Errorf("print: %w", err)
	}
	return nil
}

// PrintJSON writes one value as one line.
func PrintJSON(w io.Writer, value any) error {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		return fmt.Errorf("print: %w", err)
	}
	return nil
}

// Table prints rows in columns: the one way in which results stand below each
// other.
type Table struct {
	w     io.Writer
	text  bytes.Buffer
	cells *tabwriter.Writer
}

// NewTable begins a table, with a header if it has one.
func NewTable(w io.Writer, header ...any) *Table {
	t := &Table{w: w}
	t.cells = tabwriter.NewWriter(&t.text, 0, 0, 2, ' ', 0)
	if len(header) > 0 {
		t.Row(header...)
	}
	return t
}

// Row adds a row.
func (t *Table) Row(cells ...any) {
	for i, cell := range cells {
		if i > 0 {
			_, _ = t.cells.Write([]byte{'\t'})
		}
		_, _ = fmt.Fprint(t.cells, cell)
	}
	_, _ = t.cells.Write([]byte{'\n'})
}

// Flush prints what there is.
func (t *Table) Flush() error {
	_ = t.cells.Flush() // to memory
	for line := range strings.Lines(t.text.String()) {
		if _, err := fmt.Fprintln(t.w, strings.TrimRight(line, " \n")); err != nil {
			return fmt.Errorf("print: %w", err)
		}
	}
	return nil
}

// The colours of a terminal.
const (
	Red    = 31
	Green  = 32
	Yellow = 33
)

// Paint colours a text where a person looks at it.
func (env Env) Paint(colour int, text string) string {
	if !env.Colours {
		return text
	}
	return fmt.Sprintf("\x1b[%dm%s\x1b[0m", colour, text)
}

// progressEvery is the pause between two lines of progress.
const progressEvery = 2 * time.Second

// Progress calls line now and then and prints what it says to standard error, until
// the function that it returns is called. Short work prints nothing.
func (env Env) Progress(line func() string) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(progressEvery)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				_, _ = fmt.Fprintln(env.Stderr, line())
			}
		}
	})
	return func() {
		cancel()
		wg.Wait()
	}
}

// Clock is a time as it is printed everywhere.
func Clock(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// Ago is a duration as a person reads it.
func Ago(d time.Duration) string {
	switch {
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	case d < time.Minute:
		return d.Round(time.Second).String()
	case d < 48*time.Hour:
		return strings.TrimSuffix(d.Round(time.Minute).String(), "0s")
	default:
		return fmt.Sprintf("%dd%dh", int(d.Hours())/24, int(d.Hours())%24)
	}
}

// OrQuestion is a question mark for what is not known.
func OrQuestion(text string) string { return cmp.Or(text, "?") }

// Trouble tells what a reading goes on after.
func (env Env) Trouble(err error) {
	_, _ = fmt.Fprintf(env.Stderr, "refundctl: %v; trying again\n", err)
}
