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
	// Rate is calls a second for the whole app; 0 = no limit.
	Rate int
	// Paused tells whether refund calls of a kind and merchant are braked by an
	// operator. Queries never are. Nil: never.
	Paused func(kind Kind, merchant string) bool
}

func (l Limits) set() bool { return l.Spacing > 0 || l.Rate > 0 }

// waitInPlace is how long a worker waits for its turn before the command goes
// back to the retry topic; such waits spend no try (R12).
const waitInPlace = 4 * time.Second

// slot is what a call of this command shares with others.
func (h *Handler) slot(cmd Command, do action) dedupe.Slot {
	return dedupe.Slot{
		// Length first, so that no two pairs look alike.
		Trade:   fmt.Sprintf("%d:%s:%s", len(cmd.Merchant), cmd.Merchant, cmd.Trade()),
		Spacing: h.cfg.Limits.Spacing, Rate: h.cfg.Limits.Rate, Query: do == actQuery,
	}
}

// turn waits until the call may begin. If that takes longer than a worker
// should wait, or calls are paused, the decision tells what to do instead.
func (h *Handler) turn(ctx context.Context, c *claimedCommand, do action) (decision, bool) {
	if do == actQuery && h.cfg.Limits.Rate == 0 {
		return decision{}, true
	}
	if do == actCall && h.cfg.Limits.Paused != nil && h.cfg.Limits.Paused(c.kind, c.cmd.Merchant) {
		return decision{Do: actWait, Reason: producer.ReasonPaused, Free: true}, false
	}
	if left, why := h.backoff.left(c.cmd.Merchant, c.cmd.OutRequestNo); do == actCall && left > 0 {
		return decision{Do: actWait, Reason: why, Free: true, NotBefore: c.now().Add(left).UnixMilli()}, false
	}
	grant := c.grant
	// Without limits a grant says only that the app does not back off.
	stale := h.cfg.Limits.set() && !time.Now().Before(grant.Deadline)
	if do == actQuery || grant.OK && stale {
		h.giveBack(c)
		grant = dedupe.Grant{}
	}
	c.grant = dedupe.Grant{}
	for begin := time.Now(); !grant.OK; {
		if grant.Wait > 0 {
			if time.Since(begin)+grant.Wait > waitInPlace || !h.gate.Sleep(grant.Wait) {
				return decision{Do: actWait, Reason: producer.ReasonRateLimited, Free: true, NotBefore: c.now().Add(grant.Wait).UnixMilli()}, false
			}
		}
		err := h.final(ctx, func(ctx context.Context) (err error) {
			grant, err = h.records.Reserve(ctx, c.id.AppID, h.slot(c.cmd, do), dedupe.NewToken())
			return err
		})
		if err != nil {
			h.health.Fails(PartRedis, err)
			return decision{Do: actWait, Reason: producer.ReasonHeld, Free: true}, false
		}
	}
	return decision{}, true
}

// giveBack undoes a reservation that no call used. Its loss only makes the
// next call on the trade wait.
func (h *Handler) giveBack(c *claimedCommand) {
	if !c.grant.OK {
		return
	}
	c.grant = dedupe.Grant{}
	h.once("give a reservation back", c.commandInHand, func(ctx context.Context) error {
		return h.records.Undo(ctx, c.id.AppID, h.slot(c.cmd, actCall), c.token)
	})
}

// throttled makes the whole app back off, not only this command; or this
// command's merchant, where Alipay says that it is the merchant's authorisation
// that is used too much.
func (h *Handler) throttled(c *claimedCommand, subCode string) {
	if c.cmd.Merchant != "" && ofAuthorisation(alipay.ClassLimited, subCode) {
		h.backoff.begin(c.cmd.Merchant, producer.ReasonRateLimited)
		return
	}
	h.once("make the app back off", c.commandInHand, func(ctx context.Context) error {
		return h.records.Throttled(ctx, c.id.AppID)
	})
}
