package desk

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"refundd/cmd/internal/cli"
	"refundd/cmd/internal/story"
	"refundd/cmd/internal/tap"
	"refundd/consumer"
	"refundd/dedupe"
)

// Action is one run of requeue or drop.
type Action struct {
	Deed   consumer.Deed
	Filter Filter
	Every  bool // all that wait for a person, where the filter leaves nothing out
	Again  bool // also what a person has requeued or dropped before
	Plan   bool // only say what would be done
	Actor  string
	Why    string
	Rate   int // refunds a second; 0: no limit
	Format cli.Format
	// Agree asks a person; it is not called for a plan.
	Agree func(ctx context.Context, question string) error
}

// Check refuses what is not said, before anything is opened.
func (a *Action) Check() error {
	switch {
	case !a.Filter.Any() && !a.Every:
		return cli.WrongUsage("say which: --number, --reason, --merchant, --kind, --older or --newer, or --every")
	case a.Filter.Any() && a.Every:
		return cli.WrongUsage("--every and a filter contradict each other")
	case !a.Plan && strings.TrimSpace(a.Why) == "":
		return cli.WrongUsage("--reason-text is required")
	case !a.Plan && strings.TrimSpace(a.Actor) == "":
		return cli.WrongUsage("--actor is required where USER is not set")
	case len(a.Why) > mostWhy || len(a.Actor) > mostActor:
		return cli.WrongUsage("--reason-text takes up to %d bytes, --actor %d", mostWhy, mostActor)
	case a.Rate < 0:
		return cli.WrongUsage("--rate: %d is below zero", a.Rate)
	}
	return nil
}

// Carry carries it out.
func (d *Desk) Carry(ctx context.Context, a Action) error {
	found, _, err := d.scan(ctx, &a.Filter)
	if err != nil {
		return err
	}
	found = slices.DeleteFunc(found, func(p *parkedRefund) bool { return p.stands == StandsNewer })
	meant := 0
	for _, p := range found {
		ok, says := a.would(d, p)
		if ok {
			meant++
		}
		if a.Plan || !a.Format.JSON() {
			if err := a.tell(d.env, p, plannedWord(ok), says); err != nil {
				return err
			}
		}
	}
	if !a.Plan && meant > 0 {
		verb := "Requeue"
		if a.Deed == consumer.Dropped {
			verb = "Drop"
		}
		question := fmt.Sprintf("%s %d refunds of %d found?", verb, meant, len(found))
		if err := a.Agree(ctx, question); err != nil {
			return err
		}
	}
	return a.carryOut(ctx, d, found)
}

func plannedWord(ok bool) string {
	if ok {
		return "would"
	}
	return "skip"
}

// would says what is to be done with one refund, and what that leads to; or why
// it is left alone.
func (a *Action) would(d *Desk, p *parkedRefund) (ok bool, says string) {
	switch p.stands {
	case StandsOpen:
		if a.Deed == consumer.Dropped {
			return true, "it would no longer be listed; it stays undecided"
		}
		if p.memory.QueryOnly {
			return true, "Alipay would only be asked: it is too old to be called"
		}
		return true, story.Outlook(p.memory.Next)
	case StandsRequeued, StandsDropped:
		switch p.unmarked {
		case StandsForeign, StandsRejected, StandsUnreadable, StandsStub, StandsContradiction:
			return false, p.detail // a requeue would change nothing
		case StandsOpen, StandsForgotten, StandsRequeued, StandsWorking, StandsRetrying, StandsDecided, StandsDropped, StandsNewer:
		}
		if a.Again {
			return true, "again: " + p.detail
		}
		return false, p.detail
	case StandsForgotten, StandsForeign, StandsRejected, StandsUnreadable, StandsStub, StandsContradiction:
		if a.Deed == consumer.Dropped {
			return true, string(p.stands) + ": it would no longer be listed"
		}
		if p.stands == StandsForgotten {
			return true, "no record of it in Redis; " + d.outlookForgotten(p)
		}
		if p.stands == StandsForeign {
			return false, "foreign: its number belongs to a command with other content now"
		}
		if p.stands == StandsStub {
			return false, "stub: there is no body to send; " + p.detail + ". See the runbook, RefunddParkedGrowing"
		}
		return false, string(p.stands) + ": " + p.detail
	case StandsDecided:
		return false, string(p.stands) + ": " + p.detail
	case StandsWorking:
		return false, "working: a worker holds it now"
	case StandsRetrying:
		return false, "retrying: its next try will come"
	case StandsNewer:
		return false, "newer: another parked copy is"
	}
	return false, string(p.stands)
}

// outlookForgotten is for a command without a record, as the service treats it (R10).
func (d *Desk) outlookForgotten(p *parkedRefund) string {
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

func (a *Action) carryOut(ctx context.Context, d *Desk, found []*parkedRefund) error {
	counts := parkedCounts{Found: len(found), Skipped: map[string]int{}}
	var sender *tap.Sender
	if a.Deed == consumer.Requeued && !a.Plan {
		var err error
		if sender, err = tap.NewSender(d.cluster); err != nil {
			return err
		}
		defer func() { _ = sender.Close() }() // every message was waited for
	}
	var pace *time.Ticker
	if a.Rate > 0 && !a.Plan {
		pace = time.NewTicker(time.Second / time.Duration(a.Rate))
		defer pace.Stop()
	}
	var looked atomic.Int64
	defer d.env.Progress(func() string { return fmt.Sprintf("so far %d of %d refunds", looked.Load(), len(found)) })()
	for _, p := range found {
		looked.Add(1)
		if ok, says := a.would(d, p); !ok {
			counts.Skipped[string(p.stands)]++
			if a.Format.JSON() && !a.Plan {
				if err := a.tell(d.env, p, "skipped", says); err != nil {
					return err
				}
			}
			continue
		}
		if a.Plan {
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
		result, says := string(a.Deed), ""
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
		if a.Format.JSON() || err != nil {
			if err := a.tell(d.env, p, result, says); err != nil {
				return err
			}
		}
	}
	return a.close(d.env, counts)
}

// one writes the deed into the record and then, for a requeue, sends the copy.
func (a *Action) one(ctx context.Context, d *Desk, sender *tap.Sender, p *parkedRefund) error {
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
	if a.Deed == consumer.Dropped {
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
func (a *Action) writeDown(ctx context.Context, d *Desk, p *parkedRefund, now time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, redisTime)
	defer cancel()
	if !p.record.Exists || p.record.Decided || p.unmarked == StandsForeign || p.unmarked == StandsUnreadable {
		return d.store.SetMark(ctx, d.appID, p.markName(), dedupe.Mark{Deed: string(a.Deed), By: a.Actor, Why: a.Why, At: now})
	}
	noted, err := consumer.WithAct(p.record.Note, consumer.Act{Deed: a.Deed, By: a.Actor, Why: a.Why, At: now, Park: p.copy.Park})
	if err != nil {
		return err
	}
	_, amended, err := d.store.Amend(ctx, p.id, p.record, noted)
	if err == nil && !amended {
		p.stands = StandsWorking
		err = &skipped{"meanwhile somebody else has its record"}
	}
	return err
}
