package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"refundd/cmd/internal/cli"
)

// output is the flag of commands that print results.
type output struct{ cli.Format }

func (o *output) register(cmd *cobra.Command) {
	o.Format = "text"
	choice{value: (*string)(&o.Format), of: []string{"text", "json"}}.register(cmd, "output", "o", "`format`: text or json")
}

// agreement is the flag of commands that move messages or money: these show
// what they will do, and ask.
type agreement struct{ yes bool }

func (a *agreement) register(cmd *cobra.Command) {
	cmd.Flags().BoolVarP(&a.yes, "yes", "y", false, "do it without asking, for scripts")
}

// errNobody: there is nobody to ask.
func errNobody() error {
	return cli.WrongUsage("--yes is required where there is no terminal to ask on")
}

// possible is for the beginning of a command: it tells before any work that
// nobody could be asked.
func (a *agreement) possible(env cli.Env) error {
	if a.yes {
		return nil
	}
	terminal, err := env.OpenTerminal()
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
func (a *agreement) ask(ctx context.Context, env cli.Env, question string) error {
	if a.yes {
		return nil
	}
	terminal, err := env.OpenTerminal()
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
