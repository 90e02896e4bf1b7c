package notifyhttp_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	"go.uber.org/goleak"

	"refundd/alipay"
	"refundd/notifyhttp"
	"refundd/producer"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	appID    = "2021000000000001"
	sellerID = "2088000000000001"
)

func readKey[T any](tb testing.TB, name string, parse func([]byte) (T, error)) T {
	tb.Helper()
	file, err := os.ReadFile("testdata/keys/" + name)
	if err != nil {
		tb.Fatal(err)
	}
	key, err := parse(file)
	if err != nil {
		tb.Fatal(err)
	}
	return key
}

func alipayKey(tb testing.TB) *rsa.PrivateKey {
	tb.Helper()
	return readKey(tb, "alipay_private_pkcs8.pem", alipay.ParsePrivateKey)
}

func strangerKey(tb testing.TB) *rsa.PrivateKey {
	tb.Helper()
	return readKey(tb, "stranger_private_pkcs8.pem", alipay.ParsePrivateKey)
}

func verifierOf(tb testing.TB, keys ...*rsa.PrivateKey) *alipay.Verifier {
	tb.Helper()
	var public []*rsa.PublicKey
	for _, k := range keys {
		public = append(public, &k.PublicKey)
	}
	v, err := alipay.NewVerifier(alipay.VerifierConfig{Keys: public, AppID: appID})
	if err != nil {
		tb.Fatal(err)
	}
	return v
}

// book is a broker that keeps everything, unless refuse says otherwise.
type book struct {
	refuse func(ctx context.Context) error

	mu     sync.Mutex
	events []producer.Encoded
}

func (b *book) Publish(ctx context.Context, e producer.Encoded) error {
	if b.refuse != nil {
		if err := b.refuse(ctx); err != nil {
			return err
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.events = append(b.events, e)
	return nil
}

func (b *book) told() []producer.Encoded {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.events)
}

func (b *book) forget() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.events = nil
}

// tally counts results.
type tally struct {
	mu sync.Mutex
	n  map[notifyhttp.Result]int
}

func (c *tally) add(r notifyhttp.Result) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.n == nil {
		c.n = map[notifyhttp.Result]int{}
	}
	c.n[r]++
}

func (c *tally) got() map[notifyhttp.Result]int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.n)
}

// safeBuffer takes log lines of many goroutines.
type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *safeBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *safeBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func (s *safeBuffer) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.b.Reset()
}

// bench is a receiver on a real socket.
type bench struct {
	url, addr string
	book      *book
	counts    *tally
	logs      *safeBuffer
	client    *http.Client
}

// setup is what a test wants to be different.
type setup struct {
	cfg      notifyhttp.Config
	verifier func() *alipay.Verifier
	events   interface { // the book, if nil
		Publish(ctx context.Context, e producer.Encoded) error
	}
	refuse func(ctx context.Context) error
}

func receiver(tb testing.TB, s setup) (http.Handler, *bench) {
	tb.Helper()
	b := &bench{book: &book{refuse: s.refuse}, counts: &tally{}, logs: &safeBuffer{}}
	if s.cfg.AppID == "" {
		s.cfg.AppID = appID
	}
	if s.verifier == nil {
		v := verifierOf(tb, alipayKey(tb))
		s.verifier = func() *alipay.Verifier { return v }
	}
	if s.events == nil {
		s.events = b.book
	}
	log := logrus.New()
	log.SetOutput(b.logs)
	log.SetLevel(logrus.TraceLevel)
	log.SetFormatter(&logrus.JSONFormatter{})
	return notifyhttp.New(s.cfg, s.verifier, s.events, b.counts.add, log), b
}

func start(tb testing.TB, s setup) *bench {
	tb.Helper()
	h, b := receiver(tb, s)
	server := httptest.NewUnstartedServer(h)
	server.Config = notifyhttp.Server("", h)
	server.Start()
	transport := &http.Transport{MaxIdleConnsPerHost: 32}
	tb.Cleanup(func() {
		transport.CloseIdleConnections()
		server.Close()
	})
	b.client = &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	b.url, b.addr = server.URL+notifyhttp.Path, server.Listener.Addr().String()
	return b
}

// answer is all of an answer that matters.
type answer struct {
	status int
	body   string
	header http.Header
}

func (b *bench) do(ctx context.Context, method, address string, body io.Reader) (answer, error) {
	req, err := http.NewRequestWithContext(ctx, method, address, body)
	if err != nil {
		return answer{}, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")
	resp, err := b.client.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, string(text), resp.Header}, err
}

// post may be called by any goroutine of a test.
func (b *bench) post(tb testing.TB, body string) answer {
	tb.Helper()
	a, err := b.do(tb.Context(), http.MethodPost, b.url, strings.NewReader(body))
	if err != nil {
		tb.Error(err)
	}
	return a
}

// want checks an answer against what the contract says of the result.
func (b *bench) want(tb testing.TB, got answer, status int, result notifyhttp.Result) {
	tb.Helper()
	word := "fail"
	if status == http.StatusOK {
		word = "success"
	}
	if got.status != status || got.body != word || got.header.Get("Content-Type") != "text/plain" {
		tb.Errorf("answer %d %q (%s), want %d %s", got.status, got.body, got.header.Get("Content-Type"), status, word)
	}
	if n := b.counts.got()[result]; result != "" && n == 0 {
		tb.Errorf("%s is not counted: %v", result, b.counts.got())
	}
}

// form is a notification of a partial refund, as Alipay posts it, with these members changed; those that are "-" are not there.
func form(tb testing.TB, key *rsa.PrivateKey, pairs ...string) string {
	tb.Helper()
	return signed(tb, key, values(pairs, map[string]string{
		"notify_id": "N1", "notify_time": "2026-01-02 03:04:06", "notify_type": "trade_status_sync", "app_id": appID,
		"seller_id": sellerID, "trade_no": "A1", "out_trade_no": "T1", "out_biz_no": "R1", "trade_status": "TRADE_SUCCESS",
		"total_amount": "10.00", "refund_fee": "3.00", "gmt_refund": "2026-01-02 03:04:05.678",
		"buyer_id": "2088000000000002", "passback_params": "",
	}))
}

// coupon is a notification of a red packet's refund.
func coupon(tb testing.TB, key *rsa.PrivateKey, pairs ...string) string {
	tb.Helper()
	return signed(tb, key, values(pairs, map[string]string{
		"notify_id": "N2", "notify_time": "2026-01-02 03:04:06", "notify_type": "fund_stdtrustee_refund.success",
		"auth_no": "AU1", "out_order_no": "O1", "operation_id": "OP1", "out_request_no": "R2", "operation_type": "REFUND",
		"amount": "1.50", "status": "SUCCESS", "gmt_trans": "2026-01-02 03:04:05", "payer_logon_id": "null", "payer_user_id": "2088000000000002",
	}))
}

// deposit is a message of the app gateway about a deposit back.
func deposit(tb testing.TB, key *rsa.PrivateKey, content string, pairs ...string) string {
	tb.Helper()
	return signed(tb, key, values(pairs, map[string]string{
		"notify_id": "N3", "utc_timestamp": "1767294245678", "msg_method": "alipay.trade.refund.depositback.completed",
		"app_id": appID, "version": "1.1", "biz_content": content,
	}))
}

func values(pairs []string, base map[string]string) url.Values {
	v := url.Values{"sign_type": {"RSA2"}, "charset": {"utf-8"}}
	for name, value := range base {
		v.Set(name, value)
	}
	for i := 0; i < len(pairs); i += 2 {
		v.Set(pairs[i], pairs[i+1])
		if pairs[i+1] == "-" {
			v.Del(pairs[i])
		}
	}
	return v
}

// signed adds Alipay's signature (V1, empty values skipped), by code of its own.
func signed(tb testing.TB, key *rsa.PrivateKey, v url.Values) string {
	tb.Helper()
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(v)) {
		if value := v.Get(name); value != "" && name != "sign" && name != "sign_type" {
			parts = append(parts, name+"="+value)
		}
	}
	sum := sha256.Sum256([]byte(strings.Join(parts, "&")))
	sig, err := rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, sum[:])
	if err != nil {
		tb.Fatal(err)
	}
	v.Set("sign", base64.StdEncoding.EncodeToString(sig))
	return v.Encode()
}

// sameJSON compares without regard to the order of members.
func sameJSON(tb testing.TB, got, want string) {
	tb.Helper()
	var g, w any
	if err := json.Unmarshal([]byte(got), &g); err != nil {
		tb.Fatal(err)
	}
	if err := json.Unmarshal([]byte(want), &w); err != nil {
		tb.Fatal(err)
	}
	gotText, errG := json.Marshal(g)
	wantText, errW := json.Marshal(w)
	if errG != nil || errW != nil || !bytes.Equal(gotText, wantText) {
		tb.Errorf("event\n%s\nwant\n%s", gotText, wantText)
	}
}

// waitFor polls until ok, and gives up after ten seconds.
func waitFor(tb testing.TB, what string, ok func() bool) {
	tb.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(10 * time.Second); !ok(); <-tick.C {
		if time.Now().After(deadline) {
			tb.Fatalf("waited in vain for %s", what)
		}
	}
}
