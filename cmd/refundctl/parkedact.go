package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"

	"refundd/cmd/internal/cli"
	"refundd/cmd/internal/story"
	"refundd/cmd/internal/tap"
	"refundd/consumer"
	"refundd/dedupe"
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

// parkedAct is one run of requeue or drop.
type parkedAct struct {
	deed      consumer.Deed
	deskFlags deskFlags
	filter    parkedFilter
	out       output
	agreement agreement
	every     bool
	again     bool
	plan      bool
	actor     string
	why       string
	rate      int
}

func parkedRequeueCommand(env cli.Env) *cobra.Command {
	a := &parkedAct{deed: consumer.Requeued}
	cmd := a.command(env, "requeue", "send them again once their cause is mended")
	cmd.Long, cmd.Example = parkedRequeueLong, parkedRequeueExample
	cmd.Flags().BoolVar(&a.again, "again", false, "also those that a person has requeued or dropped before")
	return cmd
}

func parkedDropCommand(env cli.Env) *cobra.Command {
	cmd := (&parkedAct{deed: consumer.Dropped}).command(env, "drop", "mark those that nobody will try again")
	cmd.Long, cmd.Example = parkedDropLong, parkedDropExample
	return cmd
}

func (a *parkedAct) command(env cli.Env, name, says string) *cobra.Command {
	cmd := &cobra.Command{
		Use: name + " (--every | filters) --reason-text WHY", Short: says,
		RunE: func(cmd *cobra.Command, _ []string) error {
			a.filter.note(cmd)
			return a.run(cmd.Context(), env)
		},
	}
	a.deskFlags.register(cmd)
	a.filter.register(cmd)
	a.out.register(cmd)
	a.agreement.register(cmd)
	flags := cmd.Flags()
	flags.BoolVar(&a.every, "every", false, "all that wait for a person, where no filter is given")
	flags.BoolVar(&a.plan, "plan", false, "only say what each one would do")
	flags.StringVar(&a.actor, "actor", env.Getenv("USER"), "`who` does it")
	flags.StringVar(&a.why, "reason-text", "", "`why`, for whoever finds it; required")
	flags.IntVar(&a.rate, "rate", 20, "refunds per second at most; 0 = no limit")
	return cmd
}

func (a *parkedAct) check() error {
	switch {
	case !a.filter.any() && !a.every:
		return cli.WrongUsage("say which: --number, --reason, --merchant, --kind, --older or --newer, or --every")
	case a.filter.any() && a.every:
		return cli.WrongUsage("--every and a filter contradict each other")
	case !a.plan && strings.TrimSpace(a.why) == "":
		return cli.WrongUsage("--reason-text is required")
	case !a.plan && strings.TrimSpace(a.actor) == "":
		return cli.WrongUsage("--actor is required where USER is not set")
	case len(a.why) > mostWhy || len(a.actor) > mostActor:
		return cli.WrongUsage("--reason-text takes up to %d bytes, --actor %d", mostWhy, mostActor)
	case a.rate < 0:
		return cli.WrongUsage("--rate: %d is below zero", a.rate)
	}
	return nil
}

func (a *parkedAct) run(ctx context.Context, env cli.Env) error {
	if err := a.check(); err != nil {
		return err
	}
	if !a.plan {
		if err := a.agreement.possible(env); err != nil {
			return err
		}
	}
	d, done, err := a.deskFlags.open(env)
	if err != nil {
		return err
	}
	defer done()
	found, _, err := d.scan(ctx, &a.filter)
	if err != nil {
		return err
	}
	found = slices.DeleteFunc(found, func(p *parkedRefund) bool { return p.stands == standsNewer })
	meant := 0
	for _, p := range found {
		ok, says := a.would(d, p)
		if ok {
			meant++
		}
		if a.plan || !a.out.json() {
			if err := a.tell(env, p, plannedWord(ok), says); err != nil {
				return err
			}
		}
	}
	if !a.plan && meant > 0 {
		verb := "Requeue"
		if a.deed == consumer.Dropped {
			verb = "Drop"
		}
		question := fmt.Sprintf("%s %d refunds of %d found?", verb, meant, len(found))
		if err := a.agreement.ask(ctx, env, question); err != nil {
			return err
		}
	}
	return a.carryOut(ctx, d, env, found)
}

func plannedWord(ok bool) string {
	if ok {
		return "would"
	}
	return "skip"
}

// would says what is to be done with one refund, and what that leads to; or why
// it is left alone.
func (a *parkedAct) would(d *desk, p *parkedRefund) (ok bool, says string) {
	switch p.stands {
	case standsOpen:
		if a.deed == consumer.Dropped {
			return true, "it would no longer be listed; it stays undecided"
		}
		if p.memory.QueryOnly {
			return true, "Alipay would only be asked: it is too old to be called"
		}
		return true, story.Outlook(p.memory.Next)
	case standsRequeued, standsDropped:
		switch p.unmarked {
		case standsForeign, standsRejected, standsUnreadable, standsStub, standsContradiction:
			return false, p.detail // a requeue would change nothing
		case standsOpen, standsForgotten, standsRequeued, standsWorking, standsRetrying, standsDecided, standsDropped, standsNewer:
		}
		if a.again {
			return true, "again: " + p.detail
		}
		return false, p.detail
	case standsForgotten, standsForeign, standsRejected, standsUnreadable, standsStub, standsContradiction:
		if a.deed == consumer.Dropped {
			return true, string(p.stands) + ": it would no longer be listed"
		}
		if p.stands == standsForgotten {
			return true, "no record of it in Redis; " + d.outlookForgotten(p)
		}
		if p.stands == standsForeign {
			return false, "foreign: its number belongs to a command with other content now"
		}
		if p.stands == standsStub {
			return false, "stub: there is no body to send; " + p.detail + ". See the runbook, RefunddParkedGrowing"
		}
		return false, string(p.stands) + ": " + p.detail
	case standsDecided:
		return false, string(p.stands) + ": " + p.detail
	case standsWorking:
		return false, "working: a worker holds it now"
	case standsRetrying:
		return false, "retrying: its next try will come"
	case standsNewer:
		return false, "newer: another parked copy is"
	}
	return false, string(p.stands)
}

// outlookForgotten is for a command without a record, as the service treats it (R10).
func (d *desk) outlookForgotten(p *parkedRefund) string {
	switch {
	case time.Since(p.copy.Born) > d.keep-min(d.keep/10, time.Hour):
		return "Alipay would only be asked: it is older than REFUNDD_KEEP"
	case p.copy.Claimed:
		return story.Outlook("query")
	}
	return story.Outlook("call")
}

// parkedCounts add up: Found is the sum of the others.
type parkedCounts struct {
	Found   int            `json:"found"`
	Done    int            `json:"done"`
	Skipped map[string]int `json:"skipped"` // by how it stands
	Failed  int            `json:"failed"`
}

// A record keeps so many bytes of the words to a deed.
const mostWhy, mostActor = 256, 64

// skipped says why nothing was done after all.
type skipped struct{ why string }

func (s *skipped) Error() string { return s.why }

func (a *parkedAct) carryOut(ctx context.Context, d *desk, env cli.Env, found []*parkedRefund) error {
	counts := parkedCounts{Found: len(found), Skipped: map[string]int{}}
	var sender *tap.Sender
	if a.deed == consumer.Requeued && !a.plan {
		var err error
		if sender, err = tap.NewSender(d.cluster); err != nil {
			return err
		}
		defer func() { _ = sender.Close() }() // every message was waited for
	}
	var pace *time.Ticker
	if a.rate > 0 && !a.plan {
		pace = time.NewTicker(time.Second / time.Duration(a.rate))
		defer pace.Stop()
	}
	var looked atomic.Int64
	defer env.Progress(func() string { return fmt.Sprintf("so far %d of %d refunds", looked.Load(), len(found)) })()
	for _, p := range found {
		looked.Add(1)
		if ok, says := a.would(d, p); !ok {
			counts.Skipped[string(p.stands)]++
			if a.out.json() && !a.plan {
				if err := a.tell(env, p, "skipped", says); err != nil {
					return err
				}
			}
			continue
		}
		if a.plan {
			counts.Done++
			continue
		}
		if pace != nil {
			select {
			case <-ctx.Done():
			case <-pace.C:
			}
		}
		err := a.one(ctx, d, sender, p)
		result, says := string(a.deed), ""
		skip, wasSkipped := errors.AsType[*skipped](err)
		switch {
		case wasSkipped:
			counts.Skipped[string(p.stands)]++
			result, says = "skipped", skip.why
		case err != nil:
			counts.Failed++
			result, says = "failed", err.Error()
		default:
			counts.Done++
		}
		if a.out.json() || err != nil {
			if err := a.tell(env, p, result, says); err != nil {
				return err
			}
		}
	}
	return a.close(env, counts)
}

// one writes the deed into the record and then, for a requeue, sends the copy.
func (a *parkedAct) one(ctx context.Context, d *desk, sender *tap.Sender, p *parkedRefund) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("interrupted before it: %w", err)
	}
	// What the plan saw may be minutes old.
	if err := d.judge(ctx, p); err != nil {
		return err
	}
	if ok, says := a.would(d, p); !ok {
		return &skipped{"meanwhile " + says}
	}
	now := time.Now()
	if err := a.writeDown(ctx, d, p, now); err != nil {
		return err
	}
	if a.deed == consumer.Dropped {
		return nil
	}
	c := p.copy
	c.Try, c.First, c.Keys = 0, now, p.number
	// Of this parking and of all before it: an older copy is not taken up again.
	c.Generation, c.Park = max(c.Generation, p.record.Generation), max(c.Park, p.memory.Parks)
	_, err := sender.Send(ctx, tap.Outgoing{Topic: d.retry, Keys: p.number, Properties: c.Properties(), Body: c.Body})
	if err != nil {
		return fmt.Errorf("it counts as requeued, and --again sends it again, which is safe: %w", err)
	}
	return nil
}

// writeDown puts the deed into the record, or beside the records where none is
// undecided.
func (a *parkedAct) writeDown(ctx context.Context, d *desk, p *parkedRefund, now time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, redisTime)
	defer cancel()
	if !p.record.Exists || p.record.Decided || p.unmarked == standsForeign || p.unmarked == standsUnreadable {
		return d.store.SetMark(ctx, d.appID, p.markName(), dedupe.Mark{Deed: string(a.deed), By: a.actor, Why: a.why, At: now})
	}
	noted, err := consumer.WithAct(p.record.Note, consumer.Act{Deed: a.deed, By: a.actor, Why: a.why, At: now, Park: p.copy.Park})
	if err != nil {
		return err
	}
	_, amended, err := d.store.Amend(ctx, p.id, p.record, noted)
	if err == nil && !amended {
		p.stands = standsWorking
		err = &skipped{"meanwhile somebody else has its record"}
	}
	return err
}
