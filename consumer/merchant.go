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
// one may, and may have claimed the command from another delivery: the record says so.
func (h *Handler) unknownMerchant(ctx context.Context, d *delivery) Ending {
	age := time.Since(d.retryCopy.First)
	if !d.retryCopy.Claimed && age < merchantGrace {
		return retried(d, producer.ReasonUnknownMerchant, 30*time.Second)
	}
	if !d.retryCopy.Claimed {
		d.fingerprint = d.cmd.Fingerprint()
		detail := fmt.Sprintf("merchant %.64q is not configured here", d.cmd.Merchant)
		rec, ours, err := h.recordOf(ctx, d, rejection(producer.ReasonUnknownMerchant, detail))
		switch {
		case err != nil:
			return h.withoutRecord(d, err)
		case ours && rec.Decided:
			return h.republishDecided(d, rec.Event, rec.Contradiction)
		case !ours:
			return h.rejected(d, producer.ReasonUnknownMerchant, detail)
		}
		if err := h.enter(ctx, d, gonePause); err != nil {
			return Ending{}
		}
	}
	if age < h.cfg.MaxAge {
		d.log.Error("the merchant of a command that was already claimed is gone; it waits (blocked_configuration)")
		return retried(d, producer.ReasonBlockedConfiguration, gonePause)
	}
	return h.claim(ctx, d, Merchant{}, producer.ReasonBlockedConfiguration)
}

// authorisation is a digest, so that the token itself is never in a record.
func authorisation(m Merchant) string {
	if m.AppAuthToken == "" {
		return "app"
	}
	sum := sha256.Sum256([]byte("refundd authorisation\x00" + m.AppAuthToken))
	return hex.EncodeToString(sum[:8])
}
