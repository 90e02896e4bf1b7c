package producer_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"refundd/producer"
)

var update = flag.Bool("update", false, "write the golden files anew") //nolint:gochecknoglobals // a test flag

const traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

// events has one event of every type, together with every member.
func events() map[producer.Type]producer.Event {
	settled := time.Date(2026, 3, 19, 14, 2, 43, 118_999_999, time.FixedZone("GMT+8", 8*3600))
	plain := func(kind producer.Kind, outcome producer.Outcome) producer.Event {
		e := producer.Event{
			ID: "0123456789abcdef0123456789abcdef", Subject: "HZ01RF001", Time: settled,
			Kind: kind, Outcome: outcome, AppID: "2021000000000001", OutRequestNo: "HZ01RF001",
		}
		switch outcome {
		case producer.Succeeded, producer.Failed, producer.Unresolved:
			e.RefundKey = producer.RefundKey(producer.Identity{AppID: e.AppID, Kind: kind, OutRequestNo: e.OutRequestNo})
		case producer.Rejected, producer.Notified, producer.DepositBack:
		}
		return e
	}
	all := map[producer.Type]producer.Event{}
	for _, kind := range []producer.Kind{producer.KindRefund, producer.KindCouponRefund} {
		e := plain(kind, producer.Succeeded)
		e.AmountFen, e.ConfirmedBy, e.Calls = 300, producer.ByResponse, 1
		all[e.Type()] = e

		e = plain(kind, producer.Failed)
		e.AmountFen, e.ConfirmedBy, e.Calls = 5, producer.ByQuery, 3
		e.Reason, e.Detail, e.AlipayCode, e.AlipaySubCode = producer.ReasonRefused, "Alipay does not know this trade", "40004", "ACQ.TRADE_NOT_EXIST"
		all[e.Type()] = e

		e = plain(kind, producer.Rejected)
		e.Reason, e.Detail, e.OutRequestNo, e.Subject = producer.ReasonUnreadable, "the body is empty", "", "7F00000100002A9F0000000000000A5C"
		all[e.Type()] = e

		e = plain(kind, producer.Unresolved)
		e.AmountFen, e.Reason, e.Detail = 10_000_000_000, producer.ReasonPaused, "refunds are paused"
		all[e.Type()] = e

		e = plain(kind, producer.Notified)
		e.Time, e.NotifyID, e.TradeStatus = settled.Truncate(time.Second), "2026031900222140242078911000012345", "TRADE_SUCCESS"
		all[e.Type()] = e
	}

	e := all[producer.TypeRefundSucceeded]
	e.Traceparent, e.Merchant, e.OutTradeNo, e.TradeNo, e.Currency, e.TotalRefundedFen = traceparent, "shop-a", "T1", "2019", "HKD", 99_999_999_999
	e.RefundedAt, e.AlipayCode, e.TraceID = time.Date(2026, 3, 19, 6, 2, 42, 378_000_000, time.UTC), "10000", "0b1a2c3d"
	e.Metadata = map[string]string{"shop": "杭州 <1> & \"2\"", "order": "8816", "": ""}
	e.SellerID, e.PaidByOther, e.Funds, e.FundsCut = "2088000000000001", true, everyFund(), true
	all[e.Type()] = e

	e = all[producer.TypeCouponRefundFailed]
	e.AuthNo, e.OutOrderNo, e.OperationID, e.AlipaySubMsg = "2018", "hb1", "2018op", "余额不足"
	e.Reason, e.Metadata = producer.ReasonClosed, map[string]string{}
	all[e.Type()] = e

	e = plain(producer.KindRefund, producer.DepositBack)
	e.Time, e.NotifyID, e.DbackStatus, e.DbackAmountFen = settled.Truncate(time.Second), "2026032100222110000078911000012345", "F", 300
	e.BankAckTime, e.EstBankReceiptTime = settled.Truncate(time.Second), settled.Add(time.Hour).Truncate(time.Second)
	all[e.Type()] = e
	return all
}

func TestEncodeGolden(t *testing.T) {
	s := readSchema(t, eventSchema)
	all := events()
	if len(all) != 11 {
		t.Fatalf("%d types", len(all))
	}
	for typ, event := range all {
		t.Run(string(typ), func(t *testing.T) {
			got, err := event.Encode()
			if err != nil {
				t.Fatal(err)
			}
			if got.ID != event.ID || got.Type != typ || got.Subject != event.Subject {
				t.Errorf("encoded as %s %s %s", got.ID, got.Type, got.Subject)
			}
			if err := s.Validate(readJSON(t, got.Body)); err != nil {
				t.Error(err)
			}
			file := filepath.Join("testdata/golden", string(typ)+".json")
			if *update {
				if err := os.WriteFile(file, got.Body, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if want := readFile(t, file); !bytes.Equal(got.Body, want) {
				t.Errorf("got  %s\nwant %s", got.Body, want)
			}
		})
	}
}

func TestEncodedSurvivesStoring(t *testing.T) {
	for typ, event := range events() {
		want, err := event.Encode()
		if err != nil {
			t.Fatal(err)
		}
		got, err := producer.DecodeEncoded(want.Body)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, %v", typ, got, err)
		}
	}
}

// The examples that the contract publishes are what this package writes, but for white space, and for one whose members stand in
// another order.
func TestExamples(t *testing.T) {
	files, err := filepath.Glob("schema/examples/event-*.json")
	if err != nil || len(files) != 6 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			text := readFile(t, file)
			event, err := producer.DecodeEvent(text)
			if err != nil {
				t.Fatal(err)
			}
			got, err := event.Encode()
			if err != nil {
				t.Fatal(err)
			}
			var want bytes.Buffer
			if err := json.Compact(&want, text); err != nil {
				t.Fatal(err)
			}
			if filepath.Base(file) == "event-refund-rejected.json" {
				if !reflect.DeepEqual(members(t, got.Body), members(t, text)) {
					t.Errorf("got  %s\nwant %s", got.Body, want.Bytes())
				}
				return
			}
			if !bytes.Equal(got.Body, want.Bytes()) {
				t.Errorf("got  %s\nwant %s", got.Body, want.Bytes())
			}
		})
	}
}

func TestEncodeLeavesOutAndCuts(t *testing.T) {
	for _, row := range []struct {
		name   string
		change func(e *producer.Event)
		member string
		want   any // nil: the member is not there
	}{
		{"currency without amount", func(e *producer.Event) { *e = events()[producer.TypeRefundRejected]; e.Currency = "USD" }, "currency", nil},
		{"currency unless said otherwise", func(e *producer.Event) { e.Currency = "" }, "currency", "CNY"},
		{"a sum that the schema cannot tell", func(e *producer.Event) { e.TotalRefundedFen = 100_000_000_000 }, "total_refunded", nil},
		{"a negative sum", func(e *producer.Event) { e.TotalRefundedFen = -1 }, "total_refunded", nil},
		{"a year that only Alipay's zone cannot tell", func(e *producer.Event) {
			e.RefundedAt = time.Date(9999, 12, 31, 23, 0, 0, 0, time.UTC)
		}, "refunded_at", nil},
		{"long detail", func(e *producer.Event) {
			*e = events()[producer.TypeRefundFailed]
			e.Detail = strings.Repeat("退", 1001)
		}, "detail", strings.Repeat("退", 1000)},
		{"long message", func(e *producer.Event) { e.AlipaySubMsg = strings.Repeat("退", 1001) }, "alipay_sub_msg", strings.Repeat("退", 1000)},
		{"bytes that are not UTF-8", func(e *producer.Event) { e.AlipaySubMsg = "a\xff" }, "alipay_sub_msg", "a\uFFFD"},
		{"no calls in a notification", func(e *producer.Event) { *e = events()[producer.TypeRefundNotified]; e.Calls = 1 }, "calls", nil},
		{"no calls at all are told", func(e *producer.Event) { *e = events()[producer.TypeRefundUnresolved] }, "calls", float64(0)},
		{"no metadata", func(e *producer.Event) { e.Metadata = nil }, "metadata", nil},
		{"empty metadata", func(e *producer.Event) { e.Metadata = map[string]string{} }, "metadata", map[string]any{}},
	} {
		t.Run(row.name, func(t *testing.T) {
			e := events()[producer.TypeRefundSucceeded]
			row.change(&e)
			got, err := e.Encode()
			if err != nil {
				t.Fatal(err)
			}
			data, _ := members(t, got.Body)["data"].(map[string]any)
			if !reflect.DeepEqual(data[row.member], row.want) {
				t.Errorf("%s is %v, want %v", row.member, data[row.member], row.want)
			}
		})
	}
}

func TestEncodeTraceparent(t *testing.T) {
	for value, valid := range map[string]bool{
		traceparent: true,
		"":          false,
		"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-1":    false,
		"00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01":   false,
		"ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01":   false,
		"00-00000000000000000000000000000000-00f067aa0ba902b7-01":   false,
		"00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01":   false,
		"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x": false,
		"00_4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01":   false,
		"00-4bf92f3577b34da6a3ce929d0e0e473\x01-00f067aa0ba902b7-0": false,
	} {
		e := events()[producer.TypeRefundFailed]
		e.Traceparent = value
		got, err := e.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if told := members(t, got.Body)["traceparent"] == value; told != valid || producer.ValidTraceparent(value) != valid {
			t.Errorf("%q: told %t, want %t", value, told, valid)
		}
	}
}

func TestEncodeRefuses(t *testing.T) {
	for _, row := range []struct {
		name   string
		typ    producer.Type
		change func(e *producer.Event)
		names  string // what the error names
	}{
		{"kind", producer.TypeRefundFailed, func(e *producer.Event) { e.Kind = "" }, "no event type"},
		{"a coupon refund with a deposit back", producer.TypeRefundDepositBack, func(e *producer.Event) { e.Kind = producer.KindCouponRefund }, "no event type"},
		{"no id", producer.TypeRefundFailed, func(e *producer.Event) { e.ID = "" }, "id is missing"},
		{"id in capitals", producer.TypeRefundFailed, func(e *producer.Event) { e.ID = strings.ToUpper(e.ID) }, "id is not"},
		{"no key", producer.TypeRefundUnresolved, func(e *producer.Event) { e.RefundKey = "" }, "refund_key is missing"},
		{"no key of ours", producer.TypeRefundFailed, func(e *producer.Event) { e.RefundKey = "a" }, "refund_key is not"},
		{"a failure with funds", producer.TypeRefundFailed, func(e *producer.Event) { e.Funds = everyFund() }, "only a success"},
		{"no subject", producer.TypeRefundFailed, func(e *producer.Event) { e.Subject = "" }, "subject is missing"},
		{"no app", producer.TypeRefundFailed, func(e *producer.Event) { e.AppID = "" }, "app_id is missing"},
		{"no time", producer.TypeRefundFailed, func(e *producer.Event) { e.Time = time.Time{} }, "time is missing"},
		{"time that RFC 3339 cannot tell", producer.TypeRefundFailed, func(e *producer.Event) { e.Time = time.Unix(1<<40, 0) }, "time is out of range"},
		{"no number", producer.TypeRefundSucceeded, func(e *producer.Event) { e.OutRequestNo = "" }, "out_request_no is missing"},
		{"no amount", producer.TypeRefundUnresolved, func(e *producer.Event) { e.AmountFen = 0 }, "amount is missing"},
		{"negative amount", producer.TypeRefundRejected, func(e *producer.Event) { e.AmountFen = -1 }, "amount is out of range"},
		{"huge amount", producer.TypeRefundNotified, func(e *producer.Event) { e.AmountFen = 100_000_000_000 }, "amount is out of range"},
		{"negative calls", producer.TypeRefundFailed, func(e *producer.Event) { e.Calls = -1 }, "calls is negative"},
		{"currency", producer.TypeRefundFailed, func(e *producer.Event) { e.Currency = "cny" }, "currency is not"},
		{"no proof", producer.TypeRefundSucceeded, func(e *producer.Event) { e.ConfirmedBy = "" }, "confirmed_by is missing"},
		{"another proof", producer.TypeRefundSucceeded, func(e *producer.Event) { e.ConfirmedBy = "time" }, "confirmed_by is not"},
		{"no reason", producer.TypeRefundFailed, func(e *producer.Event) { e.Reason = "" }, "reason is missing"},
		{"another outcome's reason", producer.TypeRefundFailed, func(e *producer.Event) { e.Reason = producer.ReasonTooOld }, "reason is not one that failed events have"},
		{"no detail", producer.TypeRefundRejected, func(e *producer.Event) { e.Detail = "" }, "detail is missing"},
		{"no notify_id", producer.TypeRefundNotified, func(e *producer.Event) { e.NotifyID = "" }, "notify_id is missing"},
		{"no deposit status", producer.TypeRefundDepositBack, func(e *producer.Event) { e.DbackStatus = "" }, "dback_status is missing"},
		{"deposit in process", producer.TypeRefundDepositBack, func(e *producer.Event) { e.DbackStatus = "P" }, "dback_status is not"},
		{"large metadata", producer.TypeRefundFailed, func(e *producer.Event) { e.Metadata = map[string]string{"a": strings.Repeat("b", 2048)} }, "metadata has more"},
	} {
		t.Run(row.name, func(t *testing.T) {
			e := events()[row.typ]
			row.change(&e)
			if _, err := e.Encode(); err == nil || !strings.Contains(err.Error(), row.names) {
				t.Errorf("error %v, want one with %q", err, row.names)
			}
		})
	}
}

func TestEveryReasonHasAnOutcome(t *testing.T) {
	explained := readSchema(t, eventSchema).Properties["data"].Properties["reason"].Description
	for word := range strings.FieldsSeq(`unreadable invalid conflict unknown_merchant too_large refused closed unknown_outcome
		blocked_merchant blocked_configuration conflict_at_alipay rate_limited gateway_unavailable paused held too_old contradiction`) {
		if !strings.Contains(explained, " "+word) {
			t.Errorf("the schema does not explain %s", word)
		}
		taken := 0
		for _, typ := range []producer.Type{producer.TypeRefundRejected, producer.TypeRefundFailed, producer.TypeRefundUnresolved} {
			e := events()[typ]
			e.Reason = producer.Reason(word)
			if _, err := e.Encode(); err == nil {
				taken++
			}
		}
		if taken != 1 || !slices.Contains(producer.Reasons(), producer.Reason(word)) {
			t.Errorf("%s belongs to %d outcomes", word, taken)
		}
	}
}

func TestDecodeRefuses(t *testing.T) {
	good, err := events()[producer.TypeRefundSucceeded].Encode()
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct{ name, old, new string }{
		{"cut off", `"}}`, ``},
		{"other version", `"1.0"`, `"0.3"`},
		{"other schema", `event:v1`, `event:v2`},
		{"other source", `/refundd/`, `/other/`},
		{"type of another outcome", `refund.succeeded.v1`, `refund.failed.v1`},
		{"unknown type", `refund.succeeded.v1`, `refund.settled.v1`},
		{"amount as number", `"3.00"`, `3.00`},
		{"amount with one decimal", `"3.00"`, `"3.0"`},
		{"amount with a leading zero", `"3.00"`, `"03.00"`},
		{"amount of ten digits", `"3.00"`, `"1000000000.00"`},
		{"amount with a sign", `"3.00"`, `"-3.00"`},
		{"time without zone", `118Z`, `118`},
		{"time not in UTC", `118Z`, `118+08:00`},
		{"Alipay's time not in its zone", `14:02:42.378+08:00`, `06:02:42.378Z`},
		{"missing id", `"id"`, `"di"`},
	} {
		t.Run(row.name, func(t *testing.T) {
			text := strings.Replace(string(good.Body), row.old, row.new, 1)
			if text == string(good.Body) {
				t.Fatal("nothing replaced")
			}
			if e, err := producer.DecodeEvent([]byte(text)); err == nil {
				t.Errorf("%s\ntaken as %+v", text, e)
			}
		})
	}
	for _, text := range []string{"", "null", "[]", "{}", `{"id":1}`, `{"id":"0123456789abcdef0123456789abcdef","type":"a","subject":"b"}`} {
		if e, err := producer.DecodeEncoded([]byte(text)); err == nil {
			t.Errorf("%s\ntaken as %+v", text, e)
		}
	}
}

func FuzzDecodeEvent(f *testing.F) {
	for _, event := range events() {
		encoded, err := event.Encode()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(encoded.Body)
	}
	s := readSchema(f, eventSchema)
	f.Fuzz(func(t *testing.T, text []byte) {
		_, _ = producer.DecodeEncoded(text)
		event, err := producer.DecodeEvent(text)
		if err != nil {
			return
		}
		first, err := event.Encode()
		if err != nil {
			t.Fatalf("decoded, but not encoded: %v", err)
		}
		if err := s.Validate(readJSON(t, first.Body)); err != nil {
			t.Error(err)
		}
		again, err := producer.DecodeEvent(first.Body)
		if err != nil {
			t.Fatalf("%s\nencoded, but not decoded: %v", first.Body, err)
		}
		second, err := again.Encode()
		if err != nil || !bytes.Equal(first.Body, second.Body) {
			t.Errorf("%v\n%s\n%s", err, first.Body, second.Body)
		}
	})
}

func members(tb testing.TB, text []byte) map[string]any {
	tb.Helper()
	var all map[string]any
	if err := json.Unmarshal(text, &all); err != nil {
		tb.Fatal(err)
	}
	return all
}

func readFile(tb testing.TB, file string) []byte {
	tb.Helper()
	text, err := os.ReadFile(filepath.Clean(file))
	if err != nil {
		tb.Fatal(err)
	}
	return text
}
