package dedupe_test

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"refundd/dedupe"
)

// I9: one lease holder per key.
func TestI9OneHolderAtATime(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, b *bench) {
		const workers, rounds = 16, 25
		id := refund("R1")
		var holders, wins atomic.Int32
		var all sync.WaitGroup
		for range workers {
			all.Go(func() {
				for range rounds {
					token := dedupe.NewToken()
					claim, err := b.store.Claim(t.Context(), dedupe.ClaimRequest{ID: id, Fingerprint: "fp", Token: token})
					if err != nil {
						t.Error(err)
						return
					}
					if claim.State != dedupe.Won {
						continue
					}
					wins.Add(1)
					if n := holders.Add(1); n != 1 {
						t.Errorf("%d hold the record at once", n)
					}
					runtime.Gosched()
					holders.Add(-1)
					release, err := b.store.Release(t.Context(), dedupe.ReleaseRequest{ID: id, Token: token})
					if err != nil || release.State != dedupe.Released {
						t.Errorf("release: %v, %v", release.State, err)
					}
				}
			})
		}
		all.Wait()
		record, err := b.store.Read(t.Context(), id)
		must(t, err)
		if wins.Load() == 0 || record.Generation != int64(wins.Load()) {
			t.Errorf("%d claims won and released, generation %d", wins.Load(), record.Generation)
		}
	})
}

// I9: a stale fencing token can write nothing, a success excepted.
func TestI9AStaleTokenWritesNothing(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, b *bench) {
		id := refund("R1")
		key := b.store.Key(id)
		late := b.won(t, id)
		b.pass(t, key, lease)
		holder := b.won(t, id)
		before := b.raw(t, key)

		if s := b.settle(t, dedupe.SettleRequest{ID: id, Fingerprint: "fp", Token: late, Event: []byte("failed")}); s.State != dedupe.Stale {
			t.Errorf("failed settle: %v, want stale", s.State)
		}
		if r := b.release(t, dedupe.ReleaseRequest{ID: id, Token: late, Note: []byte("late")}); r.State != dedupe.Stale {
			t.Errorf("release: %v, want stale", r.State)
		}
		if c := b.claim(t, id, "fp", late, 0); c.State != dedupe.Held {
			t.Errorf("claim: %v, want held", c.State)
		}
		if after := b.raw(t, key); !after.equal(before) {
			t.Errorf("record changed\n got %q\nwant %q", after.fields, before.fields)
		}

		s := b.settle(t, dedupe.SettleRequest{ID: id, Fingerprint: "fp", Token: late, Succeeded: true, Event: []byte("ok")})
		if s.State != dedupe.Settled || s.Contradiction {
			t.Errorf("success by the late holder: %+v, want settled: the money has moved", s)
		}
		r := b.release(t, dedupe.ReleaseRequest{ID: id, Token: holder})
		if r.State != dedupe.AlreadyDecided || string(r.Event) != "ok" {
			t.Errorf("release by the holder: %+v, want the stored event", r)
		}
	})
}

// I11: a record outlives everything that may still ask for it.
func TestI11UndecidedRecordsNeverExpire(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, b *bench) {
		id := refund("R1")
		key := b.store.Key(id)
		stays := func(when string) {
			t.Helper()
			if got := b.raw(t, key); got.fields == nil || got.ttl != 0 {
				t.Errorf("%s: record %q expires in %v", when, got.fields, got.ttl)
			}
		}
		token := b.won(t, id)
		stays("claimed")
		b.pass(t, key, 3*keep)
		stays("long after the lease")
		b.release(t, dedupe.ReleaseRequest{ID: id, Token: token, Parked: true})
		stays("parked")
		b.pass(t, key, 3*keep)
		stays("long after parking")

		must(t, b.client.PExpire(t.Context(), key, time.Hour).Err())
		token = b.won(t, id)
		stays("claimed with an expiry that somebody set")
		must(t, b.client.PExpire(t.Context(), key, time.Hour).Err())
		b.release(t, dedupe.ReleaseRequest{ID: id, Token: token})
		stays("released with an expiry that somebody set")
	})
}

func TestI11DecidedRecordsAreKeptFromTheirDecision(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, b *bench) {
		id := refund("R1")
		key := b.store.Key(id)
		// Real clocks run on while the test does.
		left := func(when string, want time.Duration) {
			t.Helper()
			got := b.raw(t, key).ttl
			if got > want || got < want-time.Minute || b.mini != nil && got != want {
				t.Errorf("%s: expires in %v, want %v", when, got, want)
			}
		}
		token := b.won(t, id)
		failed := dedupe.SettleRequest{ID: id, Fingerprint: "fp", Token: token, Event: []byte("failed")}
		b.settle(t, failed)
		left("settled", keep)
		b.pass(t, key, time.Hour)
		b.settle(t, failed)
		b.claim(t, id, "fp", dedupe.NewToken(), 0)
		left("an hour later, asked twice", keep-time.Hour)
		b.settle(t, dedupe.SettleRequest{ID: id, Fingerprint: "fp", Succeeded: true, Event: []byte("ok")})
		left("decided anew", keep)
		b.pass(t, key, keep)
		if record, err := b.store.Read(t.Context(), id); err != nil || record.Exists {
			t.Errorf("after its time: %+v, %v, want nothing", record, err)
		}
	})
}

// A success over a stored failure must scream until a person has heard it.
func TestContradictionStaysWithTheRecord(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, b *bench) {
		id := refund("R1")
		token := b.won(t, id)
		b.settle(t, dedupe.SettleRequest{ID: id, Fingerprint: "fp", Token: token, Event: []byte("failed")})
		success := dedupe.SettleRequest{ID: id, Fingerprint: "fp", Succeeded: true, Event: []byte("ok")}
		for _, want := range []dedupe.Outcome{dedupe.Settled, dedupe.AlreadyDecided} {
			if s := b.settle(t, success); s.State != want || !s.Contradiction || string(s.Event) != "ok" {
				t.Errorf("settle: %+v, want %v in contradiction", s, want)
			}
		}
		claim := b.claim(t, id, "fp", dedupe.NewToken(), 0)
		if claim.State != dedupe.Decided || !claim.Contradiction || string(claim.Event) != "ok" {
			t.Errorf("claim: %+v, want the contradiction", claim)
		}
		if record, err := b.store.Read(t.Context(), id); err != nil || !record.Succeeded || !record.Contradiction {
			t.Errorf("read: %+v, %v, want the contradiction", record, err)
		}
		failed := dedupe.SettleRequest{ID: id, Fingerprint: "fp", Token: token, Event: []byte("failed")}
		if s := b.settle(t, failed); s.State != dedupe.AlreadyDecided || string(s.Event) != "ok" {
			t.Errorf("failed again: %+v, want the success", s)
		}
	})
}

// R7: whatever Redis forgot or rolled back, the newest copy is never superseded.
func TestACopyOfTheRecordsGenerationIsNeverSuperseded(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, b *bench) {
		id := refund("R1")
		b.won(t, id) // by an old copy, after Redis forgot
		must(t, b.store.Confirm(t.Context(), id, 5))
		b.pass(t, b.store.Key(id), lease)

		if c := b.claim(t, id, "fp", dedupe.NewToken(), 4); c.State != dedupe.Superseded || c.Generation != 5 {
			t.Errorf("claim of generation 4: %+v, want superseded by 5", c)
		}
		token := dedupe.NewToken()
		if c := b.claim(t, id, "fp", token, 5); c.State != dedupe.Won {
			t.Fatalf("claim of generation 5: %v, want won", c.State)
		}
		if r := b.release(t, dedupe.ReleaseRequest{ID: id, Token: token}); r.Generation != 6 {
			t.Errorf("release gives generation %d, want 6", r.Generation)
		}
		if c := b.claim(t, id, "fp", dedupe.NewToken(), 6); c.State != dedupe.Won {
			t.Errorf("claim of generation 6: %v, want won", c.State)
		}
	})
}

// R3: a copy that is newer than its record shows that Redis forgot a release, and
// with it the note of what was called. Whoever takes the record next is told of a
// claim that lapsed, and until then nobody proves a failure.
func TestACopyNewerThanTheRecordIsALapse(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, b *bench) {
		fails := func(id dedupe.Identity, token dedupe.Token) dedupe.Outcome {
			return b.settle(t, dedupe.SettleRequest{ID: id, Fingerprint: "fp", Token: token, Event: []byte("e")}).State
		}
		t.Run("seen by its claim", func(t *testing.T) {
			id := refund("R-claim")
			b.release(t, dedupe.ReleaseRequest{ID: id, Token: b.won(t, id)})
			token := dedupe.NewToken()
			for range 2 { // a client may send it twice
				if c := b.claim(t, id, "fp", token, 2); c.State != dedupe.Won || c.Lapses != 1 || c.LapsedFor > time.Minute {
					t.Errorf("claim of generation 2 on a record of 1: %+v", c)
				}
			}
			b.release(t, dedupe.ReleaseRequest{ID: id, Token: token})
			token = dedupe.NewToken()
			if c := b.claim(t, id, "fp", token, 3); c.State != dedupe.Won || c.Lapses != 0 {
				t.Errorf("the claim behind it: %+v", c)
			}
			if got := fails(id, token); got != dedupe.Settled {
				t.Errorf("failure: %v", got)
			}
		})
		t.Run("seen by its confirmation", func(t *testing.T) {
			id := refund("R-confirm")
			holder := b.won(t, id)
			must(t, b.store.Confirm(t.Context(), id, 1))
			if got := fails(id, holder); got != dedupe.Stale {
				t.Errorf("failure of a holder that does not know: %v", got)
			}
			b.release(t, dedupe.ReleaseRequest{ID: id, Token: holder}) // whose note does not tell it
			token := dedupe.NewToken()
			if c := b.claim(t, id, "fp", token, 2); c.State != dedupe.Won || c.Lapses != 1 {
				t.Errorf("the claim behind it: %+v", c)
			}
			if got := fails(id, token); got != dedupe.Settled {
				t.Errorf("failure of one that was told: %v", got)
			}
		})
		t.Run("a copy of the record's own generation is none", func(t *testing.T) {
			id := refund("R-same")
			r := b.release(t, dedupe.ReleaseRequest{ID: id, Token: b.won(t, id)})
			must(t, b.store.Confirm(t.Context(), id, r.Generation))
			if c := b.claim(t, id, "fp", dedupe.NewToken(), r.Generation); c.State != dedupe.Won || c.Lapses != 0 {
				t.Errorf("claim: %+v", c)
			}
		})
	})
}

func TestGenerationOfAMessageCannotBreakTheCount(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, b *bench) {
		for name, gen := range map[string]int64{"below": -7, "above": 1<<63 - 1} {
			t.Run(name, func(t *testing.T) {
				id := refund("R-" + name)
				token := dedupe.NewToken()
				claim := b.claim(t, id, "fp", token, gen)
				release := b.release(t, dedupe.ReleaseRequest{ID: id, Token: token})
				if claim.Generation < 0 || release.Generation != claim.Generation+1 {
					t.Errorf("claim at %d, release at %d", claim.Generation, release.Generation)
				}
			})
		}
	})
}

func TestIdentitiesNeverShareAKey(t *testing.T) {
	b := onMiniredis(t)
	if got, want := b.store.Key(refund("R:1%")), b.prefix+"r:"+appID+":-:refund:R:1%"; got != want {
		t.Errorf("key %q, want %q", got, want)
	}
	traded := dedupe.Identity{AppID: appID, Merchant: "shop", Kind: "coupon_refund", OutRequestNo: "R:1%", Trade: "T:1"}
	if got, want := b.store.Key(traded), b.prefix+"r:"+appID+":shop:coupon_refund:R%3A1%25:T:1"; got != want {
		t.Errorf("key %q, want %q", got, want)
	}

	words := []string{"a", ":", "%", "%3A", "-", "a:", ":a", "a:refund", "refund:a", "a:refund:a", "%2D", "::"}
	for _, scope := range []string{"merchant", "trade"} {
		keys := map[string]dedupe.Identity{}
		add := func(id dedupe.Identity) {
			key := b.store.Key(id)
			if other, taken := keys[key]; taken {
				t.Errorf("scope %s: %+v and %+v share %q", scope, id, other, key)
			}
			keys[key] = id
		}
		for _, merchant := range append([]string{""}, words...) {
			for _, kind := range []string{"refund", "coupon_refund"} {
				for _, number := range words {
					id := dedupe.Identity{AppID: appID, Merchant: merchant, Kind: kind, OutRequestNo: number}
					if scope == "merchant" {
						add(id)
						continue
					}
					for _, id.Trade = range words {
						add(id)
					}
				}
			}
		}
	}
}

func TestTokensAreRandom(t *testing.T) {
	a, b := dedupe.NewToken(), dedupe.NewToken()
	if len(a) != 32 || a == b || strings.Trim(string(a), "0123456789abcdef") != "" {
		t.Errorf("tokens %q and %q, want 32 hexadecimal digits each", a, b)
	}
}

func TestNewRefusesWhatCannotWork(t *testing.T) {
	client := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1"})
	t.Cleanup(func() { must(t, client.Close()) })
	for _, row := range []struct {
		name   string
		client redis.UniversalClient
		cfg    dedupe.Config
		want   string
	}{
		{"no client", nil, dedupe.Config{Lease: lease, Keep: keep}, "client"},
		{"no lease", client, dedupe.Config{Keep: keep}, "lease"},
		{"keep below a millisecond", client, dedupe.Config{Lease: lease, Keep: time.Microsecond}, "keep"},
	} {
		t.Run(row.name, func(t *testing.T) {
			store, err := dedupe.New(row.client, row.cfg)
			if store != nil || err == nil {
				t.Fatalf("got %v, %v, want an error", store, err)
			}
			mustContain(t, err.Error(), row.want)
		})
	}
}

func TestRequestsThatCannotBeStored(t *testing.T) {
	b := onMiniredis(t)
	ctx, id, event := t.Context(), refund("R1"), []byte("event")
	claim := func(req dedupe.ClaimRequest) error { _, err := b.store.Claim(ctx, req); return err }
	settle := func(req dedupe.SettleRequest) error { _, err := b.store.Settle(ctx, req); return err }
	_, errRelease := b.store.Release(ctx, dedupe.ReleaseRequest{ID: id})
	_, errRead := b.store.Read(ctx, dedupe.Identity{})
	for name, err := range map[string]error{
		"claim: no identity":           claim(dedupe.ClaimRequest{Fingerprint: "fp", Token: "t"}),
		"claim: no fingerprint":        claim(dedupe.ClaimRequest{ID: id, Token: "t"}),
		"claim: line feed in it":       claim(dedupe.ClaimRequest{ID: id, Fingerprint: "f\np", Token: "t"}),
		"claim: no token":              claim(dedupe.ClaimRequest{ID: id, Fingerprint: "fp"}),
		"settle: failed, but no token": settle(dedupe.SettleRequest{ID: id, Fingerprint: "fp", Event: event}),
		"settle: no event":             settle(dedupe.SettleRequest{ID: id, Fingerprint: "fp", Succeeded: true}),
		"release: no token":            errRelease,
		"confirm: no identity":         b.store.Confirm(ctx, dedupe.Identity{}, 1),
		"read: no identity":            errRead,
	} {
		if err == nil || !strings.HasPrefix(err.Error(), "dedupe: "+strings.SplitN(name, ":", 2)[0]) {
			t.Errorf("%s: error %v, want one that names the operation", name, err)
		}
	}
	if keys := b.mini.Keys(); len(keys) != 0 {
		t.Errorf("keys %q, want none", keys)
	}
}

// A key that holds something else is neither believed nor overwritten.
func TestForeignKeysAreLeftAlone(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, b *bench) {
		ctx, id := t.Context(), refund("R1")
		key := b.store.Key(id)
		for name, put := range map[string]func() error{
			"string":                     func() error { return b.client.Set(ctx, key, "x", 0).Err() },
			"string of another version":  func() error { return b.client.Set(ctx, key, "Zfp\nevent", 0).Err() },
			"hash without a fingerprint": func() error { return b.client.HSet(ctx, key, "a", "b").Err() },
			"list":                       func() error { return b.client.RPush(ctx, key, "a").Err() },
		} {
			t.Run(name, func(t *testing.T) {
				must(t, b.client.Del(ctx, key).Err())
				must(t, put())
				before, err := b.client.Dump(ctx, key).Result()
				if err != nil && b.mini == nil { // miniredis dumps strings only
					t.Fatal(err)
				}
				_, errClaim := b.store.Claim(ctx, dedupe.ClaimRequest{ID: id, Fingerprint: "fp", Token: "t", Note: []byte("CANARY")})
				_, errSettle := b.store.Settle(ctx, dedupe.SettleRequest{ID: id, Fingerprint: "fp", Succeeded: true, Event: []byte("CANARY")})
				_, errRelease := b.store.Release(ctx, dedupe.ReleaseRequest{ID: id, Token: "t", Note: []byte("CANARY")})
				_, errRead := b.store.Read(ctx, id)
				for op, err := range map[string]error{
					"claim": errClaim, "settle": errSettle, "release": errRelease, "confirm": b.store.Confirm(ctx, id, 1), "read": errRead,
				} {
					if err == nil {
						t.Errorf("%s: no error", op)
						continue
					}
					mustContain(t, err.Error(), "dedupe: "+op, key, "not a record")
					if strings.Contains(err.Error(), "CANARY") {
						t.Errorf("%s: the error tells what was to be stored", op)
					}
				}
				after, _ := b.client.Dump(ctx, key).Result()
				if after != before {
					t.Error("the key was changed")
				}
			})
		}
	})
}

func TestRedisDownIsAnError(t *testing.T) {
	b := onMiniredis(t)
	var mu sync.Mutex
	var ops []string
	store := b.newStore(t, func(op string, took time.Duration) {
		mu.Lock()
		defer mu.Unlock()
		if took < 0 {
			t.Errorf("%s took %v", op, took)
		}
		ops = append(ops, op)
	})
	ctx, id := t.Context(), refund("R1")
	all := func() []error {
		_, errClaim := store.Claim(ctx, dedupe.ClaimRequest{ID: id, Fingerprint: "fp", Token: "t"})
		_, errRelease := store.Release(ctx, dedupe.ReleaseRequest{ID: id, Token: "t", Entry: "e", Due: time.Now()})
		errConfirm := store.Confirm(ctx, id, 1)
		_, errRead := store.Read(ctx, id)
		_, errSettle := store.Settle(ctx, dedupe.SettleRequest{ID: id, Fingerprint: "fp", Succeeded: true, Event: []byte("e"), Entry: "e"})
		_, errOverdue := store.Overdue(ctx, appID, time.Now(), 1)
		_, errTotals := store.Totals(ctx, appID)
		return []error{
			errClaim, errRelease, errConfirm, errRead, errSettle, errOverdue, errTotals,
			store.Reschedule(ctx, appID, "e", time.Now()), store.Forget(ctx, appID, "e"), store.Probe(ctx)[""],
		}
	}
	if err := errors.Join(all()...); err != nil {
		t.Fatal(err)
	}
	want := []string{"claim", "release", "confirm", "read", "settle", "index", "index", "index", "index", "probe"}
	if !slices.Equal(ops, want) {
		t.Errorf("observed %q, want %q", ops, want)
	}
	b.mini.SetError("LOADING Redis is loading the dataset in memory")
	for i, err := range all() {
		if err == nil || !strings.HasPrefix(err.Error(), "dedupe: ") {
			t.Errorf("call %d: error %v", i, err)
		}
	}
	if !slices.Equal(ops, append(append(want, want[:len(want)-1]...), "probe_failed")) {
		t.Errorf("observed %q, want errors too", ops[len(want):])
	}
}

func TestStatesHaveNames(t *testing.T) {
	for want, got := range map[string]fmt.Stringer{
		"won": dedupe.Won, "held": dedupe.Held, "decided": dedupe.Decided, "superseded": dedupe.Superseded,
		"conflict": dedupe.Conflict, "state(0)": dedupe.State(0),
		"settled": dedupe.Settled, "released": dedupe.Released, "already decided": dedupe.AlreadyDecided,
		"stale": dedupe.Stale, "foreign": dedupe.Foreign, "outcome(0)": dedupe.Outcome(0),
	} {
		if got.String() != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// Redis forgot the record, and another command under the same number was decided
// in the meantime: its event must not be taken for ours (R9).
func TestReleaseDoesNotTakeAForeignEvent(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, b *bench) {
		id := refund("R1")
		token := b.won(t, id)
		must(t, b.client.Del(t.Context(), b.store.Key(id)).Err())
		b.settle(t, dedupe.SettleRequest{ID: id, Fingerprint: "other", Succeeded: true, Event: []byte("theirs")})
		for fp, want := range map[string]dedupe.Outcome{"fp": dedupe.Stale, "other": dedupe.AlreadyDecided, "": dedupe.AlreadyDecided} {
			r := b.release(t, dedupe.ReleaseRequest{ID: id, Fingerprint: fp, Token: token})
			if r.State != want || (r.Event == nil) != (want == dedupe.Stale) {
				t.Errorf("release with fingerprint %q: %+v, want %v", fp, r, want)
			}
		}
		if c := b.claim(t, id, "fp", dedupe.NewToken(), 0); c.State != dedupe.Conflict {
			t.Errorf("claim: %v, want conflict", c.State)
		}
	})
}

// A replica whose clock is behind takes over. How long ago a lease lapsed is then
// told too short, never too long and never negative: a call may be in flight.
func TestAClockThatGoesBackMakesLapsesYounger(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, b *bench) {
		id := refund("R1")
		key := b.store.Key(id)
		b.won(t, id)
		b.pass(t, key, lease)
		second := b.won(t, id) // the first lease ended just now
		b.pass(t, key, -lease*3/2)
		if c := b.claim(t, id, "fp", second, 0); c.Lapses != 1 || c.LapsedFor != 0 {
			t.Errorf("before the lapse: %d lapses, %v ago, want 1, no time ago", c.Lapses, c.LapsedFor)
		}
		b.pass(t, key, lease) // the second lease ends, before the first one did
		third := b.won(t, id)
		b.pass(t, key, lease/2+10*time.Second)
		c := b.claim(t, id, "fp", third, 0)
		if c.Lapses != 2 || c.LapsedFor < 10*time.Second || c.LapsedFor > 25*time.Second {
			t.Errorf("after both: %d lapses, %v ago, want 2, 10s ago", c.Lapses, c.LapsedFor)
		}
	})
}
