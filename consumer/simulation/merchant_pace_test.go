package simulation

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/apache/rocketmq-client-go/v2/primitive"

	"refundd/alipay"
	"refundd/consumer"
	"refundd/dedupe/dedupetest"
	"refundd/producer"
)

// shops is an Alipay that limits the authorisation of one merchant, "shop", and a
// broker that brings retried messages back when their delay is over.
type shops struct {
	*limiter
	queue chan consumer.Delivery // deliveries, oldest first

	own     sync.Mutex // guards all below
	begun   map[string]time.Time
	took    map[string][]time.Duration // merchant -> from a command's birth to its event
	retried int
}

// newShops begins now.
func newShops(limit int) *shops {
	l := newLimiter(limit)
	l.subCode = "isv.app-auth-invoke-limit"
	return &shops{limiter: l, queue: make(chan consumer.Delivery, 100_000), begun: map[string]time.Time{}, took: map[string][]time.Duration{}}
}

func (s *shops) Refund(ctx context.Context, req *alipay.RefundRequest) (*alipay.RefundResponse, error) {
	if req.AppAuthToken == firstToken("shop") {
		return s.limiter.Refund(ctx, req)
	}
	time.Sleep(s.latency) //nolint:forbidigo // virtual time
	fee := req.RefundAmount
	return &alipay.RefundResponse{Code: "10000", OutTradeNo: req.OutTradeNo, TradeNo: "A" + req.OutTradeNo, FundChange: "Y", RefundFee: &fee}, ctx.Err()
}

func (s *shops) SendSync(_ context.Context, messages ...*primitive.Message) (*primitive.SendResult, error) {
	time.Sleep(time.Millisecond) //nolint:forbidigo // virtual time
	s.own.Lock()
	defer s.own.Unlock()
	for _, m := range messages {
		if m.Topic == retryTopic {
			s.retried++
			d := consumer.Delivery{Topic: retryTopic, MsgID: fmt.Sprint("retry", s.retried), Body: m.Body, Properties: m.GetProperties(), Born: time.Now()}
			level, _ := strconv.Atoi(m.GetProperty(primitive.PropertyDelayTimeLevel))
			time.AfterFunc(delayOf(level), func() { s.queue <- d })
			continue
		}
		event, err := producer.DecodeEvent(m.Body)
		begun, first := s.begun[event.OutRequestNo]
		if err != nil || m.Topic != eventTopic || event.Outcome != producer.Succeeded || !first {
			s.wrong = append(s.wrong, fmt.Sprintf("%s: %s", m.Topic, m.Body))
		}
		delete(s.begun, event.OutRequestNo)
		s.took[event.Merchant] = append(s.took[event.Merchant], time.Since(begun))
	}
	return &primitive.SendResult{Status: primitive.SendOK, MsgID: "M"}, nil
}

// delayOf is how long the broker keeps a message of the level.
func delayOf(level int) time.Duration {
	for _, d := range []time.Duration{time.Second, 5 * time.Second, 10 * time.Second, 30 * time.Second, time.Minute} {
		if l, ok := producer.DelayLevel(d); ok && l == level {
			return d
		}
	}
	panic(fmt.Sprint("no such level here: ", level))
}

// send brings a command in.
func (s *shops) send(number, merchant string) {
	s.own.Lock()
	s.begun[number] = time.Now()
	s.own.Unlock()
	s.queue <- refundOf(number, merchant)
}

// TestOneMerchantsLimitIsUsed: Alipay limits one merchant that has a backlog. It is
// worked off near what Alipay lets through, with hardly a refused call, over all
// instances; the others' commands, which come among them, are decided at once. They
// come first: what waits for a turn has a sixth of the workers, and what comes back
// from the broker in bursts does not always find a place.
func TestOneMerchantsLimitIsUsed(t *testing.T) {
	for _, limit := range []int{10, 30} {
		for _, instances := range []int{1, 2} {
			t.Run(fmt.Sprintf("%d a second, %d instances", limit, instances), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { usesOneMerchantsLimit(t, limit, instances) })
			})
		}
	}
}

func usesOneMerchantsLimit(t *testing.T, limit, instances int) {
	t.Helper()
	const found, end, workers, others = 20 * time.Second, 80 * time.Second, 128, 20
	s := newShops(limit)
	ctx, cancel := context.WithTimeout(t.Context(), end)
	defer cancel()
	s.giveUp = cancel
	for n := range 100 * limit { // for longer than the test
		s.send(fmt.Sprint("shop", n), "shop")
	}
	var all sync.WaitGroup
	all.Go(func() {
		for n := 0; ctx.Err() == nil; n++ {
			s.send(fmt.Sprint("other", n), []string{"mall", ""}[n%2])
			time.Sleep(time.Second / others) //nolint:forbidigo // virtual time
		}
	})
	redis := dedupetest.NewRedis(time.Now)
	for range instances {
		handler := newInstance(redis, s, 0, workers, func() {})
		for range 2 * workers { // as in service
			all.Go(func() {
				for {
					select {
					case d := <-s.queue:
						handler.Handle(context.Background(), d)
					case <-ctx.Done():
						return
					}
				}
			})
		}
	}
	all.Wait()
	reached, refused := s.share(limit, found, end)
	early := within(s.refused, -1, found)
	t.Logf("%.1f %% reached, %.1f %% refused, %d refused before; %d messages retried", 100*reached, 100*refused, early, s.retried)
	if reached < 0.45 || refused > 0.05 {
		t.Errorf("%.1f %% of the limit and %.1f %% refused, want 45 and 5", 100*reached, 100*refused)
	}
	for _, merchant := range []string{"mall", ""} {
		took := s.took[merchant]
		if len(took) < others*int(end.Seconds())/2-others {
			t.Errorf("merchant %q: %d are decided", merchant, len(took))
		}
		slices.Sort(took)
		most, slowest := took[len(took)*95/100], took[len(took)-1]
		t.Logf("merchant %q: %d decided, most in %v, all in %v", merchant, len(took), most, slowest)
		if most > 100*time.Millisecond || slowest > 3*time.Second { // that is behind all of the backlog
			t.Errorf("merchant %q waited %v, mostly %v, want that it is not held up", merchant, slowest, most)
		}
	}
	if len(s.wrong) > 0 {
		t.Errorf("%d messages that nothing accounts for, the first: %s", len(s.wrong), s.wrong[0])
	}
}
