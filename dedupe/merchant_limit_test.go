package dedupe_test

import (
	"testing"
	"time"

	"refundd/dedupe"
)

// TestMerchantsPace: Alipay limits one merchant. Its calls wait for its turns, over
// all instances; nobody else's do, and neither do its own of those who do not know.
func TestMerchantsPace(t *testing.T) {
	b := onMiniredis(t)
	b.moveTo(b.clock.Truncate(time.Microsecond))
	limited := dedupe.Slot{Merchant: "shop:1"}
	must(t, b.store.Throttled(t.Context(), appID, "shop:1", dedupe.Grant{Asked: time.Now()}, 0))
	other := b.newStore(t, nil)

	first := b.reserve(t, limited, dedupe.NewToken())
	if first.Merchant.Pace != 10 || first.Merchant.Every != 100*time.Millisecond || first.Pace != 0 || first.Every != 0 {
		t.Errorf("%+v, want that only the merchant has a pace, of 10/s", first)
	}
	if ahead := first.Start.Sub(first.Asked); !first.OK || ahead != lead*time.Microsecond || first.Deadline.Sub(first.Start) != usable*time.Microsecond {
		t.Errorf("the first turn %+v, want one that lies %v µs ahead and may be used for %v µs", first, lead, usable)
	}
	late, err := other.Reserve(t.Context(), appID, limited, dedupe.NewToken())
	must(t, err)
	if late.OK || late.Reason != dedupe.ReasonThrottled || late.Wait != 100*time.Millisecond {
		t.Errorf("another instance: %+v, want that it waits for the next turn", late)
	}
	for _, slot := range []dedupe.Slot{{}, {Merchant: "shop:2"}, {Merchant: "shop"}} {
		if g := b.reserve(t, slot, dedupe.NewToken()); !g.OK || g.Pace != 0 || g.Merchant != (dedupe.Turns{}) || g.Start != g.Asked {
			t.Errorf("%+v: %+v, want that nothing limits it", slot, g)
		}
	}
}

// TestMerchantsTurnIsGivenBack: with the call that was not made; and it is not
// taken where another limit denies the call.
func TestMerchantsTurnIsGivenBack(t *testing.T) {
	b := onMiniredis(t)
	b.moveTo(b.clock.Truncate(time.Microsecond))
	slot := slow("m:T1")
	slot.Merchant = "shop"
	must(t, b.store.Throttled(t.Context(), appID, "shop", dedupe.Grant{Asked: time.Now()}, 0))
	next := func() time.Duration {
		t.Helper()
		token := dedupe.NewToken()
		g := b.reserve(t, dedupe.Slot{Merchant: "shop", Query: true}, token)
		must(t, b.store.Undo(t.Context(), appID, dedupe.Slot{Merchant: "shop"}, token))
		return g.Start.Sub(g.Asked)
	}
	token := dedupe.NewToken()
	if g := b.reserve(t, slot, token); !g.OK || next() == lead*time.Microsecond {
		t.Errorf("%+v, want that the turn is taken", g)
	}
	if g := b.reserve(t, slot, dedupe.NewToken()); g.OK {
		t.Errorf("two calls on a trade: %+v", g)
	}
	b.moveTo(b.clock.Add(100 * time.Millisecond))
	if got := next(); got != lead*time.Microsecond {
		t.Errorf("the next turn is in %v: a denied call took one", got)
	}
	must(t, b.store.Undo(t.Context(), appID, slot, token))
	if got := next(); got != (lead-100_000)*time.Microsecond {
		t.Errorf("the next turn is in %v, want that the one given back is free", got)
	}
}

// TestApplicationAndMerchantLimited: a call waits for the later of both turns, and
// may still use the earlier one then.
func TestApplicationAndMerchantLimited(t *testing.T) {
	b := onMiniredis(t)
	b.moveTo(b.clock.Truncate(time.Microsecond))
	must(t, b.store.Throttled(t.Context(), appID, "shop", dedupe.Grant{Asked: time.Now()}, 0))
	g := b.reserve(t, dedupe.Slot{Merchant: "shop", Rate: 100}, dedupe.NewToken())
	if g.Start.Sub(g.Asked) != lead*time.Microsecond || g.Deadline.Sub(g.Start) != usable*time.Microsecond || g.Every != 10*time.Millisecond {
		t.Errorf("%+v, want the merchant's turn, of which all of its time is left", g)
	}
	must(t, b.throttled(dedupe.Grant{}, 100)) // the application, too
	b.moveTo(b.clock.Add(350 * time.Millisecond))
	g = b.reserve(t, dedupe.Slot{Merchant: "shop"}, dedupe.NewToken())
	if g.Pace != 10 || g.Merchant.Pace < 10 || g.Start.Sub(g.Asked) < 100*time.Millisecond || !g.OK {
		t.Errorf("%+v, want both paces", g)
	}
	// The merchant's refusal says nothing of the application, nor the other way round.
	b.moveTo(b.clock.Add(2 * time.Second))
	before := b.reserve(t, dedupe.Slot{Merchant: "shop"}, dedupe.NewToken())
	before.Asked = time.Now()
	must(t, b.store.Throttled(t.Context(), appID, "shop", before, 0))
	after := b.reserve(t, dedupe.Slot{Merchant: "shop"}, dedupe.NewToken())
	if after.Merchant.Pace >= before.Merchant.Pace || after.Pace < before.Pace {
		t.Errorf("%+v after %+v, want that only the merchant slowed down", after, before)
	}
}
