package consumer

import (
	"cmp"
	"context"
	"time"

	"github.com/sirupsen/logrus"

	"refundd/alipay"
	"refundd/dedupe"
	"refundd/producer"
)

// claimedDelivery is a command whose claim this delivery holds.
type claimedDelivery struct {
	*delivery
	claim dedupe.Claim
	token dedupe.Token
	grant dedupe.Grant // of the claim's exchange, for the first call
	turn  dedupe.Grant // of the call or query that is made now
	note  note
	op    operation
	first Command // the first message's command: its metadata is told
	// claimedAt is when the claim's answer was here, on the monotonic clock.
	claimedAt     time.Time
	authorisation string
	giveUp        producer.Reason // why nothing more is asked of Alipay; mostly empty
	// called and queried are situation's; worked: something was asked at all.
	called, queried, worked bool
}

// now is Redis' clock, carried on by the local monotonic one.
func (c *claimedDelivery) now() time.Time { return c.claim.Now.Add(time.Since(c.claimedAt)) }

// work does what Decide says until the delivery has an end.
func (h *Handler) work(ctx context.Context, c *claimedDelivery, m Merchant) bool {
	defer h.giveBack(c)
	c.op = operationFor(h.alipay, c.cmd, m.AppAuthToken, h.cfg.Additions)
	c.authorisation = authorisation(m)
	c.mergeHistory(h)
	if c.late() {
		return h.parkedBefore(ctx, c)
	}
	if c.giveUp != "" {
		return h.park(ctx, c, c.note.worst(c.giveUp))
	}
	for {
		d := Decide(c.note, situation{
			Now: c.now(), QueryAfter: h.cfg.QueryAfter, Queryable: c.op.queryable(c.note),
			Called: c.called, Queried: c.queried, Authorised: c.authorisation,
		})
		switch d.Do {
		case actSucceed:
			return h.settle(ctx, c, producer.Succeeded, "")
		case actFail:
			return h.settle(ctx, c, producer.Failed, d.Reason)
		case actPark:
			return h.park(ctx, c, d.Reason)
		case actWait:
			return h.undecided(ctx, c, d)
		case actCall, actQuery:
			if h.gate.Stopping() || ctx.Err() != nil {
				return h.releaseForShutdown(c)
			}
			if instead, ok := h.awaitSlot(ctx, c, d.Do); !ok {
				if h.gate.Stopping() {
					return h.releaseForShutdown(c)
				}
				return h.undecided(ctx, c, instead)
			}
			if h.gate.Stopping() { // asking for a turn may have taken a while
				return h.releaseForShutdown(c)
			}
			if d.Do == actCall && h.paused(c.delivery) { // and so may a pause have come
				return h.undecided(ctx, c, decision{Do: actWait, Reason: producer.ReasonPaused, Free: true})
			}
			if !h.fits(c, d.Do) {
				return h.undecided(ctx, c, decision{Do: actWait, Reason: producer.ReasonHeld, Free: !c.worked})
			}
			h.ask(ctx, c, d.Do)
		}
		if ctx.Err() != nil {
			if c.note.Proof == "" {
				return h.releaseForShutdown(c)
			}
		}
	}
}

// recall brings into the note what the claim and the message tell about
// earlier calls that the note cannot know.
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

// keepMargin is how much earlier than KEEP a message without a record counts
// as too old: clocks differ, and a record's time begins at its settlement.
func keepMargin(keep time.Duration) time.Duration { return min(keep/10, time.Hour) }

// fits tells whether what is left of the lease, on the monotonic clock from
// before the claim was sent, covers one whole call and a margin (R8). What
// remains is a process frozen between this check and the write: there
// Alipay's own idempotency by (trade, out_request_no) guards the money.
func (h *Handler) fits(c *claimedDelivery, do action) bool {
	left := time.Until(c.claim.Deadline)
	if do == actQuery { // moves nothing: it only has to end before the lease
		return left > callMargin
	}
	return left >= h.cfg.AlipayTimeout+min(callMargin, h.cfg.Lease/10)
}

// ask makes one refund call or one query and writes its answer into the note.
func (h *Handler) ask(ctx context.Context, c *claimedDelivery, do action) {
	ctx, cancel := context.WithDeadline(ctx, c.claim.Deadline)
	defer cancel()
	start, begin := c.now(), time.Now()
	c.worked = true
	if do == actQuery {
		a := c.op.query(ctx, c.note)
		h.metrics.Call(c.op.queryMethod, findingWord(a.Found), time.Since(begin))
		c.note = c.note.afterQuery(a, start, c.now())
		c.queried = true
		entry := c.log.WithFields(logrus.Fields{"found": string(a.Found), "code": a.Facts.Code, "sub_code": a.Facts.SubCode})
		switch a.Found {
		case foundConfig:
			entry.Error(alarmConfiguration)
		case foundLimited:
			h.throttled(c, a.Facts.SubCode)
		case foundNothing, foundOurs, foundOldForm, foundAbsent, foundUnproven, foundOther, foundClosed, foundPending:
			h.causes.log(entry, "queried", a.Err)
		}
		return
	}
	// Written down before the call, so that an answer that names somebody
	// else's authorisation is never judged (R2).
	c.note.Authorised = c.authorisation
	a := c.op.call(ctx)
	h.metrics.Call(c.op.method, classWord(a.Class), time.Since(begin))
	untried := c.claim.Fresh && !c.retryCopy.Claimed && c.claim.Lapses == 0 && c.Topic != h.cfg.RetryTopic
	c.note = c.note.afterCall(a, start, c.now(), untried)
	c.called, c.queried = true, false
	entry := c.log.WithFields(logrus.Fields{"class": a.Class.String(), "code": a.Facts.Code, "sub_code": a.Facts.SubCode})
	if c.cmd.Merchant != "" {
		refused := a.Class == alipay.ClassBlockedConfiguration && ofAuthorisation(a.Class, a.Facts.SubCode)
		h.unaccepted.learn(c.cmd.Merchant, !refused)
	}
	switch a.Class { // these alarm at once, not when the tries are used up (R14)
	case alipay.ClassBlockedConfiguration:
		entry.Error(alarmConfiguration)
	case alipay.ClassBlockedMerchant:
		entry.Error(alarmMerchant)
	case alipay.ClassLimited:
		h.throttled(c, a.Facts.SubCode)
		entry.Warn("Alipay limits our calls: they back off")
	case alipay.ClassOK:
		entry.Debug("called")
	case alipay.ClassUnknown, alipay.ClassNotSent,
		alipay.ClassRefused, alipay.ClassNotFound, alipay.ClassConflict:
		h.causes.log(entry, "called", a.Err)
	}
}

const (
	alarmContradiction = "CONTRADICTION: the money moved although failed was published; succeeded is published, a person must look"
	alarmConfiguration = "Alipay refuses our configuration: keys, permissions or authorisation need a person (blocked_configuration)"
	alarmMerchant      = "Alipay refuses until the merchant's account is mended: funds or account state need a person (blocked_merchant)"
)

func findingWord(f finding) string {
	switch f {
	case foundOurs, foundAbsent, foundUnproven, foundOther, foundOldForm, foundClosed, foundPending:
		return "ok"
	case foundConfig:
		return "blocked"
	case foundLimited:
		return "limited"
	case foundNothing:
		return "unknown"
	}
	return "unknown"
}

// letGo releases the claim because the process stops. Nothing is counted,
// parked or tried (R11); the message comes back elsewhere.
func (h *Handler) releaseForShutdown(c *claimedDelivery) bool {
	h.bestEffort("release", c.delivery, func(ctx context.Context) error {
		_, err := h.unparked(ctx, c, 0)
		return err
	})
	return false
}

// release writes the note back.
func (h *Handler) release(ctx context.Context, c *claimedDelivery, req dedupe.ReleaseRequest) (dedupe.Release, error) {
	b, err := c.note.encode()
	if err != nil {
		return dedupe.Release{}, err
	}
	req.ID, req.Token, req.Fingerprint, req.Note = c.id, c.token, c.fingerprint, b
	return h.records.Release(ctx, req)
}

// unparked releases a command that somebody tries again: its entry in the index is
// due when the copy should have come back.
func (h *Handler) unparked(ctx context.Context, c *claimedDelivery, delay time.Duration) (dedupe.Release, error) {
	c.note.Reason, c.note.ParkedAt = "", 0
	return h.release(ctx, c, dedupe.ReleaseRequest{Entry: h.entry(c), Due: c.now().Add(delay)})
}

func (h *Handler) entry(c *claimedDelivery) string {
	return h.records.Entry(time.UnixMilli(c.note.Origin.Born), int64(c.cmd.Amount), c.id)
}

// undecided ends a delivery without a verdict: a try is spent, unless nothing
// was tried, and the command comes back later or is parked (R14).
func (h *Handler) undecided(ctx context.Context, c *claimedDelivery, d decision) bool {
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
	var rel dedupe.Release
	switch h.untilDone(ctx, c.delivery, "release", func(ctx context.Context) (err error) {
		rel, err = h.unparked(ctx, c, delay)
		return err
	}) {
	case waitedUnreadable:
		return h.recordUnread(ctx, c.delivery, gonePause)
	case waitedStop, waitedLong:
		return false
	case waitedDone:
	}
	if rel.State != dedupe.Released {
		return h.overtaken(ctx, c, rel)
	}
	c.retryCopy.Claimed, c.retryCopy.Generation = true, rel.Generation
	if !h.scheduleRetry(ctx, c.delivery, d.Reason, delay) {
		return false
	}
	h.confirm(c)
	return true
}

// freeDelay is the longest delay of a wait that spends no try: after a resume
// everything flows again within two minutes.
const freeDelay = time.Minute

// overtaken: the claim was lost while working; somebody else has the command.
func (h *Handler) overtaken(ctx context.Context, c *claimedDelivery, rel dedupe.Release) bool {
	if rel.State == dedupe.AlreadyDecided {
		c.retryCopy.Claimed = true
		return h.republishDecided(ctx, c.delivery, rel.Event, false)
	}
	c.log.Warn("the claim was lost while working on it; the command comes back after the lease")
	return h.retryWhenFree(ctx, c.delivery, h.cfg.Lease)
}

// confirm writes down that the broker has the copy of this generation, so
// that older ones may be dropped (R7). If it fails they merely live longer.
func (h *Handler) confirm(c *claimedDelivery) {
	h.bestEffort("confirm", c.delivery, func(ctx context.Context) error {
		return h.records.Confirm(ctx, c.id, c.retryCopy.Generation)
	})
}
