package dedupe_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"refundd/dedupe"
)

// slow is a slot whose spacing outlasts any test.
func slow(trade string) dedupe.Slot {
	return dedupe.Slot{Trade: trade, Spacing: time.Hour, Rate: 100}
}

func (b *bench) reserve(t *testing.T, slot dedupe.Slot, token dedupe.Token) dedupe.Grant {
	t.Helper()
	grant, err := b.store.Reserve(t.Context(), appID, slot, token)
	must(t, err)
	return grant
}

func (b *bench) claimWithSlot(t *testing.T, id dedupe.Identity, fp string, token dedupe.Token, slot dedupe.Slot) (dedupe.Answer, dedupe.Grant) {
	t.Helper()
	claim, grant, err := b.store.ClaimWithSlot(t.Context(), dedupe.ClaimRequest{ID: id, Fingerprint: fp, Token: token}, slot)
	must(t, err)
	return claim.Answer, grant
}

func TestSlotOfAWonClaim(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, b *bench) {
		claim, grant := b.claimWithSlot(t, refund("R1"), "fp", dedupe.NewToken(), slow("m:T1"))
		if claim.State != dedupe.Won || !claim.Fresh || !grant.OK || grant.Deadline.IsZero() {
			t.Fatalf("%+v %+v, want both", claim, grant)
		}
		token := dedupe.NewToken()
		claim, grant = b.claimWithSlot(t, refund("R2"), "fp", token, slow("m:T1"))
		if claim.State != dedupe.Won || grant.OK || grant.Reason != dedupe.ReasonSpacing ||
			grant.Wait <= time.Hour-time.Minute || grant.Wait > time.Hour+(lead+usable)*time.Microsecond {
			t.Fatalf("%+v %+v, want the claim and no grant for an hour", claim, grant)
		}
		if keys := b.limitKeys(t); strings.Contains(keys, string(token)) {
			t.Errorf("the rate is still reserved for what was denied:\n%s", keys)
		}
		if grant := b.reserve(t, slow("m:T2"), dedupe.NewToken()); !grant.OK {
			t.Errorf("another trade: %+v", grant)
		}
		query := slow("m:T1")
		query.Query = true
		if grant := b.reserve(t, query, dedupe.NewToken()); !grant.OK {
			t.Errorf("a query is spaced: %+v", grant)
		}
	})
}

// A claim that is not won leaves nothing reserved.
func TestSlotOfALostClaimIsVoid(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, b *bench) {
		b.won(t, refund("held"))
		b.settle(t, dedupe.SettleRequest{
			ID: refund("decided"), Fingerprint: "fp", Token: b.won(t, refund("decided")), Succeeded: true, Event: []byte("e"),
		})
		tests := []struct {
			number, fp string
			want       dedupe.State
		}{
			{"held", "fp", dedupe.Held},
			{"decided", "fp", dedupe.Decided},
			{"held", "other", dedupe.Conflict},
		}
		for _, test := range tests {
			token := dedupe.NewToken()
			claim, grant := b.claimWithSlot(t, refund(test.number), test.fp, token, slow("m:T1"))
			if claim.State != test.want || grant != (dedupe.Grant{}) {
				t.Errorf("%+v %+v, want %v and nothing", claim, grant, test.want)
			}
			if keys := b.limitKeys(t); strings.Contains(keys, string(token)) {
				t.Errorf("%v: still reserved:\n%s", test.want, keys)
			}
		}
		if grant := b.reserve(t, slow("m:T1"), dedupe.NewToken()); !grant.OK {
			t.Errorf("the trade is not free: %+v", grant)
		}
	})
}

// What was undone is free at once; undoing again takes nothing from others.
func TestUndo(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, b *bench) {
		slot := slow("m:T1")
		slot.Rate = 1
		for range 3 { // one call a second, and each of them is undone
			token := dedupe.NewToken()
			if grant := b.reserve(t, slot, token); !grant.OK {
				t.Fatalf("%+v", grant)
			}
			must(t, b.store.Undo(t.Context(), appID, slot, token))
		}
		first := dedupe.NewToken()
		b.reserve(t, slow("m:T2"), first)
		must(t, b.store.Undo(t.Context(), appID, slow("m:T2"), first))
		b.reserve(t, slow("m:T2"), dedupe.NewToken())
		must(t, b.store.Undo(t.Context(), appID, slow("m:T2"), first))
		if grant := b.reserve(t, slow("m:T2"), dedupe.NewToken()); grant.Reason != dedupe.ReasonSpacing {
			t.Errorf("%+v: an old undo has freed the reservation of another", grant)
		}
	})
}

// A client sends again what it got no answer to.
func TestSlotsWhoseAnswerWasLost(t *testing.T) {
	b := onMiniredis(t)
	proxy := newProxy(t, b.mini.Addr())
	client := redis.NewClient(&redis.Options{Addr: proxy.addr(), PoolSize: 1, MinRetryBackoff: time.Millisecond, MaxRetryBackoff: 2 * time.Millisecond})
	t.Cleanup(func() { must(t, client.Close()) })
	b = &bench{client: client, own: client, prefix: b.prefix, mini: b.mini, clock: b.clock}
	b.store = b.newStore(t, nil)
	b.claimWithSlot(t, refund("R0"), "fp", dedupe.NewToken(), slow("m:T0")) // brings the scripts

	slot := slow("m:T1")
	slot.Rate = 1
	b.moveTo(b.clock.Add(time.Minute))
	token := dedupe.NewToken()
	proxy.loseNextAnswer()
	if claim, grant := b.claimWithSlot(t, refund("R1"), "fp", token, slot); claim.State != dedupe.Won || !grant.OK {
		t.Errorf("%+v %+v", claim, grant)
	}
	proxy.loseNextAnswer()
	if grant := b.reserve(t, slot, token); !grant.OK {
		t.Errorf("the same token: %+v", grant)
	}
	b.moveTo(b.clock.Add((lead+usable)*time.Microsecond + time.Microsecond))
	if grant := b.reserve(t, slot, token); grant.OK || grant.Reason != dedupe.ReasonSpacing {
		t.Errorf("a grant that is no longer fresh: %+v", grant)
	}
	proxy.loseNextAnswer()
	must(t, b.store.Undo(t.Context(), appID, slot, token))
	slot.Rate = 0
	must(t, b.throttled(b.reserve(t, slot, token), 0))
	b.moveTo(b.clock.Add(2 * time.Second))
	refused := b.reserve(t, slow("m:T2"), dedupe.NewToken())
	proxy.loseNextAnswer()
	must(t, b.throttled(refused, 0)) // sent twice, fallen once
	if grant := b.reserve(t, slow("m:T3"), dedupe.NewToken()); grant.Pace != 0.5*0.95*10 {
		t.Errorf("%+v, want that it has fallen once from 10/s", grant)
	}
	if lost := proxy.lost.Load(); lost != 4 {
		t.Errorf("%d answers were lost, want 4: the test proves nothing", lost)
	}
}

// throttled says that a call of now was refused, whatever the clock of Redis is.
func (b *bench) throttled(asked dedupe.Grant, rate int) error {
	asked.Asked = time.Now()
	return b.store.Throttled(context.Background(), appID, "", asked, rate)
}

// The pace after refusals, step by step.
func TestPaceFallsAndRises(t *testing.T) {
	b := onMiniredis(t)
	b.moveTo(b.clock.Truncate(time.Microsecond))
	slot := dedupe.Slot{}
	pace := func() float64 {
		t.Helper()
		grant := b.reserve(t, slot, dedupe.NewToken())
		for !grant.OK {
			b.moveTo(b.clock.Add(grant.Wait))
			grant = b.reserve(t, slot, dedupe.NewToken())
		}
		if grant.Start.Sub(grant.Asked) > lead*time.Microsecond {
			t.Fatalf("%v ahead", grant.Start.Sub(grant.Asked))
		}
		return grant.Pace
	}
	rises := func(seconds float64) float64 {
		t.Helper()
		last := pace()
		for until := b.clock.Add(time.Duration(seconds * 1e9)); b.clock.Before(until); {
			now := pace()
			if now < last {
				t.Fatalf("%v calls a second after %v, and no refusal", now, last)
			}
			last = now
		}
		return last
	}
	if got := pace(); got != 0 {
		t.Fatalf("limited to %v before any refusal", got)
	}
	early := dedupe.Grant{Asked: time.Now().Add(-time.Minute)}
	must(t, b.throttled(dedupe.Grant{}, 0))
	must(t, b.throttled(dedupe.Grant{}, 0)) // many are refused at once
	if got := pace(); got != 10 {
		t.Fatalf("%v, want 10/s after the first refusal", got)
	}
	if got := rises(4); got < 30 {
		t.Errorf("%v, want that it searches fast", got)
	}
	must(t, b.store.Throttled(t.Context(), appID, "", early, 0)) // on its way since before
	top := pace()
	must(t, b.throttled(dedupe.Grant{Turns: dedupe.Turns{Pace: top}}, 0))
	fallen := pace()
	if fallen < 0.80*top || fallen > 0.82*top {
		t.Errorf("%v after %v, want 0.85 × 0.95 of it: it was found while searching", fallen, top)
	}
	must(t, b.throttled(dedupe.Grant{}, 0))
	if got := pace(); got < fallen {
		t.Errorf("%v: it fell twice in a second", got)
	}
	near := rises(2)
	if near > 1.06*fallen {
		t.Errorf("%v after %v: it rises fast near what was refused", near, fallen)
	}
	if got := rises(8); got < 2*fallen {
		t.Errorf("%v after %v, want that it is doubled in ten seconds", got, fallen)
	}
	for range 40 { // everything is refused
		b.moveTo(b.clock.Add(time.Minute))
		pace()
		must(t, b.throttled(dedupe.Grant{}, 0))
	}
	if got := pace(); got > 4./60 {
		t.Errorf("%v calls a second although all are refused", got)
	}
	if grant := b.reserve(t, dedupe.Slot{Query: true}, dedupe.NewToken()); !grant.OK {
		t.Errorf("a query: %+v", grant)
	}
	queries := 0
	for second := range 12 * 60 {
		if b.reserve(t, dedupe.Slot{Query: true}, dedupe.NewToken()).OK {
			if second >= 2*60 { // the pace has fallen to the floor again
				queries++
			}
			must(t, b.throttled(dedupe.Grant{}, 0))
		}
		b.moveTo(b.clock.Add(time.Second))
	}
	if queries < 5 || queries > 11 {
		t.Errorf("%d queries in ten minutes in which all calls are refused, want about one a minute", queries)
	}
	b.moveTo(b.clock.Add(11 * time.Minute))
	if got := pace(); got != 0 {
		t.Errorf("%v, want that it is forgotten", got)
	}
	if keys := b.limitKeys(t); keys != "" {
		t.Errorf("left behind:\n%s", keys)
	}
}

// Where the application has a rate of its own, the slower one counts.
func TestPaceAndRate(t *testing.T) {
	b := onMiniredis(t)
	b.moveTo(b.clock.Truncate(time.Microsecond))
	slot := dedupe.Slot{Rate: 4}
	must(t, b.throttled(dedupe.Grant{}, 4))
	for range 100 {
		grant := b.reserve(t, slot, dedupe.NewToken())
		if grant.Pace != 4 || grant.Every != 250*time.Millisecond {
			t.Fatalf("%+v, want the rate", grant)
		}
		b.moveTo(b.clock.Add(max(grant.Wait, time.Millisecond)))
	}
}

// A failover to a node whose clock is behind must not stop a trade or the
// application for as long as the clocks differ.
func TestLimitsOutliveAClockThatIsSetBack(t *testing.T) {
	b := onMiniredis(t)
	b.mini.ClockTTL(false) // or the keys would go, which is the easy case
	slot := dedupe.Slot{Trade: "m:T1", Spacing: 3 * time.Second, Rate: 5}
	if grant := b.reserve(t, slot, dedupe.NewToken()); !grant.OK {
		t.Fatalf("%+v", grant)
	}
	must(t, b.throttled(dedupe.Grant{}, 5))
	b.moveTo(b.clock.Add(-time.Hour))
	var waited time.Duration
	var grant dedupe.Grant
	for range 10 {
		grant = b.reserve(t, slot, dedupe.NewToken())
		if grant.OK {
			break
		}
		waited += grant.Wait
		b.moveTo(b.clock.Add(grant.Wait))
	}
	if !grant.OK || waited > 5*time.Second {
		t.Errorf("waited for %v", waited)
	}
}

func TestSlotsThatCannotBe(t *testing.T) {
	b := onMiniredis(t)
	ctx, token := t.Context(), dedupe.NewToken()
	tests := []struct {
		name, app string
		slot      dedupe.Slot
		token     dedupe.Token
		want      string
	}{
		{"no app", "", dedupe.Slot{}, token, "app id"},
		{"no token", appID, dedupe.Slot{}, "", "token"},
		{"spacing below zero", appID, dedupe.Slot{Spacing: -1}, token, "spacing"},
		{"rate below zero", appID, dedupe.Slot{Rate: -1}, token, "rate -1"},
		{"rate too high", appID, dedupe.Slot{Rate: dedupe.MaxRate + 1}, token, "rate 10001"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := b.store.Reserve(ctx, test.app, test.slot, test.token)
			undo := b.store.Undo(ctx, test.app, test.slot, test.token)
			_, _, claim := b.store.ClaimWithSlot(ctx, dedupe.ClaimRequest{
				ID: dedupe.Identity{AppID: test.app, Kind: "refund", OutRequestNo: "R"}, Fingerprint: "fp", Token: test.token,
			}, test.slot)
			for _, err := range []error{err, undo, claim} {
				if err == nil {
					t.Fatal("accepted")
				}
				mustContain(t, err.Error(), test.want)
			}
		})
	}
	if b.store.Throttled(ctx, "", "", dedupe.Grant{}, 0) == nil {
		t.Error("throttled without an app id")
	}
	b.mini.SetError("ERR down")
	_, reserve := b.store.Reserve(ctx, appID, slow("m:T1"), token)
	_, _, claim := b.store.ClaimWithSlot(ctx, dedupe.ClaimRequest{ID: refund("R"), Fingerprint: "fp", Token: token}, slow("m:T1"))
	for _, err := range []error{reserve, claim, b.store.Undo(ctx, appID, slow("m:T1"), token), b.throttled(dedupe.Grant{}, 0)} {
		if err == nil {
			t.Fatal("no error without Redis")
		}
		mustContain(t, err.Error(), "dedupe: ", b.prefix)
	}
}

// The fast path with spacing and rate is as long as without: two exchanges.
func TestExchangesWithSlots(t *testing.T) {
	b := onMiniredis(t)
	seen := &recorder{}
	for i, number := range []string{"R0", "R1"} { // the first one finds no scripts
		if i == 1 {
			b.own.AddHook(seen)
		}
		token := dedupe.NewToken()
		if claim, grant := b.claimWithSlot(t, refund(number), "fp", token, slow(number)); claim.State != dedupe.Won || !grant.OK {
			t.Fatalf("%+v %+v", claim, grant)
		}
		b.settle(t, dedupe.SettleRequest{ID: refund(number), Fingerprint: "fp", Token: token, Succeeded: true, Event: []byte("e")})
	}
	if n := seen.exchanges.Load(); n != 2 {
		t.Errorf("%d exchanges, want 2", n)
	}
}

// crowdCall is one refund call of the crowd.
type crowdCall struct {
	trade           string
	asked, answered time.Time // around the turn
	made            time.Time
}

// crowd lets 16 workers over four stores and clients make calls until each trade
// had so many. Every call is made as late as its worker likes, within its grant.
func crowd(t *testing.T, stores []*dedupe.Store, trades []string, spacing time.Duration, rate, calls int, after func(n int)) []crowdCall {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	var (
		mu   sync.Mutex
		all  []crowdCall
		done = map[string]int{}
		crew sync.WaitGroup
	)
	worker := func(n int) error {
		random := rand.New(rand.NewPCG(uint64(n), 3))
		for ctx.Err() == nil {
			trade := trades[random.IntN(len(trades))]
			slot := dedupe.Slot{Trade: trade, Spacing: spacing, Rate: rate}
			token := dedupe.NewToken()
			began := time.Now()
			var grant dedupe.Grant
			var err error
			if random.IntN(2) == 0 {
				grant, err = stores[n%len(stores)].Reserve(ctx, appID, slot, token)
			} else {
				_, grant, err = stores[n%len(stores)].ClaimWithSlot(ctx, dedupe.ClaimRequest{
					ID: refund(string(token)), Fingerprint: "fp", Token: token,
				}, slot)
			}
			if err != nil {
				return err
			}
			took := time.Since(began)
			if !grant.OK {
				pause(ctx, time.Duration(random.Int64N(int64(min(grant.Wait, 80*time.Millisecond))+1)))
				continue
			}
			pause(ctx, time.Until(grant.Start))
			pause(ctx, time.Duration(random.Int64N(int64(max(1, time.Until(grant.Deadline))))))
			if now := time.Now(); now.Before(grant.Deadline) {
				mu.Lock()
				all = append(all, crowdCall{trade: trade, asked: grant.Start, answered: grant.Start.Add(took), made: now})
				done[trade]++
				total, enough := len(all), len(done) == len(trades)
				for _, n := range done {
					enough = enough && n >= calls
				}
				mu.Unlock()
				if enough {
					cancel()
				}
				if after != nil {
					after(total)
				}
			}
		}
		return nil
	}
	for n := range 16 {
		crew.Go(func() {
			if err := worker(n); err != nil && ctx.Err() == nil {
				t.Errorf("worker %d: %v", n, err)
			}
		})
	}
	crew.Wait()
	if !errors.Is(ctx.Err(), context.Canceled) {
		t.Fatalf("not every trade had its calls: %v", done)
	}
	slices.SortFunc(all, func(a, b crowdCall) int { return a.made.Compare(b.made) })
	return all
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// apart fails if two calls of a trade come closer than the spacing. A millisecond
// is allowed to Redis' clock, which is not ours.
func apart(t *testing.T, calls []crowdCall, spacing time.Duration) {
	t.Helper()
	last := map[string]time.Time{}
	for _, call := range calls {
		if before, there := last[call.trade]; there && call.made.Sub(before) < spacing-time.Millisecond {
			t.Errorf("two calls on %s are %v apart, want %v", call.trade, call.made.Sub(before), spacing)
		}
		last[call.trade] = call.made
	}
}

// onRunningRedis is onEveryRedis with clocks that run by themselves.
func onRunningRedis(t *testing.T, test func(t *testing.T, b *bench)) {
	t.Helper()
	onEveryRedis(t, func(t *testing.T, b *bench) {
		if b.mini != nil {
			mini := miniredis.RunT(t)
			mini.ClockTTL(true)
			b = newBench(t, redis.NewClient(&redis.Options{Addr: mini.Addr()}))
			b.mini = mini
		}
		test(t, b)
	})
}

func (b *bench) stores(t *testing.T) []*dedupe.Store {
	t.Helper()
	var stores []*dedupe.Store
	for range 4 {
		stores = append(stores, b.newStore(t, nil))
	}
	return stores
}

func TestCrowdKeepsSpacingAndRate(t *testing.T) {
	onRunningRedis(t, func(t *testing.T, b *bench) {
		const spacing, rate = 80 * time.Millisecond, 12
		trades := []string{"m:T0", "m:T1", "m:T2", "m:T3", "m:T4", "m:T5"}
		calls := crowd(t, b.stores(t), trades, spacing, rate, 2, nil)
		apart(t, calls, spacing)
		// Of a turn it is known to within the time of the exchange when it was.
		for _, first := range calls {
			for _, last := range calls {
				window, n := last.answered.Sub(first.asked), 0
				if window <= 0 {
					continue
				}
				for _, call := range calls {
					if !call.asked.Before(first.asked) && !call.answered.After(last.answered) {
						n++
					}
				}
				if most := int(window.Seconds()*rate) + rate/10 + 2; n > most {
					t.Fatalf("%d grants in %v, want at most %d", n, window, most)
				}
			}
		}
	})
}

// Redis forgets everything in the middle: limits begin anew, and nothing breaks.
func TestCrowdOutlivesAFlush(t *testing.T) {
	onRunningRedis(t, func(t *testing.T, b *bench) {
		const spacing = 50 * time.Millisecond
		var once sync.Once
		var began, ended time.Time
		calls := crowd(t, b.stores(t), []string{"m:T0", "m:T1"}, spacing, 0, 6, func(n int) {
			if n < 5 {
				return
			}
			once.Do(func() {
				began = time.Now()
				err := b.client.ScriptFlush(t.Context()).Err()
				for _, key := range []string{"l:" + appID, "t:" + appID + ":m:T0", "t:" + appID + ":m:T1"} {
					key = b.prefix + key // what FLUSHALL does, to our keys only
					err = errors.Join(err, b.client.Del(t.Context(), key).Err())
				}
				if err != nil {
					t.Errorf("flush: %v", err)
				}
				ended = time.Now()
			})
		})
		var before, after []crowdCall
		for _, call := range calls {
			switch {
			case call.answered.Before(began):
				before = append(before, call)
			case call.asked.After(ended):
				after = append(after, call)
			}
		}
		if len(before) == 0 || len(after) == 0 {
			t.Fatalf("%d calls before and %d after: the test proves nothing", len(before), len(after))
		}
		apart(t, before, spacing)
		apart(t, after, spacing)
	})
}
