// Package story is the one judge of a refund: what is true of it, what comes
// next, and what a person should do. The status page, refundctl explain and
// refundctl parked ask it, each with the facts that it could read.
package story

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"refundd/cmd/internal/cli"
	"refundd/consumer"
	"refundd/dedupe"
	"refundd/producer"
)

// State is how a refund stands.
type State string

// The states.
const (
	Succeeded     State = "succeeded"
	Failed        State = "failed"
	Contradiction State = "contradiction" // succeeded after failed was published
	Rejected      State = "rejected"
	Working       State = "working"  // a worker holds it now
	Retrying      State = "retrying" // its next try will come
	Requeued      State = "requeued" // by a person, and not taken up yet
	Parked        State = "parked"   // it waits for a person
	Dropped       State = "dropped"  // by a person; still undecided
	Forgotten     State = "forgotten"
	Unknown       State = "unknown"
)

// Facts are what is known of one refund.
type Facts struct {
	Number  string
	Record  dedupe.Record
	Summary consumer.Summary // of an undecided record
	Due     time.Time        // of the next try, where the index has it
	Brakes  []dedupe.Brake   // that hold it
	Events  []producer.Event // without repeats
	Copies  []Copy           // in the parked topic
	Retried bool             // a copy is in the retry topic
	// Unpublished: it is decided, and perhaps no event has said so yet.
	Unpublished bool
	// Alipay is what a query showed just now, as consumer.Answer has it.
	Alipay string
}

// Copy is one in the parked topic.
type Copy struct {
	Reason     producer.Reason
	Park       int
	Generation int64
}

// Conclusion is what the facts come to.
type Conclusion struct {
	Stands State      `json:"stands"`
	True   string     `json:"true"`
	Next   string     `json:"next"`
	Due    *time.Time `json:"due,omitempty"`
	Do     string     `json:"do"`
}

const (
	// LostAfter is when a copy that nobody took up needs a person: the broker may
	// have lost it, or refundd does not run.
	LostAfter = 15 * time.Minute
	// sweepAfter is when the service publishes an overdue command from its record.
	sweepAfter = 2 * time.Hour
)

// Conclude judges.
func Conclude(f Facts, now time.Time) Conclusion {
	j := &judge{Facts: f, now: now}
	switch {
	case f.Record.Decided, !f.Record.Exists && j.has(producer.Succeeded), !f.Record.Exists && j.has(producer.Failed):
		j.decided()
	case f.Record.Exists:
		j.undecided()
	case len(f.Copies) > 0 || f.Retried || j.has(producer.Unresolved):
		j.forgotten()
	case j.has(producer.Rejected):
		j.rejected()
	default:
		j.unknown()
	}
	j.compare()
	return j.Conclusion
}

// judge comes to one conclusion.
type judge struct {
	Facts
	Conclusion
	now time.Time
}

func (j *judge) has(outcome producer.Outcome) bool {
	return slices.ContainsFunc(j.Events, func(ev producer.Event) bool { return ev.Outcome == outcome })
}

func (j *judge) last(outcome producer.Outcome) producer.Event {
	for _, ev := range slices.Backward(j.Events) {
		if ev.Outcome == outcome {
			return ev
		}
	}
	return producer.Event{}
}

// newest is the newest copy in the parked topic.
func (j *judge) newest() (newest Copy, ok bool) {
	for i, c := range j.Copies {
		if i == 0 || c.Park >= newest.Park {
			newest = c
		}
	}
	return newest, len(j.Copies) > 0
}

func (j *judge) decided() {
	j.Next, j.Do = "nothing: this is final", "nothing"
	if !j.Record.Exists {
		j.Next += "; the record has expired or was lost, and the event stands"
	}
	if j.Unpublished {
		j.Next = "its event may not have been published: two hours after it was decided the service publishes it from the record. It is final"
	}
	parked, _ := j.newest()
	switch {
	case j.Record.Contradiction, j.has(producer.Succeeded) && j.has(producer.Failed), parked.Reason == producer.ReasonContradiction:
		j.Stands, j.True = Contradiction, "the money moved, and failed had been published before: succeeded counts"
		j.Do = "tell accounting, and whoever acted on the failed event; find out how a proven refusal was followed by the refund"
	case j.Record.Succeeded, j.has(producer.Succeeded):
		ev := j.last(producer.Succeeded)
		j.Stands, j.True = Succeeded, fmt.Sprintf("the money moved, proven by %s; Alipay's trade is %s", ev.ConfirmedBy, cmp.Or(ev.TradeNo, ev.AuthNo, "not named"))
	default:
		ev := j.last(producer.Failed)
		j.Stands, j.True = Failed, "Alipay refused, proven, and the money did not move: "+strings.TrimSpace(ev.AlipaySubCode+" "+ev.AlipaySubMsg)
		j.Do = "if the refund is still wanted: mend the cause and send it under a new number, once no copy of the old command can be around"
	}
}

func (j *judge) rejected() {
	ev := j.last(producer.Rejected)
	j.Stands, j.True, j.Next = Rejected, "the message was never sent to Alipay: "+string(ev.Reason)+", "+ev.Detail, "nothing: this is final for that message"
	j.Do = "correct the command and send it again"
	if ev.Reason == producer.ReasonConflict {
		j.Do = "the first command with this number counts; for another refund use another number"
	}
}

func (j *judge) unknown() {
	j.Stands, j.True = Unknown, "nothing here knows this number: no record, and no message of this time"
	j.Next = "nothing, unless a command still waits in its topic: see the lag in refundctl doctor"
	j.Do = "check number, kind, merchant and app; look further back with --from; ask Alipay with --live --trade"
}

func (j *judge) forgotten() {
	j.Stands, j.True = Forgotten, "Redis has no record of it, so its outcome is not known here"
	j.Next = "a copy that comes back asks Alipay before anything is called"
	j.Do = "ask Alipay with --live"
	if _, ok := j.newest(); ok {
		j.Next = "nothing by itself: it is parked"
		j.Do = "ask Alipay with --live, then requeue it: " + j.requeue()
	}
}

// requeue is the command line for it.
func (j *judge) requeue() string {
	return "refundctl parked requeue --number " + j.Number + ` --reason-text "…"`
}

func (j *judge) undecided() {
	m, r := j.Summary, j.Record
	j.True = "the outcome is not known yet: " + j.soFar()
	copied, isCopied := j.newest()
	parked := r.Parked || isCopied && r.Generation <= copied.Generation
	var act consumer.Act
	if n := len(m.Acts); n > 0 && parked && (!isCopied || m.Acts[n-1].Park >= copied.Park) {
		act = m.Acts[n-1]
	}
	switch {
	case r.HeldFor > 0:
		j.Stands, j.Next, j.Do = Working, "a worker holds it for another "+cli.Ago(r.HeldFor)+" at most", "nothing: look again in a minute"
	case act.Deed == consumer.Requeued:
		j.Stands = Requeued
		j.Next = "its copy waits in the retry topic, " + cli.Ago(j.now.Sub(act.At)) + " by now, and was not taken up yet"
		j.Do = "nothing for a few minutes; then see that refundd runs, and requeue it with --again, which is safe"
	case act.Deed == consumer.Dropped:
		j.Stands = Dropped
		j.Next = "nothing: " + Act(act) + ". It stays unresolved"
		j.Do = "nothing, or take the drop back: " + j.requeue() + " --again"
	case parked:
		j.Stands = Parked
		j.Next = "nothing, until a person requeues it; a notification of Alipay's makes it be asked for once"
		j.Do = j.advice(cmp.Or(copied.Reason, j.last(producer.Unresolved).Reason))
	default:
		j.Stands, j.Do = Retrying, "nothing"
		j.retrying()
	}
	for _, b := range j.Brakes {
		j.Next += fmt.Sprintf("; new calls are paused by %s since %s: %s", b.By, cli.Clock(b.Since), b.Reason)
		j.Do = "when the cause of the pause is over: refundctl resume, with the same --kind and --merchant as the pause; then: " + j.Do
	}
}

// soFar is what was asked of Alipay, and what it said.
func (j *judge) soFar() string {
	m := j.Summary
	if m.Calls == 0 && m.LastCall.IsZero() {
		return "no call was made that may have arrived"
	}
	text := fmt.Sprintf("calls: %d, the newest ended %s", m.Calls, cmp.Or(m.Ended, "unknown"))
	if m.SubCode != "" {
		text += " (" + m.SubCode + ")"
	}
	if !m.LastQuery.IsZero() {
		text += "; the newest query showed: " + cmp.Or(Found(m.Found), "nothing that proves anything")
	}
	return text
}

func (j *judge) retrying() {
	first := "then it is looked at again"
	switch j.Summary.Next {
	case "call", "query", "succeed", "fail":
		first = "then " + strings.Replace(Outlook(j.Summary.Next), " would be ", " is ", 1)
	}
	due := j.Facts.Due
	switch {
	case due.IsZero():
		j.Next = "its next try comes from the retry topic; " + first
		return
	case due.After(j.now):
		j.Next = fmt.Sprintf("its next try is due at %s, in %s; %s", cli.Clock(due), cli.Ago(due.Sub(j.now)), first)
	case j.now.Sub(due) < sweepAfter:
		j.Next = fmt.Sprintf("its next try was due at %s, %s ago, and waits in the retry topic; %s", cli.Clock(due), cli.Ago(j.now.Sub(due)), first)
		if j.now.Sub(due) > LostAfter {
			j.Do = "see that refundd runs and how far it lags (refundctl doctor); two hours after the time it is published again from its record"
		}
	default:
		j.Next = fmt.Sprintf("its next try was due at %s, %s ago: the broker may have lost it, and the service publishes it again from its record", cli.Clock(due), cli.Ago(j.now.Sub(due)))
		j.Do = "see that refundd runs (refundctl doctor)"
	}
	due = due.UTC()
	j.Conclusion.Due = &due
}

// advice is what a person does about a parked refund.
func (j *judge) advice(reason producer.Reason) string {
	requeue := j.requeue()
	code := cmp.Or(j.Summary.SubCode, "no code")
	switch reason {
	case "": // not known here
		return "see why with refundctl parked show " + j.Number + "; once the cause is mended: " + requeue
	case producer.ReasonBlockedMerchant:
		return "mend the merchant's funds or account at Alipay (" + code + "), then: " + requeue
	case producer.ReasonBlockedConfiguration:
		return "mend keys, certificate, permission or authorisation (" + code + "; refundctl doctor --live helps), then: " + requeue
	case producer.ReasonConflictAtAlipay:
		return "find out who used this number at Alipay with another amount. Requeueing helps only if that was a mistake of the query; else agree with accounting, then refundctl parked drop"
	case producer.ReasonContradiction:
		return "tell accounting: failed was published, and the money moved"
	case producer.ReasonTooOld:
		return "compare with Alipay's bill, or ask with refundctl explain --live. A requeue only asks and never calls: " + requeue
	case producer.ReasonGatewayUnavailable, producer.ReasonRateLimited, producer.ReasonPaused, producer.ReasonHeld:
		return "see that the cause is over (" + string(reason) + "), then: " + requeue
	case producer.ReasonUnknownOutcome, producer.ReasonUnreadable, producer.ReasonInvalid, producer.ReasonConflict,
		producer.ReasonUnknownMerchant, producer.ReasonTooLarge, producer.ReasonRefused, producer.ReasonClosed:
	}
	return "ask Alipay with refundctl explain --live; then requeue it, which asks before it calls: " + requeue
}

// compare holds what is known here to what Alipay says.
func (j *judge) compare() {
	there := j.Alipay == "ours" || j.Alipay == "old"
	switch {
	case there && j.Stands == Failed:
		j.True = "CONTRADICTION: failed was published, and Alipay shows the refund"
		j.Do = "tell accounting at once: refundd believes its record, and publishes nothing more of this refund by itself"
	case j.Alipay == "absent" && j.Stands == Succeeded:
		j.True = "succeeded was published, and Alipay's query does not show the refund now: " + j.True
		j.Do = "compare with Alipay's bill before anything else; a query may be asked with the wrong trade or merchant"
	case there && j.Stands == Unknown:
		j.True = "Alipay has this refund, and nothing here knows of it: it was made elsewhere, or its events are older than --from"
	case there && (j.Stands == Parked || j.Stands == Dropped || j.Stands == Forgotten):
		j.True = "the money moved, as Alipay shows; it is not settled here yet"
		j.Do = "requeue it, so that succeeded is published: " + j.requeue()
		if j.Stands == Dropped {
			j.Do += " --again"
		}
	case there && (j.Stands == Retrying || j.Stands == Working || j.Stands == Requeued):
		j.True = "the money moved, as Alipay shows; the next try will find it"
	}
}
