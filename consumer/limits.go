package consumer

import (
	"context"
	"fmt"
	"time"

	"refundd/alipay"
	"refundd/dedupe"
	"refundd/producer"
)

// Limits are shared by all instances through Redis. The zero value limits
// nothing but what Alipay itself limits (40005).
type Limits struct {
	// Spacing is the least time between two refund calls on one trade.
	Spacing time.Duration
	// Rate is calls a second for the whole app; 0 = no limit. Where Alipay limits
	// the app to fewer, it is those.
	Rate int
	// Allowed is called with what Alipay is believed to let through of the app, in
	// calls a second, 0 if nothing shows that it limits it, after every exchange
	// that says so. It may be nil.
	Allowed func(perSecond float64)
	// Paused reports whether refund calls of a kind and merchant are braked by an
	// operator. Queries never are. Nil: never.
	Paused func(kind Kind, merchant string) bool
}

const (
	// waitInPlace is how long a claimed command waits for its turn before it goes
	// back to the retry topic; such waits spend no try (R12).
	waitInPlace = 4 * time.Second
	// waitInLine is the same before the claim: nothing is held meanwhile. It is far
	// below the 120 s after which the SDK drops a blocked queue.
	waitInLine = 15 * time.Second
)

// paused reports whether the command's refund calls are braked.
func (h *Handler) paused(d *delivery) bool {
	return h.cfg.Limits.Paused != nil && h.cfg.Limits.Paused(d.kind, d.cmd.Merchant)
}

// learn takes over what an exchange with Redis says about the limits of a slot.
func (h *Handler) learn(slot dedupe.Slot, g dedupe.Grant) {
	if g.Asked.IsZero() {
		return // no answer
	}
	h.lines.learn(slot, g)
	if h.cfg.Limits.Allowed != nil {
		h.cfg.Limits.Allowed(g.Pace)
	}
}

// slot is what a call of this command shares with others.
func (h *Handler) slot(cmd Command, do action) dedupe.Slot {
	slot := dedupe.Slot{
		// Length first, so that no two pairs look alike.
		Trade:   fmt.Sprintf("%d:%s:%s", len(cmd.Merchant), cmd.Merchant, cmd.Trade()),
		Spacing: h.cfg.Limits.Spacing, Rate: h.cfg.Limits.Rate, Query: do == actQuery,
	}
	if h.lines.of(cmd.Merchant) != nil {
		slot.Merchant = cmd.Merchant
	}
	return slot
}

// awaitTurn waits until a turn may be asked for: one of the merchant, if it is
// limited, and then one of the app.
func (h *Handler) awaitTurn(merchant string, claimed bool, patience time.Duration) (left time.Duration, ok bool) {
	end := time.Now().Add(patience)
	if own := h.lines.of(merchant); own != nil {
		if left, ok = own.wait(h.gate, claimed, min(patience, waitInPlace)); !ok {
			return left, false
		}
	}
	return h.lines.app.wait(h.gate, claimed, time.Until(end))
}

// turn waits until the call may begin. If that takes longer than a worker
// should wait, or calls are paused, the decision says what to do instead.
func (h *Handler) awaitSlot(ctx context.Context, c *claimedDelivery, do action) (decision, bool) {
	if do == actQuery && h.cfg.Limits.Rate == 0 && !h.lines.app.limited() && h.lines.of(c.cmd.Merchant) == nil {
		c.turn = dedupe.Grant{Asked: time.Now()}
		return decision{}, true
	}
	if do == actCall && h.paused(c.delivery) {
		return decision{Do: actWait, Reason: producer.ReasonPaused, Free: true}, false
	}
	if do == actCall {
		if left := h.unaccepted.call(c.cmd.Merchant); left > 0 {
			return decision{Do: actWait, Reason: producer.ReasonBlockedConfiguration, Free: true, NotBefore: c.now().Add(left).UnixMilli()}, false
		}
	}
	late := func(left time.Duration) (decision, bool) {
		return decision{Do: actWait, Reason: producer.ReasonRateLimited, Free: true, NotBefore: c.now().Add(left).UnixMilli()}, false
	}
	grant := c.grant
	// Where nothing is limited, a grant says only that.
	stale := (grant.Every > 0 || grant.Merchant.Every > 0 || h.cfg.Limits.Spacing > 0) && !time.Now().Before(grant.Deadline)
	if do == actQuery || grant.OK && stale {
		h.giveBack(c)
		grant = dedupe.Grant{}
	}
	c.grant = dedupe.Grant{}
	for begin := time.Now(); !grant.OK; {
		patience := waitInPlace - time.Since(begin)
		if grant.Wait > 0 && (grant.Wait > patience || !h.gate.Sleep(grant.Wait)) {
			return late(grant.Wait)
		}
		if do == actCall {
			if left, ok := h.awaitTurn(c.cmd.Merchant, true, patience); !ok {
				return late(left)
			}
		}
		slot := h.slot(c.cmd, do)
		err := h.withFinalContext(ctx, func(ctx context.Context) (err error) {
			grant, err = h.records.Reserve(ctx, c.id.AppID, slot, dedupe.NewToken())
			return err
		})
		if err != nil {
			h.health.Fails(PartRedis, err)
			return decision{Do: actWait, Reason: producer.ReasonHeld, Free: true}, false
		}
		h.learn(slot, grant)
	}
	c.turn = grant
	if ahead := time.Until(grant.Start); ahead > 0 && !h.gate.Sleep(ahead) {
		return late(ahead)
	}
	return decision{}, true
}

// giveBack undoes a reservation that no call used. Its loss only makes the
// next call on the trade wait.
func (h *Handler) giveBack(c *claimedDelivery) {
	if !c.grant.OK {
		return
	}
	c.grant = dedupe.Grant{}
	h.bestEffort("give a reservation back", c.delivery, func(ctx context.Context) error {
		return h.records.Undo(ctx, c.id.AppID, h.slot(c.cmd, actCall), c.claim.Token)
	})
}

// throttled makes the whole app slow down, not only this command; or all calls
// of this command's merchant, where Alipay says that it is the merchant's
// authorisation that is used too much.
func (h *Handler) throttled(c *claimedDelivery, subCode string) {
	merchant, rate := "", h.cfg.Limits.Rate
	if c.cmd.Merchant != "" && ofAuthorisation(alipay.ClassLimited, subCode) {
		merchant, rate = c.cmd.Merchant, 0
	}
	h.bestEffort("slow down", c.delivery, func(ctx context.Context) error {
		err := h.records.Throttled(ctx, c.id.AppID, merchant, c.turn, rate)
		if err == nil && merchant != "" {
			h.lines.limit(merchant)
		}
		return err
	})
}

// spread is the delay of what has no place in its merchant's line. The broker has
// few delays: chosen at random, what came at once does not come back at once, and
// there is always somebody in the line.
func (h *Handler) spread() time.Duration {
	r := h.cfg.Random()
	return 1 + time.Duration(r*r*float64(freeDelay/2))
}
