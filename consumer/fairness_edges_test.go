package consumer

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"refundd/alipay"
	"refundd/dedupe"
	"refundd/producer"
)

// TestNotAloneWhileAnotherWorks: a merchant with a worker is there, however long ago
// its last command came; and who has gone leaves nothing behind.
func TestNotAloneWhileAnotherWorks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShare(8)
		if !s.enter(t.Context(), "hangs", false, 0) {
			t.Fatal("no worker")
		}
		<-time.After(2 * aloneAfter)
		if n := fill(t, s, "busy"); n != 6 {
			t.Errorf("%d of 8 workers, want three quarters while another has one", n)
		}
		s.leave("hangs")
		if n := fill(t, s, "busy"); n != 2 {
			t.Errorf("%d more, want the rest once it is alone", n)
		}
		if len(s.seen) != 1 || len(s.busy) != 1 || len(s.queue) != 0 {
			t.Errorf("seen %v, busy %v, %d wait", s.seen, s.busy, len(s.queue))
		}
	})
}

// TestNotAloneForAMinute: the moment at which a merchant counts as gone.
func TestNotAloneForAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for after, want := range map[time.Duration]int{time.Minute - 1: 3, time.Minute: 4} {
			s := newShare(4)
			s.enter(t.Context(), "other", false, 0)
			s.leave("other")
			<-time.After(after)
			if n := fill(t, s, "shop"); n != want {
				t.Errorf("%d of 4 workers %v after another's command, want %d", n, after, want)
			}
		}
	})
}

// TestSharesOfFewWorkers: each merchant may have one at least.
func TestSharesOfFewWorkers(t *testing.T) {
	for workers, want := range map[int]int{1: 1, 2: 1, 3: 2, 4: 3, 128: 96} {
		if s := newShare(workers); s.cap != want {
			t.Errorf("%d of %d workers, want %d", s.cap, workers, want)
		}
	}
	var none *share
	if !none.enter(t.Context(), "shop", false, 0) {
		t.Error("workers that are not divided are all taken")
	}
	none.leave("shop")
}

// TestOfAuthorisation: the sub_codes that are about one merchant, in both spellings.
func TestOfAuthorisation(t *testing.T) {
	for _, row := range []struct {
		class   alipay.Class
		subCode string
		want    bool
	}{
		{alipay.ClassLimited, "isv.app-auth-invoke-limit", true},
		{alipay.ClassLimited, "app-auth-invoke-limit", true},
		{alipay.ClassLimited, "isv.app-call-limited", false},
		{alipay.ClassLimited, "isv.method-call-limited", false},
		{alipay.ClassLimited, "aop.invalid-auth-token", false},
		{alipay.ClassBlockedConfiguration, "aop.invalid-auth-token", true},
		{alipay.ClassBlockedConfiguration, "aop.app-auth-token-time-out", true},
		{alipay.ClassBlockedConfiguration, "isv.invalid-auth-relations", true},
		{alipay.ClassBlockedConfiguration, "isv.invalid-signature", false},
		{alipay.ClassBlockedConfiguration, "app-auth-invoke-limit", false},
		{alipay.ClassRefused, "aop.invalid-auth-token", false},
		{alipay.ClassUnknown, "app-auth-invoke-limit", false},
	} {
		if got := ofAuthorisation(row.class, row.subCode); got != row.want {
			t.Errorf("%v %s: %v, want %v", row.class, row.subCode, got, row.want)
		}
	}
}

// TestAsideOfALimitedMerchant: what finds all workers taken does not wait long for
// one, is not claimed, spends no try, and comes back at a random moment.
func TestAsideOfALimitedMerchant(t *testing.T) {
	for random, want := range map[float64]time.Duration{0: time.Second, 0.5: 10 * time.Second, 0.57: 10 * time.Second, 0.58: 30 * time.Second, 0.999: 30 * time.Second} {
		t.Run(fmt.Sprint(random), func(t *testing.T) {
			b := newBench(t, func(c *Config) {
				c.Workers, c.Random = 1, func() float64 { return random }
				c.Merchant = func(string) (Merchant, bool) { return Merchant{AppAuthToken: "token"}, true }
			})
			b.handler.lines.limit("shop")
			b.handler.share.enter(t.Context(), "another", false, 0)
			begin := time.Now()
			b.handle(b.command(shopBody))
			if took := time.Since(begin); took > shareWait || len(b.broker.Scheduled(retryTopic)) != 1 {
				t.Errorf("aside after %v: %v", took, b.delays())
			}
			b.wantDelays(want)
			m := b.broker.Scheduled(retryTopic)[0].Properties
			if m[producer.PropertyReason] != string(producer.ReasonRateLimited) || m[producer.PropertyTry] != "0" || m[producer.PropertyClaimed] != "" || b.trips.Load() != 0 {
				t.Errorf("%v after %d exchanges", m, b.trips.Load())
			}
		})
	}
}

// TestAsideOfABusyMerchant: another's waits longer for a worker, and comes back soon.
func TestAsideOfABusyMerchant(t *testing.T) {
	b := newBench(t, func(c *Config) {
		c.Workers, c.RetryDelays = 1, []time.Duration{5 * time.Second}
		c.Merchant = func(string) (Merchant, bool) { return Merchant{AppAuthToken: "token"}, true }
	})
	b.handler.share.enter(t.Context(), "another", false, 0)
	begin := time.Now()
	b.handle(b.command(shopBody))
	if took := time.Since(begin); took < shareWait {
		t.Errorf("aside after %v", took)
	}
	b.wantDelays(5 * time.Second)
	if m := b.broker.Scheduled(retryTopic)[0].Properties; m[producer.PropertyReason] != string(producer.ReasonHeld) || m[producer.PropertyTry] != "0" {
		t.Errorf("%v", m)
	}
}

// TestNotAcceptedSpendsNoTry: while a merchant's authorisation is not accepted, what
// was claimed waits like what was not, and the first success lets all go on.
func TestNotAcceptedSpendsNoTry(t *testing.T) {
	b := newBench(t, func(c *Config) {
		c.Merchant = func(string) (Merchant, bool) { return Merchant{AppAuthToken: "token"}, true }
	})
	b.handler.unaccepted.learn("shop", false)
	b.handle(b.command(shopBody))
	b.wantDelays(time.Minute)
	m := b.broker.Scheduled(retryTopic)[0]
	if m.Properties[producer.PropertyReason] != string(producer.ReasonBlockedConfiguration) || m.Properties[producer.PropertyTry] != "0" || b.trips.Load() != 0 {
		t.Errorf("%v after %d exchanges", m.Properties, b.trips.Load())
	}
	b.handler.unaccepted.learn("shop", true)
	b.settleAll()
	b.final("R1")
}

// learnsMeanwhile is a record whose claim takes so long that another command's call
// has found out that Alipay does not accept the merchant's authorisation.
type learnsMeanwhile struct {
	*dedupe.Store
	unaccepted *unaccepted
}

func (l learnsMeanwhile) ClaimWithSlot(ctx context.Context, req dedupe.ClaimRequest, slot dedupe.Slot) (dedupe.Claim, dedupe.Grant, error) {
	defer l.unaccepted.learn("shop", false)
	return l.Store.ClaimWithSlot(ctx, req, slot)
}

// TestNotAcceptedWhileClaiming: what is claimed already is not called either, spends
// no try and comes back when somebody may ask.
func TestNotAcceptedWhileClaiming(t *testing.T) {
	b := newBench(t, func(c *Config) {
		c.Merchant = func(string) (Merchant, bool) { return Merchant{AppAuthToken: "token"}, true }
	})
	b.handler.unaccepted.pause = 9 * time.Second
	b.handler.records = learnsMeanwhile{b.store, &b.handler.unaccepted}
	b.handle(b.command(shopBody))
	b.wantDelays(10 * time.Second)
	m := b.broker.Scheduled(retryTopic)[0].Properties
	if len(b.alipay.Calls()) != 0 || m[producer.PropertyReason] != string(producer.ReasonBlockedConfiguration) || m[producer.PropertyTry] != "0" || m[producer.PropertyClaimed] != "1" {
		t.Errorf("%d calls, %v", len(b.alipay.Calls()), m)
	}
	b.handler.records = b.store
	b.handler.unaccepted.learn("shop", true)
	b.settleAll()
	b.final("R1")
}
