package consumer

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"refundd/alipay"
	"refundd/alipay/alipaytest"
	"refundd/producer"
)

// printed is an answer as Alipay's documents print it, and the command that it proves.
type printed struct {
	Over    string // v2 or v3
	Proves  string // response or query: which of the two answers it is
	Command json.RawMessage
	Answer  json.RawMessage
}

// TestWhatAlipayPrints: an answer of Alipay's documents becomes an event, and each
// member of it is in the event, or left out for a reason that stands here.
func TestWhatAlipayPrints(t *testing.T) {
	told := map[string]string{
		"code": "alipay_code", "trade_no": "trade_no", "out_trade_no": "out_trade_no", "out_request_no": "out_request_no",
		"refund_amount": "amount", "refund_fee": "total_refunded", "gmt_refund_pay": "refunded_at",
	}
	left := map[string]string{
		"msg":            "code says it",
		"fund_change":    "the outcome says it",
		"refund_status":  "the outcome says it",
		"total_amount":   "of the payment, not of the refund",
		"buyer_logon_id": "a person", "buyer_user_id": "a person",
		"refund_royaltys[0].trans_out": "an account", "refund_royaltys[0].trans_out_email": "an account",
		"refund_royaltys[0].trans_in": "an account", "refund_royaltys[0].trans_in_email": "an account",
	}
	used := map[string]bool{}
	files, err := filepath.Glob("testdata/answers/*.json")
	check(t, err)
	if len(files) != 7 {
		t.Fatalf("%d answers", len(files))
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			text, err := os.ReadFile(filepath.Clean(file))
			check(t, err)
			var p printed
			check(t, json.Unmarshal(text, &p))
			event := p.event(t)
			if got := event["data.confirmed_by"]; got != p.Proves {
				t.Errorf("confirmed by %s", got)
			}
			for path, value := range leaves(t, p.Answer) {
				if left[path] != "" {
					used[path] = true
					continue
				}
				at, ok := told[path]
				if !ok {
					at = "funds." + path
				}
				if got := event["data."+at]; got != value && got != value+".00" && got != value+"0" && got != strings.Replace(value, " ", "T", 1)+"+08:00" {
					t.Errorf("%s is %s, and in the event, as %s, %q", path, value, at, got)
				}
			}
			for path, value := range event {
				if strings.Contains(value, "2088") || strings.Contains(value, "@") {
					t.Errorf("%s tells %s", path, value)
				}
			}
		})
	}
	if len(used) != len(left) {
		t.Errorf("of what is left out only %v was there", used)
	}
}

// event is what is published of the answer, by paths.
func (p printed) event(t *testing.T) map[string]string {
	t.Helper()
	b := newBench(t, nil)
	b.answers(p.Over, func(query bool, _ string) []byte {
		if query != (p.Proves == "query") {
			return nil
		}
		return p.Answer
	})
	b.handle(b.command(string(p.Command)))
	b.settleAll()
	messages := b.broker.Messages(eventTopic)
	if len(messages) != 1 {
		t.Fatalf("%d events; log:\n%s", len(messages), b.log)
	}
	b.handle(b.command(string(p.Command)))
	if messages = b.broker.Messages(eventTopic); len(messages) != 2 || !bytes.Equal(messages[0].Body, messages[1].Body) {
		t.Errorf("the repeat differs: %d events", len(messages))
	}
	return leaves(t, messages[0].Body)
}

// leaves are the values of a JSON object by their paths, as they are written.
func leaves(t *testing.T, text []byte) map[string]string {
	t.Helper()
	all := map[string]string{}
	var walk func(path string, value any)
	walk = func(path string, value any) {
		switch v := value.(type) {
		case map[string]any:
			for name, below := range v {
				walk(strings.TrimPrefix(path+"."+name, "."), below)
			}
		case []any:
			for i, below := range v {
				walk(fmt.Sprintf("%s[%d]", path, i), below)
			}
		default:
			all[path] = fmt.Sprint(v)
		}
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var whole any
	check(t, d.Decode(&whole))
	walk("", whole)
	return all
}

// answers puts an Alipay in place that gives what answer says, signed: nothing is a
// bad gateway. It tells what was asked.
func (b *bench) answers(over string, answer func(query bool, asked string) []byte) {
	b.t.Helper()
	keys, err := sharedKeys()
	check(b.t, err)
	sign := func(text string) string {
		sum := sha256.Sum256([]byte(text))
		signature, err := rsa.SignPKCS1v15(rand.Reader, keys.AlipayPrivate, crypto.SHA256, sum[:])
		if err != nil {
			panic(err)
		}
		return base64.StdEncoding.EncodeToString(signature)
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked, _ := io.ReadAll(r.Body)
		method := r.URL.Query().Get("method") + r.URL.Path
		body := answer(strings.Contains(method, "query"), string(asked))
		switch {
		case body == nil:
			w.WriteHeader(http.StatusBadGateway)
			return
		case over == "v3":
			w.Header().Set("alipay-timestamp", "1")
			w.Header().Set("alipay-nonce", "n")
			w.Header().Set("alipay-signature", sign("1\nn\n"+string(body)+"\n"))
		default:
			root := strings.ReplaceAll(r.URL.Query().Get("method"), ".", "_") + "_response"
			body = fmt.Appendf(nil, `{%q:%s,"sign":%q}`, root, body, sign(string(body)))
		}
		_, _ = w.Write(body)
	}))
	b.t.Cleanup(server.Close)
	b.reach(func(c *alipay.Config, _ *alipaytest.Keys, _ string) {
		if c.Gateway = server.URL; over == "v3" {
			c.V3URL = server.URL
		}
	})
}

// TestFundsThatCannotBeRead: what is malformed or too much is left out, said and
// counted, and the refund has succeeded all the same, without a query.
func TestFundsThatCannotBeRead(t *testing.T) {
	for name, row := range map[string]struct {
		members string
		left    string // what the log names; nothing if all is there
		want    string // of the event
	}{
		"malformed": {
			`"send_back_fee":"-3","refund_detail_item_list":[{"fund_channel":"ALIPAYACCOUNT","amount":"3"}]`, "send_back_fee",
			`"funds":{"refund_detail_item_list":[{"fund_channel":"ALIPAYACCOUNT","amount":"3.00"}]},"funds_cut":true`,
		},
		"an inner one": {
			`"refund_detail_item_list":[{"fund_channel":["x"],"amount":"3"}]`, "refund_detail_item_list",
			`"funds":{"refund_detail_item_list":[{"amount":"3.00"}]},"funds_cut":true`,
		},
		"twice": {`"has_deposit_back":"true","has_deposit_back":"false"`, "has_deposit_back", `"calls":1,"funds_cut":true`},
		"no amount of an event": {
			`"send_back_fee":"1000000000.00","refund_hyb_amount":0`, "send_back_fee",
			`"funds":{"refund_hyb_amount":"0.00"},"funds_cut":true`,
		},
		"no time": {
			`"deposit_back_info_list":[{"dback_status":"S","bank_ack_time":"soon"}],"refund_settlement_id":"S1"`, "",
			`"funds":{"refund_settlement_id":"S1","deposit_back_info_list":[{"dback_status":"S"}]},"funds_cut":true`,
		},
		"a long text":         {`"refund_settlement_id":"` + strings.Repeat("1", 1001) + `"`, "refund_settlement_id", `"calls":1,"funds_cut":true`},
		"the old whole yuan":  {`"send_back_fee":"3"`, "", `"funds":{"send_back_fee":"3.00"}`},
		"nothing":             {`"store_name":["x"],"send_back_fee":null,"refund_hyb_amount":"","refund_detail_item_list":[]`, "", `"calls":1}}`},
		"more than a hundred": {`"refund_detail_item_list":[` + strings.Repeat(`{},`, 100) + `{}]`, "refund_detail_item_list", `{},{}]},"funds_cut":true`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, nil)
			b.answers("v2", func(bool, string) []byte {
				return []byte(`{"code":"10000","fund_change":"Y","out_trade_no":"T1",` + row.members + `}`)
			})
			b.handle(b.command(refundBody("R1", "T1", "3.00")))
			body, err := b.onlyEvent("R1").Encode()
			check(t, err)
			if !bytes.Contains(body.Body, []byte(row.want)) {
				t.Errorf("event %s\nwant %s", body.Body, row.want)
			}
			cut := strings.Contains(row.want, "funds_cut")
			if b.metrics.fundsCut != map[bool]int{true: 1}[cut] || strings.Contains(b.log.String(), "left_out") != cut || !strings.Contains(b.log.String(), row.left) {
				t.Errorf("counted %d; log:\n%s", b.metrics.fundsCut, b.log)
			}
		})
	}
}

// TestFundsHoldNobody: whom the money came from and went to stays out of event,
// record and log.
func TestFundsHoldNobody(t *testing.T) {
	const people = `"buyer_logon_id":"CANARY1","buyer_user_id":"CANARY2","buyer_open_id":"CANARY3","store_name":"CANARY4",
		"enterprise_pay_info":{"biz_info":"CANARY5","is_use_enterprise_pay":"true"},"industry_sepc_detail":"CANARY6","refund_reason":"CANARY7",
		"refund_royaltys":[{"refund_amount":"1","trans_out":"CANARY8","trans_out_email":"CANARY9","trans_in":"CANARY10","trans_in_email":["CANARY11"],
			"ori_trans_out":"CANARY12","ori_trans_in":"CANARY13","CANARY14":"CANARY15"}],"CANARY16":"CANARY17",
		"refund_detail_item_list":[{"fund_channel":"BANKCARD","CANARY18":"CANARY19","amount":"CANARY20"}]`
	for proves, answer := range map[string]string{
		"response": `{"code":"10000","fund_change":"Y","out_trade_no":"T1",` + people + `}`,
		"query":    `{"code":"10000","out_trade_no":"T1","out_request_no":"R1","refund_amount":"3","refund_status":"REFUND_SUCCESS",` + people + `}`,
	} {
		t.Run(proves, func(t *testing.T) {
			b := newBench(t, nil)
			b.answers("v2", func(query bool, _ string) []byte {
				if query != (proves == "query") {
					return nil
				}
				return []byte(answer)
			})
			b.handle(b.command(refundBody("R1", "T1", "3.00")))
			b.settleAll()
			e, err := b.onlyEvent("R1").Encode()
			check(t, err)
			if !bytes.Contains(e.Body, []byte(`"funds":{"refund_detail_item_list":[{"fund_channel":"BANKCARD"}],"refund_royaltys":[{"refund_amount":"1.00"}]},"funds_cut":true`)) {
				t.Errorf("%s", e.Body)
			}
			for where, text := range map[string]string{"event": string(e.Body), "log": b.log.String(), "record": b.redis.Dump()} {
				if strings.Contains(text, "CANARY") {
					t.Errorf("the %s has %s", where, text)
				}
			}
		})
	}
}

// answered gives one answer to every call and one to every query.
type answered struct {
	gateway
	refund alipay.RefundResponse
	query  alipay.RefundQueryResponse
}

func (a answered) Refund(context.Context, *alipay.RefundRequest) (*alipay.RefundResponse, error) {
	return &a.refund, nil
}

func (a answered) QueryRefund(context.Context, *alipay.RefundQueryRequest) (*alipay.RefundQueryResponse, error) {
	return &a.query, nil
}

// TestFundsOfProofsOnly: what an answer tells that proves nothing is not kept.
func TestFundsOfProofsOnly(t *testing.T) {
	amount := alipay.Amount(300)
	funds := alipay.Funds{SendBackFee: &amount}
	cmd := Command{Kind: KindRefund, OutRequestNo: "R1", OutTradeNo: "T1", Amount: amount}
	for change, want := range map[string]bool{"Y": true, "N": false, "": false} {
		g := answered{refund: alipay.RefundResponse{Code: "10000", FundChange: change, Funds: funds}}
		if a := operationFor(g, cmd, "", Additions{}).call(t.Context()); (a.Facts.Funds != nil) != want {
			t.Errorf("fund_change %q: %+v", change, a.Facts)
		}
	}
	for status, want := range map[string]bool{"REFUND_SUCCESS": true, "": true, "REFUND_PROCESSING": false} {
		g := answered{query: alipay.RefundQueryResponse{Code: "10000", OutRequestNo: "R1", RefundAmount: &amount, RefundStatus: status, Funds: funds}}
		if q := operationFor(g, cmd, "", Additions{}).query(t.Context(), note{}); (q.Facts.Funds != nil) != want {
			t.Errorf("refund_status %q: %+v", status, q.Facts)
		}
	}
}

// TestQueryOptions: what the command asks for, else what configuration says, goes
// with the call and the query that know it.
func TestQueryOptions(t *testing.T) {
	for _, row := range []struct {
		name        string
		command     []string
		configured  []string
		call, query string
	}{
		{"the command's", []string{"refund_voucher_detail_list"}, []string{"deposit_back_info"}, "refund_voucher_detail_list", "gmt_refund_pay refund_voucher_detail_list"},
		{"the command's, twice", []string{"deposit_back_info", "deposit_back_info"}, nil, "deposit_back_info deposit_back_info", "gmt_refund_pay deposit_back_info"},
		{"configured", nil, []string{"refund_detail_item_list", "deposit_back_info_list"}, "refund_detail_item_list", "gmt_refund_pay refund_detail_item_list deposit_back_info_list"},
		{"what is asked anyway", nil, []string{"gmt_refund_pay"}, "", "gmt_refund_pay"},
		{"off", nil, nil, "", "gmt_refund_pay"},
	} {
		var g asked
		cmd := Command{Kind: KindRefund, OutRequestNo: "R1", OutTradeNo: "T1", Amount: 300, Refund: alipay.RefundRequest{QueryOptions: row.command}}
		before := cmd.Fingerprint()
		op := operationFor(&g, cmd, "", Additions{QueryOptions: row.configured})
		op.call(t.Context())
		op.query(t.Context(), note{})
		if got := strings.Join(g.refund.QueryOptions, " "); got != row.call {
			t.Errorf("%s: called with %q", row.name, got)
		}
		if got := strings.Join(g.query.QueryOptions, " "); got != row.query {
			t.Errorf("%s: asked with %q", row.name, got)
		}
		if cmd.Fingerprint() != before || !slices.Equal(cmd.Refund.QueryOptions, row.command) {
			t.Errorf("%s: the command has changed", row.name)
		}
	}
}

// TestSharesTakenBack: a royalty names its entry of the command only where nothing
// else could be meant.
func TestSharesTakenBack(t *testing.T) {
	amount := func(fen alipay.Amount) *alipay.Amount { return &fen }
	for _, row := range []struct {
		name      string
		royalties []alipay.RefundRoyalty
		shares    []alipay.RoyaltyParameter
		want      string // the entry of each royalty
	}{
		{"by both accounts", []alipay.RefundRoyalty{{TransOut: "1", TransIn: "2"}}, []alipay.RoyaltyParameter{{TransOut: "1", TransIn: "2"}}, "0"},
		{"by a log-on name", []alipay.RefundRoyalty{{TransOut: "1", TransOutEmail: "a@b"}}, []alipay.RoyaltyParameter{{TransOut: "c@d"}, {TransOut: "a@b"}}, "1"},
		{"another order", []alipay.RefundRoyalty{{TransOut: "2"}, {TransOut: "1"}}, []alipay.RoyaltyParameter{{TransOut: "1"}, {TransOut: "2"}}, "1 0"},
		{"another account", []alipay.RefundRoyalty{{TransOut: "1", TransIn: "3"}}, []alipay.RoyaltyParameter{{TransOut: "1", TransIn: "2"}}, "-"},
		{"no account", []alipay.RefundRoyalty{{RefundAmount: amount(1)}}, []alipay.RoyaltyParameter{{Amount: 1}}, "-"},
		{"one account, told apart by amount", []alipay.RefundRoyalty{{TransOut: "1", RefundAmount: amount(2)}}, []alipay.RoyaltyParameter{{TransOut: "1", Amount: 1}, {TransOut: "1", Amount: 2}}, "1"},
		{"two entries fit", []alipay.RefundRoyalty{{TransOut: "1"}}, []alipay.RoyaltyParameter{{TransOut: "1"}, {TransOut: "1"}}, "-"},
		{"two royalties fit", []alipay.RefundRoyalty{{TransOut: "1"}, {TransOut: "1"}}, []alipay.RoyaltyParameter{{TransOut: "1"}}, "- -"},
	} {
		f, _ := fundsOf(alipay.Funds{RefundRoyaltys: row.royalties}, row.shares)
		var got []string
		for _, royalty := range f.RefundRoyaltys {
			if royalty.Parameter == nil {
				got = append(got, "-")
				continue
			}
			got = append(got, fmt.Sprint(*royalty.Parameter))
		}
		if strings.Join(got, " ") != row.want {
			t.Errorf("%s: %v, want %s", row.name, got, row.want)
		}
	}
}

// TestWhoseRefund: one key in all events of a refund, and the seller and the payer
// where they are known.
func TestWhoseRefund(t *testing.T) {
	b := newBench(t, func(c *Config) {
		c.SellerID = "2088000000000001"
		c.Merchant = func(string) (Merchant, bool) { return Merchant{AppAuthToken: "t", SellerID: "2088000000000002"}, true }
	})
	body := func(number, more string) string {
		return fmt.Sprintf(`{"out_request_no":%q,"out_trade_no":"T%s","refund_amount":"3",%s"metadata":null}`, number, number, more)
	}
	keys := map[string]bool{}
	for number, row := range map[string]struct {
		more    string
		outcome producer.Outcome
		seller  string
		other   bool
	}{
		"R1":                              {``, producer.Succeeded, "2088000000000001", false},
		"R2":                              {`"merchant":"m","refund_trans_out":"a@b",`, producer.Succeeded, "2088000000000002", true},
		"R3":                              {`"refund_advance_account":"a@b",`, producer.Succeeded, "2088000000000001", true},
		"fault-refused-TRADE_HAS_CLOSE-1": {`"refund_trans_out":"a@b",`, producer.Failed, "2088000000000001", false},
		"fault-frozen-1":                  {`"merchant":"m",`, producer.Unresolved, "2088000000000002", false},
	} {
		b.handle(b.command(body(number, row.more)))
		b.settleAll()
		e := b.onlyEvent(number)
		if e.Outcome != row.outcome || e.SellerID != row.seller || e.PaidByOther != row.other {
			t.Errorf("%s: %+v", number, e)
		}
		keys[e.RefundKey] = true
	}
	if len(keys) != 5 || keys[""] {
		t.Errorf("keys %v", keys)
	}
}

// TestCurrency: the answer's, else the command's, else CNY.
func TestCurrency(t *testing.T) {
	for name, row := range map[string][3]string{ // answer, command, event
		"the answer's":   {`"HKD"`, `"USD"`, "HKD"},
		"no currency":    {`"hk"`, `"USD"`, "USD"},
		"the command's":  {`null`, `"USD"`, "USD"},
		"nobody said so": {`""`, `null`, "CNY"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, nil)
			b.answers("v2", func(bool, string) []byte {
				return []byte(`{"code":"10000","fund_change":"Y","out_trade_no":"T1","refund_currency":` + row[0] + `}`)
			})
			b.handle(b.command(`{"out_request_no":"R1","out_trade_no":"T1","refund_amount":"3","refund_currency":` + row[1] + `}`))
			if e := b.onlyEvent("R1"); e.Currency != row[2] {
				t.Errorf("%s, want %s", e.Currency, row[2])
			}
		})
	}
}
