package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"refundd/alipay/alipaytest"
)

// stepProperty marks a message of the script, so that the table can say what
// the message is about.
const stepProperty = "DEMO_STEP"

// step is one command of the script.
type step struct {
	what string // for the table
	body string
	key  string // message key
}

// script is in acts: the commands of one are sent together, and the next
// begins when each of them has come to its end.
type script struct {
	first, second []step
	// coupons are coupon refunds, sent with the first act.
	coupons []step
	// last needs a merchant who has run out of money.
	last []step
	// slow ends after more than a minute and is not waited for.
	slow []step
}

// newScript writes the commands down. Amounts are what a person can add up: no
// two refunds have the same.
func newScript() script {
	plain := refund("demo-01", "trade-01", "12.50")
	refused := refund("fault-refused-TRADE_STATUS_ERROR-demo-02", "trade-02", "13.00")
	twin := refund("demo-03", "trade-03", "14.50")
	parcel := "trade-04"
	return script{
		first: []step{
			{"plain refund", plain, "demo-01"},
			{"with metadata", refund("demo-05", "trade-05", "15.00", `"metadata":{"ticket":"A-17"}`), "demo-05"},
			{"same command twice at once, 1st", twin, "demo-03"},
			{"same command twice at once, 2nd", twin, "demo-03"},
			{"partial refund 1 of 3", refund("demo-04-a", parcel, "400.00"), "demo-04-a"},
			{"partial refund 2 of 3", refund("demo-04-b", parcel, "400.00"), "demo-04-b"},
			{"partial refund 3 of 3", refund("demo-04-c", parcel, "100.00"), "demo-04-c"},
			faulty("answer lost, money moved", "answer-lost-after", "06", "16.00"),
			faulty("answer lost, money not moved", "answer-lost-before", "07", "16.50"),
			faulty("connection reset, money moved", "reset-after", "08", "17.00"),
			faulty("no answer in time, money moved", "timeout-after", "09", "17.50"),
			faulty("gateway busy (20000)", "gw-20000-before", "10", "18.00"),
			faulty("SYSTEM_ERROR, money moved", "system-error-after", "11", "18.50"),
			faulty("proxy says 502, money not moved", "html-502-before", "12", "19.00"),
			faulty("success with a bad signature", "bad-sign", "13", "19.50"),
			faulty("code that nobody documented", "unknown-code", "14", "20.00"),
			{"definite refusal", refused, "demo-02"},
			faulty("refusal that is written in GBK", "refused-gbk", "29", "25.00"),
			{"trade does not exist", refund("demo-16", "nosuch-trade", "21.00"), "demo-16"},
			faulty("number used elsewhere, other amount", "discordant", "17", "21.50"),
			{"another merchant's refund", refund("demo-23", "trade-23", "24.50", `"merchant":"`+shop+`"`), "demo-23"},
			{"not JSON", `refund 5 yuan, please`, ""},
			{"unknown member", refund("demo-18", "trade-18", "22.00", `"color":"red"`), "demo-18"},
			{"amount as a number", `{"out_request_no":"demo-19","out_trade_no":"trade-19","refund_amount":22.5}`, "demo-19"},
			{"no request number", `{"out_trade_no":"trade-20","refund_amount":"23.00"}`, ""},
		},
		coupons: []step{
			coupon("red packet, one part", "demo-24", "packet-24", "5.00"),
			faultyCoupon("red packet, answer lost, money moved", "answer-lost-after", "25", "5.50"),
			faultyCoupon("red packet, accepted for later", "coupon-init", "26", "6.00"),
			faultyCoupon("red packet, accepted, then closed", "coupon-closed", "27", "6.50"),
			faultyCoupon("red packet, in process (10003)", "coupon-10003", "28", "7.00"),
		},
		second: []step{
			{"the plain one again", plain, "demo-01"},
			{"its number, another amount", refund("demo-01", "trade-01", "99.00"), "demo-01"},
			{"the refused one again", refused, "demo-02"},
			{"more than is left of the trade", refund("demo-04-d", parcel, "100.01"), "demo-04-d"},
			// Behind the others, because it slows them all down.
			faulty("rate limit for a while (40005)", "limited", "15", "20.50"),
		},
		last: []step{
			{"balance too low, then topped up", refund(topUpNumber, "trade-21", "23.50"), topUpNumber},
		},
		slow: []step{
			{"merchant unknown (takes a minute)", refund("demo-22", "trade-22", "24.00", `"merchant":"nobody"`), "demo-22"},
		},
	}
}

// topUpNumber waits until the merchant has money again.
const topUpNumber = "demo-21"

// refund writes a command; more is added as it is.
func refund(number, trade, amount string, more ...string) string {
	members := append([]string{fmt.Sprintf(`"out_request_no":%q,"out_trade_no":%q,"refund_amount":%q`, number, trade, amount)}, more...)
	return "{" + strings.Join(members, ",") + "}"
}

// faulty is a refund that the local Alipay treats with a fault of its menu.
func faulty(what, fault, id, amount string) step {
	number := "fault-" + fault + "-demo-" + id
	return step{what, refund(number, "trade-"+id, amount), number}
}

// coupon is a coupon refund: of a red packet that nobody took, or of a part.
func coupon(what, number, packet, amount string) step {
	body := fmt.Sprintf(`{"out_request_no":%q,"auth_no":%q,"amount":%q,"out_order_no":%q}`, number, packet, amount, alipaytest.OutTradeNo(packet))
	return step{what, body, number}
}

func faultyCoupon(what, fault, id, amount string) step {
	return coupon(what, "fault-"+fault+"-demo-"+id, "packet-"+id, amount)
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
