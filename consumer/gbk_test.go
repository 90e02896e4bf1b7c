package consumer

import (
	"crypto/rsa"
	"strings"
	"testing"

	"refundd/alipay"
	"refundd/alipay/alipaytest"
	"refundd/producer"
)

// TestAnswersInGBK: what Alipay proves in GBK is as good as what it proves in
// UTF-8, at once and without a person, over v2 and V3 and encrypted.
func TestAnswersInGBK(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(c *alipay.Config, keys *alipaytest.Keys, url string)
		v3     bool
	}{
		{"v2", func(*alipay.Config, *alipaytest.Keys, string) {}, false},
		{"v2 encrypted", func(c *alipay.Config, keys *alipaytest.Keys, _ string) { c.EncryptKey = keys.AES }, false},
		{"v3", func(c *alipay.Config, _ *alipaytest.Keys, url string) { c.V3URL = url }, true},
		{"v3 encrypted", func(c *alipay.Config, keys *alipaytest.Keys, url string) { c.V3URL, c.EncryptKey = url, keys.AES }, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, nil)
			b.reach(tt.change)

			b.handle(b.command(refundBody("fault-refused-gbk-1", "T1", "5.00")))
			if e := b.onlyEvent("fault-refused-gbk-1"); e.Outcome != producer.Failed || e.Reason != producer.ReasonRefused ||
				e.AlipaySubCode != "ACQ.TRADE_STATUS_ERROR" || !strings.HasSuffix(e.AlipaySubMsg, "貨物已起運") {
				t.Errorf("refused in GBK: %+v", e)
			}
			b.handle(b.command(refundBody("fault-success-gbk-1", "T2", "5.00")))
			if e := b.onlyEvent("fault-success-gbk-1"); e.Outcome != producer.Succeeded || e.ConfirmedBy != producer.ByResponse {
				t.Errorf("carried out, told in GBK: %+v", e)
			}
			check(t, b.alipay.SetFaults(map[string]float64{"answer-lost-after": 1, "query-gbk": 1}))
			b.handle(b.command(refundBody("R1", "T3", "5.00")))
			if e := b.onlyEvent("R1"); e.Outcome != producer.Succeeded || e.ConfirmedBy != producer.ByQuery || b.moved("R1") != 1 {
				t.Errorf("found, told in GBK: %+v", e)
			}
			if n := len(b.parked()); n != 0 {
				t.Errorf("%d messages are with a person", n)
			}
		})
	}
}

// reach asks the same Alipay with another configuration.
func (b *bench) reach(change func(c *alipay.Config, keys *alipaytest.Keys, url string)) {
	b.t.Helper()
	keys, err := sharedKeys()
	check(b.t, err)
	cfg := alipay.Config{
		Gateway: b.url + "/gateway.do", AppID: testApp, Signer: keys.AppPrivate,
		AlipayKeys: []*rsa.PublicKey{keys.AlipayPublic}, Timeout: b.cfg.AlipayTimeout,
	}
	change(&cfg, keys, b.url)
	b.client, err = alipay.New(cfg)
	check(b.t, err)
	b.t.Cleanup(b.client.CloseIdleConnections)
	b.reopen()
}
