package main

import (
	"fmt"
	"strings"

	"refundd/alipay/alipaytest"
	"refundd/producer"
)

// truth is what the events say about one refund.
type truth struct {
	final      map[string]producer.Event // by id
	unresolved bool
}

// check compares the ledger with the events. What it returns first are the
// findings, empty if all is well; then what was counted, in words.
func (b *board) check(ledger []alipaytest.Refund) (wrong []string, summary string) {
	wrong = append(wrong, b.wrong...)
	truths := map[string]*truth{}
	var succeeded, failed, rejected, parked int
	for _, ev := range b.events {
		switch ev.Outcome {
		case producer.Rejected:
			if b.told[ev.ID] > 1 {
				wrong = append(wrong, "rejected more than once: message "+ev.Subject)
			}
			rejected++
			continue
		case producer.Succeeded, producer.Failed, producer.Unresolved:
		case producer.Notified, producer.DepositBack:
			continue
		}
		t := truths[ev.OutRequestNo]
		if t == nil {
			t = &truth{final: map[string]producer.Event{}}
			truths[ev.OutRequestNo] = t
		}
		if ev.Outcome == producer.Unresolved {
			t.unresolved = true
			continue
		}
		t.final[ev.ID] = ev
	}
	wrong = append(wrong, b.commandsWithout(truths)...)

	booked := map[string]alipaytest.Refund{}
	for _, r := range ledger {
		if other, twice := booked[r.OutRequestNo]; twice && other.Moved+r.Moved > 1 {
			wrong = append(wrong, r.OutRequestNo+": money moved on two trades")
		}
		if r.Moved > 0 || booked[r.OutRequestNo].Moved == 0 {
			booked[r.OutRequestNo] = r
		}
		if r.Moved > 0 && truths[r.OutRequestNo] == nil {
			wrong = append(wrong, r.OutRequestNo+": money moved and no event tells")
		}
	}
	var fen int64
	for _, number := range sortedKeys(truths) {
		t, r := truths[number], booked[number]
		if len(t.final) > 1 {
			wrong = append(wrong, fmt.Sprintf("%s: %d final events", number, len(t.final)))
		}
		if r.Moved > 1 {
			wrong = append(wrong, fmt.Sprintf("%s: money moved %d times", number, r.Moved))
		}
		if len(t.final) == 0 {
			parked++
		}
		for _, ev := range t.final {
			switch {
			case ev.Outcome == producer.Succeeded && r.Moved != 1:
				wrong = append(wrong, number+": succeeded, but no money moved")
			case ev.Outcome == producer.Succeeded && r.Amount != yuan(ev.AmountFen):
				wrong = append(wrong, fmt.Sprintf("%s: the event says %s, the ledger %s", number, yuan(ev.AmountFen), r.Amount))
			case ev.Outcome == producer.Failed && r.Moved != 0:
				wrong = append(wrong, number+": failed, but money moved")
			case ev.Outcome == producer.Succeeded:
				succeeded++
				fen += ev.AmountFen
			default:
				failed++
			}
		}
	}
	return wrong, fmt.Sprintf(
		"%d commands, %d events: %d refunds succeeded and moved once each (%s yuan), %d failed and %d messages rejected without a movement, "+
			"%d parked for a person; %d notifications, an event each",
		len(b.rows), len(b.events), succeeded, yuan(fen), failed, rejected, parked, len(b.notified))
}

// checkNotices compares what Alipay notified with the events: one event for each
// notification that was accepted, none for anything else.
func (b *board) checkNotices(notices []alipaytest.Notice) (wrong []string) {
	accepted := map[string]bool{}
	for _, n := range notices {
		accepted[n.NotifyID] = accepted[n.NotifyID] || n.Accepted
	}
	for _, id := range sortedKeys(accepted) {
		switch {
		case !accepted[id]:
			wrong = append(wrong, "notification "+id+" was never accepted")
		case !b.notified[id]:
			wrong = append(wrong, "notification "+id+" was accepted and no event tells")
		}
	}
	for _, id := range sortedKeys(b.notified) {
		if !accepted[id] {
			wrong = append(wrong, "an event tells of notification "+id+", which Alipay never sent")
		}
	}
	return wrong
}

// commandsWithout finds commands without an end. A refund that was parked has
// none that is final, and that is for a person to see.
func (b *board) commandsWithout(truths map[string]*truth) []string {
	var wrong []string
	for _, r := range b.rows {
		if !r.ended {
			wrong = append(wrong, fmt.Sprintf("no event for command %q (%s)", strings.TrimSpace(r.number+" "+r.what), r.msgID))
			continue
		}
		if t := truths[r.number]; r.final() && r.event.Outcome != producer.Rejected && t != nil && len(t.final) == 0 {
			wrong = append(wrong, r.number+": no final event")
		}
	}
	return wrong
}
