package consumer

import (
	"bytes"
	"cmp"
	"context"
	"time"

	"refundd/dedupe"
	"refundd/producer"
)

// records is the fenced record (R5), as dedupe.Store keeps it.
type records interface {
	ClaimWithSlot(ctx context.Context, req dedupe.ClaimRequest, slot dedupe.Slot) (dedupe.Claim, dedupe.Grant, error)
	Read(ctx context.Context, id dedupe.Identity) (dedupe.Record, error)
	Reject(ctx context.Context, id dedupe.Identity, message, reason string) (dedupe.Record, string, error)
	Amend(ctx context.Context, id dedupe.Identity, read dedupe.Record, note []byte) (dedupe.Record, bool, error)
	Enter(ctx context.Context, r dedupe.Refund, due time.Time) error
	MarkPublished(ctx context.Context, r dedupe.Refund, event []byte) error
	limiter
}

// limiter is the limits that all instances share.
type limiter interface {
	Reserve(ctx context.Context, appID string, slot dedupe.Slot, token dedupe.Token) (dedupe.Grant, error)
	Undo(ctx context.Context, appID string, slot dedupe.Slot, token dedupe.Token) error
	Throttled(ctx context.Context, appID, merchant string, asked dedupe.Grant, rate int) error
}

// refund is the delivery's, as the record and the index know it.
func (d *delivery) refund() dedupe.Refund {
	return dedupe.Refund{Identity: d.id, Fingerprint: d.fingerprint, Born: d.retryCopy.Born, Fen: int64(d.cmd.Amount)}
}

// claimedDelivery is a delivery that holds the claim of its command.
type claimedDelivery struct {
	*delivery
	claim dedupe.Claim
	grant dedupe.Grant // of the claim's exchange, for the first call
	turn  dedupe.Grant // of the call or query that is made now
	note  note
	op    operation
	first Command // the first message's command: its metadata is published
	// claimedAt is when the claim's answer was here, on the monotonic clock.
	claimedAt     time.Time
	answerTook    time.Duration
	authorisation string
	giveUp        producer.Reason // why nothing more is asked of Alipay; mostly empty
	// called and queried are situation's; worked: something was asked at all.
	called, queried, worked bool
}

// now is Redis' clock, carried on by the local monotonic one.
func (c *claimedDelivery) now() time.Time { return c.claim.Now.Add(time.Since(c.claimedAt)) }

// latest is how late it may be by Redis' clock: what a claim's answer took belongs to
// it, unless that is less than a second, which no span of ours depends on.
func (c *claimedDelivery) latest() time.Time {
	if c.answerTook < time.Second {
		return c.now()
	}
	return c.now().Add(c.answerTook)
}

// claim takes the claim and goes where its answer leads (R5, R7). With a reason
// to give up nothing is asked of Alipay any more: the command is parked.
func (h *Handler) claim(ctx context.Context, d *delivery, m Merchant, giveUp producer.Reason) Ending {
	d.fingerprint = d.cmd.Fingerprint()
	fresh := note{Origin: origin{
		Body: d.Body, Topic: d.retryCopy.Topic, MsgID: d.retryCopy.MsgID, Traceparent: d.retryCopy.Traceparent,
		Born: d.retryCopy.Born.UnixMilli(), First: d.retryCopy.First.UnixMilli(),
	}, Park: d.retryCopy.Park, QueryOnly: h.tooOld(d.retryCopy.Born)}
	stored, err := fresh.encode()
	if err != nil {
		d.log.WithError(err).Error("the command is parked")
		return h.parkUnread(d, producer.ReasonUnknownOutcome)
	}
	req := dedupe.ClaimRequest{
		ID: d.id, Fingerprint: d.fingerprint, Token: dedupe.NewToken(), Generation: d.retryCopy.Generation, Note: stored,
		Authorisation: authorisation(m),
		Message:       d.retryCopy.MsgID, Claimed: d.retryCopy.Claimed, Born: d.retryCopy.Born, Fen: int64(d.cmd.Amount),
	}
	if giveUp != "" {
		req.Authorisation = ""
	}
	slot := h.slot(d.cmd, actCall)
	c := &claimedDelivery{delivery: d, first: d.cmd, note: fresh, giveUp: giveUp}
	err = h.retryRedis(ctx, d, "claim", func(ctx context.Context) error {
		c.claim, c.grant, err = h.records.ClaimWithSlot(ctx, req, slot)
		h.learn(slot, c.grant)
		return err
	})
	if err != nil {
		return h.withoutRecord(d, err)
	}
	if c.claim.State != dedupe.Won {
		return h.unclaimed(d, c.claim.Answer)
	}
	c.claimedAt = time.Now()
	c.answerTook = c.claimedAt.Sub(c.claim.Deadline.Add(-h.cfg.Lease))
	h.health.Works(PartRedis)
	if !bytes.Equal(c.claim.Note, stored) {
		if c.note, err = decodeNote(c.claim.Note); err != nil {
			d.log.WithError(err).Error("the record's note cannot be read; the command waits")
			return h.recordUnread(d, time.Until(c.claim.Deadline))
		}
		c.claim.Refund.Born = time.UnixMilli(c.note.Origin.Born)
	}
	return h.work(ctx, c, m)
}

// unclaimed ends a delivery that did not get the claim.
func (h *Handler) unclaimed(d *delivery, answer dedupe.Answer) Ending {
	switch answer.State {
	case dedupe.Decided:
		return h.republishDecided(d, answer.Event, answer.Contradiction)
	case dedupe.Superseded:
		return superseded()
	case dedupe.Rejected:
		d.rejected = answer.Reason
		return h.rejected(d, "", "")
	case dedupe.Conflict:
		if d.retryCopy.Claimed {
			return h.parked(d, parking{
				number: d.outside(), metadata: d.cmd.Metadata, reason: producer.ReasonUnknownOutcome,
				detail: "the record of this number now belongs to a command with other content",
			})
		}
		return h.rejected(d, producer.ReasonConflict, "out_request_no was already used by a command with other content")
	case dedupe.Held:
		if n, err := decodeNote(answer.Note); err == nil {
			d.retryCopy.Born = time.UnixMilli(n.Origin.Born) // as in the index
		}
		return h.retryWhenFree(d, answer.HeldFor)
	case dedupe.Won:
		fallthrough
	default:
		d.log.WithField("state", int(answer.State)).Error("the record gave an answer this program does not know")
		return h.retryWhenFree(d, h.cfg.Lease)
	}
}

// mergeHistory brings into the note what the claim and the message know of
// earlier calls and the note cannot.
func (c *claimedDelivery) mergeHistory(h *Handler) {
	c.note.Park = max(c.note.Park, c.retryCopy.Park)
	c.note.setBack(c.claim.Now)
	if c.claim.Lapses > 0 {
		// A claim that was never released counts as a call in flight until
		// its lease ended (R3); so does a release that Redis forgot.
		c.note.unknownCall(c.claim.Now.Add(-c.claim.LapsedFor))
		c.note.Authorised = cmp.Or(c.note.Authorised, c.claim.LapsedAuthorisation) // it may have called for them (R2)
	}
	if !c.claim.Fresh {
		if cmd, err := DecodeCommand(c.kind, c.note.Origin.Body); err == nil {
			c.first = cmd
		}
		c.note.askAnew()
		return
	}
	if c.retryCopy.Claimed {
		// Redis forgot a record that was there. Whoever held it may be calling
		// now, until the end of a lease that began before this claim.
		c.note.unknownCall(c.claim.Now.Add(h.cfg.Lease))
	}
}

// late reports whether the copy is from before the command was parked, and neither
// a person nor upstream sends it anew.
func (c *claimedDelivery) late() bool {
	return c.claim.Parked && c.retryCopy.Park < c.note.Park && (c.retryCopy.Claimed || c.retryCopy.MsgID == c.note.Origin.MsgID)
}
