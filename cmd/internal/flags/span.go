package flags

import (
	"time"

	"github.com/spf13/cobra"

	"refundd/cmd/internal/cli"
	"refundd/cmd/internal/tap"
)

// Span holds the flags that say which part of a topic is read.
type Span struct {
	from, to  When
	queue     string
	GroupName string
}

// Register adds them.
func (s *Span) Register(cmd *cobra.Command) {
	s.from, s.to = NewWhen("beginning", "beginning"), NewWhen("now", "now")
	s.from.Offsets, s.to.Offsets = true, true
	set := cmd.Flags()
	set.Var(&s.from, "from", "`start`: beginning, a time, how long ago (10m, 7d), or offset:N in every queue")
	set.Var(&s.to, "to", "`end`, itself not read: now, a time, how long ago, or offset:N in every queue")
	set.StringVar(&s.queue, "queue", "", "only this `queue`, such as broker-a/3")
	Group(cmd, &s.GroupName)
}

// Following turns the flags into a reading that ends.
func (s *Span) Following(env cli.Env, topic string) (tap.Following, error) {
	if s.to.After(time.Now()) {
		return tap.Following{}, cli.WrongUsage("--to: %s is still to come", s.to.Text)
	}
	return tap.Following{
		Topic: topic, Group: s.GroupName, Queue: s.queue, UntilNow: true, Merged: true, Trouble: env.Trouble,
		Beginning: s.from.Text == "beginning", Since: s.from.Time, From: s.from.Offset, Until: s.to.Time, To: s.to.Offset,
	}, NotTheServices(s.GroupName, env)
}
