package consumer

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"refundd/alipay"
	"refundd/dedupe"
)

// TestLinesOfLimitedMerchants: a merchant has one from its first refusal until
// nothing limits it, and what it learns is neither the app's nor another's.
func TestLinesOfLimitedMerchants(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := bare(Config{})
		shop, mall := Command{Merchant: "shop"}, Command{Merchant: "mall"}
		h.lines.limit("shop")
		slot := h.slot(shop, actCall)
		if slot.Merchant != "shop" || h.slot(mall, actCall).Merchant != "" || h.slot(Command{}, actCall).Merchant != "" {
			t.Errorf("%+v, want the limited merchant in its own slots only", slot)
		}
		own := dedupe.Turns{Next: time.Now().Add(time.Minute), Every: time.Second}
		h.learn(slot, dedupe.Grant{Asked: time.Now(), Merchant: own})
		h.lines.limit("shop") // many are refused at once
		begin := time.Now()
		if left, ok := h.awaitTurn("shop", false, waitInLine); ok || left != time.Minute-ahead || time.Since(begin) > waitInPlace {
			t.Errorf("%v, %v, after %v", left, ok, time.Since(begin))
		}
		for _, merchant := range []string{"mall", ""} {
			if _, ok := h.awaitTurn(merchant, false, 0); !ok {
				t.Errorf("merchant %q waits", merchant)
			}
		}
		h.learn(slot, dedupe.Grant{})
		if h.lines.of("shop") == nil {
			t.Error("an exchange that failed ended the limit")
		}
		h.learn(slot, dedupe.Grant{Asked: time.Now()}) // ten minutes after the last refusal
		if _, ok := h.awaitTurn("shop", false, 0); !ok || h.slot(shop, actCall).Merchant != "" {
			t.Error("it is still limited")
		}
		// The app is limited as well: both lines are waited for, within one patience.
		h.lines.limit("shop")
		h.learn(slot, dedupe.Grant{
			Asked: time.Now(), Turns: dedupe.Turns{Next: time.Now().Add(6 * time.Second), Every: time.Second},
			Merchant: dedupe.Turns{Next: time.Now().Add(2 * time.Second), Every: time.Second},
		})
		begin = time.Now()
		if _, ok := h.awaitTurn("shop", true, 5*time.Second); ok || time.Since(begin) > 5*time.Second {
			t.Errorf("%v after %v", ok, time.Since(begin))
		}
		if left, ok := h.awaitTurn("shop", true, 15*time.Second); !ok {
			t.Errorf("%v left", left)
		}
	})
}

// TestRefusalOfWhom: Alipay's sub_code says whether it is the app that calls too
// often, or this merchant's authorisation that is used too often.
func TestRefusalOfWhom(t *testing.T) {
	for fault, merchants := range map[string]bool{"limited-auth": true, "limited": false} {
		t.Run(fault, func(t *testing.T) {
			b := newBench(t, func(c *Config) {
				c.Merchant = func(string) (Merchant, bool) { return Merchant{AppAuthToken: "token-of-shop"}, true }
			})
			check(t, b.alipay.SpoilMerchant("token-of-shop", fault))
			b.handle(b.command(shopBody))
			app, err := b.store.Reserve(t.Context(), testApp, dedupe.Slot{Merchant: "shop"}, dedupe.NewToken())
			check(t, err)
			if (app.Merchant.Pace > 0) != merchants || (app.Pace > 0) == merchants || (b.handler.lines.of("shop") != nil) != merchants {
				t.Errorf("%+v, want the merchant limited: %v", app, merchants)
			}
			check(t, b.alipay.SpoilMerchant("token-of-shop", ""))
			b.settleAll()
			b.final("R1")
		})
	}
}

// slots are those that were asked for besides a claim.
type slots struct {
	*dedupe.Store
	asked []dedupe.Slot
}

func (s *slots) Reserve(ctx context.Context, appID string, slot dedupe.Slot, token dedupe.Token) (dedupe.Grant, error) {
	s.asked = append(s.asked, slot)
	return s.Store.Reserve(ctx, appID, slot, token)
}

// TestQueriesOfALimitedMerchant ask for turns as well: they are calls of it.
func TestQueriesOfALimitedMerchant(t *testing.T) {
	b := newBench(t, func(c *Config) {
		c.Merchant = func(string) (Merchant, bool) { return Merchant{AppAuthToken: "token-of-shop"}, true }
	})
	asked := &slots{Store: b.store}
	b.handler.records = asked
	b.handler.lines.limit("shop")
	check(t, b.store.Throttled(t.Context(), testApp, "shop", dedupe.Grant{Asked: time.Now()}, 0))
	b.handle(b.command(`{"out_request_no":"fault-timeout-after-1","out_trade_no":"T1","refund_amount":"3.00","merchant":"shop"}`))
	b.settleAll()
	b.final("fault-timeout-after-1")
	if !slices.ContainsFunc(asked.asked, func(s dedupe.Slot) bool { return s.Query && s.Merchant == "shop" }) {
		t.Errorf("turns asked for: %+v, want a query's among them", asked.asked)
	}
	if ofAuthorisation(alipay.ClassLimited, "isv.app-call-limited") {
		t.Error("that is the app's limit")
	}
}

// TestQueriesWhereNothingIsLimited cost no exchange of their own; where the app has a
// rate, they ask for their share of it.
func TestQueriesWhereNothingIsLimited(t *testing.T) {
	for rate, want := range map[int]bool{0: false, 100: true} {
		t.Run(fmt.Sprint(rate), func(t *testing.T) {
			b := newBench(t, func(c *Config) { c.Limits.Rate = rate })
			asked := &slots{Store: b.store}
			b.handler.records = asked
			b.handle(b.command(refundBody("fault-timeout-after-1", "T1", "3.00")))
			b.settleAll()
			if e := b.final("fault-timeout-after-1"); e.ConfirmedBy != "query" {
				t.Errorf("confirmed by %s: the test proves nothing", e.ConfirmedBy)
			}
			if got := slices.ContainsFunc(asked.asked, func(s dedupe.Slot) bool { return s.Query }); got != want {
				t.Errorf("turns asked for: %+v, want a query's among them: %v", asked.asked, want)
			}
		})
	}
}
