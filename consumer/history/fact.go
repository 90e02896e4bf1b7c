package history

// What says what kind of fact a fact is.
type What string

// The kinds of facts. Each names the members that it has besides At and What;
// "refund" stands for AppID, Merchant, Kind and Number.
const (
	// Run begins a history: Settings.
	Run What = "run"
	// Trade: a trade or red packet was paid. Merchant, Kind, Trade, Amount.
	Trade What = "trade"
	// Command: upstream sent a command. Message, Fingerprint, Trade, Amount and the
	// refund; a command that cannot be read has no Number. Askable if it names what a
	// query needs.
	Command What = "command"
	// Delivery: the broker handed a message over. Process, Delivery, Copy, Message,
	// Topic, Generation, Claimed.
	Delivery What = "delivery"
	// Ack: a delivery was acknowledged. Process, Delivery, Copy.
	Ack What = "ack"
	// Publish: a message was sent. Process, Topic, Result (confirmed, stored or
	// refused), Delivery if one caused it, Message, the refund. Of an event also Event,
	// Key, Outcome, Body, Reason, Amount, Trade; of a retry or parked copy Copy, Generation,
	// Reason, Claimed.
	Publish What = "publish"
	// Lost: the broker lost a message that it had acknowledged. Copy.
	Lost What = "lost"
	// Index: an entry of a refund came into the index of what is undecided, or went.
	// Name (of the entry), Result (entered or left), the refund.
	Index What = "index"

	// Claim, Settle, Release, Confirm and Amend: a script ran on a record. Process,
	// Delivery, Token, Result (its answer in dedupe's words), Clock, the refund. Also
	// of a Claim: Sent, Lease, Fresh, Fingerprint; of a Settle: Outcome, Reason, Event,
	// Expires, Contradiction; of a Release and a Confirm: Generation, Parked.
	Claim   What = "claim"
	Settle  What = "settle"
	Release What = "release"
	Confirm What = "confirm"
	Amend   What = "amend"

	// Call: a request to Alipay began. Process, Delivery, Call, Method (refund or
	// query), the refund, Trade, Amount. From a wire log also Result (the codes that
	// were answered; none if nothing was) and Name (the fault that happened to it).
	// Authorised says for whom.
	Call What = "call"
	// Answer: what came back to whoever asked. Process, Call, Method, Result (alipay's
	// class of a refund call; what a query found: ours, absent, unproven (absent by an
	// order that Alipay never named), other, closed, pending or unknown), the refund. Of
	// a refund call also Signed and QueryFirst.
	Answer What = "answer"
	// Money: the ledger moved. The refund, Trade, Amount.
	Money What = "money"

	// Notification: one arrived. Process, Notify, Result (genuine or forged).
	Notification What = "notification"
	// Reply: it was answered. Process, Notify, Result (success or fail).
	Reply What = "reply"

	// Fault: Name, Result (injected or happened), Delivery if it met one.
	Fault What = "fault"
	// Process: Process, Result (started, stopping, stopped or killed).
	Process What = "process"
	// Redis lost what it knew: Result (wiped or rolled_back), the refund whose record
	// or entry it was, or Name (limits) if it was what calls share. With neither nobody
	// knows what was lost: it may have been anything that was there.
	Redis What = "redis"
	// Alarm: somebody was alarmed that a refund needs attention. The refund.
	Alarm What = "alarm"
	// Counter: a metric at the end. Name (events, retries or parked), Value.
	Counter What = "counter"
	// Canary: a secret was planted, or found where it must not be. Name, Result
	// (planted or found).
	Canary What = "canary"
	// Quiet: no fault is injected any more.
	Quiet What = "quiet"
	// End ends a history: Value, how many messages were still on their way.
	End What = "end"
)

// Topics of a Delivery or a Publish, by what they are for.
const (
	TopicCommand = "command"
	TopicRetry   = "retry"
	TopicParked  = "parked"
	TopicEvent   = "event"
)

// Results that the checker reads. Those of records are dedupe's words.
const (
	Confirmed = "confirmed" // stored, and the sender knows
	Stored    = "stored"    // stored, and the sender does not know
	Refused   = "refused"   // not stored; also a refusal of Alipay
	Unknown   = "unknown"   // not answered, so nobody knows whether it was done

	Won        = "won"
	Superseded = "superseded"
	Settled    = "settled"
	Released   = "released"

	Held     = "held"
	Foreign  = "foreign"
	Conflict = "conflict"

	Absent   = "absent"
	Unproven = "unproven"
	Closed   = "closed"
	NotSent  = "not_sent"

	Entered = "entered"
	Left    = "left"

	Wiped      = "wiped"
	RolledBack = "rolled_back"
	Divided    = "divided" // for Value ms until now: more masters than one, each with writes of its own
	Limits     = "limits"  // a Name

	Injected = "injected"
	Happened = "happened"

	Stopping = "stopping"
	Stopped  = "stopped"
	Killed   = "killed"

	Genuine = "genuine"
	Forged  = "forged"
	Success = "success"

	Planted = "planted"
	Found   = "found"
)

// Outcomes of a Settle or an event: producer's words.
const (
	Succeeded  = "succeeded"
	Failed     = "failed"
	Rejected   = "rejected"
	Unresolved = "unresolved"
)

// Methods of a Call.
const (
	MethodRefund = "refund"
	MethodQuery  = "query"
)

// Fact is one thing that happened. What says which of its members have a meaning.
type Fact struct {
	// At is when, in milliseconds; all facts of a history use one clock.
	At   int64 `json:"at"`
	What What  `json:"what"`

	Process  string `json:"process,omitempty"`
	Delivery string `json:"delivery,omitempty"`

	AppID    string `json:"app_id,omitempty"`
	Merchant string `json:"merchant,omitempty"`
	Kind     string `json:"kind,omitempty"`
	Number   string `json:"out_request_no,omitempty"`
	// Trade is the trade's or the red packet's number, always spelt the same.
	Trade string `json:"trade,omitempty"`
	// Amount in fen.
	Amount      int64  `json:"amount,omitempty"`
	Fingerprint string `json:"fingerprint,omitempty"`

	// Message is the id of the first message, Copy that of this very one.
	Message    string `json:"message,omitempty"`
	Copy       string `json:"copy,omitempty"`
	Topic      string `json:"topic,omitempty"`
	Generation int64  `json:"generation,omitempty"`
	Claimed    bool   `json:"claimed,omitempty"`

	// Event is an event's id, Key its refund_key, Body a digest of its bytes.
	Event   string `json:"event,omitempty"`
	Key     string `json:"key,omitempty"`
	Outcome string `json:"outcome,omitempty"`
	Reason  string `json:"reason,omitempty"`
	Body    string `json:"body,omitempty"`

	Token string `json:"token,omitempty"`
	// Clock is Redis' clock, Lease when the claim's lease ends by it, Expires when the
	// record does (0: never; below: nobody knows), all in milliseconds. Sent is when the claim was sent, by
	// the clock of At.
	Clock   int64 `json:"clock,omitempty"`
	Lease   int64 `json:"lease,omitempty"`
	Expires int64 `json:"expires,omitempty"`
	Sent    int64 `json:"sent,omitempty"`
	Fresh   bool  `json:"fresh,omitempty"`
	// Unheard: whoever asked for a Claim never learnt its answer.
	Unheard       bool `json:"unheard,omitempty"`
	Contradiction bool `json:"contradiction,omitempty"`
	Parked        bool `json:"parked,omitempty"`

	Call   string `json:"call,omitempty"`
	Method string `json:"method,omitempty"`
	// Authorised names for whom a call is made; never the token itself.
	Authorised string `json:"authorised,omitempty"`
	Askable    bool   `json:"askable,omitempty"`
	// Signed says that the answer was, QueryFirst that its code may mean that the
	// refund was made before.
	Signed     bool   `json:"signed,omitempty"`
	QueryFirst bool   `json:"query_first,omitempty"`
	Notify     string `json:"notify_id,omitempty"`

	Name   string `json:"name,omitempty"`
	Result string `json:"result,omitempty"`
	Value  int64  `json:"value,omitempty"`

	Settings *Settings `json:"settings,omitempty"`
}

// Settings are those of the run that the invariants refer to; times in
// milliseconds, zero for what is not known.
type Settings struct {
	Seed       uint64 `json:"seed,omitempty"`
	ScopeTrade bool   `json:"scope_trade,omitempty"`
	Lease      int64  `json:"lease,omitempty"`
	Keep       int64  `json:"keep,omitempty"`
	MaxAge     int64  `json:"max_age,omitempty"`
	// Retention is how long the broker keeps the command topics' messages.
	Retention int64 `json:"retention,omitempty"`
	Timeout   int64 `json:"timeout,omitempty"`
	// QueryAfter is REFUNDD_QUERY_AFTER.
	QueryAfter int64 `json:"query_after,omitempty"`
	Drain      int64 `json:"drain,omitempty"`
	// Rate is REFUNDD_RATE, in calls a second; 0 is no limit.
	Rate int64 `json:"rate,omitempty"`
	// Bound is within which time after Quiet everything has to end.
	Bound int64 `json:"bound,omitempty"`
}

// needs are the members without which a fact of a kind means nothing.
func needs(w What) ([]string, bool) {
	switch w {
	case Run:
		return []string{"settings"}, true
	case Trade:
		return []string{"trade", "amount"}, true
	case Command:
		return []string{"message"}, true
	case Delivery, Ack:
		return []string{"process", "delivery", "copy"}, true
	case Publish:
		return []string{"topic", "result"}, true
	case Lost:
		return []string{"copy"}, true
	case Claim, Settle, Release:
		return []string{"out_request_no", "token", "result"}, true
	case Index:
		return []string{"out_request_no", "result"}, true
	case Confirm, Amend, Alarm:
		return []string{"out_request_no"}, true
	case Call:
		return []string{"out_request_no", "call", "method"}, true
	case Answer:
		return []string{"out_request_no", "call", "method", "result"}, true
	case Money:
		return []string{"out_request_no", "trade", "amount"}, true
	case Notification, Reply:
		return []string{"notify_id", "result"}, true
	case Process:
		return []string{"process", "result"}, true
	case Fault, Canary:
		return []string{"name", "result"}, true
	case Redis:
		return []string{"result"}, true
	case Counter:
		return []string{"name"}, true
	case Quiet, End:
		return nil, true
	}
	return nil, false
}

// lacks returns the first member that a fact needs and does not have.
func (f *Fact) lacks() string {
	members, _ := needs(f.What)
	for _, m := range members {
		var missing bool
		switch m {
		case "settings":
			missing = f.Settings == nil
		case "amount":
			missing = f.Amount <= 0
		default:
			missing = f.text(m) == ""
		}
		if missing {
			return m
		}
	}
	return ""
}

func (f *Fact) text(member string) string {
	switch member {
	case "process":
		return f.Process
	case "delivery":
		return f.Delivery
	case "copy":
		return f.Copy
	case "message":
		return f.Message
	case "topic":
		return f.Topic
	case "result":
		return f.Result
	case "out_request_no":
		return f.Number
	case "token":
		return f.Token
	case "trade":
		return f.Trade
	case "call":
		return f.Call
	case "method":
		return f.Method
	case "notify_id":
		return f.Notify
	case "name":
		return f.Name
	}
	return ""
}
