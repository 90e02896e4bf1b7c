package consumer

import (
	"encoding/json"
	"fmt"
	"time"

	"refundd/alipay"
	"refundd/producer"
)

// note is what the record keeps between tries of an undecided command: where
// it came from, and everything that was asked of Alipay and answered. Decide
// reads nothing else, so whatever a later try may conclude stands here.
// Times are milliseconds of Redis' clock, so that instances agree.
type note struct {
	Version int    `json:"v"`
	Origin  origin `json:"origin"`
	// Try is the number of tries spent, for copies made from the record.
	Try int `json:"try,omitempty"`
	// Park is how often the command was parked: the number of the newest parking.
	Park int `json:"park,omitempty"`
	// Reason is why it is parked, and ParkedAt since when.
	Reason   producer.Reason `json:"reason,omitempty"`
	ParkedAt int64           `json:"parked_at,omitempty"`

	Calls   int `json:"calls,omitempty"`
	Queries int `json:"queries,omitempty"`
	// Authorised names, as a digest, who the calls were made for (R2).
	Authorised string `json:"auth,omitempty"`
	// QueryOnly: Redis may have forgotten this refund (R10), so it is never called.
	QueryOnly bool `json:"query_only,omitempty"`

	// Doubt: some call before the newest one may have been executed.
	Doubt bool `json:"doubt,omitempty"`
	// LastCall is the end of the newest call that may have arrived; 0 if none.
	LastCall int64 `json:"last_call,omitempty"`
	// CallStart is when the newest call was begun.
	CallStart int64 `json:"call_start,omitempty"`
	// Ended is how the newest call ended.
	Ended ending `json:"ended,omitempty"`
	// Refusal is the newest call's definite refusal, nil if it ended otherwise.
	Refusal *refusal `json:"refusal,omitempty"`
	// Round is when the first complete round of R1 ended; 0 if there is none
	// since the newest call with an unknown end.
	Round int64 `json:"round,omitempty"`

	// LastQuery and Found are the newest query since the newest call: when it began,
	// and what it showed.
	LastQuery int64   `json:"last_query,omitempty"`
	Found     finding `json:"found,omitempty"`
	// OldForm is when a query first showed our refund without refund_status.
	OldForm int64 `json:"old_form,omitempty"`

	// OperationID is Alipay's number of the coupon refund, once it is known.
	OperationID string `json:"operation_id,omitempty"`
	// OrderNamed: Alipay itself named the command's out_order_no for this auth_no.
	OrderNamed bool `json:"order_named,omitempty"`

	// Nudged: a notification has made this refund be queried at once; that
	// happens once for each record.
	Nudged bool `json:"nudged,omitempty"`

	// Proof is set with the answer that proves success.
	Proof string `json:"proof,omitempty"`
	// Last are the facts of the newest answer that told any.
	Last facts `json:"last"`

	// Acts are what persons did with it while it was parked. Nothing is judged by them.
	Acts []Act `json:"acts,omitempty"`
}

// origin is the first message of a command, as it is told in events and copies.
type origin struct {
	Body        []byte `json:"body"`
	Topic       string `json:"topic"`
	MsgID       string `json:"msg_id"`
	Born        int64  `json:"born"`
	First       int64  `json:"first"`
	Traceparent string `json:"traceparent,omitempty"`
}

// facts are what an answer of Alipay told for the event.
type facts struct {
	Code          string `json:"code,omitempty"`
	SubCode       string `json:"sub_code,omitempty"`
	SubMsg        string `json:"sub_msg,omitempty"`
	TraceID       string `json:"trace_id,omitempty"`
	TradeNo       string `json:"trade_no,omitempty"`
	OutTradeNo    string `json:"out_trade_no,omitempty"`
	OutOrderNo    string `json:"out_order_no,omitempty"`
	OperationID   string `json:"operation_id,omitempty"`
	TotalRefunded *int64 `json:"total_refunded,omitempty"`
	// AtAlipay is what the refund of this number has there, if that is another amount.
	AtAlipay   int64  `json:"at_alipay,omitempty"`
	RefundedAt string `json:"refunded_at,omitempty"`
	Currency   string `json:"currency,omitempty"`
	// Funds is where the money went, of an answer that proves it, and LeftOut what
	// of that could not be read.
	Funds   *producer.Funds `json:"funds,omitempty"`
	LeftOut string          `json:"left_out,omitempty"`
}

// ending is how a refund call ended, in Decide's words.
type ending string

const (
	endedNone    ending = ""        // no call yet
	endedUnknown ending = "unknown" // it may have been executed
	endedRefused ending = "refused" // definitely refused, see note.Refusal
	endedBlocked ending = "blocked" // not executed until the merchant's account is mended
	endedConfig  ending = "config"  // not executed until our configuration is mended
	endedLimited ending = "limited" // not executed, too many calls
	endedNotSent ending = "not_sent"
)

// refusal is a definite refusal of a call.
type refusal struct {
	Code    string `json:"code,omitempty"`
	SubCode string `json:"sub_code,omitempty"`
	SubMsg  string `json:"sub_msg,omitempty"`
	TraceID string `json:"trace_id,omitempty"`
	At      int64  `json:"at"`
	Signed  bool   `json:"signed,omitempty"`
	// QueryFirst marks a code that may mean "already refunded" (q! in the tables).
	QueryFirst bool `json:"query_first,omitempty"`
	// First: the first call ever, on a delivery that was never tried before.
	First bool `json:"first,omitempty"`
}

// finding is what a query showed.
type finding string

const (
	foundNothing finding = ""       // the query told nothing (failed, unverified, not ours)
	foundOurs    finding = "ours"   // our refund succeeded
	foundOldForm finding = "old"    // our refund, in the form without refund_status
	foundAbsent  finding = "absent" // verified: no such refund (yet)
	// foundUnproven: absent by a number that Alipay has never itself named, so
	// the call may be repeated, but nothing may be concluded (R1).
	foundUnproven finding = "unproven"
	foundOther    finding = "other"   // our number, another amount
	foundClosed   finding = "closed"  // a coupon refund that is closed
	foundPending  finding = "pending" // known to Alipay, not decided yet
	foundConfig   finding = "config"  // not answered until our configuration is mended
	foundLimited  finding = "limited" // not answered, too many calls
)

// absent: Alipay does not show our refund, so the call may be repeated.
func (f finding) absent() bool { return f == foundAbsent || f == foundUnproven }

// callAnswer is the end of one refund call.
type callAnswer struct {
	Class      alipay.Class
	Signed     bool
	QueryFirst bool
	Moved      bool // proof: this call moved our money
	Facts      facts
	Err        error // what the call ended with; for the log alone
}

// queryAnswer is the end of one query.
type queryAnswer struct {
	Found finding
	Facts facts
	Err   error // as in callAnswer
}

const noteVersion = 1

func (n note) encode() ([]byte, error) {
	n.Version = noteVersion
	b, err := json.Marshal(n)
	if err != nil {
		return nil, fmt.Errorf("encode note: %w", err)
	}
	return b, nil
}

// decodeNote reads a stored note. A note of a later version is an error: an
// older process must not judge by half of what is known.
func decodeNote(b []byte) (note, error) {
	var n note
	if err := json.Unmarshal(b, &n); err != nil {
		return note{}, fmt.Errorf("decode note: %w", err)
	}
	if n.Version > noteVersion {
		return note{}, fmt.Errorf("decode note: version %d is newer than this program's %d", n.Version, noteVersion)
	}
	return n, nil
}

// afterCall writes down one refund call that began and ended at the given times.
func (n note) afterCall(a callAnswer, start, end time.Time, first bool) note {
	if n.Refusal != nil && !n.Refusal.Signed {
		n.Doubt = true // an unsigned refusal proves nothing about its call
	}
	if n.Ended == endedUnknown {
		n.Doubt = true
	}
	first = first && n.Calls == 0 && !n.Doubt
	n.CallStart = start.UnixMilli()
	n.Refusal, n.LastQuery, n.Found = nil, 0, foundNothing
	if a.Class != alipay.ClassNotSent {
		n.Calls++
	}
	n.Last = n.Last.with(a.Facts)
	n.learn(a.Facts)
	switch a.Class {
	case alipay.ClassNotSent:
		n.Ended = endedNotSent
		return n
	case alipay.ClassLimited:
		n.Ended = endedLimited
	case alipay.ClassBlockedMerchant:
		n.Ended = endedBlocked
	case alipay.ClassBlockedConfiguration:
		n.Ended = endedConfig
	case alipay.ClassRefused:
		n.Ended = endedRefused
		n.Refusal = &refusal{
			Code: a.Facts.Code, SubCode: a.Facts.SubCode, SubMsg: a.Facts.SubMsg, TraceID: a.Facts.TraceID,
			At: end.UnixMilli(), Signed: a.Signed, QueryFirst: a.QueryFirst, First: first,
		}
		n.LastCall = end.UnixMilli()
		return n
	case alipay.ClassOK, alipay.ClassUnknown, alipay.ClassConflict, alipay.ClassNotFound:
		n.Ended = endedUnknown
	default:
		n.Ended = endedUnknown
	}
	if a.Moved {
		n.Proof = provenByResponse
		n.LastCall = end.UnixMilli()
		return n
	}
	if n.Ended == endedUnknown || !a.Signed {
		// An answer nobody signed is no proof that the call was not executed.
		n.unknownCall(end)
	}
	return n
}

// unknownCall writes down that a call whose end nobody knows ended, at the
// latest, at the given time: rounds have to begin anew, and a query is due.
func (n *note) unknownCall(end time.Time) {
	n.Doubt = true
	n.Round, n.OldForm, n.Refusal = 0, 0, nil
	n.LastQuery, n.Found = 0, foundNothing
	n.LastCall = max(n.LastCall, end.UnixMilli())
}

// afterQuery writes down one query that began and was answered at the given times.
// What it shows may be as old as its beginning, so LastQuery is that one.
func (n note) afterQuery(a queryAnswer, start, end time.Time) note {
	n.Queries++
	n.LastQuery, n.Found = start.UnixMilli(), a.Found
	n.learn(a.Facts)
	switch a.Found {
	case foundOurs:
		n.Proof = provenByQuery
	case foundAbsent:
		n.OldForm = 0
		if n.Refusal != nil && n.Round == 0 {
			n.Round = end.UnixMilli()
		}
	case foundOldForm:
		if n.OldForm == 0 {
			n.OldForm = end.UnixMilli()
		}
	case foundUnproven, foundOther, foundClosed, foundPending:
		n.OldForm = 0
	case foundNothing, foundConfig, foundLimited:
	}
	if !a.Found.absent() {
		n.Last = n.Last.with(a.Facts)
	}
	return n
}

// askAnew forgets the answer with which it was parked for a person, who now
// sends it again.
func (n *note) askAnew() {
	if n.Found == foundOther || n.QueryOnly {
		n.LastQuery, n.Found = 0, foundNothing
	}
}

// setBack moves times that are yet to come to now: the clock that wrote them was
// set back since, or another one has taken over, and nobody waits for the difference.
func (n *note) setBack(now time.Time) {
	for _, at := range []*int64{&n.ParkedAt, &n.LastCall, &n.CallStart, &n.Round, &n.LastQuery, &n.OldForm} {
		*at = min(*at, now.UnixMilli())
	}
	if n.Refusal != nil {
		n.Refusal.At = min(n.Refusal.At, now.UnixMilli())
	}
}

// learn keeps what only one answer may have told and a later query needs.
func (n *note) learn(f facts) {
	if f.OperationID != "" {
		n.OperationID = f.OperationID
	}
	if f.OutOrderNo != "" {
		n.OrderNamed = true
	}
}

// with is the newer facts; numbers that only the older ones told are kept.
func (f facts) with(newer facts) facts {
	if newer == (facts{}) {
		return f
	}
	if newer.TradeNo == "" {
		newer.TradeNo = f.TradeNo
	}
	if newer.OutTradeNo == "" {
		newer.OutTradeNo = f.OutTradeNo
	}
	if newer.OutOrderNo == "" {
		newer.OutOrderNo = f.OutOrderNo
	}
	if newer.OperationID == "" {
		newer.OperationID = f.OperationID
	}
	return newer
}
