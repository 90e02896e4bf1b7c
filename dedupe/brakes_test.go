package dedupe_test

import (
	"context"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"refundd/dedupe"
)

func TestBrakes(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, b *bench) {
		ctx := t.Context()
		since := time.UnixMilli(1_700_000_000_123)
		want := []dedupe.Brake{
			{Reason: "everything", By: "ann", Since: since},
			{Merchant: "a:b%3A", Since: since},
			{Kind: "refund", Reason: "再试", Since: since},
			{Kind: "refund", Merchant: "m1", By: "bob", Since: since},
		}
		for _, brake := range want {
			must(t, b.store.Pause(ctx, appID, dedupe.Brake{Kind: brake.Kind, Merchant: brake.Merchant, Reason: "first"}))
			must(t, b.store.Pause(ctx, appID, brake))
		}
		brakes, err := b.store.Brakes(ctx, appID)
		must(t, err)
		if !slices.Equal(brakes, want) {
			t.Errorf("%+v, want %+v", brakes, want)
		}
		if other, err := b.store.Brakes(ctx, "other"); err != nil || len(other) != 0 {
			t.Errorf("another application: %+v, %v", other, err)
		}
		if ttl, err := b.client.PTTL(ctx, b.prefix+"p:"+appID).Result(); err != nil || ttl != -1 {
			t.Errorf("brakes expire: %v, %v", ttl, err)
		}
		for _, brake := range want {
			for _, on := range []bool{true, false} {
				if was, err := b.store.Resume(ctx, appID, brake.Kind, brake.Merchant); err != nil || was != on {
					t.Errorf("resume %+v: %v, %v", brake, was, err)
				}
			}
		}
		if brakes, err := b.store.Brakes(ctx, appID); err != nil || len(brakes) != 0 {
			t.Errorf("after all were taken off: %+v, %v", brakes, err)
		}
	})
}

// What nobody can read stops calls all the same.
func TestBrakeThatCannotBeRead(t *testing.T) {
	b := onMiniredis(t)
	must(t, b.client.HSet(t.Context(), b.prefix+"p:"+appID, "refund:m1", "?", "coupon_refund", "{}").Err())
	brakes, err := b.store.Brakes(t.Context(), appID)
	must(t, err)
	if len(brakes) != 2 || brakes[0].Kind != "coupon_refund" || brakes[1].Kind != "refund" || brakes[1].Merchant != "m1" {
		t.Errorf("%+v", brakes)
	}
}

func TestBrakesThatCannotBe(t *testing.T) {
	b := onMiniredis(t)
	ctx := t.Context()
	long := dedupe.Brake{Reason: strings.Repeat("x", 513)}
	_, read := b.store.Brakes(ctx, "")
	_, resume := b.store.Resume(ctx, "", "", "")
	for _, err := range []error{read, resume, b.store.Pause(ctx, "", dedupe.Brake{}), b.store.Pause(ctx, appID, long)} {
		if err == nil {
			t.Error("accepted")
		}
	}
	if _, err := dedupe.NewBrakeWatch(nil, appID); err == nil {
		t.Error("a watch without a store")
	}
	if _, err := dedupe.NewBrakeWatch(b.store, ""); err == nil {
		t.Error("a watch without an app id")
	}
}

// until waits for a condition.
func until(t *testing.T, what string, true func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for !true() {
		if ctx.Err() != nil {
			t.Fatalf("never: %s", what)
		}
		pause(ctx, 5*time.Millisecond)
	}
}

func TestBrakeWatch(t *testing.T) {
	b := onMiniredis(t)
	var looks atomic.Int32
	watch, err := dedupe.NewBrakeWatch(b.newStore(t, func(string, time.Duration) { looks.Add(1) }), appID)
	must(t, err)
	if brake, paused := watch.Paused("refund", ""); !paused || brake.Reason == "" || !brake.Since.IsZero() {
		t.Errorf("before the first look: %+v %v, want paused", brake, paused)
	}
	if _, known := watch.On(); known {
		t.Error("known before the first look")
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		watch.Run(ctx)
	}()
	t.Cleanup(func() {
		stop()
		<-ended
	})
	until(t, "first look", func() bool { _, paused := watch.Paused("refund", ""); return !paused })

	for _, brake := range []dedupe.Brake{
		{Kind: "refund", Merchant: "m1", Reason: "both"},
		{Merchant: "m1", Reason: "merchant"},
		{Kind: "coupon_refund", Reason: "kind"},
	} {
		must(t, b.store.Pause(ctx, appID, brake))
	}
	until(t, "three brakes", func() bool { on, known := watch.On(); return known && len(on) == 3 })
	tests := []struct{ kind, merchant, want string }{
		{"refund", "m1", "both"},
		{"coupon_refund", "m1", "merchant"},
		{"coupon_refund", "m2", "kind"},
		{"coupon_refund", "", "kind"},
		{"refund", "m2", ""},
		{"refund", "", ""},
	}
	for _, test := range tests {
		brake, paused := watch.Paused(test.kind, test.merchant)
		if brake.Reason != test.want || paused != (test.want != "") {
			t.Errorf("%s of %q: %+v %v, want %q", test.kind, test.merchant, brake, paused, test.want)
		}
	}

	must(t, b.store.Pause(ctx, appID, dedupe.Brake{Reason: "all"}))
	until(t, "all stopped", func() bool { _, paused := watch.Paused("refund", "m2"); return paused })
	b.mini.SetError("ERR down")
	before := looks.Load()
	until(t, "two looks in vain", func() bool { return looks.Load() >= before+3 }) // the first may have begun before
	if brake, paused := watch.Paused("refund", "m2"); !paused || brake.Reason != "all" {
		t.Errorf("while Redis cannot be read: %+v %v, want what was read last", brake, paused)
	}
	b.mini.SetError("")
	_, err = b.store.Resume(ctx, appID, "", "")
	must(t, err)
	until(t, "flowing again", func() bool { _, paused := watch.Paused("refund", "m2"); return !paused })
}
