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
		if !s.enter(t.Context(), merchant, false, 0) {
			return n
		}
	}
	t.Fatal("no end")
	return 0
}

func TestShareLeavesWorkersForTheNextMerchant(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShare(120)
		if !s.enter(t.Context(), "quiet", false, 0) {
			t.Fatal("the first got no worker")
		}
		if n := fill(t, s, "loud"); n != 90 {
			t.Errorf("one busy merchant has %d of 120 workers, want three quarters", n)
		}
		if n := fill(t, s, "louder"); n != 29 {
			t.Errorf("the next one has %d, want the other 29", n)
		}
		var order []string
		var wg sync.WaitGroup
		for _, merchant := range []string{"loud", "louder", "louder", "quiet", "new", "new"} {
			wg.Go(func() {
				if s.enter(t.Context(), merchant, false, time.Minute) {
					order = append(order, merchant) // one at a time: one is free
				}
			})
			synctest.Wait()
		}
		for range 6 {
			s.leave("loud")
			synctest.Wait()
		}
		wg.Wait()
		if want := []string{"new", "quiet", "new", "louder", "louder", "loud"}; !slices.Equal(order, want) {
			t.Errorf("workers that got free went to %v, want %v: to who has fewest", order, want)
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
		if !s.enter(t.Context(), "other", false, 0) {
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
		s.enter(t.Context(), "a", false, 0)
		go func() {
			<-time.After(time.Second)
			s.leave("a")
		}()
		begin := time.Now()
		if !s.enter(t.Context(), "b", false, time.Minute) {
			t.Error("no worker although one was given back")
		}
		if took := time.Since(begin); took != time.Second {
			t.Errorf("waited %v, want until it was free", took)
		}
		if s.enter(t.Context(), "a", false, 3*time.Second) {
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
		s.enter(t.Context(), "a", false, 0)
		var order []int
		var wg sync.WaitGroup
		for n := range 20 {
			wg.Go(func() {
				if s.enter(t.Context(), "a", false, time.Minute) {
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

// TestUnacceptedAuthorisation: while a merchant waits, one call in a pause asks for all.
func TestUnacceptedAuthorisation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := &bare(Config{}).unaccepted
		want := func(left, call time.Duration) {
			t.Helper()
			if got := u.left("shop"); got != left && (got > 0 || left > 0) {
				t.Errorf("%v left, want %v", got, left)
			}
			if got := u.call("shop"); got != call && (got > 0 || call > 0) {
				t.Errorf("a call waits %v, want %v", got, call)
			}
		}
		want(0, 0)
		want(0, 0) // nothing is known of it
		u.learn("shop", false)
		want(time.Minute, time.Minute)
		if u.left("other") > 0 || u.call("other") > 0 {
			t.Error("another merchant waits")
		}
		<-time.After(time.Minute)
		want(0, 0)                     // this one asks
		want(time.Minute, time.Minute) // for these
		<-time.After(time.Minute)
		want(0, 0) // its answer never came: the next one asks
		u.learn("shop", true)
		want(0, 0)
		want(0, 0)
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

// TestOneMerchantsAuthorisation: Alipay does not accept it, or limits it. One call in
// a pause learns the one, calls at a pace the other; the merchant's other commands
// wait without spending a try, and another merchant's calls are not held up.
func TestOneMerchantsAuthorisation(t *testing.T) {
	for fault, reason := range map[string]producer.Reason{
		"config-auth": producer.ReasonBlockedConfiguration, "limited-auth": producer.ReasonRateLimited,
	} {
		t.Run(fault, func(t *testing.T) {
			b := newBench(t, func(c *Config) {
				c.Workers = 6
				c.Merchant = func(name string) (Merchant, bool) { return Merchant{AppAuthToken: "token-of-" + name}, true }
			})
			b.handler.unaccepted.pause = 700 * time.Millisecond
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
			if n := b.alipay.FaultCounts()[fault]; n == 0 || n > 2 && reason == producer.ReasonBlockedConfiguration {
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
