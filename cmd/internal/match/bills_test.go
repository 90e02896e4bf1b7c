package match_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"refundd/cmd/internal/match"
	"refundd/producer"
)

// An account tells what is in the bill and what the events say, a word each, as
// number:trade:fen; a bill that names no numbers has none before the colon.
func bills(t *testing.T, byTrade bool, bill string, events ...string) (match.BillResult, string) {
	t.Helper()
	b, err := match.NewBills(match.Config{Dir: t.TempDir(), Limit: 1 << 10}, byTrade)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	}()
	refund := func(word string) match.Refund {
		parts := strings.Split(word, ":")
		var fen int64
		if _, err := fmt.Sscan(parts[2], &fen); err != nil {
			t.Fatal(err)
		}
		return match.Refund{OutRequestNo: parts[0], OutTradeNo: parts[1], TradeNo: "2026" + parts[1], Fen: fen, At: at(10)}
	}
	for word := range strings.FieldsSeq(bill) {
		if err := b.Row(refund(word)); err != nil {
			t.Fatal(err)
		}
	}
	for _, text := range events {
		words := strings.Fields(text) // outcome, refund, and words that change it
		r := refund(words[1])
		ev := producer.Event{
			ID: fmt.Sprintf("%032x", len(words[1])*1000+int(r.Fen)) /* of the fact */, Kind: producer.KindRefund, Outcome: producer.Outcome(words[0]),
			OutRequestNo: r.OutRequestNo, OutTradeNo: r.OutTradeNo, TradeNo: r.TradeNo, AmountFen: r.Fen, Time: at(1e6), RefundedAt: at(10),
		}
		for _, change := range words[2:] {
			switch change {
			case "later":
				ev.RefundedAt = at(1e6)
			case "coupon":
				ev.Kind = producer.KindCouponRefund
			case "untimed":
				ev.RefundedAt = time.Time{}
			case "other-id":
				ev.ID = strings.Repeat("f", 32)
			}
		}
		if err := b.Event(ev); err != nil {
			t.Fatal(err)
		}
	}
	var rows []string
	result, err := b.Join(func(at time.Time) bool { return at.UnixMilli() < 1_800_000_100_000 }, func(r match.BillRow) error {
		number := ""
		if r.Bill != nil {
			number = r.Bill.OutRequestNo + "/" + r.Bill.OutTradeNo
		}
		if r.Event != nil {
			number = r.Event.OutRequestNo + "/" + r.Event.OutTradeNo
		}
		rows = append(rows, fmt.Sprintf("%s %s", r.State, number))
		if strings.Contains(r.Detail, "FAILED") {
			rows[len(rows)-1] += " FAILED"
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if !result.AddsUp() {
		t.Errorf("does not add up: %+v", result)
	}
	slices.Sort(rows)
	return result, strings.Join(rows, ", ")
}

func TestBills(t *testing.T) {
	for name, c := range map[string]struct {
		byTrade bool
		bill    string
		events  []string
		want    string
		clean   bool
	}{
		"matched":           {false, "R:T:100", []string{"succeeded R:T:100"}, "matched R/T", true},
		"a repeat":          {false, "R:T:100", []string{"succeeded R:T:100", "succeeded R:T:100"}, "matched R/T", true},
		"missing here":      {false, "R:T:100", nil, "missing_here R/T", false},
		"failed here":       {false, "R:T:100", []string{"failed R:T:100"}, "missing_here R/T FAILED", false},
		"missing there":     {false, "", []string{"succeeded R:T:100"}, "missing_there R/T", false},
		"failed and not":    {false, "", []string{"failed R:T:100", "rejected S:T:1", "unresolved U:T:1"}, "", true},
		"another amount":    {false, "R:T:100", []string{"succeeded R:T:101"}, "amount_differs R/T", false},
		"another trade":     {false, "R:T:100", []string{"succeeded R:U:100"}, "missing_here R/T, missing_there R/U", false},
		"twice in the bill": {false, "R:T:100 R:T:100", []string{"succeeded R:T:100"}, "matched R/T, missing_here R/T", false},
		"a number a trade":  {false, "R:T:100 R:U:200", []string{"succeeded R:U:200", "succeeded R:T:100"}, "matched R/T, matched R/U", true},
		"two truths":        {false, "R:T:100", []string{"succeeded R:T:100", "succeeded R:T:100 other-id"}, "matched R/T, missing_there R/T", false},
		"tomorrow's":        {false, "", []string{"succeeded R:T:100 later"}, "outside R/T", true},
		"no time, settled":  {false, "", []string{"succeeded R:T:100 untimed"}, "outside R/T", true},
		"in the bill later": {false, "R:T:100", []string{"succeeded R:T:100 later"}, "matched R/T", true},
		"a red packet":      {false, "", []string{"succeeded R:T:100 coupon", "succeeded R:T:100 coupon"}, "coupon R/T", true},
		"fund: partial ones": {
			true, ":T:100 :T:100 :T:5", []string{"succeeded R1:T:5", "succeeded R2:T:100", "succeeded R3:T:100 other-id"}, "matched R1/T, matched R2/T, matched R3/T", true,
		},
		"fund: one differs":    {true, ":T:100 :T:7", []string{"succeeded R1:T:100", "succeeded R2:T:8"}, "amount_differs R2/T, matched R1/T", false},
		"fund: one is missing": {true, ":T:100 :T:7", []string{"succeeded R1:T:100"}, "matched R1/T, missing_here /T", false},
	} {
		t.Run(name, func(t *testing.T) {
			result, rows := bills(t, c.byTrade, c.bill, c.events...)
			if rows != c.want || result.Clean() != c.clean {
				t.Errorf("%s, clean %t, want %s", rows, result.Clean(), c.want)
			}
		})
	}
}

func TestTheBillsSumsAddUp(t *testing.T) {
	var bill, events []string
	for i := range 300 {
		if i%7 != 0 {
			bill = append(bill, fmt.Sprintf("R%d:T%d:%d", i, i%50, i+1))
		}
		if i%11 != 0 {
			amount := i + 1
			if i%13 == 0 {
				amount++
			}
			events = append(events, fmt.Sprintf("succeeded R%d:T%d:%d", i, i%50, amount))
		}
	}
	result, _ := bills(t, false, strings.Join(bill, " "), events...)
	if result.MissingThere.Count == 0 || result.MissingHere.Count == 0 || result.DiffersBill.Count == 0 || result.Matched.Count < 200 {
		t.Errorf("%+v", result)
	}
	if result.DiffersEvent.Fen-result.DiffersBill.Fen != result.DiffersBill.Count {
		t.Errorf("each differs by a fen: %+v", result)
	}
}
