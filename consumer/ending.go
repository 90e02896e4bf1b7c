package consumer

import (
	"cmp"
	"context"
	"errors"
	"net/url"
	"strings"
	"time"

	"refundd/dedupe"
	"refundd/producer"
)

// Ending is how a delivery ends (R4): decided, rejected, parked, to be retried, or
// a duplicate of what ended before. It is a value; finish carries it out. The zero
// value is undelivered: the process stops, and the message comes again elsewhere.
type Ending struct {
	// Outcome is as in the log and the metrics; empty: undelivered.
	Outcome string

	reason  producer.Reason
	detail  string
	born    time.Time // from when the metrics count
	delay   time.Duration
	calls   int    // of a decided command
	subCode string // likewise

	// enters: the index has to know the command first, due after entry.
	enters bool
	entry  time.Duration

	park  *producer.Copy    // for a person's desk
	event *producer.Encoded // for accounting, behind it
	retry *producer.Copy    // for the retry topic

	// duplicate: another delivery works on the refund.
	duplicate bool
	// contradiction: the event is a success, and failed was published before.
	contradiction bool
	// also comes behind this ending: the parking of a contradiction.
	also *Ending
	// published is written when everything is published; see dedupe.Claim.
	published []dedupe.Write
}

const (
	outcomeRetried   = "retried"
	outcomeDuplicate = "duplicate"
)

// Acknowledged reports whether the message may be acknowledged.
func (e Ending) Acknowledged() bool { return e.Outcome != "" }

// entered is the ending of a command that the index has to know, due then.
func (e Ending) entered(due time.Duration) Ending {
	e.enters, e.entry = true, due
	return e
}

const (
	// shortDelay is the retry delay of what only waits for a part of ours.
	shortDelay = 10 * time.Second
	// gonePause is between two tries of a claimed command that this process cannot
	// work on, and another may.
	gonePause = time.Minute
)

// shortest is the delay of what waits only for a part of ours.
func (h *Handler) shortest() time.Duration { return min(shortDelay, h.cfg.RetryDelays[0]) }

// retried comes back later, as a copy.
func retried(d *delivery, reason producer.Reason, delay time.Duration) Ending {
	c := d.copyFor(reason)
	return Ending{Outcome: outcomeRetried, reason: reason, delay: delay, retry: &c}
}

// retryWhenFree: another delivery works on this refund. The copy comes back after
// the lease; it spends no try (R7, R12). Should that delivery die and the broker
// lose the copy, the index knows the command (R10).
func (h *Handler) retryWhenFree(d *delivery, heldFor time.Duration) Ending {
	d.retryCopy.Claimed = true
	if h.aged(d) {
		return h.parked(d, parking{
			number: d.outside(), metadata: d.cmd.Metadata, reason: producer.ReasonHeld,
			detail: "another delivery has held this refund for too long",
		}).entered(heldFor)
	}
	e := retried(d, producer.ReasonHeld, heldFor).entered(heldFor)
	e.duplicate = true
	return e
}

// withoutRecord is how a delivery ends whose act on the record failed.
func (h *Handler) withoutRecord(d *delivery, err error) Ending {
	switch {
	case errors.Is(err, dedupe.ErrUnreadable):
		return h.recordUnread(d, gonePause)
	case errors.Is(err, errRedisAway):
		return retried(d, producer.ReasonHeld, h.shortest())
	}
	return Ending{}
}

// recordUnread ends a delivery whose record this version cannot read: nobody judges
// by half of what is known. It waits for another version, and in the end for a person.
func (h *Handler) recordUnread(d *delivery, wait time.Duration) Ending {
	if !h.aged(d) {
		return h.retryWhenFree(d, wait)
	}
	return h.parked(d, parking{
		number: d.outside(), metadata: d.cmd.Metadata, reason: producer.ReasonUnknownOutcome,
		detail: "the record of this refund cannot be read",
	}).entered(0)
}

// superseded is a copy behind a newer one, which lives.
func superseded() Ending { return Ending{Outcome: outcomeDuplicate} }

// republishDecided publishes what was settled before, the same bytes again (R6). A
// crash before a person was called must not silence a contradiction.
func (h *Handler) republishDecided(d *delivery, event []byte, contradiction bool) Ending {
	encoded, err := producer.DecodeEncoded(event)
	if err != nil {
		d.log.WithError(err).Error("the stored event cannot be read by this version; the command waits")
		if d.stays {
			return h.parkUnread(d, producer.ReasonUnknownOutcome)
		}
		return h.recordUnread(d, gonePause)
	}
	e := Ending{Outcome: outcomeDuplicate, event: &encoded}
	if contradiction {
		e = h.contradicting(e, d, nil, d.cmd.Metadata)
	}
	if d.retryCopy.Claimed {
		// Whoever decided it may have died before it could publish. A first delivery need
		// not ask for the entry: what it leaves there, the sweeper publishes once more.
		refund := d.refund()
		e.published = []dedupe.Write{func(ctx context.Context) error { return h.records.MarkPublished(ctx, refund, event) }}
	}
	return e
}

// contradicting: success was proven after failed had been published. It must
// scream: counted, logged, parked for a person (R5, R14).
func (h *Handler) contradicting(e Ending, d *delivery, n *note, metadata map[string]string) Ending {
	also := h.parked(d, parking{note: n, number: outsidePark, metadata: metadata, reason: producer.ReasonContradiction})
	e.contradiction, e.also = true, &also
	return e
}

// outsidePark is the park number of a contradiction, whoever meets it, and what
// numbers begin behind that are of parkings that the refund's record does not know:
// its own count from 1, and no two parkings have one number.
const outsidePark = 1_000_000

func (d *delivery) outside() int { return max(d.retryCopy.Park, outsidePark) + 1 }

// parking is what a person and accounting are to know of a parked command.
type parking struct {
	note *note // nil: there is none
	// number follows from the record, or from the message, so that a repeat after a
	// crash gives the same event id.
	number   int
	metadata map[string]string
	reason   producer.Reason
	detail   string // empty: the reason's own
}

// parked stores the copy in the parked topic and then publishes the event, if
// number and amount can be read.
func (h *Handler) parked(d *delivery, p parking) Ending {
	e, err := h.parkedFully(d, p)
	if err != nil {
		d.log.WithError(err).Error("the event of a parked refund cannot be encoded")
	}
	return e
}

// parkedFully reports an event that cannot be encoded as well.
func (h *Handler) parkedFully(d *delivery, p parking) (Ending, error) {
	c := d.copyFor(p.reason)
	c.Park = p.number
	e := Ending{Outcome: string(producer.Unresolved), reason: p.reason, born: d.retryCopy.Born, park: &c}
	if d.kind == "" || d.cmd.OutRequestNo == "" || d.cmd.Amount == 0 {
		return e, nil
	}
	event := h.unresolvedEvent(d.cmd, c, p.note, p.metadata)
	event.Detail = cmp.Or(p.detail, event.Detail)
	encoded, err := event.Encode()
	if err != nil {
		return e, err
	}
	e.event = &encoded
	return e, nil
}

// parkUnread parks a claimed message whose command can no longer be read.
func (h *Handler) parkUnread(d *delivery, reason producer.Reason) Ending {
	return h.parked(d, parking{
		number: d.outside(), metadata: d.cmd.Metadata, reason: reason,
		detail: "the command of an earlier try can no longer be read",
	}).entered(0)
}

// rejection is what the record keeps of one, for the same event again.
func rejection(reason producer.Reason, detail string) string {
	return string(reason) + "?" + url.QueryEscape(detail)
}

// rejected ends a message that was never sent to Alipay.
func (h *Handler) rejected(d *delivery, reason producer.Reason, detail string) Ending {
	if before, escaped, written := strings.Cut(d.rejected, "?"); written { // as it was the first time
		reason = producer.Reason(before)
		detail, _ = url.QueryUnescape(escaped)
	}
	event := h.event(d.cmd, producer.Rejected)
	event.Kind = d.kind
	event.ID = producer.RejectedID(d.retryCopy.MsgID, d.Body, reason)
	event.Subject = cmp.Or(event.Subject, d.retryCopy.MsgID)
	event.Time, event.Traceparent, event.Metadata = d.retryCopy.Born, d.retryCopy.Traceparent, d.cmd.Metadata
	event.Reason, event.Detail = reason, detail
	encoded, err := event.Encode()
	if err != nil {
		d.log.WithError(err).Error("the event of a rejected command cannot be encoded; the message is parked")
		return h.parkUnread(d, producer.ReasonUnknownOutcome)
	}
	return Ending{Outcome: string(producer.Rejected), reason: reason, detail: detail, born: d.retryCopy.Born, event: &encoded}
}
