package consumer

import (
	"bytes"
	"cmp"
	"context"
	"time"

	"refundd/dedupe"
	"refundd/producer"
)

// A claimed delivery ends here: the record is written, and its answer says which
// ending that is.

// settle writes the proven outcome into the record; what the record then says is
// published (R6).
func (h *Handler) settle(ctx context.Context, c *claimedDelivery, outcome producer.Outcome, reason producer.Reason) Ending {
	encoded, err := h.decidedEvent(c, outcome, reason).Encode()
	if err != nil {
		c.log.WithError(err).Error("the event of a decided refund cannot be encoded; it is parked")
		return h.park(ctx, c, producer.ReasonUnknownOutcome)
	}
	event := encoded.Stored()
	var s dedupe.Settlement
	err = h.retryUntilDone(ctx, c.delivery, "settle", func(ctx context.Context) (err error) {
		s, err = c.claim.Settle(ctx, outcome == producer.Succeeded, event)
		return err
	})
	if err != nil {
		return h.withoutRecord(c.delivery, err)
	}
	switch s.State {
	case dedupe.Stale:
		c.log.Warn("the claim was lost before a failure could be settled; the command comes back after the lease")
		return h.retryWhenFree(c.delivery, h.cfg.Lease)
	case dedupe.Foreign:
		// Redis had forgotten this refund and now knows another one by its
		// number: what Alipay proved is published all the same.
		c.log.Error("the record of this number belongs to another refund; the proven outcome is published without it")
	case dedupe.Settled, dedupe.AlreadyDecided:
		if bytes.Equal(s.Event, event) {
			break // it is the encoded one
		}
		if encoded, err = producer.DecodeEncoded(s.Event); err != nil {
			c.log.WithError(err).Error("the stored event cannot be read; the command comes back")
			return h.retryWhenFree(c.delivery, h.cfg.Lease)
		}
	case dedupe.Released: // not an answer to a settle
		fallthrough
	default:
		c.log.Error("the record gave an answer this program does not know")
		return h.retryWhenFree(c.delivery, h.cfg.Lease)
	}
	e := Ending{
		Outcome: string(outcome), reason: reason, born: time.UnixMilli(c.note.Origin.Born),
		calls: c.note.Calls + c.note.Queries, subCode: c.note.Last.SubCode,
		event: &encoded, published: c.claim.Published(),
	}
	if s.Contradiction {
		e = h.contradicting(e, c.delivery, &c.note, c.first.Metadata)
	}
	return e
}

// park hands a claimed command to a person: the claim is released into the
// parked state, which also reads the record again (R6), then the copy is
// stored, and then the event says so. The record knows the parking's number and
// reason, so that whoever repeats it after a crash says the same.
func (h *Handler) park(ctx context.Context, c *claimedDelivery, reason producer.Reason) Ending {
	c.note.Reason, c.note.ParkedAt = reason, c.now().UnixMilli()
	c.note.Park++
	rel, instead := h.release(ctx, c, c.claim.Park)
	if instead != nil {
		return *instead
	}
	return h.publishParking(c, rel)
}

// parkedBefore ends a copy from before the parking that the record knows of. Who
// parked it publishes that, and this copy is superseded; or died before, and after
// a lease somebody has to.
func (h *Handler) parkedBefore(ctx context.Context, c *claimedDelivery) Ending {
	rel, instead := h.release(ctx, c, c.claim.KeepParked)
	if instead != nil {
		return *instead
	}
	if left := c.note.ParkedAt + h.cfg.Lease.Milliseconds() - c.now().UnixMilli(); left > 0 {
		// It keeps its generation, by which the parking's supersedes it.
		delay := time.Duration(left) * time.Millisecond
		return retried(c.delivery, producer.ReasonHeld, delay).entered(delay)
	}
	return h.publishParking(c, rel)
}

// publishParking publishes the parking that the record knows of.
func (h *Handler) publishParking(c *claimedDelivery, rel dedupe.Release) Ending {
	c.retryCopy.Generation = rel.Generation
	e := h.parked(c.delivery, parking{
		note: &c.note, number: c.note.Park, metadata: c.first.Metadata, reason: cmp.Or(c.note.Reason, producer.ReasonUnknownOutcome),
	})
	e.published = c.claim.Published()
	return e
}

// undecided ends a delivery without a verdict: a try is spent, unless nothing
// was tried, and the command comes back later or is parked (R14).
func (h *Handler) undecided(ctx context.Context, c *claimedDelivery, d decision) Ending {
	try := c.retryCopy.Try
	free := d.Free || !c.worked && d.Reason != producer.ReasonBlockedConfiguration
	if !free {
		try++
	}
	c.retryCopy.Try, c.note.Try = try, try
	age := time.Since(c.retryCopy.First)
	if c.stays || h.spent(try) || age >= h.cfg.MaxAge {
		return h.park(ctx, c, c.note.worst(d.Reason))
	}
	delay := h.cfg.RetryDelays[min(max(try-1, 0), len(h.cfg.RetryDelays)-1)]
	if free { // what only waits comes back soon, however many tries were spent
		delay = min(delay, freeDelay)
		if d.Reason == producer.ReasonPaused {
			delay = freeDelay // each return costs
		}
		if d.NotBefore != 0 {
			delay = h.shortest()
		}
	}
	delay = max(delay, time.UnixMilli(d.NotBefore).Sub(c.now()))
	c.note.Reason, c.note.ParkedAt = "", 0
	rel, instead := h.release(ctx, c, func(ctx context.Context, note []byte) (dedupe.Release, error) {
		return c.claim.Release(ctx, note, c.now().Add(delay))
	})
	if instead != nil {
		return *instead
	}
	c.retryCopy.Generation = rel.Generation
	e := retried(c.delivery, d.Reason, delay)
	e.published = c.claim.Published()
	return e
}

// freeDelay is the longest delay of a wait that spends no try: after a resume
// everything flows again within two minutes.
const freeDelay = time.Minute

// releaseForShutdown gives the claim back because the process stops. Nothing is
// counted, parked or tried (R11); the message comes back elsewhere.
func (h *Handler) releaseForShutdown(c *claimedDelivery) Ending {
	c.note.Reason, c.note.ParkedAt = "", 0
	h.bestEffort("release", c.delivery, func(ctx context.Context) error {
		note, err := c.note.encode()
		if err == nil {
			_, err = c.claim.Release(ctx, note, c.now())
		}
		return err
	})
	return Ending{}
}

// release gives the claim up with the note of what was done, until it is written.
// Where somebody else has the command by then, or has decided it, instead is how
// this delivery ends.
func (h *Handler) release(
	ctx context.Context, c *claimedDelivery, give func(ctx context.Context, note []byte) (dedupe.Release, error),
) (rel dedupe.Release, instead *Ending) {
	c.retryCopy.Claimed = true
	err := h.retryUntilDone(ctx, c.delivery, "release", func(ctx context.Context) error {
		note, err := c.note.encode()
		if err == nil {
			rel, err = give(ctx, note)
		}
		return err
	})
	var e Ending
	switch {
	case err != nil:
		e = h.withoutRecord(c.delivery, err)
	case rel.State == dedupe.Released:
		return rel, nil
	case rel.State == dedupe.AlreadyDecided:
		e = h.republishDecided(c.delivery, rel.Event, false)
	default:
		c.log.Warn("the claim was lost while working on it; the command comes back after the lease")
		e = h.retryWhenFree(c.delivery, h.cfg.Lease)
	}
	return rel, &e
}
