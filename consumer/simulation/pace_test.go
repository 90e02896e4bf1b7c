package simulation

import (
	"context"
	"encoding/json"
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
	window  time.Duration // instead of a second
	sliding bool          // any such time, not each that the clock counts
	rest    time.Duration // of a worker between two commands
	subCode string

	mu     sync.Mutex // guards all below
	giveUp func()     // ends the backlog
	limit  int        // 0: it refuses all
	rng    *rand.Rand
	begin  time.Time
	// passed and refused are when calls arrived, from begin on.
	passed, refused []time.Duration
	moved           map[string]bool // numbers whose calls passed
	events          map[string]bool // numbers of which an event says so
	wrong           []string        // messages that none of it accounts for
}

// newLimiter begins now.
func newLimiter(limit int) *limiter {
	return &limiter{
		latency: 20 * time.Millisecond, window: time.Second, subCode: "isv.app-call-limited", limit: limit,
		rng: rand.New(rand.NewPCG(1, 1)), begin: time.Now(), moved: map[string]bool{}, events: map[string]bool{},
	}
}

// allow changes the limit, later.
func (l *limiter) allow(after time.Duration, limit int) {
	time.AfterFunc(after, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.limit = limit
	})
}

func (l *limiter) Refund(ctx context.Context, req *alipay.RefundRequest) (*alipay.RefundResponse, error) {
	l.mu.Lock()
	way := l.latency/2 + time.Duration(l.rng.Int64N(int64(l.latency)))
	l.mu.Unlock()
	time.Sleep(way / 2) //nolint:forbidigo // virtual time
	passes := l.arrives(req.OutRequestNo)
	time.Sleep(way / 2) //nolint:forbidigo // virtual time
	if !passes {
		return nil, alipay.Refusal(alipay.MethodRefund, "40005", l.subCode, true)
	}
	fee := req.RefundAmount
	return &alipay.RefundResponse{Code: "10000", OutTradeNo: req.OutTradeNo, TradeNo: "A" + req.OutTradeNo, FundChange: "Y", RefundFee: &fee}, ctx.Err()
}

func (l *limiter) arrives(number string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Since(l.begin)
	since := now.Truncate(l.window) - 1
	if l.sliding {
		since = now - l.window
	}
	if within(l.passed, since, now) >= l.limit {
		if l.refused = append(l.refused, now); len(l.refused) > 1000+len(l.passed) {
			l.giveUp() // there is nothing more to learn
		}
		return false
	}
	l.passed = append(l.passed, now)
	l.moved[number] = true
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
// Of what was refused nothing but that may be sent.
func (l *limiter) SendSync(_ context.Context, messages ...*primitive.Message) (*primitive.SendResult, error) {
	time.Sleep(time.Millisecond) //nolint:forbidigo // virtual time
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, m := range messages {
		var event struct {
			Data struct {
				Number  string `json:"out_request_no"`
				Outcome string `json:"outcome"`
			} `json:"data"`
		}
		err := json.Unmarshal(m.Body, &event)
		number := event.Data.Number
		switch {
		case m.Topic == retryTopic:
		case m.Topic == eventTopic && err == nil && l.moved[number] && !l.events[number] && event.Data.Outcome == "succeeded":
			l.events[number] = true
		default:
			l.wrong = append(l.wrong, fmt.Sprintf("%s: %s", m.Topic, m.Body))
		}
	}
	return &primitive.SendResult{Status: primitive.SendOK, MsgID: "M"}, nil
}

// backlog lets instances of refundd work on commands without end, for so long.
func (l *limiter) backlog(ctx context.Context, instances, workers, rate int) (exchanges int) {
	ctx, l.giveUp = context.WithCancel(ctx)
	defer l.giveUp()
	redis := dedupetest.NewRedis(time.Now)
	var all sync.WaitGroup
	var mu sync.Mutex
	next := 0
	for range instances {
		handler := newInstance(redis, l, rate, 0, func() {
			mu.Lock()
			defer mu.Unlock()
			exchanges++
		})
		for range workers {
			all.Go(func() {
				for ; ctx.Err() == nil; time.Sleep(l.rest) { //nolint:forbidigo // virtual time
					mu.Lock()
					next++
					n := next
					mu.Unlock()
					handler.Handle(context.Background(), refundOf(fmt.Sprint("R", n), ""))
				}
			})
		}
	}
	all.Wait()
	return exchanges
}

// refundOf is the delivery of a command; each has a trade of its own.
func refundOf(number, merchant string) consumer.Delivery {
	if merchant != "" {
		merchant = fmt.Sprintf(`,"merchant":%q`, merchant)
	}
	body := fmt.Sprintf(`{"out_trade_no":"T%s","out_request_no":%q,"refund_amount":"1.00","refund_reason":"r"%s}`, number, number, merchant)
	return consumer.Delivery{Topic: refundTopic, MsgID: "M" + number, Body: []byte(body), Born: time.Now()}
}

// outside is what surrounds an instance besides Redis: Alipay and the broker.
type outside interface {
	Refund(context.Context, *alipay.RefundRequest) (*alipay.RefundResponse, error)
	QueryRefund(context.Context, *alipay.RefundQueryRequest) (*alipay.RefundQueryResponse, error)
	RefundCoupon(context.Context, *alipay.CouponRefundRequest) (*alipay.CouponRefundResponse, error)
	QueryCouponOperation(context.Context, *alipay.CouponOperationRequest) (*alipay.CouponOperationResponse, error)
	SendSync(context.Context, ...*primitive.Message) (*primitive.SendResult, error)
}

// newInstance is one refundd; shared workers are divided between merchants.
func newInstance(redis *dedupetest.Redis, o outside, rate, shared int, exchanged func()) *consumer.Handler {
	client := redis.Client(func(_ context.Context, commands [][]any) ([]any, error) {
		time.Sleep(500 * time.Microsecond) //nolint:forbidigo // virtual time
		replies := make([]any, len(commands))
		for i, command := range commands {
			replies[i] = redis.Do(command)
		}
		exchanged()
		return replies, nil
	})
	store, err := dedupe.New(client, dedupe.Config{Prefix: prefix, Lease: lease, Keep: keep})
	if err != nil {
		panic(err)
	}
	log := logrus.New()
	log.SetOutput(io.Discard)
	publish := producer.New(o, producer.Config{EventTopic: eventTopic, RetryTopic: retryTopic, ParkedTopic: parkedTopic})
	return consumer.NewHandler(consumer.Config{
		AppID: appID, Topics: map[consumer.Kind]string{consumer.KindRefund: refundTopic},
		RetryTopic: retryTopic, EventTopic: eventTopic, ParkedTopic: parkedTopic,
		Lease: lease, Keep: keep, MaxAge: maxAge, QueryAfter: queryAfter, AlipayTimeout: timeout,
		RetryDelays: []time.Duration{10 * time.Second, 30 * time.Second},
		Limits:      consumer.Limits{Spacing: 3 * time.Second, Rate: rate},
		Merchant: func(name string) (consumer.Merchant, bool) {
			return consumer.Merchant{AppAuthToken: firstToken(name)}, true
		},
		Workers: shared,
	}, consumer.Dependencies{
		Alipay: o, Records: store, Publisher: publish, Gate: consumer.NewGate(256), Health: consumer.NewHealth(log),
		Metrics: metrics{new(atomic.Int64), new(atomic.Int64), new(atomic.Int64)}, Log: log,
	})
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
	limits := map[bool][]int{false: {30, 300}, true: {30}}[raced] // with the race detector the small one only
	for _, limit := range limits {
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
	l := newLimiter(limit)
	l.sliding = sliding
	l.allow(lifted, 3*limit)
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
	l.check(t)
	if doubled, _ := l.share(limit, lifted+9*time.Second, end); doubled < 2 {
		t.Errorf("%.2f times the limit ten seconds after it was lifted, want 2", doubled)
	}
}

// check demands that every refund that passed has its event, and nothing else has.
func (l *limiter) check(t *testing.T) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.wrong) > 0 {
		t.Errorf("%d messages that nothing accounts for, the first: %s", len(l.wrong), l.wrong[0])
	}
	if len(l.moved) == 0 || len(l.moved) != len(l.passed) || len(l.events) != len(l.moved) {
		t.Errorf("%d calls passed for %d refunds, %d have events", len(l.passed), len(l.moved), len(l.events))
	}
}

// calls is how many calls a minute arrived.
func (l *limiter) calls(from, to time.Duration) float64 {
	return float64(within(l.passed, from, to)+within(l.refused, from, to)) / (to - from).Minutes()
}

// TestBan: while Alipay refuses everything, one call a minute asks whether it still
// does, of all instances together; soon after the end the limit is used again.
func TestBan(t *testing.T) {
	if raced {
		t.Skip("tens of thousands of calls: without the race detector only")
	}
	const limit, begin, end = 30, 30 * time.Second, 40 * time.Minute
	for _, instances := range []int{1, 2} {
		t.Run(fmt.Sprintf("%d instances", instances), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLimiter(limit)
				l.rest = time.Second // what has to wait for longer than a worker does is put aside at once
				l.allow(begin, 0)
				l.allow(end, limit)
				ctx, cancel := context.WithTimeout(t.Context(), end+5*time.Minute)
				defer cancel()
				l.backlog(ctx, instances, 64, 0)
				l.check(t)
				early, late := l.calls(begin, begin+5*time.Minute), l.calls(begin+5*time.Minute, end)
				t.Logf("%.1f calls a minute in the first five minutes, %.2f then", early, late)
				if early > 20 || late < 0.5 || late > 1.1 {
					t.Errorf("%.1f calls a minute and then %.2f, want about one", early, late)
				}
				reached, refused := l.share(limit, end+3*time.Minute, end+5*time.Minute)
				if reached < 0.9 || refused > 0.05 {
					t.Errorf("%.1f %% of the limit and %.1f %% refused after the ban, want 90 and 5", 100*reached, 100*refused)
				}
			})
		})
	}
}

// TestDailyQuota: when the day's calls are used up, one a minute asks whether there
// are new ones, and those of the next day are used at once.
func TestDailyQuota(t *testing.T) {
	if raced {
		t.Skip("tens of thousands of calls: without the race detector only")
	}
	synctest.Test(t, func(t *testing.T) {
		const quota, day = 600, 6 * time.Hour // short, so that the test is
		l := newLimiter(quota)
		l.window, l.rest = day, 5*time.Second
		ctx, cancel := context.WithTimeout(t.Context(), day+10*time.Minute)
		defer cancel()
		l.backlog(ctx, 2, 10, 0)
		l.check(t)
		late := l.calls(10*time.Minute, day)
		t.Logf("%.2f calls a minute; %d passed the day after", late, within(l.passed, day-1, day+5*time.Minute))
		if late < 0.5 || late > 1.1 {
			t.Errorf("%.2f calls a minute without quota, want about one", late)
		}
		if first, second := within(l.passed, 0, day-1), within(l.passed, day-1, day+5*time.Minute); first < quota-1 || second != quota {
			t.Errorf("%d passed on the first day, %d in five minutes of the second, want %d", first, second, quota)
		}
	})
}
