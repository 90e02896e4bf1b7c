package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
)

// errFound is a verdict and not a mishap: what was looked at is not in order,
// and the output has told it.
var errFound = errors.New("something is not in order")

// output is the flag of commands that print results.
type output struct{ format string }

func (o *output) register(flags *flag.FlagSet) {
	flags.StringVar(&o.format, "o", "text", "`format`: text or json")
}

func (o *output) check(command string) error {
	if o.format != "text" && o.format != "json" {
		return wrongUsage("%s: -o: %q is neither text nor json", command, o.format)
	}
	return nil
}

func (o *output) json() bool { return o.format == "json" }

// printJSON writes one value as one line.
func printJSON(w io.Writer, value any) error {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		return fmt.Errorf("print: %w", err)
	}
	return nil
}

// agreement is the flag of commands that move messages or money: these show
// what they will do, and ask.
type agreement struct{ yes bool }

func (a *agreement) register(flags *flag.FlagSet) {
	flags.BoolVar(&a.yes, "yes", false, "do it without asking, for scripts")
}

// possible is for the beginning of a command: it tells before any work that
// nobody could be asked.
func (a *agreement) possible(command string, env environment) error {
	if a.yes {
		return nil
	}
	terminal, err := env.openTerminal()
	if err != nil {
		return wrongUsage("%s: -yes is required where there is no terminal to ask on", command)
	}
	_ = terminal.Close()
	return nil
}

// errDeclined: a person was asked and did not say yes.
var errDeclined = errors.New("not confirmed: nothing was done")

// ask returns nil if the command may go on. The plan is printed before. The
// question goes to the terminal, and not to standard input, which may be data.
func (a *agreement) ask(ctx context.Context, command string, env environment, question string) error {
	if a.yes {
		return nil
	}
	terminal, err := env.openTerminal()
	if err != nil {
		return wrongUsage("%s: -yes is required where there is no terminal to ask on", command)
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
