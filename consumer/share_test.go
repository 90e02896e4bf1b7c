package consumer

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"refundd/alipay/alipaytest"
	"refundd/producer"
)

// fill takes workers until the merchant gets no more.
func fill(t *testing.T, s *share, merchant string) int {
	t.Helper()
	for n := range 1000 {
		if !s.enter(t.Context(), merchant, 0) {
			return n
		}
	}
	t.Fatal("no end")
	return 0
}

func TestShareLeavesWorkersForTheNextMerchant(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShare(120)
		if !s.enter(t.Context(), "quiet", 0) {
			t.Fatal("the first got no worker")
		}
		first := fill(t, s, "loud")
		if first < 90 || first > 110 {
			t.Errorf("one busy merchant has %d of 120 workers, want about eight ninths", first)
		}
		second := fill(t, s, "louder")
		third := fill(t, s, "quiet")
		if second < 3 || third < 1 {
			t.Errorf("the next ones got %d and %d", second, third)
		}
		if s.total > 120 {
			t.Errorf("%d of 120 workers are busy", s.total)
		}
		for range first {
			s.leave("loud")
		}
		if n := fill(t, s, "quiet"); n < 10 {
			t.Errorf("%d of the free workers went to the one that was short of them", n)
		}
	})
}

func TestShareOfOneAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShare(50)
		if n := fill(t, s, "only"); n != 50 {
			t.Errorf("%d of 50 workers, want all", n)
		}
		for range 50 {
			s.leave("only")
		}
		if !s.enter(t.Context(), "other", 0) {
			t.Fatal("no worker")
		}
		s.leave("other")
		if n := fill(t, s, "only"); n >= 50 {
			t.Errorf("all %d workers, although another had a command just now", n)
		}
		<-time.After(2 * aloneAfter)
		if n := fill(t, s, "only"); s.total != 50 {
			t.Errorf("%d more, %d in all, want all 50 after the other was silent", n, s.total)
		}
	})
}

func TestShareWaitsInPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShare(1)
		s.enter(t.Context(), "a", 0)
		go func() {
			<-time.After(time.Second)
			s.leave("a")
		}()
		begin := time.Now()
		if !s.enter(t.Context(), "b", time.Minute) {
			t.Error("no worker although one was given back")
		}
		if took := time.Since(begin); took != time.Second {
			t.Errorf("waited %v, want until it was free", took)
		}
		if s.enter(t.Context(), "a", 3*time.Second) {
			t.Error("a worker that is not there")
		}
		if took := time.Since(begin); took != 4*time.Second {
			t.Errorf("gave up after %v", took-time.Second)
		}
	})
}

func TestShareIsFair(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShare(1)
		s.enter(t.Context(), "a", 0)
		var order []int
		var wg sync.WaitGroup
		for n := range 20 {
			wg.Go(func() {
				if s.enter(t.Context(), "a", time.Minute) {
					order = append(order, n) // one at a time: there is one worker
					s.leave("a")
				}
			})
			synctest.Wait()
		}
		s.leave("a")
		wg.Wait()
		if !slices.IsSorted(order) || len(order) != 20 {
			t.Errorf("order %v", order)
		}
	})
}

func TestBackoffOfOneMerchant(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := backoff{shortest: shortestPause, longest: longestPause}
		// want: a pause of this length runs, and commands come back within half as long again.
		want := func(length time.Duration) {
			t.Helper()
			for i := range 50 {
				if left, why := b.left("shop", fmt.Sprint("R", i)); left < length || left >= length*3/2 || why != producer.ReasonRateLimited {
					t.Errorf("%v because of %q, want %v to half as long again", left, why, length)
				}
			}
		}
		for _, length := range []time.Duration{5 * time.Second, 10 * time.Second, 20 * time.Second, 40 * time.Second, time.Minute, time.Minute} {
			b.begin("shop", producer.ReasonRateLimited)
			b.begin("shop", producer.ReasonBlockedConfiguration) // many calls at once count once
			want(length)
			<-time.After(length)
			if left, _ := b.left("shop", "R1"); left > 0 {
				t.Errorf("%v after its end", left)
			}
		}
		if left, _ := b.left("other", "R1"); left > 0 {
			t.Errorf("another merchant waits %v", left)
		}
		<-time.After(3 * longestPause)
		b.begin("shop", producer.ReasonRateLimited)
		want(shortestPause) // after a quiet time
		b.worked("shop")
		<-time.After(shortestPause)
		b.begin("shop", producer.ReasonRateLimited)
		want(shortestPause) // a call succeeded meanwhile
	})
}

// TestCrowded: a merchant whose calls hang has its share of the workers; what
// is beyond it goes to the retry topic and spends no try, and another
// merchant's command is carried out meanwhile.
func TestCrowded(t *testing.T) {
	b := newBench(t, func(c *Config) {
		c.Workers = 6
		c.Merchant = func(name string) (Merchant, bool) { return Merchant{AppAuthToken: "token-of-" + name}, true }
	})
	b.startAlipay(alipaytest.Config{})
	b.reopen()
	of := func(merchant string, n int) Delivery {
		return b.command(fmt.Sprintf(`{"out_request_no":"%s-%d","out_trade_no":"T-%s-%d","refund_amount":"1.00","merchant":%q}`, merchant, n, merchant, n, merchant))
	}
	b.handle(of("well", 0))
	check(t, b.alipay.SetFaults(map[string]float64{"timeout-before": 1}))
	var wg sync.WaitGroup
	for n := range 12 {
		d := of("hangs", n)
		wg.Go(func() { b.handler.Handle(t.Context(), d) })
	}
	for len(b.broker.Scheduled(retryTopic))+len(b.broker.Messages(retryTopic)) == 0 {
		pause() // some were moved aside
	}
	check(t, b.alipay.SetFaults(nil))
	b.handle(of("well", 1))
	if e := b.final("well-1"); e.Outcome != producer.Succeeded {
		t.Errorf("the other merchant's refund %s", e.Outcome)
	}
	wg.Wait()
	for _, m := range b.broker.Messages(retryTopic) {
		if m.Properties["REFUNDD_CLAIMED"] == "" && m.Properties["REFUNDD_TRY"] != "0" {
			t.Errorf("a wait spent a try: %v", m.Properties)
		}
	}
	b.alipay.Heal()
	b.settleAll()
	for n := range 12 {
		if e := b.final(fmt.Sprintf("hangs-%d", n)); e.Outcome != producer.Succeeded {
			t.Errorf("hangs-%d %s", n, e.Outcome)
		}
	}
}

// TestOneMerchantsAuthorisation: Alipay does not accept it, or limits it. One
// call in a pause learns that, the merchant's other commands wait without
// spending a try, and another merchant's calls are not held up.
func TestOneMerchantsAuthorisation(t *testing.T) {
	for fault, reason := range map[string]producer.Reason{
		"config-auth": producer.ReasonBlockedConfiguration, "limited-auth": producer.ReasonRateLimited,
	} {
		t.Run(fault, func(t *testing.T) {
			b := newBench(t, func(c *Config) {
				c.Workers = 6
				c.Merchant = func(name string) (Merchant, bool) { return Merchant{AppAuthToken: "token-of-" + name}, true }
			})
			b.handler.backoff.shortest = 700 * time.Millisecond
			check(t, b.alipay.SpoilMerchant("token-of-ill", fault))
			of := func(merchant string, n int) Delivery {
				return b.command(fmt.Sprintf(`{"out_request_no":"%s-%d","out_trade_no":"T-%s-%d","refund_amount":"1.00","merchant":%q}`, merchant, n, merchant, n, merchant))
			}
			for n := range 5 {
				b.handle(of("ill", n))
				b.handle(of("well", n))
				if e := b.final(fmt.Sprintf("well-%d", n)); e.Outcome != producer.Succeeded {
					t.Errorf("the other merchant's refund %s", e.Outcome)
				}
			}
			if n := b.alipay.FaultCounts()[fault]; n == 0 || n > 2 {
				t.Errorf("Alipay was asked %d times in vain, want once in a pause", n)
			}
			waiting := append(b.broker.Scheduled(retryTopic), b.broker.Messages(retryTopic)...)
			free := 0
			for _, m := range waiting {
				if m.Properties["REFUNDD_REASON"] != string(reason) {
					t.Errorf("waits for %q, want %q", m.Properties["REFUNDD_REASON"], reason)
				}
				if m.Properties["REFUNDD_TRY"] == "0" {
					free++
				}
			}
			if len(waiting) != 5 || free < 3 {
				t.Errorf("%d wait, %d without a try spent, want 5 and at least 3", len(waiting), free)
			}
			check(t, b.alipay.SpoilMerchant("token-of-ill", ""))
			b.settleAll()
			for n := range 5 {
				if e := b.final(fmt.Sprintf("ill-%d", n)); e.Outcome != producer.Succeeded {
					t.Errorf("ill-%d %s", n, e.Outcome)
				}
			}
		})
	}
}
