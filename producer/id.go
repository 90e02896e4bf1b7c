package producer

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"strconv"
)

// Identity names one refund for good: CONTRACT.md §3.
type Identity struct {
	AppID        string
	Merchant     string // empty where the command names none
	Kind         Kind
	OutRequestNo string
	Trade        string // trade or auth_no, only with REFUNDD_DEDUPE_SCOPE=trade; else empty
}

// RefundKey names the refund in whatever events tell of it: one row a key is one row a refund.
func RefundKey(id Identity) string {
	return factID("refund", id.AppID, id.Merchant, string(id.Kind), id.OutRequestNo, id.Trade)
}

// DecidedID is the id of a succeeded or failed event: of the refund, its trade (or auth_no), its amount and the outcome. The trade
// is always part of the fact, so the id does not depend on the scope of the identity.
func DecidedID(id Identity, trade string, fen int64, outcome Outcome) string {
	return factID("decided", id.AppID, id.Merchant, string(id.Kind), id.OutRequestNo, trade, strconv.FormatInt(fen, 10), string(outcome))
}

// RejectedID is the id of a rejected event: of the message (the first one, for a retried command), its body and the reason.
func RejectedID(messageID string, body []byte, reason Reason) string {
	return factID("rejected", messageID, string(body), string(reason))
}

// UnresolvedID is the id of an unresolved event: of the refund and the park number that the message carries.
func UnresolvedID(id Identity, park int) string {
	return factID("unresolved", id.AppID, id.Merchant, string(id.Kind), id.OutRequestNo, id.Trade, strconv.Itoa(park))
}

// NotifiedID is the id of a notified or deposit_back event: of Alipay's notification.
func NotifiedID(appID, notifyID string, outcome Outcome) string {
	return factID("notified", appID, notifyID, string(outcome))
}

// factID is the first 16 bytes, in hex, of SHA-256 over the domain word and the fields, each after its length in 8 bytes. Readers
// drop repeats by it, so it may never change for a fact that was published before.
func factID(domain string, fields ...string) string {
	h := sha256.New()
	for _, field := range append([]string{"refundd event " + domain}, fields...) {
		h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(field))))
		h.Write([]byte(field))
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}
