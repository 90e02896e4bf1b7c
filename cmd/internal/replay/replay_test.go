package replay

import (
	"context"
	"strings"
	"testing"
	"time"
)

func TestRenumber(t *testing.T) {
	long := strings.Repeat("9", 62)
	for name, c := range map[string]struct {
		r        Renumbering
		old, new string
	}{
		"the number alone": {
			Renumbering{Prefix: "L-"},
			`{ "out_request_no" : "R-1" ,"out_trade_no":"T","refund_amount":"1.00"}`,
			`{ "out_request_no" : "L-R-1" ,"out_trade_no":"T","refund_amount":"1.00"}`,
		},
		"trades too": {
			Renumbering{Prefix: "L-", Trades: true},
			`{"out_trade_no":"T","trade_no":"2026","out_request_no":"R","refund_amount":"1"}`,
			`{"out_trade_no":"L-T","trade_no":"L-2026","out_request_no":"L-R","refund_amount":"1"}`,
		},
		"a red packet": {
			Renumbering{Prefix: "L-", Trades: true},
			`{"auth_no":"A","out_order_no":"O","out_request_no":"R","amount":"1"}`,
			`{"auth_no":"L-A","out_order_no":"L-O","out_request_no":"L-R","amount":"1"}`,
		},
		"not what is nested": {
			Renumbering{Prefix: "L-", Trades: true},
			`{"metadata":{"out_request_no":"R","x":"}{"},"out_request_no":"R"}`,
			`{"metadata":{"out_request_no":"R","x":"}{"},"out_request_no":"L-R"}`,
		},
		"escapes": {
			Renumbering{Prefix: `"\`}, `{"out_request_no":"R\u002d1"}`, `{"out_request_no":"\"\\R-1"}`,
		},
		"too long": {
			Renumbering{Prefix: "LOAD-"}, `{"out_request_no":"` + long + `"}`, `{"out_request_no":"LOAD-6a7a1ed0b92deaad44dd10b7e2c44c6e"}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := c.r.body([]byte(c.old))
			if name == "too long" {
				again, _ := c.r.body([]byte(c.old))
				if err != nil || string(got) != string(again) || len(got) != len(c.new) {
					t.Errorf("%s, then %s, %v", got, again, err)
				}
				return
			}
			if err != nil || string(got) != c.new {
				t.Errorf("%s, %v; want %s", got, err, c.new)
			}
		})
	}
	for _, bad := range []string{"", "[]", "null", `{"out_request_no":1}`, `{"out_request_no":`} {
		if got, err := (Renumbering{Prefix: "L-"}).body([]byte(bad)); err == nil {
			t.Errorf("%s became %s", bad, got)
		}
	}
}

func TestPace(t *testing.T) {
	begin := time.Now().Add(-time.Hour) // everything is due: what counts is the schedule
	p := (&Options{Pace: PaceRecorded, Speed: 2}).pacer(begin)
	ended, cancel := context.WithCancel(t.Context())
	if !p.wait(ended, at("08:00:00")) || !p.wait(ended, at("08:30:00")) {
		t.Error("what is due has to wait")
	}
	cancel()
	if p.wait(ended, at("11:00:00")) { // due in half an hour
		t.Error("did not wait for what is not due")
	}
	even := (&Options{Pace: PaceEven, Rate: 100}).pacer(time.Now())
	start := time.Now()
	for range 11 {
		even.wait(t.Context(), time.Time{})
	}
	if took := time.Since(start); took < 90*time.Millisecond {
		t.Errorf("11 messages at 100 a second took %s", took)
	}
}

func at(clock string) time.Time {
	at, err := time.Parse(time.DateTime, "2026-11-25 "+clock)
	if err != nil {
		panic(err)
	}
	return at
}
