package consumer

import (
	"time"

	"refundd/producer"
)

const (
	provenByResponse = "response"
	provenByQuery    = "query"
)

// action is what is to be done next with a claimed command.
type action int

const (
	actWait    action = iota // nothing more now: release, try again later
	actCall                  // send the refund call
	actQuery                 // ask for the fate of earlier calls
	actSucceed               // proven: the money moved
	actFail                  // proven: Alipay refused, the money did not move
	actPark                  // a person has to look, no further try can help
)

// decision is what Decide concludes.
type decision struct {
	Do action
	// NotBefore, for actWait, is the Redis time in ms before which a new try
	// is useless; 0 if there is none.
	NotBefore int64
	// Reason tells why, for actWait, actFail and actPark.
	Reason producer.Reason
	// Free, for actWait: waiting spends no try.
	Free bool
}

// situation is what Decide judges besides the note.
type situation struct {
	// Now is Redis' time.
	Now time.Time
	// QueryAfter is R3's time: an absent refund in a query means nothing
	// before this much time after the end of the last call.
	QueryAfter time.Duration
	// Queryable: there is a way to ask for this refund. A trade refund always
	// has one; a coupon refund needs an operation_id or an out_order_no.
	Queryable bool
	// Called: this delivery made its call. Queried: it asked, and made no call
	// since. A delivery makes at most one call, a query before and one behind.
	Called, Queried bool
	// Authorised is who a call would be made for now, as in note.Authorised.
	Authorised string
}

// Decide is the heart of R1, R2 and R3: what the history in the note proves,
// and if it proves nothing, what may be done next. It is a pure function; the
// flow carries out what it says and writes the answer into the note.
func Decide(n note, s situation) decision {
	after := s.QueryAfter.Milliseconds()
	wait := waiting(n)
	switch {
	case n.Proof != "":
		return decision{Do: actSucceed}
	case n.Found == foundOldForm && n.LastQuery >= n.OldForm+after:
		return decision{Do: actSucceed}
	case n.Found == foundOther:
		return decision{Do: actPark, Reason: producer.ReasonConflictAtAlipay}
	case n.Found == foundClosed:
		return decision{Do: actFail, Reason: producer.ReasonClosed}
	case failureProven(n, s):
		return decision{Do: actFail, Reason: producer.ReasonRefused}
	case n.Authorised != s.Authorised && n.Authorised != "":
		return decision{Do: actWait, Reason: producer.ReasonBlockedConfiguration}
	case n.QueryOnly && n.Found.absent():
		return decision{Do: actPark, Reason: producer.ReasonTooOld}
	case n.QueryOnly && !s.Queryable:
		return decision{Do: actPark, Reason: producer.ReasonTooOld}
	case n.QueryOnly && s.Queried:
		return wait
	case n.QueryOnly:
		return decision{Do: actQuery}
	case s.Called && n.Ended.notExecuted():
		return wait
	case n.LastCall == 0: // no call that may have arrived
		return decision{Do: actCall}
	case !s.Queryable:
		return replay(n, s, wait)
	case n.LastQuery == 0:
		return decision{Do: actQuery}
	case n.Found.absent() && n.LastQuery >= n.LastCall+after:
		return replay(n, s, wait)
	case n.Found.absent() && !s.reached(n.LastCall):
		wait.NotBefore = max(n.LastCall, n.Round) + after
		return wait
	case n.Found == foundOldForm && !s.reached(n.OldForm):
		wait.NotBefore = n.OldForm + after
		return wait
	case s.Queried:
		return wait
	default:
		return decision{Do: actQuery}
	}
}

// replay sends the identical call again (R2, R3), once a delivery, QueryAfter
// after the end of the last one and of the first round.
func replay(n note, s situation, wait decision) decision {
	begins := max(n.LastCall, n.Round)
	if s.Called || !s.reached(begins) {
		wait.NotBefore = begins + s.QueryAfter.Milliseconds()
		return wait
	}
	return decision{Do: actCall}
}

// reached tells whether QueryAfter has passed since the given time.
func (s situation) reached(since int64) bool {
	return s.Now.UnixMilli() >= since+s.QueryAfter.Milliseconds()
}

// failureProven tells whether the rounds of R1 are complete: a definite
// refusal, then a verified query that does not find the refund, no call
// between. afterCall clears what was found, so an absence in the note always
// follows the refusal in it.
func failureProven(n note, s situation) bool {
	r := n.Refusal
	if r == nil {
		return false
	}
	trusted := r.Signed && !r.QueryFirst
	if !s.Queryable || n.Found == foundUnproven {
		// Nobody can be asked in a way that proves anything: only a first
		// call's trustworthy refusal stands by itself.
		return trusted && r.First
	}
	if n.Found != foundAbsent {
		return false
	}
	after := s.QueryAfter.Milliseconds()
	switch {
	case trusted && r.First: // one round, the query may be immediate
		return true
	case trusted && !n.Doubt: // one round, the query QueryAfter behind the refusal
		return n.LastQuery >= r.At+after
	case !r.Signed && n.LastQuery < r.At+after: // it says nothing about its own call
		return false
	default: // two rounds, QueryAfter apart
		return n.Round != 0 && n.CallStart >= n.Round+after
	}
}

// notExecuted: Alipay, or the network, said that this call did nothing.
func (e ending) notExecuted() bool {
	switch e {
	case endedBlocked, endedConfig, endedLimited, endedNotSent:
		return true
	case endedNone, endedUnknown, endedRefused:
		return false
	}
	return false
}

// waiting is what a further try would wait for, judged by the newest answers.
func waiting(n note) decision {
	d := decision{Do: actWait, Reason: producer.ReasonUnknownOutcome}
	switch {
	case n.Ended == endedConfig || n.Found == foundConfig:
		d.Reason = producer.ReasonBlockedConfiguration
	case n.Ended == endedLimited || n.Found == foundLimited:
		d.Reason, d.Free = producer.ReasonRateLimited, true
	case n.Ended == endedBlocked:
		d.Reason = producer.ReasonBlockedMerchant
	case n.Ended == endedNotSent && !n.Doubt:
		d.Reason = producer.ReasonGatewayUnavailable
	}
	return d
}

// worst is the reason of a command that ends undecided: the most serious of what
// is known of this very command, and of why it is given up. What others met, such
// as a limit or a pause, hides neither an unknown outcome nor an answer of Alipay.
func (n note) worst(why producer.Reason) producer.Reason {
	known := waiting(n).Reason
	switch {
	case n.Calls+n.Queries == 0 && !n.Doubt:
		return why // nothing is known: it was never asked for
	case n.Doubt && gravity(known) < gravity(producer.ReasonUnknownOutcome):
		known = producer.ReasonUnknownOutcome
	}
	if gravity(known) > gravity(why) {
		return known
	}
	return why
}

// gravity orders the reasons of an unresolved event: what others met weighs least.
func gravity(r producer.Reason) int {
	weights := map[producer.Reason]int{
		producer.ReasonContradiction: 3, producer.ReasonConflictAtAlipay: 3,
		producer.ReasonUnknownOutcome: 2, producer.ReasonTooOld: 2,
		producer.ReasonBlockedConfiguration: 2, producer.ReasonBlockedMerchant: 2,
		producer.ReasonGatewayUnavailable: 1,
	}
	return weights[r]
}
