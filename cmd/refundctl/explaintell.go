package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"refundd/cmd/internal/cli"
	"refundd/consumer"
	"refundd/producer"
)

// conclusion ends a story.
type conclusion struct {
	// Stands is succeeded, failed, contradiction, rejected, working, retrying,
	// requeued, parked, dropped, forgotten or unknown.
	Stands string     `json:"stands"`
	True   string     `json:"true"`
	Next   string     `json:"next"`
	Due    *time.Time `json:"due,omitempty"`
	Do     string     `json:"do"`
}

// conclude says what is true, what happens next, and what a person should do.
func (s *story) conclude(now time.Time) {
	switch {
	case s.record.Decided, !s.record.Exists && s.has(producer.Succeeded), !s.record.Exists && s.has(producer.Failed):
		s.decided()
	case s.record.Exists:
		s.undecided(now)
	case len(s.copies)+len(s.tries) > 0 || s.has(producer.Unresolved):
		s.forgotten()
	case s.has(producer.Rejected):
		s.rejected()
	default:
		s.unknown()
	}
	s.compare()
}

func (s *story) has(outcome producer.Outcome) bool {
	return slices.ContainsFunc(s.events, func(ev producer.Event) bool { return ev.Outcome == outcome })
}

func (s *story) last(outcome producer.Outcome) producer.Event {
	for _, ev := range slices.Backward(s.events) {
		if ev.Outcome == outcome {
			return ev
		}
	}
	return producer.Event{}
}

func (s *story) decided() {
	s.Next, s.Do = "nothing: this is final", "nothing"
	if !s.record.Exists {
		s.Next += "; the record has expired or was lost, and the event stands"
	}
	if s.untold {
		s.Next = "its event may not have been told: two hours after it was decided the service publishes it from the record. It is final"
	}
	switch {
	case s.record.Contradiction || s.has(producer.Succeeded) && s.has(producer.Failed):
		s.Stands, s.True = "contradiction", "the money moved, and failed had been published before: succeeded counts"
		s.Do = "tell accounting, and whoever acted on the failed event; find out how a proven refusal was followed by the refund"
	case s.has(producer.Succeeded):
		ev := s.last(producer.Succeeded)
		s.Stands, s.True = "succeeded", fmt.Sprintf("the money moved, proven by %s; Alipay's trade is %s", ev.ConfirmedBy, cmp.Or(ev.TradeNo, ev.AuthNo, "not named"))
	default:
		ev := s.last(producer.Failed)
		s.Stands, s.True = "failed", "Alipay refused, proven, and the money did not move: "+strings.TrimSpace(ev.AlipaySubCode+" "+ev.AlipaySubMsg)
		s.Do = "if the refund is still wanted: mend the cause and send it under a new number, once no copy of the old command can be around"
	}
}

func (s *story) rejected() {
	ev := s.last(producer.Rejected)
	s.Stands, s.True, s.Next = "rejected", "the message was never sent to Alipay: "+string(ev.Reason)+", "+ev.Detail, "nothing: this is final for that message"
	s.Do = "correct the command and send it again"
	if ev.Reason == producer.ReasonConflict {
		s.Do = "the first command with this number counts; for another refund use another number"
	}
}

func (s *story) unknown() {
	s.Stands, s.True = "unknown", "nothing here knows this number: no record, and no message of this time"
	s.Next = "nothing, unless a command still waits in its topic: see the lag in refundctl doctor"
	s.Do = "check number, kind, merchant and app; look further back with --from; ask Alipay with --live --trade"
}

func (s *story) forgotten() {
	s.Stands, s.True = "forgotten", "Redis has no record of it, so its outcome is not known here"
	s.Next = "a copy that comes back asks Alipay before anything is called"
	s.Do = "ask Alipay with --live"
	if p := s.newestParked(); p != nil {
		s.Next = "nothing by itself: it is parked"
		s.Do = "ask Alipay with --live, then requeue it: " + requeueLine(s)
	}
}

func requeueLine(s *story) string {
	return "refundctl parked requeue --number " + s.OutRequestNo + ` --reason-text "…"`
}

func (s *story) newestParked() *parkedRefund {
	var newest *parkedRefund
	for _, p := range s.copies {
		if newest == nil || p.copy.Park >= newest.copy.Park {
			newest = p
		}
	}
	return newest
}

func (s *story) undecided(now time.Time) {
	m, r := s.memory, s.record
	s.True = "the outcome is not known yet: " + s.soFar()
	p := s.newestParked()
	act, acted := lastAct(m.Acts)
	acted = acted && r.Parked && (p == nil || act.Park >= p.copy.Park)
	switch {
	case r.HeldFor > 0:
		s.Stands, s.Next, s.Do = "working", "a worker holds it for another "+cli.Ago(r.HeldFor)+" at most", "nothing: look again in a minute"
	case acted && act.Deed == consumer.Requeued:
		s.Stands = "requeued"
		s.Next = "its copy waits in the retry topic, " + cli.Ago(now.Sub(act.At)) + " by now, and was not taken up yet"
		s.Do = "nothing for a few minutes; then see that refundd runs, and requeue it with --again, which is safe"
	case acted && act.Deed == consumer.Dropped:
		s.Stands = "dropped"
		s.Next = "nothing: " + told(act) + ". It stays unresolved"
		s.Do = "nothing, or take the drop back: " + requeueLine(s) + " --again"
	case r.Parked:
		s.Stands = "parked"
		s.Next = "nothing, until a person requeues it; a notification of Alipay's makes it be asked for once"
		reason := s.last(producer.Unresolved).Reason
		if p != nil {
			reason = producer.Reason(p.copy.Reason)
		}
		s.Do = s.advice(reason)
	default:
		s.Stands, s.Do = "retrying", "nothing"
		s.retrying(now)
	}
	for _, b := range s.brakes {
		s.Next += fmt.Sprintf("; new calls are paused by %s since %s: %s", b.By, cli.Clock(b.Since), b.Reason)
		s.Do = "when the cause of the pause is over: refundctl resume, with the same --kind and --merchant as the pause; then: " + s.Do
	}
}

func lastAct(acts []consumer.Act) (consumer.Act, bool) {
	if len(acts) == 0 {
		return consumer.Act{}, false
	}
	return acts[len(acts)-1], true
}

// soFar is what was asked of Alipay, and what it said.
func (s *story) soFar() string {
	m := s.memory
	if m.Calls == 0 && m.LastCall.IsZero() {
		return "no call was made that may have arrived"
	}
	text := fmt.Sprintf("calls: %d, the newest ended %s", m.Calls, cmp.Or(m.Ended, "unknown"))
	if m.SubCode != "" {
		text += " (" + m.SubCode + ")"
	}
	if !m.LastQuery.IsZero() {
		text += "; the newest query showed: " + cmp.Or(found(m.Found), "nothing that proves anything")
	}
	return text
}

// sweepAfter is when the service publishes an overdue command from its record.
const sweepAfter = 2 * time.Hour

func (s *story) retrying(now time.Time) {
	first := "then it is looked at again"
	switch s.memory.Next {
	case "call":
		first = "then Alipay is called"
	case "query":
		first = "then Alipay is asked, and called only if it does not show the refund"
	case "succeed", "fail":
		first = "then it is settled"
	}
	due := s.due.Due
	switch {
	case due.IsZero():
		s.Next = "its next try comes from the retry topic; " + first
		return
	case due.After(now):
		s.Next = fmt.Sprintf("its next try is due at %s, in %s; %s", cli.Clock(due), cli.Ago(due.Sub(now)), first)
	case now.Sub(due) < sweepAfter:
		s.Next = fmt.Sprintf("its next try was due at %s, %s ago, and waits in the retry topic; %s", cli.Clock(due), cli.Ago(now.Sub(due)), first)
		if now.Sub(due) > lostAfter {
			s.Do = "see that refundd runs and how far it lags (refundctl doctor); two hours after the time it is published again from its record"
		}
	default:
		s.Next = fmt.Sprintf("its next try was due at %s, %s ago: the broker may have lost it, and the service publishes it again from its record", cli.Clock(due), cli.Ago(now.Sub(due)))
		s.Do = "see that refundd runs (refundctl doctor)"
	}
	due = due.UTC()
	s.Due = &due
}

// advice is what a person does about a parked refund.
func (s *story) advice(reason producer.Reason) string {
	requeue := requeueLine(s)
	code := cmp.Or(s.memory.SubCode, "no code")
	switch reason {
	case producer.ReasonBlockedMerchant:
		return "mend the merchant's funds or account at Alipay (" + code + "), then: " + requeue
	case producer.ReasonBlockedConfiguration:
		return "mend keys, certificate, permission or authorisation (" + code + "; refundctl doctor --live helps), then: " + requeue
	case producer.ReasonConflictAtAlipay:
		return "find out who used this number at Alipay with another amount. Requeueing helps only if that was a mistake of the query; else agree with accounting, then refundctl parked drop"
	case producer.ReasonContradiction:
		return "tell accounting: failed was published, and the money moved"
	case producer.ReasonTooOld:
		return "compare with Alipay's bill, or ask with --live. A requeue only asks and never calls: " + requeue
	case producer.ReasonGatewayUnavailable, producer.ReasonRateLimited, producer.ReasonPaused, producer.ReasonHeld:
		return "see that the cause is over (" + string(reason) + "), then: " + requeue
	case producer.ReasonUnknownOutcome, producer.ReasonUnreadable, producer.ReasonInvalid, producer.ReasonConflict,
		producer.ReasonUnknownMerchant, producer.ReasonTooLarge, producer.ReasonRefused, producer.ReasonClosed:
	}
	return "ask Alipay with --live; then requeue it, which asks before it calls: " + requeue
}

// compare holds what is known here to what Alipay says.
func (s *story) compare() {
	if s.Live == nil {
		return
	}
	there := s.Live.Found == "ours" || s.Live.Found == "old"
	switch {
	case there && s.Stands == "failed":
		s.True = "CONTRADICTION: failed was published, and Alipay shows the refund"
		s.Do = "tell accounting at once: refundd believes its record, and publishes nothing more of this refund by itself"
	case s.Live.Found == "absent" && s.Stands == "succeeded":
		s.True = "succeeded was published, and Alipay's query does not show the refund now: " + s.True
		s.Do = "compare with Alipay's bill before anything else; a query may be asked with the wrong trade or merchant"
	case there && s.Stands == "unknown":
		s.True = "Alipay has this refund, and nothing here knows of it: it was made elsewhere, or its events are older than --from"
	case there && (s.Stands == "parked" || s.Stands == "dropped" || s.Stands == "forgotten"):
		s.True = "the money moved, as Alipay shows; it is not settled here yet"
		s.Do = "requeue it, so that succeeded is published: " + requeueLine(s)
		if s.Stands == "dropped" {
			s.Do += " --again"
		}
	case there && (s.Stands == "retrying" || s.Stands == "working" || s.Stands == "requeued"):
		s.True = "the money moved, as Alipay shows; the next try will find it"
	}
}
