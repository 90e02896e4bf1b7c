package consumer

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"time"

	"refundd/producer"
)

func (h *Handler) merchant(name string) (Merchant, bool) {
	if name == "" {
		return Merchant{SellerID: h.cfg.SellerID}, true
	}
	if h.cfg.Merchant == nil {
		return Merchant{}, false
	}
	return h.cfg.Merchant(name)
}

// merchantGrace is how long an unknown merchant is waited for: merchant files
// roll out unevenly (R9).
const merchantGrace = 70 * time.Second

// unknownMerchant ends a delivery whose merchant this process does not know. Another
// one may, and may have claimed the command from another delivery: the record tells.
func (h *Handler) unknownMerchant(ctx context.Context, d *delivery) bool {
	d.log = d.named()
	age := time.Since(d.retryCopy.First)
	switch {
	case d.retryCopy.Claimed && age < h.cfg.MaxAge:
		d.log.Error("the merchant of a command that was already claimed is gone; it waits (blocked_configuration)")
		return h.scheduleRetry(ctx, d, producer.ReasonBlockedConfiguration, gonePause)
	case d.retryCopy.Claimed:
		return h.claim(ctx, d, Merchant{}, producer.ReasonBlockedConfiguration)
	case age < merchantGrace:
		return h.scheduleRetry(ctx, d, producer.ReasonUnknownMerchant, 30*time.Second)
	}
	d.fingerprint = d.cmd.Fingerprint()
	detail := fmt.Sprintf("merchant %.64q is not configured here", d.cmd.Merchant)
	switch rec, found, end := h.recordOf(ctx, d, rejection(producer.ReasonUnknownMerchant, detail)); {
	case end == waitedStop:
		return false
	case end == waitedLong:
		return h.scheduleRetry(ctx, d, producer.ReasonHeld, h.shortest())
	case found && rec.Decided:
		return h.republishDecided(ctx, d, rec.Event, rec.Contradiction)
	case found:
		return h.enter(ctx, d, gonePause) && h.unknownMerchant(ctx, d)
	}
	return h.reject(ctx, d, producer.ReasonUnknownMerchant, detail)
}

// authorisation is a digest, so that the token itself is never in a record.
func authorisation(m Merchant) string {
	if m.AppAuthToken == "" {
		return "app"
	}
	sum := sha256.Sum256([]byte("refundd authorisation\x00" + m.AppAuthToken))
	return hex.EncodeToString(sum[:8])
}
