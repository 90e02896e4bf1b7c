package consumer

import (
	"strings"
	"testing"

	"refundd/alipay"
	"refundd/alipay/alipaytest"
	"refundd/producer"
)

// TestAlipayCodeIsTheAnswers: v2 has a code and a sub_code; V3 has one code, which
// is alipay_sub_code, and no alipay_code.
func TestAlipayCodeIsTheAnswers(t *testing.T) {
	t.Run("v2", func(t *testing.T) { testAlipayCode(t, false) })
	t.Run("v3", func(t *testing.T) { testAlipayCode(t, true) })
}

func testAlipayCode(t *testing.T, v3 bool) {
	t.Helper()
	b := newBench(t, nil)
	if v3 {
		b.reach(func(c *alipay.Config, _ *alipaytest.Keys, url string) { c.V3URL = url })
	}
	b.handle(b.command(refundBody("R1", "T1", "5.00")))
	b.handle(b.command(refundBody("fault-answer-lost-after-1", "T2", "5.00")))
	b.handle(b.command(refundBody("fault-refused-TRADE_STATUS_ERROR-1", "T3", "5.00")))
	for number, want := range map[string]struct {
		outcome       producer.Outcome
		code, subCode string
	}{
		"R1":                                 {producer.Succeeded, "10000", ""},
		"fault-answer-lost-after-1":          {producer.Succeeded, "10000", ""},
		"fault-refused-TRADE_STATUS_ERROR-1": {producer.Failed, "40004", "ACQ.TRADE_STATUS_ERROR"},
	} {
		if v3 {
			want.code = ""
		}
		e := b.onlyEvent(number)
		if e.Outcome != want.outcome || e.AlipayCode != want.code || e.AlipaySubCode != want.subCode {
			t.Errorf("%s: %s with code %q, sub_code %q", number, e.Outcome, e.AlipayCode, e.AlipaySubCode)
		}
		encoded, err := e.Encode()
		check(t, err)
		if strings.Contains(string(encoded.Body), `"alipay_code"`) == v3 {
			t.Errorf("%s: %s", number, encoded.Body)
		}
	}
}
