package notifyhttp_test

import (
	"encoding/json"
	"maps"
	"net/http"
	"os"
	"strings"
	"testing"

	"refundd/notifyhttp"
	"refundd/producer"
)

type vector struct {
	Name, Why string
	RawBody   string `json:"raw_body"`
	Expected  struct {
		Verdict, Class string
		Params         map[string]string
	}
}

func vectors(tb testing.TB) []vector {
	tb.Helper()
	text, err := os.ReadFile("testdata/notify-verify.json")
	if err != nil {
		tb.Fatal(err)
	}
	var rows []vector
	if err := json.Unmarshal(text, &rows); err != nil {
		tb.Fatal(err)
	}
	return rows
}

// TestVectors: every row as the body of a real request. Each genuine one of interest is one event, of its own words; no other is.
func TestVectors(t *testing.T) {
	types := map[string]producer.Type{
		"refund": producer.TypeRefundNotified, "coupon_refund": producer.TypeCouponRefundNotified, "deposit_back": producer.TypeRefundDepositBack,
	}
	refused := map[string]notifyhttp.Result{
		"bad_signature": notifyhttp.BadSignature, "duplicate_key": notifyhttp.DuplicateKey, "malformed": notifyhttp.Malformed,
	}
	for _, row := range vectors(t) {
		t.Run(row.Name, func(t *testing.T) {
			b := start(t, setup{cfg: notifyhttp.Config{SellerID: sellerID}})
			got := b.post(t, row.RawBody)
			told := b.book.told()
			want := row.Expected
			switch {
			case want.Verdict != "ok":
				b.want(t, got, http.StatusBadRequest, refused[want.Verdict])
			case want.Class == "other":
				b.want(t, got, http.StatusOK, notifyhttp.Ignored)
			default:
				b.want(t, got, http.StatusOK, notifyhttp.Published)
				if len(told) != 1 || told[0].Type != types[want.Class] {
					t.Fatalf("%s: events %v", row.Why, told)
				}
				var event struct{ Data map[string]string }
				if err := json.Unmarshal(told[0].Body, &event); err != nil {
					t.Fatal(err)
				}
				if event.Data["notify_id"] != want.Params["notify_id"] || event.Data["out_request_no"] != "R0001" {
					t.Errorf("%s: event %v", row.Why, event.Data)
				}
				return
			}
			if len(told) != 0 {
				t.Errorf("%s: events %v", row.Why, told)
			}
		})
	}
}

const depositContent = `{"trade_no":"A1","out_trade_no":"T1","out_request_no":"R3","dback_status":"F","dback_amount":"2.50",` +
	`"bank_ack_time":"2026-01-03 03:04:05","est_bank_receipt_time":"null"}`

func envelope(t *testing.T, kind, outcome, notifyID, subject, at, data string) string {
	t.Helper()
	return `{"specversion":"1.0","id":"` + producer.NotifiedID(appID, notifyID, producer.Outcome(outcome)) + `","source":"/refundd/` + appID +
		`","type":"` + kind + `.` + outcome + `.v1","subject":"` + subject + `","time":"` + at +
		`","datacontenttype":"application/json","dataschema":"urn:refundd:schema:refund-event:v1","data":{"kind":"` + kind +
		`","outcome":"` + outcome + `","app_id":"` + appID + `","notify_id":"` + notifyID + `",` + data + `}}`
}

func TestEvents(t *testing.T) {
	key := alipayKey(t)
	const trade = `"out_trade_no":"T1","trade_no":"A1",`
	const own = trade + `"seller_id":"` + sellerID + `",`
	const day = "2026-01-01T19:04:06Z"
	for _, row := range []struct{ name, body, want string }{
		{"partial refund", form(t, key), envelope(t, "refund", "notified", "N1", "R1", day, own+
			`"out_request_no":"R1","total_refunded":"3.00","refunded_at":"2026-01-02T03:04:05.678+08:00","trade_status":"TRADE_SUCCESS"`)},
		{"full refund", form(t, key, "refund_fee", "10.00", "trade_status", "TRADE_CLOSED"), envelope(t, "refund", "notified", "N1", "R1", day, own+
			`"out_request_no":"R1","total_refunded":"10.00","refunded_at":"2026-01-02T03:04:05.678+08:00","trade_status":"TRADE_CLOSED"`)},
		{"of a merchant", form(t, key, "seller_id", "2088000000000009"), envelope(t, "refund", "notified", "N1", "R1", day, trade+
			`"merchant":"m9","seller_id":"2088000000000009","out_request_no":"R1","total_refunded":"3.00","refunded_at":"2026-01-02T03:04:05.678+08:00","trade_status":"TRADE_SUCCESS"`)},
		{"no number of its own", form(t, key, "out_biz_no", "-"), envelope(t, "refund", "notified", "N1", "T1", day, own+
			`"out_request_no":"T1","total_refunded":"3.00","refunded_at":"2026-01-02T03:04:05.678+08:00","trade_status":"TRADE_SUCCESS"`)},
		{"unreadable and impossible details", form(t, key, "gmt_refund", "yesterday", "refund_fee", "99999999999.00"), envelope(t,
			"refund", "notified", "N1", "R1", day, own+`"out_request_no":"R1","trade_status":"TRADE_SUCCESS"`)},
		{"red packet", coupon(t, key), envelope(t, "coupon_refund", "notified", "N2", "R2", day,
			`"out_request_no":"R2","auth_no":"AU1","out_order_no":"O1","operation_id":"OP1","amount":"1.50","currency":"CNY","refunded_at":"2026-01-02T03:04:05+08:00"`)},
		{
			"red packet with nulls", coupon(t, key, "notify_type", "trade_status_sync", "out_order_no", "null", "amount", "null", "gmt_trans", "null"),
			envelope(t, "coupon_refund", "notified", "N2", "R2", day, `"out_request_no":"R2","auth_no":"AU1","operation_id":"OP1"`),
		},
		{
			"red packet of an impossible amount", coupon(t, key, "amount", "100000000.01", "gmt_trans", "-"),
			envelope(t, "coupon_refund", "notified", "N2", "R2", day, `"out_request_no":"R2","auth_no":"AU1","out_order_no":"O1","operation_id":"OP1"`),
		},
		{"deposit back", deposit(t, key, depositContent), envelope(t, "refund", "deposit_back", "N3", "R3", "2026-01-01T19:04:05.678Z", trade+
			`"out_request_no":"R3","dback_status":"F","dback_amount":"2.50","bank_ack_time":"2026-01-03T03:04:05+08:00"`)},
		{
			"deposit back with notify_time", deposit(t, key, `{"out_request_no":"R3","dback_status":"S"}`, "notify_time", "2026-01-02 03:04:06"),
			envelope(t, "refund", "deposit_back", "N3", "R3", day, `"out_request_no":"R3","dback_status":"S"`),
		},
	} {
		t.Run(row.name, func(t *testing.T) {
			b := start(t, setup{cfg: notifyhttp.Config{SellerID: sellerID, Sellers: merchants}})
			b.want(t, b.post(t, row.body), http.StatusOK, notifyhttp.Published)
			told := b.book.told()
			if len(told) != 1 {
				t.Fatalf("%d events", len(told))
			}
			sameJSON(t, string(told[0].Body), row.want)
		})
	}
}

func merchants(seller string) (string, bool) {
	if seller == "2088000000000009" {
		return "m9", true
	}
	return "", false
}

func TestOfNoInterest(t *testing.T) {
	key := alipayKey(t)
	for name, body := range map[string]string{
		"payment":                   form(t, key, "refund_fee", "-", "gmt_refund", "-", "out_biz_no", "-"),
		"payment with refund_fee 0": form(t, key, "refund_fee", "0.00", "gmt_refund", "-", "out_biz_no", "-"),
		"payment without seller":    form(t, key, "refund_fee", "-", "gmt_refund", "-", "out_biz_no", "-", "seller_id", "-"),
		"closed, unpaid":            form(t, key, "refund_fee", "-", "gmt_refund", "-", "out_biz_no", "-", "trade_status", "TRADE_CLOSED"),
		"deposit back in process":   deposit(t, key, `{"out_request_no":"R3","dback_status":"P"}`),
		"red packet's payment":      coupon(t, key, "notify_type", "trade_status_sync", "operation_type", "PAY"),
		"red packet, closed":        coupon(t, key, "status", "CLOSED"),
		"another message":           deposit(t, key, `{}`, "msg_method", "alipay.trade.other"),
	} {
		t.Run(name, func(t *testing.T) {
			b := start(t, setup{cfg: notifyhttp.Config{SellerID: sellerID}})
			b.want(t, b.post(t, body), http.StatusOK, notifyhttp.Ignored)
			if told := b.book.told(); len(told) != 0 {
				t.Errorf("events %v", told)
			}
		})
	}
}

func TestRefused(t *testing.T) {
	key := alipayKey(t)
	for _, row := range []struct {
		name, body string
		want       notifyhttp.Result
	}{
		{"another app", form(t, key, "app_id", "2021000000000002"), notifyhttp.WrongApp},
		{"no app", form(t, key, "app_id", "-"), notifyhttp.WrongApp},
		{"another app of a red packet", coupon(t, key, "app_id", "2021000000000002"), notifyhttp.WrongApp},
		{"another app of a deposit back", deposit(t, key, depositContent, "app_id", "2021000000000002"), notifyhttp.WrongApp},
		{"another seller", form(t, key, "seller_id", "2088000000000002"), notifyhttp.WrongSeller},
		{"another seller's payment", form(t, key, "refund_fee", "-", "gmt_refund", "-", "out_biz_no", "-", "seller_id", "2088000000000002"), notifyhttp.WrongSeller},
		{"no seller", form(t, key, "seller_id", "-"), notifyhttp.WrongSeller},
		{"another seller of a red packet", coupon(t, key, "seller_id", "2088000000000002"), notifyhttp.WrongSeller},
		{"another key", form(t, strangerKey(t)), notifyhttp.BadSignature},
		{"changed", strings.Replace(form(t, key), "refund_fee=3.00", "refund_fee=4.00", 1), notifyhttp.BadSignature},
		{"a parameter added on the way", form(t, key) + "&route=notify", notifyhttp.BadSignature},
		{"twice", form(t, key) + "&out_biz_no=R1", notifyhttp.DuplicateKey},
		{"empty", "", notifyhttp.Malformed},
		{"JSON", `{"notify_id":"N1"}`, notifyhttp.BadSignature},
		{"no notify_id", form(t, key, "notify_id", "-"), notifyhttp.Malformed},
		{"notify_id null", coupon(t, key, "notify_id", "null"), notifyhttp.Malformed},
		{"payment without notify_id", form(t, key, "refund_fee", "-", "gmt_refund", "-", "out_biz_no", "-", "notify_id", "-"), notifyhttp.Malformed},
		{"no time", form(t, key, "notify_time", "-"), notifyhttp.Malformed},
		{"no number at all", form(t, key, "out_biz_no", "-", "out_trade_no", "-"), notifyhttp.Malformed},
		{"red packet without number", coupon(t, key, "out_request_no", "null"), notifyhttp.Malformed},
		{"deposit back without number", deposit(t, key, `{"dback_status":"S"}`), notifyhttp.Malformed},
		{"deposit back of an unknown status", deposit(t, key, `{"out_request_no":"R3","dback_status":"X"}`), notifyhttp.Malformed},
		{"deposit back that is no JSON", deposit(t, key, `out_request_no`), notifyhttp.Malformed},
		{"deposit back with a member twice", deposit(t, key, `{"out_request_no":"R3","out_request_no":"R4","dback_status":"S"}`), notifyhttp.Malformed},
	} {
		t.Run(row.name, func(t *testing.T) {
			b := start(t, setup{cfg: notifyhttp.Config{SellerID: sellerID, Sellers: merchants}})
			b.want(t, b.post(t, row.body), http.StatusBadRequest, row.want)
			if told := b.book.told(); len(told) != 0 || len(b.counts.got()) != 1 {
				t.Errorf("events %v, counted %v", told, b.counts.got())
			}
		})
	}
}

// TestAnySeller: without an own seller id every seller's notification is told, and a merchant's with its name.
func TestAnySeller(t *testing.T) {
	b := start(t, setup{cfg: notifyhttp.Config{Sellers: merchants}})
	key := alipayKey(t)
	for _, row := range []struct{ seller, merchant string }{{"2088000000000009", "m9"}, {"2088000000000077", ""}, {"-", ""}} {
		b.want(t, b.post(t, form(t, key, "seller_id", row.seller, "notify_id", "of "+row.seller)), http.StatusOK, notifyhttp.Published)
		told := b.book.told()
		var event struct{ Data map[string]string }
		if err := json.Unmarshal(told[len(told)-1].Body, &event); err != nil {
			t.Fatal(err)
		}
		if event.Data["merchant"] != row.merchant {
			t.Errorf("seller %s: merchant %q", row.seller, event.Data["merchant"])
		}
	}
}

// TestRepeats: deliveries of one notification, in any spelling and at any time, are one event, and the very same one is
// published once.
func TestRepeats(t *testing.T) {
	b := start(t, setup{})
	key := alipayKey(t)
	ids := map[string]int{}
	for _, at := range []string{"2026-01-02 03:04:06", "2026-01-03 03:28:06", "2026-01-02 03:04:06"} {
		b.post(t, form(t, key, "notify_time", at))
		b.post(t, deposit(t, key, depositContent, "notify_id", "N1")) // another kind of fact, though of the same notify_id
	}
	b.post(t, form(t, key, "notify_id", "N9"))
	for _, e := range b.book.told() {
		ids[e.ID]++
	}
	want := map[string]int{
		producer.NotifiedID(appID, "N1", producer.Notified): 2, producer.NotifiedID(appID, "N1", producer.DepositBack): 1,
		producer.NotifiedID(appID, "N9", producer.Notified): 1,
	}
	if !maps.Equal(ids, want) {
		t.Errorf("events %v, want %v", ids, want)
	}
}
