package alipaytest

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"strings"
	"time"
)

// State is the ledger as the contract's GET /sim/state shows it.
type State struct {
	Refunds []Refund `json:"refunds"`
}

// Refund is one refund of the ledger, or a number that was only asked for.
type Refund struct {
	Kind         string `json:"kind"` // refund or coupon_refund
	AppID        string `json:"app_id"`
	AppAuthToken string `json:"app_auth_token"`
	OutTradeNo   string `json:"out_trade_no"` // of a red packet: out_order_no
	TradeNo      string `json:"trade_no"`     // empty for a red packet
	AuthNo       string `json:"auth_no"`      // empty for a trade
	OutRequestNo string `json:"out_request_no"`
	Amount       string `json:"amount"`  // yuan; what moved, or what was asked last
	Moved        int    `json:"moved"`   // how often money moved: 0 or 1
	Calls        int    `json:"calls"`   // refund calls that reached the ledger
	Queries      int    `json:"queries"` // queries that reached the ledger
}

// Movement is one movement of money.
type Movement struct {
	Kind, AppAuthToken, OutRequestNo string
	Trade                            string // trade_no or auth_no
	Amount                           int64  // fen
	Paid                             int64  // fen that were paid for the trade or red packet
	At                               time.Time
}

// TradeNo is the trade_no of a trade that is first named by this out_trade_no
// alone, and the auth_no of the red packet with this out_order_no: 28 digits.
func TradeNo(outTradeNo string) string {
	return fmt.Sprintf("20260101%020d", hash("trade", outTradeNo))
}

// OutTradeNo is the out_trade_no of a trade that is first named by this
// trade_no alone, until a caller spells it otherwise. In the same way it is the
// out_order_no of a red packet.
func OutTradeNo(tradeNo string) string { return fmt.Sprintf("O%020d", hash("out", tradeNo)) }

// The kinds of refunds, as the contract spells them.
const (
	tradeRefundKind  = "refund"
	couponRefundKind = "coupon_refund"
)

// owner is whose trades these are: each app_auth_token is a merchant of its own.
type owner struct{ appID, token string }

// order is a trade or a red packet.
type order struct {
	kind     string
	owner    owner
	no       string // trade_no or auth_no
	outNo    string // out_trade_no or out_order_no
	outGiven bool   // outNo came from a caller, it was not derived
	total    int64
	refunded int64
	late     []*entry // refunds whose money is still on its way
	byNumber map[string]*entry
	// byOperation finds a refund's number by its operation_id; red packets only.
	byOperation map[string]string
}

// entry is one refund.
type entry struct {
	order     *order
	number    string
	amount    int64
	moved     int
	movedAt   time.Time
	calls     int
	queries   int
	reason    string
	refused   string    // sub_code of a refusal for ever
	due       time.Time // when the money that is on its way moves
	accepted  bool      // a coupon refund in INIT, or what became of it
	closing   bool      // it ends in CLOSED instead of moving
	closed    bool      // it has ended in CLOSED
	notifyURL string
	royalties []royalty
	// depositBack asks to be told what a bank does with it, bounced is what it did.
	depositBack, bounced bool
	holds                map[op]*hold
}

// known reports whether Alipay has taken the refund on: the same request again
// is a replay.
func (e *entry) known() bool { return e.moved > 0 || e.accepted }

type orderKey struct {
	kind  string
	owner owner
	no    string
}

// ledger is everything Alipay remembers. Its user holds the lock.
type ledger struct {
	tradeTotal int64
	byNo       map[orderKey]*order
	byOut      map[orderKey]*order
	entries    []*entry
	balances   map[owner]int64 // absent: unlimited
	news       []movement      // not yet notified
	moves      []Movement
}

// movement is one movement of money, and the order's sum after it.
type movement struct {
	entry    *entry
	refunded int64
}

func newLedger(tradeTotal int64) *ledger {
	return &ledger{
		tradeTotal: tradeTotal,
		byNo:       map[orderKey]*order{},
		byOut:      map[orderKey]*order{},
		balances:   map[owner]int64{},
	}
}

// order finds the order that is named by no, outNo or both, or makes it. Where
// both are given, no wins. It is nil for an order that cannot exist: one that
// begins with nosuch, or an outNo that belongs to another no already.
func (l *ledger) order(kind string, who owner, no, outNo string) *order {
	if strings.HasPrefix(outNo, "nosuch") || strings.HasPrefix(no, "nosuch") {
		return nil
	}
	if no == "" {
		if o := l.byOut[orderKey{kind, who, outNo}]; o != nil {
			return o
		}
		no = TradeNo(outNo)
	}
	key := orderKey{kind, who, no}
	o := l.byNo[key]
	if o == nil {
		if outNo != "" && l.byOut[orderKey{kind, who, outNo}] != nil {
			return nil
		}
		o = &order{
			kind: kind, owner: who, no: no, outNo: cmp.Or(outNo, OutTradeNo(no)), outGiven: outNo != "",
			total: l.tradeTotal, byNumber: map[string]*entry{},
		}
		l.byNo[key], l.byOut[orderKey{kind, who, o.outNo}] = o, o
		return o
	}
	if !o.outGiven && outNo != "" && l.byOut[orderKey{kind, who, outNo}] == nil {
		delete(l.byOut, orderKey{kind, who, o.outNo})
		o.outNo, o.outGiven = outNo, true
		l.byOut[orderKey{kind, who, outNo}] = o
	}
	return o
}

// entry finds or makes the refund of this number.
func (l *ledger) entry(o *order, number string) *entry {
	e := o.byNumber[number]
	if e == nil {
		e = &entry{order: o, number: number}
		o.byNumber[number] = e
		if o.kind == couponRefundKind {
			if o.byOperation == nil {
				o.byOperation = map[string]string{}
			}
			o.byOperation[operationID(e)] = number
		}
		l.entries = append(l.entries, e)
	}
	return e
}

// refusal says why this amount cannot be refunded now: a sub_code without
// prefix, or "" if it can.
func (l *ledger) refusal(e *entry, amount int64) string {
	o := e.order
	if e.refused != "" {
		return e.refused
	}
	if o.kind == couponRefundKind {
		if o.refunded+amount > o.total {
			return "MONEY_NOT_ENOUGH"
		}
		return ""
	}
	balance, limited := l.balances[o.owner]
	switch {
	case strings.HasPrefix(o.outNo, "closed"):
		return "TRADE_HAS_CLOSE"
	case strings.HasPrefix(o.outNo, "finished"):
		return "TRADE_HAS_FINISHED"
	case o.refunded >= o.total:
		return "TRADE_HAS_CLOSE"
	case amount > o.total:
		return "REFUND_AMT_NOT_EQUAL_TOTAL"
	case o.refunded+amount > o.total:
		return "REASON_TRADE_REFUND_FEE_ERR"
	case limited && balance < amount:
		return "SELLER_BALANCE_NOT_ENOUGH"
	}
	return ""
}

// move is the only place where money moves.
func (l *ledger) move(e *entry, amount int64, now time.Time) {
	e.amount, e.movedAt, e.due = amount, now, time.Time{}
	e.moved++
	e.order.refunded += amount
	l.news = append(l.news, movement{e, e.order.refunded})
	l.moves = append(l.moves, Movement{
		Kind: e.order.kind, AppAuthToken: e.order.owner.token, OutRequestNo: e.number, Trade: e.order.no,
		Amount: amount, Paid: e.order.total, At: now,
	})
	if balance, limited := l.balances[e.order.owner]; limited && e.order.kind == tradeRefundKind {
		l.balances[e.order.owner] = balance - amount
	}
}

// arrive lets the money move that was on its way and is due.
func (l *ledger) arrive(o *order, now time.Time) {
	waiting := o.late[:0]
	for _, e := range o.late {
		switch {
		case e.due.IsZero() || e.moved > 0: // a replay was faster
		case now.Before(e.due):
			waiting = append(waiting, e)
		case e.closing:
			e.closed = true
		case l.refusal(e, e.amount) == "":
			l.move(e, e.amount, e.due)
		default:
			e.closed = e.accepted
		}
	}
	o.late = waiting
}

func (l *ledger) state(now time.Time) State {
	refunds := make([]Refund, 0, len(l.entries))
	for _, e := range l.entries {
		l.arrive(e.order, now)
		r := Refund{
			Kind: e.order.kind, AppID: e.order.owner.appID, AppAuthToken: e.order.owner.token,
			OutTradeNo: e.order.outNo, OutRequestNo: e.number,
			Amount: FormatYuan(e.amount), Moved: e.moved, Calls: e.calls, Queries: e.queries,
		}
		if e.order.kind == couponRefundKind {
			r.AuthNo = e.order.no
		} else {
			r.TradeNo = e.order.no
		}
		refunds = append(refunds, r)
	}
	return State{Refunds: refunds}
}

// hash is a stable number for texts: everything random here is drawn from it,
// so that a run is repeated by its seed in whatever order its calls arrive.
func hash(parts ...string) uint64 {
	sum := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	return binary.BigEndian.Uint64(sum[:8])
}
