package main

import (
	"strings"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"refundd/alipay/alipaytest"
	"refundd/cmd/internal/tap"
	"refundd/consumer"
	"refundd/producer"
)

const method, queryMethod = "alipay.trade.refund", "alipay.trade.fastpay.refund.query"

func TestCallsText(t *testing.T) {
	moved := alipaytest.Call{Method: method, Moved: true, Code: "10000"}
	lost := alipaytest.Call{Method: method, Fault: "answer-lost-before"}
	query := alipaytest.Call{Method: queryMethod, Code: "10000"}
	refused := alipaytest.Call{Method: method, Code: "40004", SubCode: "ACQ.TRADE_STATUS_ERROR"}
	for name, c := range map[string]struct {
		calls []alipaytest.Call
		want  string
	}{
		"none":             {nil, "not called"},
		"success":          {[]alipaytest.Call{moved}, "call: moved"},
		"lost, replayed":   {[]alipaytest.Call{lost, query, query, moved}, "call: answer lost; query: not found x2; call: moved"},
		"equal rounds":     {[]alipaytest.Call{refused, query, query, refused, query}, "(call: TRADE_STATUS_ERROR; query: not found) x2"},
		"equal calls":      {[]alipaytest.Call{refused, refused, moved}, "call: TRADE_STATUS_ERROR x2; call: moved"},
		"moved before":     {[]alipaytest.Call{moved, {Method: method, Code: "10000"}}, "call: moved; call: had moved before"},
		"moved, then lost": {[]alipaytest.Call{{Method: method, Moved: true, Fault: "reset-after"}, query}, "call: moved, reset; query: found"},
		"query lost":       {[]alipaytest.Call{lost, {Method: queryMethod, Fault: "query-lost"}}, "call: answer lost; query: no answer"},
		"somebody else's": {
			[]alipaytest.Call{{Method: method, Moved: true, Fault: "discordant", Code: "40004", SubCode: "ACQ.DISCORDANT_REPEAT_REQUEST"}, query},
			"call: DISCORDANT_REPEAT_REQUEST; query: other amount",
		},
	} {
		t.Run(name, func(t *testing.T) {
			if got := callsText(&row{calls: c.calls}); got != c.want {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
}

func TestCallsTextOfACouponRefundThatIsAcceptedForLater(t *testing.T) {
	const method, queryMethod = "alipay.fund.coupon.order.refund", "alipay.fund.coupon.operation.query"
	init := alipaytest.Call{Method: method, Fault: "coupon-init", Code: "10000"}
	query := alipaytest.Call{Method: queryMethod, Code: "10000"}
	r := &row{calls: []alipaytest.Call{init, query, query}, ended: true, event: producer.Event{Outcome: producer.Succeeded}}
	if got, want := callsText(r), "call: accepted, INIT; query: INIT; query: SUCCESS"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	r.calls[0].Fault, r.event.Outcome = "coupon-closed", producer.Failed
	if got, want := callsText(r), "call: accepted, INIT; query: INIT; query: CLOSED"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestEachAcceptedNotificationIsOneEvent(t *testing.T) {
	g := newGame(t)
	g.notified["n-1"] = true
	if wrong := g.checkNotices([]alipaytest.Notice{{NotifyID: "n-1"}, {NotifyID: "n-1", Accepted: true}}); len(wrong) != 0 {
		t.Errorf("found %q, and all is well", wrong)
	}
	for want, notices := range map[string][]alipaytest.Notice{
		"n-2 was never accepted":              {{NotifyID: "n-1", Accepted: true}, {NotifyID: "n-2"}},
		"n-2 was accepted and no event tells": {{NotifyID: "n-1", Accepted: true}, {NotifyID: "n-2", Accepted: true}},
		"n-1, which Alipay never sent":        nil,
	} {
		if wrong := g.checkNotices(notices); len(wrong) != 1 || !strings.Contains(wrong[0], want) {
			t.Errorf("found %q, want %q", wrong, want)
		}
	}
}

// game is a board that has seen some messages.
type game struct {
	*board
	t *testing.T
}

func newGame(t *testing.T) game {
	t.Helper()
	return game{newBoard(func() []alipaytest.Call { return nil }), t}
}

func (g game) sends(id string) {
	g.command(consumer.KindRefund, tap.Message{ID: id, Body: []byte(refund("R", "T", "1.00")), Born: time.Now()})
}

func (g game) tells(fen int64, outcome producer.Outcome) {
	g.t.Helper()
	ev := producer.Event{
		ID:      producer.DecidedID(producer.Identity{AppID: appID, Kind: producer.KindRefund, OutRequestNo: "R"}, "T", fen, outcome),
		Subject: "R", Time: time.UnixMilli(1), Kind: producer.KindRefund, Outcome: outcome, AppID: appID, OutRequestNo: "R",
		RefundKey:  producer.RefundKey(producer.Identity{AppID: appID, Kind: producer.KindRefund, OutRequestNo: "R"}),
		OutTradeNo: "T", AmountFen: fen, ConfirmedBy: producer.ByQuery, Calls: 1,
	}
	if outcome == producer.Failed {
		ev.Reason, ev.Detail = producer.ReasonRefused, "no"
	}
	encoded, err := ev.Encode()
	if err != nil {
		g.t.Fatal(err)
	}
	g.published(tap.Message{Body: encoded.Body}, time.Now())
}

func TestCheckFindsWhatMustNotBe(t *testing.T) {
	ledger := func(moved int, amount string) []alipaytest.Refund {
		return []alipaytest.Refund{{OutRequestNo: "R", Amount: amount, Moved: moved}}
	}
	for name, c := range map[string]struct {
		play   func(game)
		ledger []alipaytest.Refund
		want   string // part of the only finding; empty: none
	}{
		"all is well": {func(g game) { g.sends("1"); g.tells(100, producer.Succeeded) }, ledger(1, "1.00"), ""},
		"told twice":  {func(g game) { g.tells(100, producer.Succeeded); g.tells(100, producer.Succeeded) }, ledger(1, "1.00"), ""},
		"event first": {func(g game) { g.tells(100, producer.Succeeded); g.sends("1") }, ledger(1, "1.00"), ""},
		"no event":    {func(g game) { g.sends("1") }, nil, "no event for command"},
		"told again before its command was seen, and another amount waits": {
			func(g game) {
				g.sends("1")
				g.tells(100, producer.Succeeded)
				g.command(consumer.KindRefund, tap.Message{ID: "3", Body: []byte(refund("R", "T", "9.00")), Born: time.Now()})
				g.tells(100, producer.Succeeded)
				g.sends("2")
			},
			ledger(1, "1.00"), "no event for command \"R\" (3)",
		},
		"one event for two commands": {
			func(g game) {
				g.sends("1")
				g.sends("2")
				g.tells(100, producer.Succeeded)
			},
			ledger(1, "1.00"), "no event for command",
		},
		"money without an event": {func(game) {}, ledger(1, "1.00"), "no event tells"},
		"event without money":    {func(g game) { g.tells(100, producer.Succeeded) }, ledger(0, "1.00"), "no money moved"},
		"money moved twice":      {func(g game) { g.tells(100, producer.Failed) }, ledger(1, "1.00"), "failed, but money moved"},
		"other amount":           {func(g game) { g.tells(101, producer.Succeeded) }, ledger(1, "1.00"), "the event says 1.01, the ledger 1.00"},
		"not an event":           {func(g game) { g.published(tap.Message{Body: []byte("{}")}, time.Now()) }, nil, "cannot be read"},
	} {
		t.Run(name, func(t *testing.T) {
			g := newGame(t)
			c.play(g)
			wrong, summary := g.check(c.ledger)
			switch {
			case c.want == "" && len(wrong) > 0:
				t.Errorf("found %q (%s)", wrong, summary)
			case c.want != "" && (len(wrong) != 1 || !strings.Contains(wrong[0], c.want)):
				t.Errorf("found %q, want %q", wrong, c.want)
			}
		})
	}
}

func TestCheckFindsTwoTruths(t *testing.T) {
	g := newGame(t)
	g.tells(100, producer.Succeeded)
	g.tells(100, producer.Failed)
	wrong, _ := g.check([]alipaytest.Refund{{OutRequestNo: "R", Amount: "1.00", Moved: 2}})
	text := strings.Join(wrong, "\n")
	for _, want := range []string{"2 final events", "money moved 2 times", "failed, but money moved"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in %q", want, text)
		}
	}
}

func TestVersion(t *testing.T) {
	var out strings.Builder
	if code := run(t.Context(), []string{"--version"}, console{stdout: &out}); code != 0 || !strings.HasPrefix(out.String(), "demo ") {
		t.Errorf("exit code %d, output %q", code, &out)
	}
}

func TestUsage(t *testing.T) {
	for name, args := range map[string][]string{
		"unknown flag":         {"-twice"},
		"argument":             {"now"},
		"log that cannot be":   {"-log", "/nowhere/at/all"},
		"flag without a value": {"-broker"},
	} {
		t.Run(name, func(t *testing.T) {
			var out strings.Builder
			code := run(t.Context(), args, console{stdout: &out, stderr: &out, redirect: func(logrus.FieldLogger) {}})
			if code != 2 || out.Len() == 0 {
				t.Errorf("exit code %d, output %q", code, &out)
			}
		})
	}
}
