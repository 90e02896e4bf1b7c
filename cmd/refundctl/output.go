package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
)

// errFound is a verdict and not a mishap: what was looked at is not in order,
// and the output has told it.
var errFound = errors.New("something is not in order")

// output is the flag of commands that print results.
type output struct{ format string }

func (o *output) register(cmd *cobra.Command) {
	o.format = "text"
	choice{value: &o.format, of: []string{"text", "json"}}.register(cmd, "output", "o", "`format`: text or json")
}

func (o *output) json() bool { return o.format == "json" }

// print prints a result: the value as JSON, or the line.
func (o *output) print(env environment, value any, line string, args ...any) error {
	if o.json() {
		return printJSON(env.stdout, value)
	}
	if _, err := fmt.Fprintf(env.stdout, line, args...); err != nil {
		return fmt.Errorf("print: %w", err)
	}
	return nil
}

// printJSON writes one value as one line.
func printJSON(w io.Writer, value any) error {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		return fmt.Errorf("print: %w", err)
	}
	return nil
}

// table prints rows in columns: the one way in which results stand below each
// other.
type table struct {
	w     io.Writer
	text  bytes.Buffer
	cells *tabwriter.Writer
}

func newTable(w io.Writer, header ...any) *table {
	t := &table{w: w}
	t.cells = tabwriter.NewWriter(&t.text, 0, 0, 2, ' ', 0)
	if len(header) > 0 {
		t.row(header...)
	}
	return t
}

func (t *table) row(cells ...any) {
	for i, cell := range cells {
		if i > 0 {
			_, _ = t.cells.Write([]byte{'\t'})
		}
		_, _ = fmt.Fprint(t.cells, cell)
	}
	_, _ = t.cells.Write([]byte{'\n'})
}

// flush prints what there is.
func (t *table) flush() error {
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
	red    = 31
	green  = 32
	yellow = 33
)

// paint colours a text where a person looks at it.
func (env environment) paint(colour int, text string) string {
	if !env.colours {
		return text
	}
	return fmt.Sprintf("\x1b[%dm%s\x1b[0m", colour, text)
}

// progressEvery is the pause between two lines of progress.
const progressEvery = 2 * time.Second

// progress calls line now and then and prints what it says to standard error, until
// the function that it returns is called. Short work prints nothing.
func (env environment) progress(line func() string) (stop func()) {
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
				_, _ = fmt.Fprintln(env.stderr, line())
			}
		}
	})
	return func() {
		cancel()
		wg.Wait()
	}
}

// agreement is the flag of commands that move messages or money: these show
// what they will do, and ask.
type agreement struct{ yes bool }

func (a *agreement) register(cmd *cobra.Command) {
	cmd.Flags().BoolVarP(&a.yes, "yes", "y", false, "do it without asking, for scripts")
}

// errNobody: there is nobody to ask.
func errNobody() error { return wrongUsage("--yes is required where there is no terminal to ask on") }

// possible is for the beginning of a command: it tells before any work that
// nobody could be asked.
func (a *agreement) possible(env environment) error {
	if a.yes {
		return nil
	}
	terminal, err := env.openTerminal()
	if err != nil {
		return errNobody()
	}
	_ = terminal.Close()
	return nil
}

// errDeclined: a person was asked and did not say yes.
var errDeclined = errors.New("not confirmed: nothing was done")

// ask returns nil if the command may go on. The plan is printed before. The
// question goes to the terminal, and not to standard input, which may be data.
func (a *agreement) ask(ctx context.Context, env environment, question string) error {
	if a.yes {
		return nil
	}
	terminal, err := env.openTerminal()
	if err != nil {
		return errNobody()
	}
	defer func() { _ = terminal.Close() }()
	if _, err := fmt.Fprintf(terminal, "%s [yes/no] ", question); err != nil {
		return fmt.Errorf("ask: %w", err)
	}
	answer := make(chan string, 1)
	go func() { // a read of a terminal heeds no context
		line, _ := bufio.NewReader(terminal).ReadString('\n')
		answer <- strings.ToLower(strings.TrimSpace(line))
	}()
	select {
	case <-ctx.Done():
		return errDeclined
	case word := <-answer:
		if word != "yes" && word != "y" {
			return errDeclined
		}
		return nil
	}
}

// openTerminal opens the terminal that the program runs on, whatever its
// standard input is.
func openTerminal() (io.ReadWriteCloser, error) { return os.OpenFile("/dev/tty", os.O_RDWR, 0) }

// clock is a time as it is printed everywhere.
func clock(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// ago is a duration as a person reads it.
func ago(d time.Duration) string {
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

// orQuestion is for what is not known.
func orQuestion(text string) string { return cmp.Or(text, "?") }
