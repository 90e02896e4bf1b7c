package match

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"
	"time"

	"refundd/producer"
)

// Bills holds the refund rows of one kind of Alipay's bills against the events,
// in the same bounded memory as Table. Rows are matched by request number where
// the bill names it, else by trade; what stands for the trade is the number that
// both sides have. It is safe for concurrent use.
type Bills struct {
	*spill
	byTrade    bool
	rows, told int64
}

// Refund is one refund, as a bill or as an event tells it. Numbers that are not
// known are empty.
type Refund struct {
	TradeNo, OutTradeNo, OutRequestNo string
	Fen                               int64
	At                                time.Time
}

func (r Refund) text() string {
	return strings.Join([]string{r.OutRequestNo, r.OutTradeNo, r.TradeNo}, "\x00")
}

func (r Refund) sameTrade(o Refund) bool {
	return r.TradeNo != "" && r.TradeNo == o.TradeNo || r.OutTradeNo != "" && r.OutTradeNo == o.OutTradeNo
}

const (
	tagRow byte = 100 + iota
	tagMoved
	tagNotMoved // a failed event: the money should not have moved
	tagOpen     // an unresolved event
	tagCoupon
)

// NewBills makes the temporary folder. byTrade is for bills that do not name
// request numbers.
func NewBills(cfg Config, byTrade bool) (*Bills, error) {
	s, err := newSpill(cfg)
	if err != nil {
		return nil, err
	}
	return &Bills{spill: s, byTrade: byTrade}, nil
}

func (b *Bills) key(r Refund) [16]byte {
	text := "number\x00" + r.OutRequestNo
	if b.byTrade {
		text = "trade\x00" + cmp.Or(r.OutTradeNo, r.TradeNo)
	}
	sum := sha256.Sum256([]byte(text))
	return [16]byte(sum[:16])
}

// Row adds a row of the bill.
func (b *Bills) Row(r Refund) error {
	return b.add(entry{tag: tagRow, key: b.key(r), at: r.At.UnixMilli(), amount: r.Fen, text: r.text()}, &b.rows)
}

// Event adds an event, or a repeat of one. What says nothing about money is left
// out.
func (b *Bills) Event(ev producer.Event) error {
	at := ev.RefundedAt
	if at.IsZero() {
		at = ev.Time
	}
	r := Refund{TradeNo: ev.TradeNo, OutTradeNo: ev.OutTradeNo, OutRequestNo: ev.OutRequestNo, Fen: ev.AmountFen, At: at}
	e := entry{key: b.key(r), at: r.At.UnixMilli(), amount: r.Fen, text: r.text()}
	digest, _ := hex.DecodeString(ev.ID) // DecodeEvent has checked it
	copy(e.id[:], digest)
	switch ev.Outcome {
	case producer.Succeeded:
		e.tag = tagMoved
	case producer.Failed:
		e.tag = tagNotMoved
	case producer.Unresolved:
		e.tag = tagOpen
	case producer.Rejected, producer.Notified, producer.DepositBack:
		return nil
	default:
		return nil
	}
	if ev.Kind == producer.KindCouponRefund {
		if e.tag != tagMoved {
			return nil
		}
		e.tag, e.key = tagCoupon, e.id // one group an event: only counted
	}
	return b.add(e, &b.told)
}

// BillState is what became of a row or an event.
type BillState string

// The states. The first is well, and the last two are of other bills.
const (
	BillMatched   BillState = "matched"
	AmountDiffers BillState = "amount_differs"
	MissingHere   BillState = "missing_here"  // Alipay moved money, no event says so
	MissingThere  BillState = "missing_there" // an event says that money moved, the bill does not
	Outside       BillState = "outside"       // an event of another time than the bill's
	Coupon        BillState = "coupon"        // red packets are in neither bill
)

// BillRow is one line of the account. Either side may be nil.
type BillRow struct {
	State   BillState
	Bill    *Refund
	Event   *Refund
	EventID string
	Detail  string
}

// Sum is a number of refunds and their money.
type Sum struct {
	Count int64 `json:"count"`
	Fen   int64 `json:"fen"`
}

func (s *Sum) add(fen int64) {
	s.Count++
	s.Fen += fen
}

// BillResult adds up: Bill = Matched + DiffersBill + MissingHere and Events =
// Matched + DiffersEvent + MissingThere + Outside + Coupon.
type BillResult struct {
	Bill         Sum   `json:"bill"`
	Events       Sum   `json:"events"` // succeeded, each id once
	Matched      Sum   `json:"matched"`
	DiffersBill  Sum   `json:"amount_differs_bill"`
	DiffersEvent Sum   `json:"amount_differs_event"`
	MissingHere  Sum   `json:"missing_here"`
	MissingThere Sum   `json:"missing_there"`
	Outside      Sum   `json:"outside"`
	Coupon       Sum   `json:"coupon"`
	Repeats      int64 `json:"repeats"`
}

// Clean reports whether every fen is explained.
func (r BillResult) Clean() bool {
	return r.DiffersBill.Count+r.MissingHere.Count+r.MissingThere.Count == 0
}

// AddsUp reports whether no fen was lost in the comparison itself.
func (r BillResult) AddsUp() bool {
	plus := func(sums ...Sum) (all Sum) {
		for _, s := range sums {
			all.Count += s.Count
			all.Fen += s.Fen
		}
		return all
	}
	return r.Bill == plus(r.Matched, r.DiffersBill, r.MissingHere) &&
		r.Events == plus(r.Matched, r.DiffersEvent, r.MissingThere, r.Outside, r.Coupon)
}

// Join compares everything and hands each line to tell, in no order. inside says
// whether a time is one of the bill's.
func (b *Bills) Join(inside func(time.Time) bool, tell func(BillRow) error) (BillResult, error) {
	j := billJoiner{inside: inside, tell: tell}
	err := b.join(func() gathering { return &account{joiner: &j} })
	return j.result, err
}

type billJoiner struct {
	inside func(time.Time) bool
	tell   func(BillRow) error
	result BillResult
}

// account is everything of one number or trade.
type account struct {
	joiner *billJoiner
	rows   []Refund
	events []said
}

// said is one event.
type said struct {
	Refund
	id  [16]byte
	tag byte
}

func (a *account) add(e entry) {
	numbers := strings.SplitN(e.text, "\x00", 3)
	r := Refund{OutRequestNo: numbers[0], OutTradeNo: numbers[1], TradeNo: numbers[2], Fen: e.amount, At: time.UnixMilli(e.at)}
	if e.tag == tagRow {
		a.rows = append(a.rows, r)
		return
	}
	if slices.ContainsFunc(a.events, func(s said) bool { return s.id == e.id }) {
		a.joiner.result.Repeats++
		return
	}
	a.events = append(a.events, said{r, e.id, e.tag})
}

func (a *account) judge() error {
	result := &a.joiner.result
	for _, r := range a.rows {
		result.Bill.add(r.Fen)
	}
	for _, e := range a.events {
		if e.tag == tagMoved || e.tag == tagCoupon {
			result.Events.add(e.Fen)
		}
	}
	// By time, so that the outcome does not hang on the order of reading.
	slices.SortStableFunc(a.rows, func(x, y Refund) int { return x.At.Compare(y.At) })
	slices.SortStableFunc(a.events, func(x, y said) int { return x.At.Compare(y.At) })
	if err := a.pair(true); err != nil {
		return err
	}
	if err := a.pair(false); err != nil {
		return err
	}
	for _, r := range a.rows {
		if err := a.here(r); err != nil {
			return err
		}
	}
	for _, e := range a.events {
		if err := a.there(e); err != nil {
			return err
		}
	}
	return nil
}

// pair takes rows and events of the same refund off both lists: first those of
// the same amount, then what is left.
func (a *account) pair(sameAmount bool) error {
	var left []Refund
	for _, r := range a.rows {
		i := slices.IndexFunc(a.events, func(e said) bool {
			sameNumber := r.OutRequestNo == "" || r.OutRequestNo == e.OutRequestNo
			return e.tag == tagMoved && e.sameTrade(r) && sameNumber && (e.Fen == r.Fen) == sameAmount
		})
		if i < 0 {
			left = append(left, r)
			continue
		}
		e := a.events[i]
		a.events = slices.Delete(a.events, i, i+1)
		row := BillRow{State: BillMatched, Bill: &r, Event: &e.Refund, EventID: hex.EncodeToString(e.id[:])}
		if sameAmount {
			a.joiner.result.Matched.add(r.Fen)
		} else {
			row.State, row.Detail = AmountDiffers, "the bill and the event tell different amounts"
			a.joiner.result.DiffersBill.add(r.Fen)
			a.joiner.result.DiffersEvent.add(e.Fen)
		}
		if err := a.joiner.tell(row); err != nil {
			return err
		}
	}
	a.rows = left
	return nil
}

func (a *account) here(r Refund) error {
	a.joiner.result.MissingHere.add(r.Fen)
	row := BillRow{State: MissingHere, Bill: &r, Detail: "money moved at Alipay and no event says so: perhaps not refunded by refundd"}
	for _, e := range a.events {
		if !e.sameTrade(r) || r.OutRequestNo != "" && r.OutRequestNo != e.OutRequestNo {
			continue
		}
		switch e.tag {
		case tagNotMoved:
			row.Detail = "money moved at Alipay and the event says FAILED"
		case tagOpen:
			row.Detail = "money moved at Alipay and the refund is parked as unresolved here"
		default:
			continue
		}
		row.EventID = hex.EncodeToString(e.id[:])
	}
	return a.joiner.tell(row)
}

func (a *account) there(e said) error {
	row := BillRow{Event: &e.Refund, EventID: hex.EncodeToString(e.id[:])}
	result := &a.joiner.result
	switch {
	case e.tag == tagCoupon:
		row.State, row.Detail = Coupon, "coupon refunds are in no trade bill"
		result.Coupon.add(e.Fen)
	case e.tag != tagMoved:
		return nil
	case !a.joiner.inside(e.At):
		row.State, row.Detail = Outside, "of another time than the bill's"
		result.Outside.add(e.Fen)
	default:
		row.State, row.Detail = MissingThere, "the event says that money moved and the bill does not"
		result.MissingThere.add(e.Fen)
	}
	return a.joiner.tell(row)
}
