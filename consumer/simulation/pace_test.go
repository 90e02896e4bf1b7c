package simulation

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/sirupsen/logrus"

	"refundd/alipay"
	"refundd/consumer"
	"refundd/dedupe"
	"refundd/dedupe/dedupetest"
	"refundd/producer"
)

// limiter is an Alipay that lets so many calls a second through and refuses the
// rest, in virtual time, and a broker that takes everything at once.
type limiter struct {
	latency time.Duration
	sliding bool // any second, not each that the clock counts
	subCode string

	mu    sync.Mutex // guards all below
	limit int        // 0: none
	rng   *rand.Rand
	begin time.Time
	// passed and refused are when calls arrived, from begin on.
	passed, refused []time.Duration
}

func (l *limiter) Refund(ctx context.Context, req *alipay.RefundRequest) (*alipay.RefundResponse, error) {
	l.mu.Lock()
	way := l.latency/2 + time.Duration(l.rng.Int64N(int64(l.latency)))
	l.mu.Unlock()
	time.Sleep(way / 2) //nolint:forbidigo // virtual time
	passes := l.arrives()
	time.Sleep(way / 2) //nolint:forbidigo // virtual time
	if !passes {
		return nil, alipay.Refusal(alipay.MethodRefund, "40005", l.subCode, true)
	}
	fee := req.RefundAmount
	return &alipay.RefundResponse{Code: "10000", OutTradeNo: req.OutTradeNo, TradeNo: "A" + req.OutTradeNo, FundChange: "Y", RefundFee: &fee}, ctx.Err()
}

func (l *limiter) arrives() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Since(l.begin)
	since := now.Truncate(time.Second) - 1
	if l.sliding {
		since = now - time.Second
	}
	if within(l.passed, since, now) >= l.limit {
		l.refused = append(l.refused, now)
		return false
	}
	l.passed = append(l.passed, now)
	return true
}

// within counts the times after the first moment and up to the last one.
func within(times []time.Duration, after, until time.Duration) int {
	from, _ := slices.BinarySearch(times, after+1)
	to, _ := slices.BinarySearch(times, until+1)
	return to - from
}

func (l *limiter) QueryRefund(context.Context, *alipay.RefundQueryRequest) (*alipay.RefundQueryResponse, error) {
	panic("nothing is in doubt")
}

func (l *limiter) RefundCoupon(context.Context, *alipay.CouponRefundRequest) (*alipay.CouponRefundResponse, error) {
	panic("no coupons")
}

func (l *limiter) QueryCouponOperation(context.Context, *alipay.CouponOperationRequest) (*alipay.CouponOperationResponse, error) {
	panic("no coupons")
}

// SendSync takes every message; what would come back later is not needed again.
func (l *limiter) SendSync(context.Context, ...*primitive.Message) (*primitive.SendResult, error) {
	time.Sleep(time.Millisecond) //nolint:forbidigo // virtual time
	return &primitive.SendResult{Status: primitive.SendOK, MsgID: "M"}, nil
}

// backlog lets instances of refundd work on commands without end, for so long.
func (l *limiter) backlog(ctx context.Context, instances, workers int, rate int, merchants ...string) (exchanges int) {
	redis := dedupetest.NewRedis(time.Now)
	var all sync.WaitGroup
	var mu sync.Mutex
	next := 0
	for range instances {
		client := redis.Client(func(_ context.Context, commands [][]any) ([]any, error) {
			time.Sleep(500 * time.Microsecond) //nolint:forbidigo // virtual time
			replies := make([]any, len(commands))
			for i, command := range commands {
				replies[i] = redis.Do(command)
			}
			mu.Lock()
			defer mu.Unlock()
			exchanges++
			return replies, nil
		})
		store, err := dedupe.New(client, dedupe.Config{Prefix: prefix, Lease: lease, Keep: keep})
		if err != nil {
			panic(err)
		}
		log := logrus.New()
		log.SetOutput(io.Discard)
		publish := producer.New(l, producer.Config{EventTopic: eventTopic, RetryTopic: retryTopic, ParkedTopic: parkedTopic})
		handler := consumer.NewHandler(consumer.Config{
			AppID: appID, Topics: map[consumer.Kind]string{consumer.KindRefund: refundTopic},
			RetryTopic: retryTopic, EventTopic: eventTopic, ParkedTopic: parkedTopic,
			Lease: lease, Keep: keep, MaxAge: maxAge, QueryAfter: queryAfter, AlipayTimeout: timeout,
			RetryDelays: []time.Duration{10 * time.Second, 30 * time.Second},
			Limits:      consumer.Limits{Spacing: 3 * time.Second, Rate: rate},
			Merchant: func(name string) (consumer.Merchant, bool) {
				return consumer.Merchant{AppAuthToken: firstToken(name)}, true
			},
		}, l, store, publish, consumer.NewGate(instances*workers), consumer.NewHealth(log), metrics{new(atomic.Int64), new(atomic.Int64), new(atomic.Int64)}, log)
		for range workers {
			all.Go(func() {
				for ctx.Err() == nil {
					mu.Lock()
					next++
					n := next
					mu.Unlock()
					merchant := ""
					if len(merchants) > 0 {
						merchant = fmt.Sprintf(`,"merchant":%q`, merchants[n%len(merchants)])
					}
					body := fmt.Sprintf(`{"out_trade_no":"T%d","out_request_no":"R%d","refund_amount":"1.00","refund_reason":"r"%s}`, n, n, merchant)
					handler.Handle(context.Background(), consumer.Delivery{Topic: refundTopic, MsgID: fmt.Sprint("M", n), Body: []byte(body), Born: time.Now()})
				}
			})
		}
	}
	all.Wait()
	return exchanges
}

// share is how many calls passed from one moment until another as a share of what
// the limit allows, and how many of all calls were refused.
func (l *limiter) share(limit int, from, to time.Duration) (reached, refused float64) {
	passed, no := within(l.passed, from, to), within(l.refused, from, to)
	return float64(passed) / (float64(limit) * (to - from).Seconds()), float64(no) / float64(max(1, passed+no))
}

// TestPaceUsesTheLimit: a backlog is worked off at what Alipay lets through, with
// hardly a refused call, and twice as fast soon after it lets more through.
func TestPaceUsesTheLimit(t *testing.T) {
	for _, limit := range []int{30, 300} {
		for _, instances := range []int{1, 2} {
			for _, sliding := range []bool{false, true} {
				t.Run(fmt.Sprintf("%d a second, %d instances, sliding %v", limit, instances, sliding), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) { usesTheLimit(t, limit, instances, sliding) })
				})
			}
		}
	}
}

func usesTheLimit(t *testing.T, limit, instances int, sliding bool) {
	t.Helper()
	const found, lifted, end = 20 * time.Second, 40 * time.Second, 50 * time.Second
	l := &limiter{
		latency: 20 * time.Millisecond, sliding: sliding, subCode: "isv.app-call-limited", limit: limit,
		rng: rand.New(rand.NewPCG(1, 1)), begin: time.Now(),
	}
	time.AfterFunc(lifted, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.limit = 3 * limit
	})
	ctx, cancel := context.WithTimeout(t.Context(), end)
	defer cancel()
	exchanges := l.backlog(ctx, instances, 128, 0)
	for at := time.Duration(0); at < end; at += 5 * time.Second {
		reached, refused := l.share(limit, at, at+5*time.Second)
		t.Logf("%v: %3.0f %% of the limit, %4.1f %% refused", at, 100*reached, 100*refused)
	}
	reached, refused := l.share(limit, found, lifted)
	t.Logf("%.1f %% reached, %.1f %% refused, %.2f exchanges a call", 100*reached, 100*refused, float64(exchanges)/float64(len(l.passed)+len(l.refused)))
	if reached < 0.90 || refused > 0.05 {
		t.Errorf("%.1f %% of the limit and %.1f %% refused, want 90 and 5", 100*reached, 100*refused)
	}
	if doubled, _ := l.share(limit, lifted+9*time.Second, end); doubled < 2 {
		t.Errorf("%.2f times the limit ten seconds after it was lifted, want 2", doubled)
	}
}
