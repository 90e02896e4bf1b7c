package notifyhttp_test

import (
	"context"
	"crypto/rsa"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"refundd/alipay"
	"refundd/alipay/alipaytest"
	"refundd/notifyhttp"
	"refundd/producer"
)

// TestKeyRotation: the key changes under load, both ways and with an overlap, and no genuine notification is refused.
func TestKeyRotation(t *testing.T) {
	older, newer := alipayKey(t), strangerKey(t)
	both := []*alipay.Verifier{verifierOf(t, older, newer), verifierOf(t, newer, older)}
	var current atomic.Pointer[alipay.Verifier]
	current.Store(both[0])
	b := start(t, setup{verifier: current.Load})
	stop := make(chan struct{})
	var reloads, posts sync.WaitGroup
	reloads.Go(func() {
		tick := time.NewTicker(100 * time.Microsecond)
		defer tick.Stop()
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			case <-tick.C:
				current.Store(both[i%2])
			}
		}
	})
	for i, key := range []*rsa.PrivateKey{older, newer} {
		posts.Go(func() {
			for j := range 50 {
				b.want(t, b.post(t, form(t, key, "notify_id", fmt.Sprintf("N%d-%d", i, j))), http.StatusOK, notifyhttp.Published)
			}
		})
	}
	posts.Wait()
	close(stop)
	reloads.Wait()
	if n := len(b.book.told()); n != 100 {
		t.Errorf("%d events, want 100", n)
	}
	current.Store(verifierOf(t, newer))
	b.want(t, b.post(t, form(t, older)), http.StatusBadRequest, notifyhttp.BadSignature)
	b.want(t, b.post(t, form(t, newer)), http.StatusOK, notifyhttp.Published)
}

// TestAnyOrder: whatever order, repeats and broker's moods: delivered until accepted, each genuine notification is one distinct
// event, and no forged one is any.
func TestAnyOrder(t *testing.T) {
	genuine, forger := alipayKey(t), strangerKey(t)
	for seed := range uint64(3) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			draw := rand.New(rand.NewPCG(seed, 1))
			var mood atomic.Uint64
			b := start(t, setup{refuse: func(context.Context) error {
				if mood.Add(1)%3 == 0 {
					return producer.ErrUnconfirmed
				}
				return nil
			}})
			type delivery struct {
				body   string
				forged bool
			}
			var deliveries []delivery
			want := map[string]bool{}
			for i := range 60 {
				key, id := genuine, fmt.Sprintf("N%d", i)
				forged := i%10 == 0
				if forged {
					key = forger
				} else {
					want[producer.NotifiedID(appID, id, producer.Notified)] = true
				}
				make := []func() string{
					func() string { return form(t, key, "notify_id", id) },
					func() string { return coupon(t, key, "notify_id", id) },
				}[i%2]
				for range 1 + draw.IntN(3) {
					deliveries = append(deliveries, delivery{make(), forged})
				}
			}
			draw.Shuffle(len(deliveries), func(i, j int) { deliveries[i], deliveries[j] = deliveries[j], deliveries[i] })
			work := make(chan delivery, len(deliveries))
			for _, d := range deliveries {
				work <- d
			}
			close(work)
			var wg sync.WaitGroup
			for range 4 {
				wg.Go(func() {
					for d := range work {
						for again := true; again; {
							got := b.post(t, d.body)
							again = got.status == http.StatusServiceUnavailable
							if !again && (got.status == http.StatusOK) == d.forged {
								t.Errorf("answer %d, forged %t", got.status, d.forged)
							}
						}
					}
				})
			}
			wg.Wait()
			got := map[string]bool{}
			for _, e := range b.book.told() {
				got[e.ID] = true
			}
			if !maps.Equal(got, want) {
				t.Errorf("%d distinct events, want %d", len(got), len(want))
			}
		})
	}
}

// TestLocalAlipay: refunds at the local Alipay are notified, signed and repeated by code that is not ours, over a broker that
// fails at first.
func TestLocalAlipay(t *testing.T) {
	keys, err := alipaytest.NewKeys()
	if err != nil {
		t.Fatal(err)
	}
	v := verifierOf(t, keys.AlipayPrivate)
	var attempts atomic.Int64
	b := start(t, setup{
		cfg:      notifyhttp.Config{SellerID: alipaytest.SellerID("")},
		verifier: func() *alipay.Verifier { return v },
		refuse: func(context.Context) error {
			if attempts.Add(1) <= 3 {
				return producer.ErrUnconfirmed
			}
			return nil
		},
	})
	sim, err := alipaytest.New(alipaytest.Config{Keys: keys, NotifyURL: b.url, TradeTotal: 300, NotifyDelays: slices.Repeat([]time.Duration{time.Millisecond}, 7)})
	if err != nil {
		t.Fatal(err)
	}
	base, err := sim.Start("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := sim.Close(); err != nil {
			t.Error(err)
		}
	})
	client, err := alipay.New(alipay.Config{
		Gateway: base + "/gateway.do", V3URL: base, AppID: appID, Signer: keys.AppPrivate, AlipayKeys: []*rsa.PublicKey{keys.AlipayPublic},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.CloseIdleConnections)
	want := map[string]producer.Type{}
	for _, number := range []string{"R1", "fault-notify-twice-R2", "fault-notify-bad-sign-R3", "fault-deposit-bounced-R4"} {
		req := &alipay.RefundRequest{OutTradeNo: "T-" + number, OutRequestNo: number, RefundAmount: 100}
		switch number {
		case "fault-deposit-bounced-R4":
			req.QueryOptions = []string{"deposit_back_info"}
			want[number+" dback"] = producer.TypeRefundDepositBack
			want[number] = producer.TypeRefundNotified
		case "fault-notify-bad-sign-R3":
		default:
			want[number] = producer.TypeRefundNotified
		}
		if _, err := client.Refund(t.Context(), req); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := client.RefundCoupon(t.Context(), &alipay.CouponRefundRequest{
		AuthNo: alipaytest.TradeNo("O"), OutRequestNo: "C1", Amount: 100, Remark: "r", NotifyURL: b.url,
	}); err != nil {
		t.Fatal(err)
	}
	want["C1"] = producer.TypeCouponRefundNotified
	seen := func() map[string]producer.Type {
		m := map[string]producer.Type{}
		for _, e := range b.book.told() {
			name := e.Subject
			if e.Type == producer.TypeRefundDepositBack {
				name += " dback"
			}
			m[name] = e.Type
		}
		return m
	}
	waitFor(t, "all events and refusals", func() bool {
		return len(seen()) >= len(want) && b.counts.got()[notifyhttp.BadSignature] >= 8
	})
	if !maps.Equal(seen(), want) {
		t.Errorf("events %v, want %v", seen(), want)
	}
	if counts := b.counts.got(); counts[notifyhttp.Unpublished] != 3 || len(b.book.told()) < len(want) {
		t.Errorf("counted %v", counts)
	}
}

// TestVerified: it is told once per publication, after it, and nothing it does reaches the sender.
func TestVerified(t *testing.T) {
	key := alipayKey(t)
	t.Run("what it is told", func(t *testing.T) {
		notices := make(chan notifyhttp.Notice, 10)
		b := start(t, setup{cfg: notifyhttp.Config{
			SellerID: sellerID, Sellers: merchants,
			Verified: func(_ context.Context, n notifyhttp.Notice) { notices <- n },
		}})
		for body, want := range map[string]notifyhttp.Notice{
			form(t, key): {Kind: producer.KindRefund, OutRequestNo: "R1", OutTradeNo: "T1", TradeNo: "A1"},
			form(t, key, "seller_id", "2088000000000009"): {
				Kind: producer.KindRefund, Merchant: "m9", OutRequestNo: "R1", OutTradeNo: "T1", TradeNo: "A1",
			},
			coupon(t, key): {Kind: producer.KindCouponRefund, OutRequestNo: "R2", AuthNo: "AU1", OutOrderNo: "O1", OperationID: "OP1"},
		} {
			b.want(t, b.post(t, body), http.StatusOK, notifyhttp.Published)
			if got := <-notices; got != want || len(b.book.told()) == 0 {
				t.Errorf("told %+v, want %+v", got, want)
			}
		}
	})
	t.Run("not told", func(t *testing.T) {
		var broken atomic.Bool
		told := make(chan notifyhttp.Notice, 10)
		b := start(t, setup{
			cfg: notifyhttp.Config{Verified: func(_ context.Context, n notifyhttp.Notice) { told <- n }},
			refuse: func(context.Context) error {
				if broken.Load() {
					return errors.New("no route")
				}
				return nil
			},
		})
		b.post(t, deposit(t, key, depositContent))
		b.post(t, form(t, key, "refund_fee", "-"))
		b.post(t, form(t, strangerKey(t)))
		broken.Store(true)
		b.post(t, form(t, key))
		broken.Store(false)
		b.post(t, form(t, key, "out_biz_no", "the only one"))
		if n := <-told; n.OutRequestNo != "the only one" || len(told) != 0 {
			t.Errorf("told %+v", n)
		}
	})
	t.Run("slow", func(t *testing.T) {
		ended := make(chan error, 1)
		answered := make(chan struct{})
		b := start(t, setup{cfg: notifyhttp.Config{VerifiedTimeout: 20 * time.Millisecond, Verified: func(ctx context.Context, _ notifyhttp.Notice) {
			<-answered // a receiver that waited for it would never answer
			<-ctx.Done()
			ended <- ctx.Err()
		}}})
		b.want(t, b.post(t, form(t, key)), http.StatusOK, notifyhttp.Published)
		close(answered)
		if err := <-ended; !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
	})
	t.Run("panics", func(t *testing.T) {
		b := start(t, setup{cfg: notifyhttp.Config{MaxAtOnce: 1, Verified: func(context.Context, notifyhttp.Notice) { panic("CANARY") }}})
		for _, number := range []string{"R1", "R2", "R3"} {
			waitFor(t, "room", func() bool { return b.post(t, form(t, key, "out_biz_no", number)).status == http.StatusOK })
		}
		waitFor(t, "the log", func() bool { return strings.Count(b.logs.String(), "panicked with a string") == 3 })
		if strings.Contains(b.logs.String(), "CANARY") {
			t.Error(b.logs)
		}
	})
}

func TestResults(t *testing.T) {
	seen := map[notifyhttp.Result]bool{}
	for _, r := range notifyhttp.Results() {
		seen[r] = true
	}
	if len(seen) != 12 || len(notifyhttp.Results()) != 12 {
		t.Errorf("results %v", notifyhttp.Results())
	}
}
