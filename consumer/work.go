package consumer

import (
	"context"
	"time"

	"github.com/sirupsen/logrus"

	"refundd/alipay"
	"refundd/producer"
)

// work does what Decide says until the delivery has an end.
func (h *Handler) work(ctx context.Context, c *claimedDelivery, m Merchant) Ending {
	c.claimed = c
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

// callMargin is what must be left of the lease besides the call's own time.
const callMargin = 500 * time.Millisecond

// fits reports whether what is left of the lease, on the monotonic clock from
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
		c.note = c.note.afterQuery(a, start, c.latest())
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
	c.note = c.note.afterCall(a, start, c.latest(), untried)
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

// class gives the metric's word for how a call ended.
func classWord(c alipay.Class) string {
	switch c {
	case alipay.ClassOK:
		return "ok"
	case alipay.ClassNotSent:
		return "not_sent"
	case alipay.ClassLimited:
		return "limited"
	case alipay.ClassBlockedConfiguration, alipay.ClassBlockedMerchant:
		return "blocked"
	case alipay.ClassRefused, alipay.ClassNotFound, alipay.ClassConflict:
		return "refused"
	case alipay.ClassUnknown:
		return "unknown"
	}
	return "unknown"
}
