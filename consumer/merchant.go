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
		return Merchant{}, true
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
func (h *Handler) unknownMerchant(ctx context.Context, in *commandInHand) bool {
	in.log = in.named()
	age := time.Since(in.copy.First)
	switch {
	case in.copy.Claimed && age < h.cfg.MaxAge:
		in.log.Error("the merchant of a command that was already claimed is gone; it waits (blocked_configuration)")
		return h.again(ctx, in, producer.ReasonBlockedConfiguration, gonePause)
	case in.copy.Claimed:
		return h.claimed(ctx, in, Merchant{}, producer.ReasonBlockedConfiguration)
	case age < merchantGrace:
		return h.again(ctx, in, producer.ReasonUnknownMerchant, 30*time.Second)
	}
	in.print = in.cmd.Fingerprint()
	switch rec, found, end := h.recordOf(ctx, in); {
	case end == waitedStop:
		return false
	case end == waitedLong:
		return h.again(ctx, in, producer.ReasonHeld, h.shortest())
	case found && rec.Decided:
		return h.stored(ctx, in, rec.Event, rec.Contradiction)
	case found:
		return h.enter(ctx, in, gonePause) && h.unknownMerchant(ctx, in)
	}
	return h.reject(ctx, in, producer.ReasonUnknownMerchant,
		fmt.Sprintf("merchant %.64q is not configured here", in.cmd.Merchant))
}

// authorisation is a digest, so that the token itself is never in a record.
func authorisation(m Merchant) string {
	if m.AppAuthToken == "" {
		return "app"
	}
	sum := sha256.Sum256([]byte("refundd authorisation\x00" + m.AppAuthToken))
	return hex.EncodeToString(sum[:8])
}
