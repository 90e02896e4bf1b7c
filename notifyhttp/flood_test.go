package notifyhttp_test

import (
	"context"
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"refundd/notifyhttp"
	"refundd/producer"
)

// posting is one request of the flood.
type posting struct {
	body    string
	forgery string // its kind; empty for what Alipay really signed
}

// TestFlood: many notifications over real connections, a tenth of them forged in
// every way there is, repeated, in any order, while publishing fails now and
// then. Every genuine one is one distinct event that says what was signed, and no
// forged one is any.
//
// There are 20,000 where the tests run on real parts (REFUNDD_TEST_NAMESERVERS),
// for which signing takes most of the time; 2,000 otherwise.
func TestFlood(t *testing.T) {
	count := 2_000
	if os.Getenv("REFUNDD_TEST_NAMESERVERS") != "" && !testing.Short() {
		count = 20_000
	}
	f := newFlood(t, count)
	var publishes atomic.Uint64
	b := start(t, setup{
		cfg: notifyhttp.Config{SellerID: sellerID},
		refuse: func(context.Context) error {
			if publishes.Add(1)%50 == 0 {
				return producer.ErrUnconfirmed
			}
			return nil
		},
	})
	begin := time.Now()
	work := make(chan posting, len(f.postings))
	for _, p := range f.postings {
		work <- p
	}
	close(work)
	var posting sync.WaitGroup
	for range 8 {
		posting.Go(func() {
			for p := range work {
				f.deliver(t, b, p)
			}
		})
	}
	posting.Wait()
	took := time.Since(begin)

	told := b.book.told()
	got := map[string]string{}
	for _, e := range told {
		content := contentOf(t, e.Body)
		if other, repeated := got[e.ID]; repeated && other != content {
			t.Errorf("event %s says %s and %s", e.ID, other, content)
		}
		got[e.ID] = content
	}
	for id, content := range f.want {
		if got[id] != content {
			t.Errorf("event %s says %q, want %q", id, got[id], content)
		}
	}
	if len(got) != len(f.want) {
		t.Errorf("%d distinct events, want %d", len(got), len(f.want))
	}
	t.Logf("%d notifications, %d of them forged (%d ways), in %d requests: %d events, %d distinct; %.0f requests/s",
		count, f.forged, len(forgeries()), len(f.postings), len(told), len(got), float64(len(f.postings))/took.Seconds())
	f.logShare(t, took)
}

// deliver does as Alipay does: again until it is accepted. A forger would, too,
// but a refusal of what is not genuine is meant for ever.
func (f *flood) deliver(t *testing.T, b *bench, p posting) {
	t.Helper()
	for {
		got := b.post(t, p.body)
		switch {
		case t.Failed(), p.forgery == "" && got.status == http.StatusOK, p.forgery != "" && got.status == http.StatusBadRequest:
			return
		case p.forgery == "" && got.status == http.StatusServiceUnavailable:
		default:
			t.Errorf("answer %d %q to a notification forged by %q", got.status, got.body, p.forgery)
		}
	}
}

// flood is what is posted, and what has to come of it.
type flood struct {
	postings []posting
	forged   int
	want     map[string]string // event id -> content
}

func newFlood(t *testing.T, count int) *flood {
	t.Helper()
	alipay, stranger := alipayKey(t), strangerKey(t)
	ways := forgeries()
	made := make([][]posting, count)
	numbers := make(chan int, count)
	for n := range count {
		numbers <- n
	}
	close(numbers)
	var signing sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		signing.Go(func() {
			for n := range numbers {
				if (n+n/10)%10 == 0 { // one in ten, of all classes
					way := ways[n/10%len(ways)]
					made[n] = []posting{{way.make(t, n, alipay, stranger), way.name}}
					continue
				}
				made[n] = []posting{{body: genuine(t, n, alipay)}}
				if n%6 == 1 { // delivered again: a new time, and so a new signature
					made[n] = append(made[n], posting{body: genuine(t, n, alipay, "notify_time", "2026-01-02 03:08:06")})
				}
			}
		})
	}
	signing.Wait()
	f := &flood{want: map[string]string{}}
	draw := rand.New(rand.NewPCG(uint64(count), 5))
	for n, of := range made {
		f.postings = append(f.postings, of...)
		if draw.IntN(5) == 0 { // the same bytes once more
			f.postings = append(f.postings, of[0])
		}
		if of[0].forgery != "" {
			f.forged++
			continue
		}
		id, content := factOf(n)
		f.want[id] = content
	}
	draw.Shuffle(len(f.postings), func(i, j int) { f.postings[i], f.postings[j] = f.postings[j], f.postings[i] })
	return f
}

// genuine is the nth notification: of a part of a trade, of the rest of it, of a
// red packet, or of what the bank did.
func genuine(t *testing.T, n int, key *rsa.PrivateKey, pairs ...string) string {
	t.Helper()
	id, number, amount := fmt.Sprintf("N%06d", n), fmt.Sprintf("R%06d", n), fmt.Sprintf("%d.%02d", 1+n%900, n%100)
	switch n % 4 {
	case 0:
		return form(t, key, append([]string{"notify_id", id, "out_biz_no", number, "refund_fee", amount}, pairs...)...)
	case 1:
		return form(t, key, append([]string{
			"notify_id", id, "out_biz_no", number, "refund_fee", amount, "trade_status", "TRADE_CLOSED", "gmt_close", "2026-01-02 03:04:05",
		}, pairs...)...)
	case 2:
		return coupon(t, key, append([]string{"notify_id", id, "out_request_no", number, "amount", amount}, pairs...)...)
	}
	content := fmt.Sprintf(`{"trade_no":"A1","out_trade_no":"T1","out_request_no":%q,"dback_status":"F","dback_amount":%q}`, number, amount)
	return deposit(t, key, content, append([]string{"notify_id", id}, pairs...)...)
}

// factOf is the id and the content of the nth notification's event.
func factOf(n int) (id, content string) {
	outcome := []producer.Outcome{producer.Notified, producer.Notified, producer.Notified, producer.DepositBack}[n%4]
	kind := []producer.Kind{producer.KindRefund, producer.KindRefund, producer.KindCouponRefund, producer.KindRefund}[n%4]
	notifyID := fmt.Sprintf("N%06d", n)
	return producer.NotifiedID(appID, notifyID, outcome),
		fmt.Sprintf("%s %s R%06d %s %d.%02d", kind, outcome, n, notifyID, 1+n%900, n%100)
}

// contentOf is what accounting would read: which refund, and its money.
func contentOf(t *testing.T, body []byte) string {
	t.Helper()
	e, err := producer.DecodeEvent(body)
	if err != nil {
		t.Fatal(err)
	}
	fen := e.AmountFen + e.TotalRefundedFen + e.DbackAmountFen // one of them is told
	return fmt.Sprintf("%s %s %s %s %d.%02d", e.Kind, e.Outcome, e.OutRequestNo, e.NotifyID, fen/100, fen%100)
}

// forgery is one way to make a notification that Alipay did not send us.
type forgery struct {
	name string
	make func(t *testing.T, n int, alipay, stranger *rsa.PrivateKey) string
}

// changed is a genuine notification with its form changed after it was signed.
func changed(change func(v url.Values)) func(*testing.T, int, *rsa.PrivateKey, *rsa.PrivateKey) string {
	return func(t *testing.T, n int, key, _ *rsa.PrivateKey) string {
		t.Helper()
		v, err := url.ParseQuery(genuine(t, n, key))
		if err != nil {
			t.Error(err)
		}
		change(v)
		return v.Encode()
	}
}

// altered is another text of the same length: its middle character is changed.
func altered(s string) string {
	i := len(s) / 2
	c := byte('A')
	if s[i] == c {
		c = 'B'
	}
	return s[:i] + string(c) + s[i+1:]
}

func forgeries() []forgery {
	return []forgery{
		{"another key", func(t *testing.T, n int, _, stranger *rsa.PrivateKey) string {
			t.Helper()
			return genuine(t, n, stranger)
		}},
		{"another app", func(t *testing.T, n int, key, _ *rsa.PrivateKey) string {
			t.Helper()
			return genuine(t, 4*n, key, "notify_id", fmt.Sprintf("N%06d", n), "app_id", "2021000000000002")
		}},
		{"another seller", func(t *testing.T, n int, key, _ *rsa.PrivateKey) string {
			t.Helper()
			return genuine(t, 4*n, key, "notify_id", fmt.Sprintf("N%06d", n), "seller_id", "2088000000000009")
		}},
		{"unsigned", changed(func(v url.Values) { v.Del("sign") })},
		{"an empty signature", changed(func(v url.Values) { v.Set("sign", "") })},
		{"a flipped byte of a value", changed(func(v url.Values) {
			for _, name := range []string{"out_biz_no", "out_request_no", "biz_content"} {
				if v.Has(name) {
					v.Set(name, altered(v.Get(name)))
					return
				}
			}
		})},
		{"a flipped byte of the signature", changed(func(v url.Values) { v.Set("sign", altered(v.Get("sign"))) })},
		{"replayed with another notify_id", changed(func(v url.Values) { v.Set("notify_id", v.Get("notify_id")+"-again") })},
		{"a parameter more", changed(func(v url.Values) { v.Set("send_back_fee", "100.00") })},
		{"a parameter less", changed(func(v url.Values) { v.Del("charset") })},
		{"a parameter twice", changed(func(v url.Values) { v.Add("notify_id", v.Get("notify_id")) })},
		{"another notification's signature", func(t *testing.T, n int, key, _ *rsa.PrivateKey) string {
			t.Helper()
			v, err := url.ParseQuery(genuine(t, n, key))
			if err != nil {
				t.Error(err)
			}
			other, err := url.ParseQuery(genuine(t, n+4, key))
			if err != nil {
				t.Error(err)
			}
			v.Set("sign", other.Get("sign"))
			return v.Encode()
		}},
		{"cut short", func(t *testing.T, n int, key, _ *rsa.PrivateKey) string {
			t.Helper()
			body := genuine(t, n, key)
			return body[:strings.LastIndex(body, "&")]
		}},
	}
}

// logShare tells the rate of the whole way and of the verification alone as
// shares of what bare RSA allows on this machine. The verification's share is
// measured in short turns on one core, so that both see the same machine; the
// whole way's time has the client's in it, and all cores.
func (f *flood) logShare(t *testing.T, took time.Duration) {
	t.Helper()
	key := alipayKey(t)
	v := verifierOf(t, key)
	sum := sha256.Sum256([]byte("some text"))
	signature, err := rsa.SignPKCS1v15(nil, key, crypto.SHA256, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	var bare, whole time.Duration
	const turns, each = 20, 50
	genuine := make([]string, 0, each)
	for _, p := range f.postings {
		if p.forgery == "" && len(genuine) < each {
			genuine = append(genuine, p.body)
		}
	}
	for range turns {
		begin := time.Now()
		for range each {
			if err := rsa.VerifyPKCS1v15(&key.PublicKey, crypto.SHA256, sum[:], signature); err != nil {
				t.Fatal(err)
			}
		}
		bare += time.Since(begin)
		begin = time.Now()
		for _, body := range genuine {
			if _, err := v.ParseNotification([]byte(body)); err != nil {
				t.Fatal(err)
			}
		}
		whole += time.Since(begin)
	}
	rate := func(n int, d time.Duration) float64 { return float64(n) / d.Seconds() }
	cores := min(runtime.GOMAXPROCS(0), runtime.NumCPU())
	t.Logf("bare RSA verifies %.0f/s on one core; notifications are verified at %.0f %% of that, and received over HTTP at %.0f %% of %d cores' (this includes the client)",
		rate(turns*each, bare), 100*bare.Seconds()/whole.Seconds(),
		100*rate(len(f.postings), took)/rate(turns*each, bare)/float64(cores), cores)
}
