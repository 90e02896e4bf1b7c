package main

import (
	"context"

	"github.com/spf13/cobra"

	"refundd/cmd/internal/cli"
	"refundd/cmd/internal/desk"
	"refundd/cmd/internal/flags"
	"refundd/consumer"
)

const parkedRequeueLong = `Sends parked commands to refundd again, once their cause is mended: with a new age, no
try spent, and the same number, so the money of one refund still moves at most
once, however often it is requeued. A plan says what each one would do; then you
are asked.

What is decided, retried or worked on already is skipped, and so is what a person
has requeued or dropped, unless --again. Who requeued what, when and why is written
into the refund's record before its copy is sent. A refund whose record Redis has
lost is asked for at Alipay before anything is called, and never called if it is
older than REFUNDD_KEEP; what was done then stands beside the records.

The closing line counts every refund once: found = requeued + skipped + failed.
Exit codes: 0 done, 1 something failed or you said no, 2 wrong usage.`

const parkedRequeueExample = `  refundctl parked requeue -r blocked_merchant -m shop-a --plan
  refundctl parked requeue -r blocked_merchant -m shop-a --reason-text "topped up, ticket 17"
  refundctl parked requeue --number R-1,R-2 --reason-text "key rolled back" --yes
  refundctl parked requeue --every --reason-text "gateway back" --rate 5 --yes -o json`

const parkedDropLong = `Marks parked refunds that nobody will try again, so that parked list does not show
them any more. It writes who, when and why into the refund's record (beside the
records, where none is undecided), and does nothing else.

A drop says nothing about the money. Alipay may have moved it, so no event is
published and none is taken back: for accounting the refund stays unresolved, and it
stays in refundd_undecided_amount_yuan. The record is kept, without expiry: a copy
or a notification that comes after all still meets it, is judged by all that was
asked before, and may still prove the refund. So a dropped refund can be requeued
(--again), and its number must not be used for anything else.

A contradiction is dropped when accounting has been told, an unreadable or rejected
message when its sender has. What is decided or has a copy on its way is not dropped.
The closing line counts every refund once: found = dropped + skipped + failed.
Exit codes: 0 done, 1 something failed or you said no, 2 wrong usage.`

const parkedDropExample = `  refundctl parked drop --number R-1 --plan
  refundctl parked drop --number R-1 --reason-text "refunded by bank transfer, ticket 18"
  refundctl parked list --all | grep dropped`

// parkedAct holds the flags of requeue and drop.
type parkedAct struct {
	desk.Action
	at     deskFlags
	filter parkedFilter
	out    flags.Output
	flags.Agreement
}

func parkedRequeueCommand(env cli.Env) *cobra.Command {
	a := &parkedAct{Action: desk.Action{Deed: consumer.Requeued}}
	cmd := a.command(env, "requeue", "send them again once their cause is mended")
	cmd.Long, cmd.Example = parkedRequeueLong, parkedRequeueExample
	cmd.Flags().BoolVar(&a.Again, "again", false, "also those that a person has requeued or dropped before")
	return cmd
}

func parkedDropCommand(env cli.Env) *cobra.Command {
	a := &parkedAct{Action: desk.Action{Deed: consumer.Dropped}}
	cmd := a.command(env, "drop", "mark those that nobody will try again")
	cmd.Long, cmd.Example = parkedDropLong, parkedDropExample
	return cmd
}

func (a *parkedAct) command(env cli.Env, name, says string) *cobra.Command {
	cmd := &cobra.Command{
		Use: name + " (--every | filters) --reason-text WHY", Short: says,
		RunE: func(cmd *cobra.Command, _ []string) error {
			a.Filter, a.Format = a.filter.filter(cmd), a.out.Format
			a.Agree = func(ctx context.Context, question string) error { return a.Ask(ctx, env, question) }
			return a.run(cmd.Context(), env)
		},
	}
	a.at.register(cmd)
	a.filter.register(cmd)
	a.out.Register(cmd)
	a.Register(cmd)
	set := cmd.Flags()
	set.BoolVar(&a.Every, "every", false, "all that wait for a person, where no filter is given")
	set.BoolVar(&a.Plan, "plan", false, "only say what each one would do")
	set.StringVar(&a.Actor, "actor", env.Getenv("USER"), "`who` does it")
	set.StringVar(&a.Why, "reason-text", "", "`why`, for whoever finds it; required")
	set.IntVar(&a.Rate, "rate", 20, "refunds per second at most; 0 = no limit")
	return cmd
}

func (a *parkedAct) run(ctx context.Context, env cli.Env) error {
	if err := a.Check(); err != nil {
		return err
	}
	if !a.Plan {
		if err := a.Possible(env); err != nil {
			return err
		}
	}
	d, done, err := a.at.open(env)
	if err != nil {
		return err
	}
	defer done()
	return d.Carry(ctx, a.Action)
}
