package main

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"refundd/cmd/internal/cli"
	"refundd/cmd/internal/doctor"
	"refundd/consumer"
	"refundd/producer"
)

// choice is a flag with a closed set of values. It refuses others with the list,
// and completes.
type choice struct {
	value *string
	of    []string
	many  bool     // with commas between them
	also  []string // taken too, and not listed
}

// register adds the flag; a default that is nothing can be given, too.
func (c choice) register(cmd *cobra.Command, name, short, usage string) {
	if *c.value == "" {
		c.also = append(c.also, "")
	}
	cmd.Flags().VarP(&c, name, short, usage)
	err := cmd.RegisterFlagCompletionFunc(name, func(_ *cobra.Command, _ []string, begun string) ([]string, cobra.ShellCompDirective) {
		before := ""
		if c.many {
			before = begun[:strings.LastIndex(begun, ",")+1]
		}
		words := make([]string, 0, len(c.of))
		for _, word := range c.of {
			words = append(words, before+word)
		}
		return words, cobra.ShellCompDirectiveNoFileComp
	})
	if err != nil {
		panic(err) // the flag was added above
	}
}

func (c *choice) String() string {
	if c.value == nil {
		return ""
	}
	return *c.value
}

func (c *choice) Type() string { return "string" }

// Set takes a value of the set.
func (c *choice) Set(text string) error {
	words := []string{text}
	if c.many {
		words = strings.Split(text, ",")
	}
	for _, word := range words {
		if !slices.Contains(c.of, word) && !slices.Contains(c.also, word) {
			return fmt.Errorf("want one of %s", strings.Join(c.of, ", "))
		}
	}
	*c.value = text
	return nil
}

func kinds() []string {
	return []string{string(consumer.KindRefund), string(consumer.KindCouponRefund)}
}

// eventTypes are the outcomes, and the types without their version; full has them
// with it.
func eventTypes() (short, full []string) {
	var types []string
	for _, t := range producer.Types() {
		name := strings.TrimSuffix(string(t), ".v1")
		types, full = append(types, name), append(full, string(t))
		if outcome, ok := strings.CutPrefix(name, string(producer.KindRefund)+"."); ok {
			short = append(short, outcome)
		}
	}
	return append(short, types...), full
}

func reasons() []string {
	var list []string
	for _, r := range producer.Reasons() {
		list = append(list, string(r))
	}
	return list
}

// topicFlag completes names of topics; others may be given.
func topicFlag(cmd *cobra.Command, env cli.Env, value *string, name, usage string) {
	cmd.Flags().StringVar(value, name, "", usage)
	err := cmd.RegisterFlagCompletionFunc(name, func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		var names []string
		for _, t := range doctor.Topics(env) {
			names = append(names, t.Name)
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	})
	if err != nil {
		panic(err) // the flag was added above
	}
}

// fileFlag completes names of files.
func fileFlag(cmd *cobra.Command, value *string, name, short, usage string) {
	cmd.Flags().StringVarP(value, name, short, *value, usage)
	completeFiles(cmd, name)
}

func completeFiles(cmd *cobra.Command, name string) {
	if err := cmd.MarkFlagFilename(name); err != nil {
		panic(err) // the flag was added before
	}
}

// when is a flag that names a moment, and is given alike everywhere.
type when struct {
	time.Time
	text    string
	words   []string // taken as they are: now, beginning
	offsets bool     // offset:N is taken, too
	offset  *int64
}

// newWhen begins with a default, which is one of the words or how long ago.
func newWhen(text string, words ...string) when {
	w := when{words: words}
	if text != "" && w.Set(text) != nil {
		panic("no moment: " + text)
	}
	return w
}

const whenWant = "how long ago (10m, 7d), a day (2026-11-27, from midnight UTC) or a time (2026-11-27T08:00:00+08:00)"

func (w *when) String() string { return w.text }

func (w *when) Type() string { return "time" }

// Set reads it as it is seen now.
func (w *when) Set(text string) error {
	w.text, w.Time, w.offset = text, time.Time{}, nil
	if slices.Contains(w.words, text) {
		return nil
	}
	if number, ok := strings.CutPrefix(text, "offset:"); ok && w.offsets {
		offset, err := strconv.ParseInt(number, 10, 64)
		if err != nil || offset < 0 {
			return errors.New("want offset: and a number from 0")
		}
		w.offset = &offset
		return nil
	}
	var p period
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
	if w.offsets {
		want += ", or offset:N"
	}
	return errors.New("want " + want)
}

// period is a flag for a duration, with days.
type period time.Duration

func (p *period) String() string {
	if *p == 0 {
		return "0"
	}
	return cli.Ago(time.Duration(*p))
}

func (p *period) Type() string { return "duration" }

// Set takes 90s, 10m, 7d or 1d12h.
func (p *period) Set(text string) error {
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
	*p = period(time.Duration(n)*24*time.Hour + d)
	return nil
}
