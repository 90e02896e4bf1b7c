package main

import (
	"slices"
	"time"

	"refundd/alipay/alipaytest"
	"refundd/cmd/internal/tap"
	"refundd/consumer"
	"refundd/producer"
)

// row is one message of the command topic and what became of it.
type row struct {
	what   string // from the script; empty for what others send
	step   bool
	number string // out_request_no; empty where none can be read
	fen    int64
	msgID  string
	body   []byte
	born   time.Time

	ended bool
	event producer.Event
	again bool // the event had been published before
	calls []alipaytest.Call
	took  time.Duration
}

// final reports whether an end may not change any more.
func (r *row) final() bool { return r.ended && r.event.Outcome != producer.Unresolved }

// board puts commands, Alipay's calls and events together. It is not safe for
// concurrent use.
type board struct {
	calls func() []alipaytest.Call

	rows     []*row
	open     map[string][]*row // number -> commands that wait for their end, oldest first
	rejected map[string]*row   // id of the event that would reject a command -> the command
	early    []sighting        // events that no command waits for
	told     map[string]int    // event id -> how often
	bodies   map[string]string
	notified map[string]bool      // notify_ids that became events
	seen     map[string]time.Time // number -> start of its last call that some row shows
	events   []producer.Event
	wrong    []string // what must not be, in words
}

type sighting struct {
	event producer.Event
	again bool
	at    time.Time
}

// patience is how long an event waits for its command: the two topics are read
// side by side.
const patience = 2 * time.Second

func newBoard(calls func() []alipaytest.Call) *board {
	return &board{
		calls: calls, open: map[string][]*row{}, rejected: map[string]*row{}, told: map[string]int{}, bodies: map[string]string{}, notified: map[string]bool{}, seen: map[string]time.Time{},
	}
}

// command notes a message of the command topic. It returns its row if its end
// is known already.
func (b *board) command(kind consumer.Kind, m tap.Message) *row {
	cmd, _ := consumer.DecodeCommand(kind, m.Body) // what is valid by itself
	r := &row{
		what: m.Properties[stepProperty], number: cmd.OutRequestNo, fen: int64(cmd.Amount),
		msgID: m.ID, body: m.Body, born: m.Born,
	}
	r.step = r.what != ""
	b.rows = append(b.rows, r)
	if r.number != "" {
		b.open[r.number] = append(b.open[r.number], r)
	}
	for _, reason := range []producer.Reason{
		producer.ReasonUnreadable, producer.ReasonInvalid, producer.ReasonConflict, producer.ReasonUnknownMerchant, producer.ReasonTooLarge,
	} {
		b.rejected[producer.RejectedID(r.msgID, r.body, reason)] = r
	}
	for i, s := range b.early {
		if b.about(s.event) == r {
			b.early = append(b.early[:i], b.early[i+1:]...)
			b.end(r, s)
			return r
		}
	}
	return nil
}

// published notes a message of the event topic. It returns the row that has
// come to its end.
func (b *board) published(m tap.Message, now time.Time) *row {
	ev, err := producer.DecodeEvent(m.Body)
	if err != nil {
		b.wrong = append(b.wrong, "a message of the event topic cannot be read: "+err.Error())
		return nil
	}
	s := sighting{event: ev, again: b.told[ev.ID] > 0, at: now}
	b.told[ev.ID]++
	if before, ok := b.bodies[ev.ID]; ok && before != string(m.Body) {
		b.wrong = append(b.wrong, "event "+ev.ID+" was told in two versions")
	}
	b.bodies[ev.ID] = string(m.Body)
	if s.again && (ev.Outcome == producer.Notified || ev.Outcome == producer.DepositBack) {
		return nil // at least once, as any event
	}
	b.events = append(b.events, ev)
	if ev.Outcome == producer.Notified || ev.Outcome == producer.DepositBack {
		b.notified[ev.NotifyID] = true
		return nil // information about a refund, not a command's end
	}
	if r := b.about(ev); r != nil {
		b.end(r, s)
		return r
	}
	b.early = append(b.early, s)
	return nil
}

// about finds the command that an event ends: a rejected event is about one
// message, others about a refund, and of its commands with the same amount the one
// that has waited longest gets the event. Nil: none waits for it.
func (b *board) about(ev producer.Event) *row {
	if ev.Outcome == producer.Rejected {
		if r := b.rejected[ev.ID]; r != nil && !r.ended {
			return r
		}
		return nil
	}
	for _, r := range b.open[ev.OutRequestNo] {
		if r.fen == ev.AmountFen { // another is a conflict, and will be rejected
			return r
		}
	}
	return nil
}

func (b *board) end(r *row, s sighting) {
	r.ended, r.event, r.again, r.took = true, s.event, s.again, s.at.Sub(r.born)
	b.open[r.number] = slices.DeleteFunc(b.open[r.number], func(o *row) bool { return o == r })
	if len(b.open[r.number]) == 0 {
		delete(b.open, r.number)
	}
	if r.number == "" || s.event.Outcome == producer.Rejected {
		return
	}
	for _, c := range b.calls() {
		if c.OutRequestNo == r.number && c.Start.After(b.seen[r.number]) {
			r.calls = append(r.calls, c)
		}
	}
	if n := len(r.calls); n > 0 {
		b.seen[r.number] = r.calls[n-1].Start
	}
}

// news are events that no command has claimed within patience: of a refund
// that was published as unresolved before, or of a second copy of a message.
func (b *board) news(now time.Time) []producer.Event {
	var late []producer.Event
	for len(b.early) > 0 && now.Sub(b.early[0].at) > patience {
		late = append(late, b.early[0].event)
		b.early = b.early[1:]
	}
	return late
}

// stepsEnded counts the script's commands that have come to their end.
func (b *board) stepsEnded() int {
	n := 0
	for _, r := range b.rows {
		if r.step && r.ended {
			n++
		}
	}
	return n
}

// called reports whether Alipay was asked to refund this number.
func (b *board) called(number string) bool {
	for _, c := range b.calls() {
		if c.OutRequestNo == number && c.SubCode != "" {
			return true
		}
	}
	return false
}
