package consumer

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"math"
	"net/url"
	"strings"
	"time"

	"github.com/sirupsen/logrus"

	"refundd/dedupe"
	"refundd/producer"
)

// A delivery ends here, in one of R4's ways: event published, retry
// published, parked and event published, or held until the process stops.

// settle writes the proven outcome into the record, and publishes what the
// record then says (R6).
func (h *Handler) settle(ctx context.Context, c *claimedDelivery, outcome producer.Outcome, reason producer.Reason) bool {
	e, err := h.decidedEvent(c, outcome, reason).Encode()
	if err != nil {
		c.log.WithError(err).Error("the event of a decided refund cannot be encoded; it is parked")
		return h.park(ctx, c, producer.ReasonUnknownOutcome)
	}
	req := dedupe.SettleRequest{
		ID: c.id, Fingerprint: c.fingerprint, Token: c.token, Succeeded: outcome == producer.Succeeded, Event: e.Stored(),
	}
	if !c.claim.Fresh || c.retryCopy.Claimed || time.Now().After(c.claim.Deadline) {
		// Not the fast path: somebody has to tell it if this process dies before it
		// does, and the broker loses the copy (R10). Whoever has outlived its lease
		// may contradict what another told, and its entry has left the index by then.
		req.Entry = h.entry(c)
	}
	var s dedupe.Settlement
	switch h.untilDone(ctx, c.delivery, "settle", func(ctx context.Context) (err error) {
		s, err = h.records.Settle(ctx, req)
		return err
	}) {
	case waitedUnreadable:
		return h.recordUnread(ctx, c.delivery, gonePause)
	case waitedStop, waitedLong:
		return false
	case waitedDone:
	}
	told := req.Event
	switch s.State {
	case dedupe.Stale:
		c.log.Warn("the claim was lost before a failure could be settled; the command comes back after the lease")
		return h.retryWhenFree(ctx, c.delivery, h.cfg.Lease)
	case dedupe.Foreign:
		// Redis had forgotten this refund and now knows another one by its
		// number: what Alipay proved is told all the same.
		c.log.Error("the record of this number belongs to another refund; the proven outcome is published without it")
	case dedupe.Settled, dedupe.AlreadyDecided:
		if bytes.Equal(s.Event, req.Event) {
			break // it is e
		}
		told = s.Event
		if e, err = producer.DecodeEncoded(s.Event); err != nil {
			c.log.WithError(err).Error("the stored event cannot be read; the command comes back")
			return h.retryWhenFree(ctx, c.delivery, h.cfg.Lease)
		}
	case dedupe.Released: // not an answer to a settle
		fallthrough
	default:
		c.log.Error("the record gave an answer this program does not know")
		return h.retryWhenFree(ctx, c.delivery, h.cfg.Lease)
	}
	if !h.publishEvent(ctx, c.delivery, e) {
		return false
	}
	h.metrics.Command(string(c.kind), string(outcome), time.UnixMilli(c.note.Origin.Born))
	c.log.WithFields(logrus.Fields{
		"outcome": string(outcome), "reason": string(reason), "calls": c.note.Calls + c.note.Queries,
		"sub_code": c.note.Last.SubCode, "event_id": e.ID,
	}).Info("refund decided")
	if s.Contradiction && !h.contradiction(ctx, c.delivery, c.note, c.first.Metadata) {
		return false
	}
	if req.Entry != "" {
		h.markPublished(c.delivery, req.Entry, told)
	}
	return true
}

// stored publishes what was settled before, the same bytes again (R6). A crash
// before a person was called must not silence a contradiction.
func (h *Handler) republishDecided(ctx context.Context, d *delivery, event []byte, contradiction bool) bool {
	e, err := producer.DecodeEncoded(event)
	if err != nil {
		d.log.WithError(err).Error("the stored event cannot be read by this version; the command waits")
		if d.stays {
			return h.parkUnread(ctx, d, producer.ReasonUnknownOutcome)
		}
		return h.recordUnread(ctx, d, gonePause)
	}
	if !h.publishEvent(ctx, d, e) {
		return false
	}
	h.metrics.Command(string(d.kind), outcomeDuplicate, time.Time{})
	d.log.WithFields(logrus.Fields{"outcome": outcomeDuplicate, "event_id": e.ID}).Info("decided before: its event is published again")
	if contradiction && !h.contradiction(ctx, d, note{}, d.cmd.Metadata) {
		return false
	}
	if d.retryCopy.Claimed {
		// Whoever decided it may have died before it could tell. A first delivery need
		// not ask for the entry: what it leaves there, the sweeper tells once more.
		h.markPublished(d, h.records.Entry(d.retryCopy.Born, int64(d.cmd.Amount), d.id), event)
	}
	return true
}

// told takes the entry out of the index when everything about a decided command is
// published. If it fails, the sweeper tells the same event again.
func (h *Handler) markPublished(d *delivery, entry string, event []byte) {
	h.bestEffort("take the entry of what is told out of the index", d, func(ctx context.Context) error {
		return h.records.MarkPublished(ctx, d.id, d.fingerprint, entry, event)
	})
}

// contradiction: success was proven after failed had been published. It must
// scream: counted, logged, parked for a person (R5, R14).
func (h *Handler) contradiction(ctx context.Context, d *delivery, n note, metadata map[string]string) bool {
	h.metrics.Contradiction()
	d.log.Error(alarmContradiction)
	return h.parkCopy(ctx, d, &n, outsidePark, metadata, producer.ReasonContradiction, unresolvedDetail(producer.ReasonContradiction))
}

// outsidePark is the park number of a contradiction, whoever meets it, and what
// numbers begin behind that are of parkings that the refund's record does not know:
// its own count from 1, and no two parkings have one number.
const outsidePark = 1_000_000

func (d *delivery) outside() int { return max(d.retryCopy.Park, outsidePark) + 1 }

// park hands a claimed command to a person: the claim is released into the
// parked state, which also reads the record again (R6), then the copy is
// stored, and then the event says so. The record knows the parking's number and
// reason, so that whoever repeats it after a crash says the same.
func (h *Handler) park(ctx context.Context, c *claimedDelivery, reason producer.Reason) bool {
	c.note.Reason, c.note.ParkedAt = reason, c.now().UnixMilli()
	c.note.Park++
	rel, end := h.releaseParked(ctx, c, h.entry(c))
	switch {
	case end == waitedUnreadable:
		return h.recordUnread(ctx, c.delivery, gonePause)
	case end != waitedDone:
		return false
	case rel.State != dedupe.Released:
		return h.overtaken(ctx, c, rel)
	}
	c.retryCopy.Generation = rel.Generation
	return h.publishParking(ctx, c)
}

// parkedBefore ends a copy from before the parking that the record knows of. Who
// parked it publishes that, and this copy is superseded; or died before, and after
// a lease somebody has to.
func (h *Handler) parkedBefore(ctx context.Context, c *claimedDelivery) bool {
	rel, end := h.releaseParked(ctx, c, "")
	switch left := c.note.ParkedAt + h.cfg.Lease.Milliseconds() - c.now().UnixMilli(); {
	case end == waitedUnreadable:
		return h.recordUnread(ctx, c.delivery, gonePause)
	case end != waitedDone:
		return false
	case rel.State != dedupe.Released:
		return h.overtaken(ctx, c, rel)
	case left > 0:
		delay := time.Duration(left) * time.Millisecond
		return h.enter(ctx, c.delivery, delay) && h.scheduleRetry(ctx, c.delivery, producer.ReasonHeld, delay)
	}
	c.retryCopy.Generation = rel.Generation
	return h.publishParking(ctx, c)
}

// releaseParked gives the claim back into the parked state.
func (h *Handler) releaseParked(ctx context.Context, c *claimedDelivery, entry string) (rel dedupe.Release, end waited) {
	c.retryCopy.Claimed = true
	end = h.untilDone(ctx, c.delivery, "release", func(ctx context.Context) (err error) {
		rel, err = h.release(ctx, c, dedupe.ReleaseRequest{Entry: entry, Parked: true})
		return err
	})
	return rel, end
}

// publishParking publishes the parking that the record knows of.
func (h *Handler) publishParking(ctx context.Context, c *claimedDelivery) bool {
	reason := cmp.Or(c.note.Reason, producer.ReasonUnknownOutcome)
	if !h.parkCopy(ctx, c.delivery, &c.note, c.note.Park, c.first.Metadata, reason, unresolvedDetail(reason)) {
		return false
	}
	h.confirm(c)
	// From now on the sweeper need not park it once more.
	h.bestEffort("park the entry in the index", c.delivery, func(ctx context.Context) error {
		return h.records.Reschedule(ctx, h.cfg.AppID, h.entry(c), time.Time{})
	})
	return true
}

// recordUnread ends a delivery whose record this version cannot read: nobody judges
// by half of what is known. It waits for another version, and in the end for a person.
func (h *Handler) recordUnread(ctx context.Context, d *delivery, wait time.Duration) bool {
	if !h.aged(d) {
		return h.retryWhenFree(ctx, d, wait)
	}
	return h.enter(ctx, d, 0) && h.parkCopy(ctx, d, nil, d.outside(), d.cmd.Metadata,
		producer.ReasonUnknownOutcome, "the record of this refund cannot be read")
}

// parkUnread parks a claimed message whose command can no longer be read. Its
// event is published if number and amount can still be told.
func (h *Handler) parkUnread(ctx context.Context, d *delivery, reason producer.Reason) bool {
	return h.enter(ctx, d, 0) &&
		h.parkCopy(ctx, d, nil, d.outside(), d.cmd.Metadata, reason, "the command of an earlier try can no longer be read")
}

// parkCopy stores the copy in the parked topic and then publishes the event.
// The park number follows from the record, or from the message, so that a repeat
// after a crash gives the same event id.
func (h *Handler) parkCopy(ctx context.Context, d *delivery, n *note, number int, metadata map[string]string, reason producer.Reason, detail string) bool {
	c := parkedCopy(d, number, reason)
	if !h.parkOrStub(ctx, d, c) {
		return false
	}
	h.metrics.Parked(string(reason))
	log := d.log.WithFields(logrus.Fields{"outcome": string(producer.Unresolved), "reason": string(reason), "try": d.retryCopy.Try, "park": c.Park})
	if d.kind == "" || d.cmd.OutRequestNo == "" || d.cmd.Amount == 0 {
		log.Error("parked for a person, and too little of it can be read to tell accounting")
		return true
	}
	ev := h.unresolvedEvent(d.cmd, c, n, metadata)
	ev.Detail = detail
	e, err := ev.Encode()
	if err != nil {
		log.WithError(err).Error("the event of a parked refund cannot be encoded")
		return true
	}
	if !h.publishEvent(ctx, d, e) {
		return false
	}
	h.metrics.Command(string(d.kind), string(producer.Unresolved), d.retryCopy.Born)
	log.WithField("event_id", e.ID).Error("refund unresolved: parked for a person")
	return true
}

// parkedCopy is what lies on the person's desk.
func parkedCopy(d *delivery, number int, reason producer.Reason) producer.Copy {
	c := d.retryCopy
	c.Park = number
	c.Reason, c.Keys = string(reason), keyOf(d)
	return c
}

// rejection is what the record keeps of one, for the same event again.
func rejection(reason producer.Reason, detail string) string {
	return string(reason) + "?" + url.QueryEscape(detail)
}

// reject ends a message that was never sent to Alipay.
func (h *Handler) reject(ctx context.Context, d *delivery, reason producer.Reason, detail string) bool {
	if before, escaped, told := strings.Cut(d.rejected, "?"); told { // as it was the first time
		reason = producer.Reason(before)
		detail, _ = url.QueryUnescape(escaped)
	}
	ev := h.event(d.cmd, producer.Rejected)
	ev.Kind = d.kind
	ev.ID = producer.RejectedID(d.retryCopy.MsgID, d.Body, reason)
	if ev.Subject == "" {
		ev.Subject = d.retryCopy.MsgID
	}
	ev.Time, ev.Traceparent, ev.Metadata = d.retryCopy.Born, d.retryCopy.Traceparent, d.cmd.Metadata
	ev.Reason, ev.Detail = reason, detail
	e, err := ev.Encode()
	if err != nil {
		d.log.WithError(err).Error("the event of a rejected command cannot be encoded; the message is parked")
		return h.parkUnread(ctx, d, producer.ReasonUnknownOutcome)
	}
	if !h.publishEvent(ctx, d, e) {
		return false
	}
	h.metrics.Command(string(d.kind), string(producer.Rejected), d.retryCopy.Born)
	d.log.WithFields(logrus.Fields{"outcome": string(producer.Rejected), "reason": string(reason), "detail": detail, "event_id": e.ID}).
		Warn("command rejected")
	return true
}

// tell publishes one event, for as long as it takes, or parks its stub.
func (h *Handler) publishEvent(ctx context.Context, d *delivery, e producer.Encoded) bool {
	err := h.publishUntilConfirmed(ctx, d, h.cfg.EventTopic, func(ctx context.Context) error { return h.publish.Publish(ctx, e) })
	switch {
	case errors.Is(err, producer.ErrContent):
		if !h.parkStub(ctx, d, h.stubOfEvent(d, e)) {
			return false
		}
		h.metrics.Parked(string(producer.ReasonTooLarge))
		return true
	case err != nil:
		return false
	}
	h.metrics.Published(string(e.Type))
	return true
}

// again publishes a copy to the retry topic, for as long as it takes. What
// the broker refuses for its content stays in hand.
func (h *Handler) scheduleRetry(ctx context.Context, d *delivery, reason producer.Reason, delay time.Duration) bool {
	c := d.retryCopy
	c.Reason, c.Keys = string(reason), keyOf(d)
	err := h.publishUntilConfirmed(ctx, d, h.cfg.RetryTopic, func(ctx context.Context) error { return h.publish.Retry(ctx, c, delay) })
	switch {
	case errors.Is(err, producer.ErrContent):
		return h.stay(ctx, d, delay)
	case err != nil:
		return false
	}
	h.metrics.Retried(string(reason))
	h.metrics.Command(string(d.kind), outcomeRetried, time.Time{})
	d.log.WithFields(logrus.Fields{
		"outcome": outcomeRetried, "reason": string(reason), "try": c.Try, "delay": delay.Round(time.Second).String(), "generation": c.Generation,
	}).Info("command comes back later")
	return true
}

const outcomeRetried = "retried"

func keyOf(d *delivery) string {
	if d.cmd.OutRequestNo != "" {
		return d.cmd.OutRequestNo
	}
	if d.retryCopy.Keys != "" {
		return d.retryCopy.Keys
	}
	return d.retryCopy.MsgID
}

// shortest is the delay of what waits only for a part of ours.
func (h *Handler) shortest() time.Duration { return min(shortDelay, h.cfg.RetryDelays[0]) }

type waited int

const (
	waitedDone       waited = iota // it worked
	waitedLong                     // Patience is over
	waitedStop                     // the process stops
	waitedUnreadable               // the record is not one that this version reads
)

// untilDone repeats an act on the record until it works or the process stops: a
// delivery that may have called Alipay is not acknowledged before its record says so.
func (h *Handler) untilDone(ctx context.Context, d *delivery, op string, act func(context.Context) error) waited {
	return h.retryRedis(ctx, d, op, math.MaxInt64, act)
}

// patiently repeats an act on the record until it works, Patience is over, or
// the process stops.
func (h *Handler) retryRedisPatiently(ctx context.Context, d *delivery, op string, act func(context.Context) error) waited {
	return h.retryRedis(ctx, d, op, h.cfg.Patience, act)
}

// retryRedis always makes the first attempt (R11, R12).
func (h *Handler) retryRedis(ctx context.Context, d *delivery, op string, patience time.Duration, act func(context.Context) error) waited {
	begin := time.Now()
	for pause := 50 * time.Millisecond; ; pause = min(2*pause, 2*time.Second) {
		err := h.withFinalContext(ctx, act)
		if err == nil {
			if op == "settle" || op == "release" { // a claim may have written nothing, as a read does
				h.health.Works(PartRedis)
			}
			return waitedDone
		}
		if errors.Is(err, dedupe.ErrUnreadable) { // no trouble of Redis
			d.log.WithError(err).Error("could not " + op)
			return waitedUnreadable
		}
		h.health.Fails(PartRedis, err)
		d.log.WithError(err).Debug("waiting for redis to " + op)
		// While only some masters work, their commands need the worker.
		if time.Since(begin) >= patience || patience < math.MaxInt64 && h.health.Partly(PartRedis) {
			return waitedLong
		}
		if !h.gate.Sleep(pause) {
			return waitedStop
		}
	}
}

// errStops: the process stops, and the message stays unacknowledged.
var errStops = errors.New("the process stops")

// hold repeats a publish with capped back-off while the process lives (R4). It
// ends early with producer.ErrContent, which says nothing about the broker.
func (h *Handler) publishUntilConfirmed(ctx context.Context, d *delivery, topic string, act func(context.Context) error) error {
	for pause := 100 * time.Millisecond; ; pause = min(2*pause, 10*time.Second) {
		err := h.withFinalContext(ctx, act)
		if errors.Is(err, producer.ErrContent) {
			h.metrics.PublishFailed(topic)
			return err
		}
		h.health.Published(topic, h.needs(topic), err)
		if err == nil {
			return nil
		}
		h.metrics.PublishFailed(topic)
		d.log.WithError(err).WithField("topic", topic).Debug("waiting to publish")
		if !h.gate.Sleep(pause) {
			return errStops
		}
	}
}

// needs says what follows when a topic takes no publish: every command ends by an
// event or a retry; few are parked, and those can wait for it in hand.
func (h *Handler) needs(topic string) Grade {
	if topic == h.cfg.ParkedTopic {
		return Degraded
	}
	return Suspended
}

// final makes one attempt of a final act on a fresh, short context (R11).
func (h *Handler) withFinalContext(ctx context.Context, act func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), finalTime)
	defer cancel()
	return act(ctx)
}

// once makes a single attempt of something that may fail without harm.
func (h *Handler) bestEffort(op string, d *delivery, act func(context.Context) error) {
	if err := h.withFinalContext(context.Background(), act); err != nil {
		d.log.WithError(err).Warn("could not " + op)
	}
}
