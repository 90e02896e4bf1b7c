package alipaytest_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"refundd/alipay/alipaytest"
)

// seen is what a client saw of one call, in one word or two.
func (r reply) seen() string {
	switch {
	case errors.Is(r.err, context.Canceled):
		return "nothing"
	case errors.Is(r.err, syscall.ECONNRESET):
		return "reset"
	case errors.Is(r.err, io.ErrUnexpectedEOF):
		return "cut"
	case errors.Is(r.err, io.EOF):
		return "closed"
	case r.status == 502:
		return "502"
	case r.err != nil && r.raw != "":
		return "not JSON"
	case r.err != nil:
		return r.err.Error()
	case r.signed != "good":
		return strings.Join(strings.Fields(r.signed+" "+r.code+" "+r.subCode), " ")
	case r.subCode != "":
		return r.code + " " + r.subCode
	case r.text("operation_type") != "":
		return r.code + " " + r.text("operation_type") + " " + r.text("status")
	case r.text("status") != "":
		return r.code + " " + r.text("status")
	case r.text("fund_change") != "":
		return r.code + " " + r.text("fund_change")
	case r.text("refund_status") != "":
		return r.code + " " + r.text("refund_status")
	}
	return r.code
}

// faultCase is what happens to a number fault-NAME-1, step by step: r is a
// refund call, q a query, and what is seen after each.
type faultCase struct {
	name     string
	steps    []string // "r: seen" or "q: seen"; "|" separates alternatives
	moved    int      // after the first step
	happened int      // how often the fault happened in all
}

func tradeFaultCases() []faultCase {
	const (
		yes    = "r: 10000 Y"
		replay = "r: 10000 N"
		there  = "q: 10000 REFUND_SUCCESS"
		absent = "q: 10000"
	)
	cases := []faultCase{
		{"answer-lost-before", []string{"r: closed", absent, yes, there}, 0, 1},
		{"answer-lost-after", []string{"r: closed", there, replay}, 1, 1},
		{"reset-before", []string{"r: reset", absent, yes}, 0, 1},
		{"reset-after", []string{"r: reset", there, replay}, 1, 1},
		{"timeout-before", []string{"r: nothing", absent, yes}, 0, 1},
		{"timeout-after", []string{"r: nothing", there, replay}, 1, 1},
		{"late", []string{"r: reset", absent, yes, replay}, 0, 1},
		{"system-error-before", []string{"r: 40004 ACQ.SYSTEM_ERROR", absent, yes}, 0, 1},
		{"system-error-after", []string{"r: 40004 ACQ.SYSTEM_ERROR", there, replay}, 1, 1},
		{"gw-20000-before", []string{unavailable, absent, yes}, 0, 1},
		{"gw-20000-after", []string{unavailable, there, replay}, 1, 1},
		{"html-502-before", []string{"r: 502", absent, yes}, 0, 1},
		{"html-502-after", []string{"r: 502", there, replay}, 1, 1},
		{"no-sign", []string{"r: none 10000", there, replay}, 1, 1},
		{"bad-sign", []string{"r: bad 10000", there, replay}, 1, 1},
		{"truncated", []string{"r: cut|not JSON", there, replay}, 1, 1},
		{"slow-drip", []string{yes, there, replay}, 1, 1},
		{"success-gbk", []string{yes, there, replay}, 1, 1},
		{"query-gbk", []string{yes, there, there}, 1, 2},
		{"refused-gbk", []string{"r: 40004 ACQ.TRADE_STATUS_ERROR", absent, "r: 40004 ACQ.TRADE_STATUS_ERROR"}, 0, 2},
		{"limited", []string{"r: 40005 isv.app-call-limited", "r: 40005 isv.app-call-limited", yes, there}, 0, 2},
		{"balance", []string{"r: 40004 ACQ.SELLER_BALANCE_NOT_ENOUGH", "r: 40004 ACQ.SELLER_BALANCE_NOT_ENOUGH", yes}, 0, 2},
		{"frozen", []string{
			"r: 40004 ACQ.REASON_TRADE_BEEN_FREEZEN", "r: 40004 ACQ.REASON_TRADE_BEEN_FREEZEN",
			"r: 40004 ACQ.REASON_TRADE_BEEN_FREEZEN", absent,
		}, 0, 3},
		{"config", []string{"r: none 40002 isv.invalid-signature", "r: none 40002 isv.invalid-signature", yes}, 0, 2},
		{"config-auth", []string{"r: 20001 aop.invalid-app-auth-token", "r: 20001 aop.invalid-app-auth-token", yes}, 0, 2},
		{"limited-auth", []string{"r: 40005 isv.app-auth-invoke-limit", "r: 40005 isv.app-auth-invoke-limit", yes}, 0, 2},
		{"unknown-code", []string{"r: 40004 ACQ.BRAND_NEW_STATE", there, replay}, 1, 1},
		{"discordant", []string{"r: 40004 ACQ.DISCORDANT_REPEAT_REQUEST", there, "r: 40004 ACQ.DISCORDANT_REPEAT_REQUEST"}, 1, 1},
		{"fund-change-missing", []string{"r: 10000", there, replay}, 1, 1},
		{"wrong-trade", []string{yes, there, replay}, 1, 1},
		{"query-empty", []string{yes, absent, absent, there}, 1, 2},
		{"query-old-form", []string{yes, absent, absent, absent}, 1, 3},
		{"query-wrong-amount", []string{yes, there, there}, 1, 1},
		{"query-bad-sign", []string{yes, "q: bad 10000", there}, 1, 1},
		{"query-no-sign", []string{yes, "q: none 10000", there}, 1, 1},
		{"query-system-error", []string{yes, "q: 40004 ACQ.SYSTEM_ERROR", "q: 40004 ACQ.SYSTEM_ERROR", there}, 1, 2},
		{"query-limited", []string{yes, "q: 40005 isv.method-call-limited", "q: 40005 isv.method-call-limited", there}, 1, 2},
		{"query-lost", []string{yes, "q: closed", there}, 1, 1},
		{"refused-unsigned", []string{"r: none 40004 ACQ.TRADE_STATUS_ERROR", absent, "r: none 40004 ACQ.TRADE_STATUS_ERROR"}, 0, 2},
	}
	for _, code := range []string{
		"TRADE_STATUS_ERROR", "TRADE_NOT_ALLOW_REFUND", "NOT_ALLOW_PARTIAL_REFUND", "ONLINE_TRADE_VOUCHER_NOT_ALLOW_REFUND",
		"BUYER_NOT_EXIST", "CURRENCY_NOT_SUPPORT", "INVALID_PARAMETER", "TRADE_HAS_FINISHED", "TRADE_HAS_CLOSE", "REFUND_FEE_ERROR",
		"REASON_TRADE_STATUS_INVALID",
	} {
		refused := "r: 40004 ACQ." + code
		cases = append(cases, faultCase{"refused-" + code, []string{refused, absent, refused, refused}, 0, 3})
	}
	return cases
}

const unavailable = "r: 20000 isp.unknow-error|r: 20000 aop.ACQ.SYSTEM_ERROR|r: none 20000 isp.unknow-error|r: none 20000 aop.ACQ.SYSTEM_ERROR"

// couponFaultCases ask for a red packet; a step "w" waits until late things
// have become what they become.
func couponFaultCases() []faultCase {
	const (
		yes    = "r: 10000 SUCCESS"
		there  = "q: 10000 REFUND SUCCESS"
		absent = "q: 40004 AUTH_OPERATION_NOT_EXIST"
		system = "r: 40004 SYSTEM_ERROR"
	)
	return []faultCase{
		{"answer-lost-before", []string{"r: closed", absent, yes, there}, 0, 1},
		{"answer-lost-after", []string{"r: closed", there, yes}, 1, 1},
		{"late", []string{"r: reset", absent, "w", there, yes}, 0, 1},
		{"system-error-before", []string{system, absent, yes}, 0, 1},
		{"system-error-after", []string{system, there, yes}, 1, 1},
		{"frozen", []string{"r: 40004 ENTERPRISE_PAY_BIZ_ERROR", "r: 40004 ENTERPRISE_PAY_BIZ_ERROR", absent}, 0, 2},
		{"unknown-code", []string{"r: 40004 BRAND_NEW_STATE", there, yes}, 1, 1},
		{"coupon-init", []string{"r: 10000 INIT", "q: 10000 REFUND INIT", "r: 10000 INIT", "w", there, yes}, 0, 1},
		{"coupon-closed", []string{"r: 10000 INIT", "q: 10000 REFUND INIT", "w", "q: 10000 REFUND CLOSED", "r: 10000 CLOSED"}, 0, 1},
		{"coupon-10003", []string{"r: 10003", there, yes}, 1, 1},
		{"coupon-unique-violation", []string{yes, "r: 40004 UNIQUE_VIOLATION", there, "r: 40004 UNIQUE_VIOLATION"}, 1, 2},
		{"query-empty", []string{yes, absent, absent, there}, 1, 2},
		{"query-pay-operation", []string{yes, "q: 10000 PAY SUCCESS", there}, 1, 1},
		{"query-system-error", []string{yes, "q: 40004 SYSTEM_ERROR", "q: 40004 SYSTEM_ERROR", there}, 1, 2},
		{"query-bad-sign", []string{yes, "q: bad 10000", there}, 1, 1},
		{"refused-unsigned", []string{"r: none 40004 ILLEGAL_ARGUMENT", absent, "r: none 40004 ILLEGAL_ARGUMENT"}, 0, 2},
		{"success-gbk", []string{yes, there, yes}, 1, 1},
		{"query-gbk", []string{yes, there, there}, 1, 2},
		{"refused-gbk", []string{"r: 40004 ILLEGAL_ARGUMENT", absent, "r: 40004 ILLEGAL_ARGUMENT"}, 0, 2},
		{"refused-ILLEGAL_ARGUMENT", []string{"r: 40004 ILLEGAL_ARGUMENT", absent, "r: 40004 ILLEGAL_ARGUMENT"}, 0, 2},
		{"refused-AUTH_ORDER_NOT_EXIST", []string{"r: 40004 AUTH_ORDER_NOT_EXIST", absent}, 0, 1},
		{"refused-MONEY_NOT_ENOUGH", []string{"r: 40004 MONEY_NOT_ENOUGH", absent}, 0, 1},
	}
}

func TestTradeFaultsByName(t *testing.T) { testFaults(t, tradeFaultCases(), false) }

func TestCouponFaultsByName(t *testing.T) { testFaults(t, couponFaultCases(), true) }

func testFaults(t *testing.T, cases []faultCase, coupon bool) {
	t.Helper()
	clock := newClock()
	b := start(t, alipaytest.Config{Hold: time.Millisecond, LateBy: time.Hour, Drip: time.Millisecond, Now: clock.now})
	for _, tt := range cases {
		t.Run(tt.name, func(t *testing.T) {
			number := "fault-" + tt.name + "-1"
			calls := map[byte][2]string{
				'r': {refundMethod, biz(t, "out_trade_no", tt.name, "out_request_no", number, "refund_amount", "1")},
				'q': {queryMethod, biz(t, "out_trade_no", tt.name, "out_request_no", number)},
			}
			if coupon {
				auth := alipaytest.TradeNo(tt.name)
				calls['r'] = [2]string{couponMethod, biz(t, "auth_no", auth, "out_request_no", number, "amount", "1", "remark", "r")}
				calls['q'] = [2]string{operationMethod, biz(t, "out_order_no", tt.name, "out_request_no", number)}
			}
			for i, step := range tt.steps {
				if step == "w" {
					clock.advance(time.Hour)
					continue
				}
				ctx, cancel := context.WithCancel(t.Context())
				if strings.HasSuffix(step, "nothing") {
					go func() {
						waitFor(t, "the fault", func() bool { return b.sim.FaultCounts()[tt.name] > 0 })
						cancel()
					}()
				}
				call := calls[step[0]]
				got := step[:3] + b.send(ctx, call[0], b.signed(t, b.params(call[0], call[1]))).seen()
				cancel()
				if alternatives := strings.Split(step, "|"); !slices.Contains(alternatives, got) && !slices.Contains(alternatives, got[3:]) {
					t.Fatalf("step %d: %s, want %s", i, got, step)
				}
				if moved := b.entry(t, number).Moved; i == 0 && moved != tt.moved || moved > 1 {
					t.Fatalf("step %d: money moved %d times, want %d", i, moved, tt.moved)
				}
			}
			if n := b.sim.FaultCounts()[tt.name]; n != tt.happened {
				t.Errorf("counted %d times, want %d", n, tt.happened)
			}
		})
	}
}

// The cases above cannot see what a spoilt success says.
func TestFaultsThatLie(t *testing.T) {
	b := start(t, alipaytest.Config{})
	if got := b.refund(t, "T", "fault-wrong-trade-1", "1"); got.text("trade_no") == alipaytest.TradeNo("T") || got.text("out_trade_no") == "T" {
		t.Errorf("wrong-trade names ours: %v", got.fields)
	}
	b.refund(t, "T", "fault-query-wrong-amount-1", "1")
	if got := b.query(t, "T", "fault-query-wrong-amount-1"); got.text("refund_amount") != "1.01" {
		t.Errorf("query-wrong-amount: %v", got.fields)
	}
	b.refund(t, "T", "fault-query-old-form-1", "1")
	if got := b.query(t, "T", "fault-query-old-form-1"); got.text("refund_amount") != "1.00" || got.fields["refund_status"] != nil {
		t.Errorf("query-old-form: %v", got.fields)
	}
	b.refund(t, "T", "fault-discordant-1", "1")
	if got := b.query(t, "T", "fault-discordant-1"); got.text("refund_amount") != "1.01" {
		t.Errorf("discordant: %v", got.fields)
	}
}

func TestEveryFaultHasACase(t *testing.T) {
	cases := map[string]bool{}
	for _, c := range append(tradeFaultCases(), couponFaultCases()...) {
		cases[c.name] = true
	}
	for _, name := range []string{"notify-never", "notify-twice", "notify-bad-sign", "deposit-bounced"} {
		cases[name] = true // TestNotificationFaults
	}
	for _, f := range alipaytest.Menu() {
		if !cases[f.Name] {
			t.Errorf("%s is not tested", f.Name)
		}
		if f.Doc == "" || strings.Contains(f.Doc, "\n") {
			t.Errorf("%s: want one line of documentation, have %q", f.Name, f.Doc)
		}
	}
}

func TestLateMoneyArrives(t *testing.T) {
	clock := newClock()
	b := start(t, alipaytest.Config{LateBy: time.Minute, Now: clock.now})
	const number = "fault-late-1"
	b.refund(t, "T", number, "1")
	if got := b.query(t, "T", number).seen(); got != "10000" {
		t.Fatalf("before it is due: %s", got)
	}
	clock.advance(time.Minute)
	if got := b.query(t, "T", number).seen(); got != "10000 REFUND_SUCCESS" {
		t.Fatalf("when it is due: %s", got)
	}
	if got := b.refund(t, "T", number, "1").text("fund_change"); got != "N" {
		t.Fatalf("fund_change = %s", got)
	}
	if e := b.entry(t, number); e.Moved != 1 {
		t.Fatalf("moved %d times", e.Moved)
	}
}

func TestHealEndsFaultsButNotVerdicts(t *testing.T) {
	b := start(t, alipaytest.Config{Faults: map[string]float64{"system-error-before": 1}})
	b.refund(t, "T", "R1", "1").want(t, "40004", "ACQ.SYSTEM_ERROR", "good")
	b.refund(t, "T", "fault-frozen-1", "1").want(t, "40004", "ACQ.REASON_TRADE_BEEN_FREEZEN", "good")
	b.refund(t, "T", "fault-refused-TRADE_STATUS_ERROR-1", "1").want(t, "40004", "ACQ.TRADE_STATUS_ERROR", "good")
	b.sim.Heal()
	b.refund(t, "T", "R1", "1").want(t, "10000", "", "good")
	b.refund(t, "T", "fault-frozen-1", "1").want(t, "10000", "", "good")
	b.refund(t, "T", "fault-limited-1", "1").want(t, "10000", "", "good")
	b.refund(t, "T", "fault-refused-TRADE_STATUS_ERROR-1", "1").want(t, "40004", "ACQ.TRADE_STATUS_ERROR", "good")
	if err := b.sim.SetFaults(nil); err != nil {
		t.Fatal(err)
	}
	b.refund(t, "T", "fault-limited-2", "1").want(t, "40005", "isv.app-call-limited", "good")
}

func TestARefusalNeverComesAfterTheMoney(t *testing.T) {
	b := start(t, alipaytest.Config{})
	b.refund(t, "T", "R", "1").want(t, "10000", "", "good")
	if err := b.sim.SetFaults(map[string]float64{"refused-TRADE_STATUS_ERROR": 1}); err != nil {
		t.Fatal(err)
	}
	if got := b.refund(t, "T", "R", "1"); got.text("fund_change") != "N" {
		t.Fatalf("replay = %s", got.raw)
	}
	if n := b.sim.FaultCounts()["refused-TRADE_STATUS_ERROR"]; n != 0 {
		t.Fatalf("counted %d times although nothing was refused", n)
	}
}

func TestForAWhileByTime(t *testing.T) {
	clock := newClock()
	b := start(t, alipaytest.Config{FaultFor: time.Minute, Now: clock.now})
	for range 5 {
		b.refund(t, "T", "fault-balance-1", "1").want(t, "40004", "ACQ.SELLER_BALANCE_NOT_ENOUGH", "good")
	}
	clock.advance(time.Minute)
	b.refund(t, "T", "fault-balance-1", "1").want(t, "10000", "", "good")
}

// The draw depends on the seed, the refund and the number of its calls, not on
// what else is going on.
func TestSeedRepeatsARun(t *testing.T) {
	run := func(seed uint64, order []int) string {
		b := start(t, alipaytest.Config{Seed: seed, Faults: map[string]float64{
			"system-error-after": 0.2, "limited": 0.2, "no-sign": 0.2, "refused-TRADE_STATUS_ERROR": 0.2,
		}})
		seen := make([]string, len(order))
		for _, i := range order {
			seen[i] = b.refund(t, "T", fmt.Sprintf("R%d", i), "1").seen()
		}
		return strings.Join(seen, ",")
	}
	forward, backward := make([]int, 40), make([]int, 40)
	for i := range forward {
		forward[i], backward[len(backward)-1-i] = i, i
	}
	first := run(1, forward)
	if again := run(1, backward); again != first {
		t.Errorf("another order, another run:\n%s\n%s", first, again)
	}
	if other := run(2, forward); other == first {
		t.Error("another seed, the same run")
	}
	for _, want := range []string{"10000 Y", "ACQ.SYSTEM_ERROR", "limited", "none 10000", "TRADE_STATUS_ERROR"} {
		if !strings.Contains(first, want) {
			t.Errorf("%s was never drawn", want)
		}
	}
}

func TestParseFaults(t *testing.T) {
	tests := []struct {
		name, spec, err string
		want            map[string]float64
	}{
		{"empty", "", "", map[string]float64{}},
		{"two", "no-sign=0.5, limited=0.25", "", map[string]float64{"no-sign": 0.5, "limited": 0.25}},
		{"unknown", "nosign=0.5", `fault "nosign" is not on the menu`, nil},
		{"no number", "no-sign", "want name=probability", nil},
		{"too much", "no-sign=1.5", "not within 0 and 1", nil},
		{"not a number", "no-sign=NaN", "not within 0 and 1", nil},
		{"below zero", "no-sign=-1", "not within 0 and 1", nil},
		{"sum", "no-sign=0.6,bad-sign=0.6", "more than 1", nil},
		{"two kinds of calls", "no-sign=0.6,query-bad-sign=0.6", "", map[string]float64{"no-sign": 0.6, "query-bad-sign": 0.6}},
		{"twice", "no-sign=0.1,no-sign=0.2", "given twice", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := alipaytest.ParseFaults(tt.spec)
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Fatalf("error = %v, want %s", err, tt.err)
				}
				return
			}
			if err != nil || fmt.Sprint(got) != fmt.Sprint(tt.want) {
				t.Fatalf("faults = %v, %v; want %v", got, err, tt.want)
			}
		})
	}
	all, err := alipaytest.ParseFaults("all=0.5,no-sign=0")
	if err != nil || len(all) != len(alipaytest.Menu()) || all["no-sign"] != 0 || all["frozen"] == 0 {
		t.Errorf("all: %v, %v", all, err)
	}
}

// A client that leaves does not stop what it asked for.
func TestMoneyMovesWithoutTheClient(t *testing.T) {
	b := start(t, alipaytest.Config{Latency: time.Hour})
	arrived := make(chan struct{})
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		close(arrived)
		b.sim.ServeHTTP(w, r)
	}))
	t.Cleanup(front.Close)
	b.base = front.URL
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-arrived
		cancel()
	}()
	params := b.signed(t, b.params(refundMethod, biz(t, "out_trade_no", "T", "out_request_no", "R", "refund_amount", "1")))
	if r := b.send(ctx, refundMethod, params); r.err == nil {
		t.Fatal("answered in spite of the latency")
	}
	waitFor(t, "the refund", func() bool { return len(b.sim.State().Refunds) > 0 })
	if got := b.entry(t, "R").Moved; got != 1 {
		t.Fatalf("moved %d times, want 1", got)
	}
}

// TestSpoilMerchant: only the calls of that merchant have the fault, until it is
// taken back.
func TestSpoilMerchant(t *testing.T) {
	b := start(t, alipaytest.Config{})
	if err := b.sim.SpoilMerchant("token-1", "no-such-fault"); err == nil {
		t.Error("a fault that is not on the menu was taken")
	}
	if err := b.sim.SpoilMerchant("token-1", "limited-auth"); err != nil {
		t.Fatal(err)
	}
	refundFor := func(token string) reply {
		params := b.params("alipay.trade.refund", biz(t, "out_trade_no", "T", "out_request_no", "R1", "refund_amount", "1"))
		if token != "" {
			params["app_auth_token"] = token
		}
		return b.send(t.Context(), "alipay.trade.refund", b.signed(t, params))
	}
	for range 5 {
		refundFor("token-1").want(t, "40005", "isv.app-auth-invoke-limit", "good")
	}
	refundFor("").want(t, "10000", "", "good")
	refundFor("token-2").want(t, "10000", "", "good")
	for _, c := range b.sim.Calls() {
		if (c.AppAuthToken == "token-1") != (c.Fault == "limited-auth") {
			t.Errorf("the wire log has %+v", c)
		}
	}
	if err := b.sim.SpoilMerchant("token-1", ""); err != nil {
		t.Fatal(err)
	}
	refundFor("token-1").want(t, "10000", "", "good")
}

func TestLimit(t *testing.T) {
	clock := newClock()
	b := start(t, alipaytest.Config{Limit: 2, Now: clock.now})
	for second := range 3 {
		for i := range 2 {
			b.refund(t, "T", fmt.Sprintf("R%d-%d", second, i), "1").want(t, "10000", "", "good")
		}
		b.refund(t, "T", fmt.Sprintf("R%d-2", second), "1").want(t, "40005", "isv.app-call-limited", "good")
		clock.advance(time.Second)
	}
	for i := range 2 {
		b.refund(t, "T", fmt.Sprintf("R%d-2", i), "1").want(t, "10000", "", "good")
	}
	b.sim.SetLimit(0)
	b.refund(t, "T", "R2-2", "1").want(t, "10000", "", "good")
	if moved := len(b.sim.Movements()); moved != 9 {
		t.Errorf("%d movements, want 9: what is refused is not carried out", moved)
	}
}
