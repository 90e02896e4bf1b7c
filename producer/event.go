package producer

import (
	"slices"
	"time"
)

// Kind says which of Alipay's two refunds an event or a command is about.
type Kind string

// The kinds of CONTRACT.md §3.
const (
	KindRefund       Kind = "refund"        // alipay.trade.refund
	KindCouponRefund Kind = "coupon_refund" // alipay.fund.coupon.order.refund
)

// Type is the CloudEvents type of an event, with its version.
type Type string

// The types of CONTRACT.md §4. There is no other.
const (
	TypeRefundSucceeded        Type = "refund.succeeded.v1"
	TypeRefundFailed           Type = "refund.failed.v1"
	TypeRefundRejected         Type = "refund.rejected.v1"
	TypeRefundUnresolved       Type = "refund.unresolved.v1"
	TypeRefundNotified         Type = "refund.notified.v1"
	TypeRefundDepositBack      Type = "refund.deposit_back.v1"
	TypeCouponRefundSucceeded  Type = "coupon_refund.succeeded.v1"
	TypeCouponRefundFailed     Type = "coupon_refund.failed.v1"
	TypeCouponRefundRejected   Type = "coupon_refund.rejected.v1"
	TypeCouponRefundUnresolved Type = "coupon_refund.unresolved.v1"
	TypeCouponRefundNotified   Type = "coupon_refund.notified.v1"
)

// Outcome is what an event says about a refund.
type Outcome string

// The outcomes of CONTRACT.md §4.
const (
	Succeeded   Outcome = "succeeded"    // the money moved; final
	Failed      Outcome = "failed"       // refused, proven, and the money did not move; final
	Rejected    Outcome = "rejected"     // never sent to Alipay; final for that message
	Unresolved  Outcome = "unresolved"   // parked for a person; a later event may still settle it
	Notified    Outcome = "notified"     // a verified notification arrived; information
	DepositBack Outcome = "deposit_back" // the bank took the refund or bounced it; information
)

// Reason is the machine word of a rejected, failed or unresolved event.
type Reason string

// The reasons of CONTRACT.md §5, grouped by the outcome they belong to.
const (
	ReasonUnreadable      Reason = "unreadable"
	ReasonInvalid         Reason = "invalid"
	ReasonConflict        Reason = "conflict"
	ReasonUnknownMerchant Reason = "unknown_merchant"
	ReasonTooLarge        Reason = "too_large"

	ReasonRefused Reason = "refused"
	ReasonClosed  Reason = "closed"

	ReasonUnknownOutcome       Reason = "unknown_outcome"
	ReasonBlockedMerchant      Reason = "blocked_merchant"
	ReasonBlockedConfiguration Reason = "blocked_configuration"
	ReasonConflictAtAlipay     Reason = "conflict_at_alipay"
	ReasonRateLimited          Reason = "rate_limited"
	ReasonGatewayUnavailable   Reason = "gateway_unavailable"
	ReasonPaused               Reason = "paused"
	ReasonHeld                 Reason = "held"
	ReasonTooOld               Reason = "too_old"
	ReasonContradiction        Reason = "contradiction"
)

// ConfirmedBy tells which verified answer proved a final outcome.
type ConfirmedBy string

// The two proofs of CONTRACT.md §4.
const (
	ByResponse ConfirmedBy = "response" // the answer to the refund call
	ByQuery    ConfirmedBy = "query"    // the answer to a query
)

// Event is one fact told to the readers of the event topic. A member left at its zero value is not told; Encode says which ones
// an outcome needs. The members of the envelope that are the same for every event, and those that follow from others (type,
// source), are not fields.
type Event struct {
	ID          string    // of the fact, from DecidedID, RejectedID, UnresolvedID or NotifiedID
	Subject     string    // out_request_no where one valid number is known, else the message id
	Time        time.Time // told in UTC; see CONTRACT.md §4 for which moment it is
	Traceparent string    // of the command; left out of the event unless ValidTraceparent

	Kind         Kind
	Outcome      Outcome
	AppID        string
	Merchant     string // only if the command had one
	RefundKey    string // of the refund, from RefundKey; succeeded, failed and unresolved have it
	SellerID     string // the account whose bill shows it, where it is configured
	PaidByOther  bool   // succeeded: another account of the command paid, not the seller
	OutRequestNo string
	OutTradeNo   string
	TradeNo      string
	AuthNo       string
	OutOrderNo   string
	OperationID  string

	AmountFen        int64  // this refund's amount, at least 1 where known; at most 999999999.99 yuan, as all amounts here
	Currency         string // told only with an amount; empty stands for CNY
	TotalRefundedFen int64  // the trade's cumulative refunded sum; never this refund's amount

	AmountAtAlipayFen int64 // unresolved with conflict_at_alipay: what the refund of this number has there

	ConfirmedBy ConfirmedBy
	RefundedAt  time.Time // Alipay's time, told in +08:00
	Reason      Reason
	Detail      string // one English sentence for a person, without payload or personal data; cut at 1000 characters

	AlipayCode    string
	AlipaySubCode string
	AlipaySubMsg  string // cut at 1000 characters
	TraceID       string
	Calls         int    // refund calls and queries known to have been made; told with succeeded, failed and unresolved
	Funds         *Funds // succeeded: where the money went
	FundsCut      bool   // Funds is not complete; Encode sets it too, where it has to leave something out
	Metadata      map[string]string

	NotifyID           string
	TradeStatus        string
	DbackStatus        string // S: the bank took the refund; F: it bounced to the buyer's balance
	DbackAmountFen     int64
	BankAckTime        time.Time // told in +08:00
	EstBankReceiptTime time.Time // told in +08:00
}

// Type follows from kind and outcome. It is empty where the contract knows no such event.
func (e Event) Type() Type {
	t := Type(string(e.Kind) + "." + string(e.Outcome) + ".v1")
	if !t.known() {
		return ""
	}
	return t
}

func (t Type) known() bool { return slices.Contains(Types(), t) }

// Types are all types.
func Types() []Type {
	return []Type{
		TypeRefundSucceeded, TypeRefundFailed, TypeRefundRejected, TypeRefundUnresolved, TypeRefundNotified, TypeRefundDepositBack,
		TypeCouponRefundSucceeded, TypeCouponRefundFailed, TypeCouponRefundRejected, TypeCouponRefundUnresolved, TypeCouponRefundNotified,
	}
}

// Reasons are all reasons.
func Reasons() []Reason {
	return []Reason{
		ReasonUnreadable, ReasonInvalid, ReasonConflict, ReasonUnknownMerchant, ReasonTooLarge, ReasonRefused, ReasonClosed,
		ReasonUnknownOutcome, ReasonBlockedMerchant, ReasonBlockedConfiguration, ReasonConflictAtAlipay, ReasonRateLimited,
		ReasonGatewayUnavailable, ReasonPaused, ReasonHeld, ReasonTooOld, ReasonContradiction,
	}
}

// fits reports whether events of the outcome have the reason. One that a later version added is judged by its outcome.
func (r Reason) fits(o Outcome) bool {
	of := r.outcome()
	return of == o || of == "" && only(string(r), "abcdefghijklmnopqrstuvwxyz_")
}

func (r Reason) outcome() Outcome {
	switch r {
	case ReasonUnreadable, ReasonInvalid, ReasonConflict, ReasonUnknownMerchant, ReasonTooLarge:
		return Rejected
	case ReasonRefused, ReasonClosed:
		return Failed
	case ReasonUnknownOutcome, ReasonBlockedMerchant, ReasonBlockedConfiguration, ReasonConflictAtAlipay, ReasonRateLimited,
		ReasonGatewayUnavailable, ReasonPaused, ReasonHeld, ReasonTooOld, ReasonContradiction:
		return Unresolved
	}
	return ""
}
