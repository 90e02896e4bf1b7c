package alipaytest_test

import (
	"context"
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"sort"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"go.uber.org/goleak"
	"golang.org/x/text/encoding/simplifiedchinese"

	"refundd/alipay/alipaytest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	refundMethod = "alipay.trade.refund"
	queryMethod  = "alipay.trade.fastpay.refund.query"

	couponMethod    = "alipay.fund.coupon.order.refund"
	operationMethod = "alipay.fund.coupon.operation.query"

	appID = "2021000000000001"
)

// bench is a running simulator and a client that signs by its own code.
type bench struct {
	sim  *alipaytest.Server
	keys *alipaytest.Keys
	base string
	http *http.Client
	now  func() time.Time

	serial int // of nonces
}

func (b *bench) nextNonce() string {
	b.serial++
	return strconv.Itoa(b.serial)
}

func testKeys(t *testing.T) *alipaytest.Keys {
	t.Helper()
	keys, err := alipaytest.LoadOrCreateKeys("testdata/keys")
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

func start(t *testing.T, cfg alipaytest.Config) *bench {
	t.Helper()
	if cfg.Keys == nil {
		cfg.Keys = testKeys(t)
	}
	sim, err := alipaytest.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	base, err := sim.Start("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{MaxIdleConnsPerHost: 16}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		if err := sim.Close(); err != nil {
			t.Error(err)
		}
	})
	now := cfg.Now
	if now == nil {
		now = time.Now
	}
	return &bench{sim: sim, keys: cfg.Keys, base: base, http: &http.Client{Transport: transport}, now: now}
}

// reply is what came back, as a careful client reads it.
type reply struct {
	err     error // transport, or not JSON
	status  int
	raw     string
	signed  string // good, none or bad
	root    string
	code    string
	subCode string
	fields  map[string]any
	header  http.Header

	encrypted string // the node, if it is a string
}

func (r reply) text(name string) string {
	text, _ := r.fields[name].(string)
	return text
}

// params are the public parameters of a call in key mode, without sign.
func (b *bench) params(method, biz string) map[string]string {
	return map[string]string{
		"app_id": appID, "method": method, "format": "JSON", "charset": "utf-8", "sign_type": "RSA2", "version": "1.0",
		"timestamp":   b.now().UTC().Add(8 * time.Hour).Format("2006-01-02 15:04:05"),
		"biz_content": biz,
	}
}

func (b *bench) call(t *testing.T, method, biz string) reply {
	t.Helper()
	return b.send(t.Context(), method, b.signed(t, b.params(method, biz)))
}

func (b *bench) signed(t *testing.T, params map[string]string) map[string]string {
	t.Helper()
	names := make([]string, 0, len(params))
	for name, value := range params {
		if value != "" {
			names = append(names, name)
		}
	}
	sort.Strings(names)
	pairs := make([]string, len(names))
	for i, name := range names {
		pairs[i] = name + "=" + params[name]
	}
	params["sign"] = rsaSign(t, b.keys.AppPrivate, strings.Join(pairs, "&"))
	return params
}

func rsaSign(t *testing.T, key *rsa.PrivateKey, text string) string {
	t.Helper()
	sum := sha256.Sum256([]byte(text))
	raw, err := rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(raw)
}

func rsaVerdict(key *rsa.PublicKey, text, signature string) string {
	if signature == "" {
		return "none"
	}
	raw, err := base64.StdEncoding.DecodeString(signature)
	if err != nil {
		return "bad"
	}
	sum := sha256.Sum256([]byte(text))
	if rsa.VerifyPKCS1v15(key, crypto.SHA256, sum[:], raw) != nil {
		return "bad"
	}
	return "good"
}

func isGBK(resp *http.Response) bool {
	return strings.HasSuffix(resp.Header.Get("Content-Type"), "charset=GBK")
}

// inUTF8 is what an answer says; asSent is the reverse, for a part of it.
func inUTF8(resp *http.Response, raw []byte) []byte {
	if isGBK(resp) && !utf8.Valid(raw) {
		raw, _ = simplifiedchinese.GBK.NewDecoder().Bytes(raw)
	}
	return raw
}

func asSent(resp *http.Response, text []byte) string {
	if isGBK(resp) {
		text, _ = simplifiedchinese.GBK.NewEncoder().Bytes(text)
	}
	return string(text)
}

// send posts params, biz_content and app_auth_token in the body.
func (b *bench) send(ctx context.Context, method string, params map[string]string) reply {
	query, body := url.Values{}, url.Values{}
	for name, value := range params {
		if name == "biz_content" || name == "app_auth_token" {
			body.Set(name, value)
			continue
		}
		query.Set(name, value)
	}
	return b.post(ctx, method, query.Encode(), body.Encode())
}

func (b *bench) post(ctx context.Context, method, query, body string) reply {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, b.base+"/gateway.do?"+query, strings.NewReader(body))
	if err != nil {
		return reply{err: err}
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded;charset=utf-8")
	resp, err := b.http.Do(req)
	if err != nil {
		return reply{err: err}
	}
	defer func() { _ = resp.Body.Close() }()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		return reply{err: err, status: resp.StatusCode}
	}
	r := reply{status: resp.StatusCode, raw: string(raw), header: resp.Header}
	var members map[string]json.RawMessage
	if r.err = json.Unmarshal(inUTF8(resp, raw), &members); r.err != nil {
		return r
	}
	r.root = strings.ReplaceAll(method, ".", "_") + "_response"
	if members[r.root] == nil {
		r.root = "error_response"
	}
	var signature string
	if members["sign"] != nil {
		r.err = json.Unmarshal(members["sign"], &signature)
	}
	r.signed = rsaVerdict(b.keys.AlipayPublic, asSent(resp, members[r.root]), signature)
	if json.Unmarshal(members[r.root], &r.encrypted) == nil {
		return r
	}
	if err := json.Unmarshal(members[r.root], &r.fields); err != nil {
		r.err = err
		return r
	}
	r.code, r.subCode = r.text("code"), r.text("sub_code")
	return r
}

func (b *bench) refund(t *testing.T, trade, number, amount string) reply {
	t.Helper()
	return b.call(t, refundMethod, biz(t, "out_trade_no", trade, "out_request_no", number, "refund_amount", amount))
}

func (b *bench) query(t *testing.T, trade, number string) reply {
	t.Helper()
	return b.call(t, queryMethod, biz(t, "out_trade_no", trade, "out_request_no", number))
}

// biz is a JSON object of strings.
func biz(t *testing.T, pairs ...string) string {
	t.Helper()
	members := map[string]string{}
	for i := 0; i < len(pairs); i += 2 {
		members[pairs[i]] = pairs[i+1]
	}
	raw, err := json.Marshal(members)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// entry is the ledger's line of a refund.
func (b *bench) entry(t *testing.T, number string) alipaytest.Refund {
	t.Helper()
	for _, r := range b.sim.State().Refunds {
		if r.OutRequestNo == number {
			return r
		}
	}
	t.Fatalf("no refund %s in the ledger", number)
	return alipaytest.Refund{}
}

func (r reply) want(t *testing.T, code, subCode, signed string) {
	t.Helper()
	if r.err != nil || r.code != code || r.subCode != subCode || r.signed != signed {
		t.Fatalf("answer = %s %s, signature %s, error %v; want %s %s, %s\n%s",
			r.code, r.subCode, r.signed, r.err, code, subCode, signed, r.raw)
	}
}

// decrypted undoes Alipay's content encryption.
func decrypted(t *testing.T, key []byte, text string) string {
	t.Helper()
	raw, err := base64.StdEncoding.DecodeString(text)
	if err != nil || len(raw) == 0 || len(raw)%aes.BlockSize != 0 {
		t.Fatalf("not encrypted: %q, %v", text, err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		t.Fatal(err)
	}
	cipher.NewCBCDecrypter(block, make([]byte, aes.BlockSize)).CryptBlocks(raw, raw)
	return string(raw[:len(raw)-int(raw[len(raw)-1])])
}

// waitFor polls until ok, and gives up after ten seconds.
func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(10 * time.Second); !ok(); <-tick.C {
		if time.Now().After(deadline) {
			t.Errorf("waited in vain for %s", what)
			return
		}
	}
}

// clock is a time that only moves when it is told to.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func newClock() *clock { return &clock{at: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)} }

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}
