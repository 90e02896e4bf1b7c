// Package flags is what the flags of refundctl have in common: closed sets that
// refuse and complete, moments and durations, formats, and the yes of a person.
package flags

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"refundd/cmd/internal/cli"
)

// Choice is a flag with a closed set of values. It refuses others with the list,
// and completes.
type Choice struct {
	Value *string
	Of    []string
	Many  bool     // with commas between them
	Also  []string // taken too, and not listed
}

// Register adds the flag; a default that is nothing can be given, too.
func (c Choice) Register(cmd *cobra.Command, name, short, usage string) {
	if *c.Value == "" {
		c.Also = append(c.Also, "")
	}
	cmd.Flags().VarP(&c, name, short, usage)
	err := cmd.RegisterFlagCompletionFunc(name, func(_ *cobra.Command, _ []string, begun string) ([]string, cobra.ShellCompDirective) {
		before := ""
		if c.Many {
			before = begun[:strings.LastIndex(begun, ",")+1]
		}
		words := make([]string, 0, len(c.Of))
		for _, word := range c.Of {
			words = append(words, before+word)
		}
		return words, cobra.ShellCompDirectiveNoFileComp
	})
	if err != nil {
		panic(err) // the flag was added above
	}
}

// String is pflag's.
func (c *Choice) String() string {
	if c.Value == nil {
		return ""
	}
	return *c.Value
}

// Type is pflag's.
func (c *Choice) Type() string { return "string" }

// Set takes a value of the set.
func (c *Choice) Set(text string) error {
	words := []string{text}
	if c.Many {
		words = strings.Split(text, ",")
	}
	for _, word := range words {
		if !slices.Contains(c.Of, word) && !slices.Contains(c.Also, word) {
			return fmt.Errorf("want one of %s", strings.Join(c.Of, ", "))
		}
	}
	*c.Value = text
	return nil
}

// File adds a flag that completes names of files.
func File(cmd *cobra.Command, value *string, name, short, usage string) {
	cmd.Flags().StringVarP(value, name, short, *value, usage)
	CompleteFiles(cmd, name)
}

// CompleteFiles is for a flag of another kind.
func CompleteFiles(cmd *cobra.Command, name string) {
	if err := cmd.MarkFlagFilename(name); err != nil {
		panic(err) // the flag was added before
	}
}

// When is a flag that names a moment, and is given alike everywhere.
type When struct {
	time.Time
	Text    string
	words   []string // taken as they are: now, beginning
	Offsets bool     // offset:N is taken, too
	Offset  *int64
}

// NewWhen begins with a default, which is one of the words or how long ago.
func NewWhen(text string, words ...string) When {
	w := When{words: words}
	if text != "" && w.Set(text) != nil {
		panic("no moment: " + text)
	}
	return w
}

const whenWant = "how long ago (10m, 7d), a day (2026-11-27, from midnight UTC) or a time (2026-11-27T08:00:00+08:00)"

// String is pflag's.
func (w *When) String() string { return w.Text }

// Type is pflag's.
func (w *When) Type() string { return "time" }

// Set reads it as it is seen now.
func (w *When) Set(text string) error {
	w.Text, w.Time, w.Offset = text, time.Time{}, nil
	if slices.Contains(w.words, text) {
		return nil
	}
	if number, ok := strings.CutPrefix(text, "offset:"); ok && w.Offsets {
		offset, err := strconv.ParseInt(number, 10, 64)
		if err != nil || offset < 0 {
			return errors.New("want offset: and a number from 0")
		}
		w.Offset = &offset
		return nil
	}
	var p Period
	if p.Set(text) == nil {
		w.Time = time.Now().Add(-time.Duration(p))
		return nil
	}
	for _, layout := range []string{time.DateOnly, time.RFC3339} {
		if at, err := time.Parse(layout, text); err == nil {
			w.Time = at
			return nil
		}
	}
	want := strings.Join(append(slices.Clone(w.words), whenWant), ", ")
	if w.Offsets {
		want += ", or offset:N"
	}
	return errors.New("want " + want)
}

// Period is a flag for a duration, with days.
type Period time.Duration

// String is pflag's.
func (p *Period) String() string {
	if *p == 0 {
		return "0"
	}
	return cli.Ago(time.Duration(*p))
}

// Type is pflag's.
func (p *Period) Type() string { return "duration" }

// Set takes 90s, 10m, 7d or 1d12h.
func (p *Period) Set(text string) error {
	days, rest, ok := strings.Cut(text, "d")
	if !ok {
		days, rest = "0", text
	} else if rest == "" {
		rest = "0s"
	}
	n, err := strconv.ParseUint(days, 10, 16)
	d, restErr := time.ParseDuration(rest)
	if err != nil || restErr != nil || d < 0 {
		return errors.New("want a duration such as 90s, 10m or 7d")
	}
	*p = Period(time.Duration(n)*24*time.Hour + d)
	return nil
}

// Output is the flag of commands that print results.
type Output struct{ cli.Format }

// Register adds the flag.
func (o *Output) Register(cmd *cobra.Command) {
	o.Format = "text"
	Choice{Value: (*string)(&o.Format), Of: []string{"text", "json"}}.Register(cmd, "output", "o", "`format`: text or json")
}

// Agreement is the flag of commands that move messages or money: these show
// what they will do, and ask.
type Agreement struct{ yes bool }

// Register adds the flag.
func (a *Agreement) Register(cmd *cobra.Command) {
	cmd.Flags().BoolVarP(&a.yes, "yes", "y", false, "do it without asking, for scripts")
}

// errNobody: there is nobody to ask.
func errNobody() error {
	return cli.WrongUsage("--yes is required where there is no terminal to ask on")
}

// Possible is for the beginning of a command: it tells before any work that
// nobody could be asked.
func (a *Agreement) Possible(env cli.Env) error {
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

// Ask returns nil if the command may go on. The plan is printed before. The
// question goes to the terminal, and not to standard input, which may be data.
func (a *Agreement) Ask(ctx context.Context, env cli.Env, question string) error {
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
