package dedupetest_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"refundd/dedupe"
	"refundd/dedupe/dedupetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	appID = "2021000000000001"
	lease = time.Minute
	keep  = 24 * time.Hour
)

// twins are two stores that must not differ: one on miniredis, which runs the
// scripts, and one on the Redis of this package.
type twins struct {
	t      *testing.T
	clock  time.Time
	mini   *miniredis.Miniredis
	memory *dedupetest.Redis
	stores [2]*dedupe.Store
	trace  []string
}

func newTwins(t *testing.T) *twins {
	t.Helper()
	w := &twins{t: t, clock: time.UnixMilli(1_800_000_000_123), mini: miniredis.RunT(t)}
	w.memory = dedupetest.NewRedis(func() time.Time { return w.clock })
	w.mini.ClockTTL(true)
	w.mini.SetTime(w.clock)
	for i, client := range []*redis.Client{redis.NewClient(&redis.Options{Addr: w.mini.Addr()}), w.memory.Client(nil)} {
		store, err := dedupe.New(client, dedupe.Config{Prefix: "p:", Lease: lease, Keep: keep})
		if err != nil {
			t.Fatal(err)
		}
		w.stores[i] = store
		t.Cleanup(func() {
			if err := client.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	return w
}

func (w *twins) pass(d time.Duration) {
	w.clock = w.clock.Add(d)
	w.mini.SetTime(w.clock)
}

// same asks both stores and compares what they say.
func (w *twins) same(what string, ask func(*dedupe.Store) (any, error)) string {
	w.t.Helper()
	w.trace = append(w.trace, w.clock.Format("15:04:05.000000 ")+what)
	var said [2]string
	for i, store := range w.stores {
		answer, err := ask(store)
		said[i] = fmt.Sprintf("%+v %v", answer, err)
	}
	if said[0] != said[1] {
		w.t.Fatalf("%s\nminiredis %s\nmemory    %s", strings.Join(w.trace[max(0, len(w.trace)-20):], "\n"), said[0], said[1])
	}
	return said[0]
}

// bySpans makes two grants comparable that were asked for at different moments.
func bySpans(g dedupe.Grant) dedupe.Grant {
	for _, at := range []*time.Time{&g.Start, &g.Deadline, &g.Next, &g.Merchant.Next} {
		if !at.IsZero() {
			*at = time.Unix(0, int64(at.Sub(g.Asked)))
		}
	}
	g.Asked = time.Time{}
	return g
}

// What a store does on the Redis of this package is what it does on one that runs
// the scripts: records, index and limits, with time that passes.
func TestSameAsScripts(t *testing.T) {
	seen := map[string]int{}
	for seed := range uint64(4) {
		w, rng := newTwins(t), rand.New(rand.NewPCG(seed, 11))
		tokens := []dedupe.Token{dedupe.NewToken()}
		for range 900 {
			w.step(rng, &tokens, seen)
		}
	}
	for _, want := range []string{
		"State:won", "State:held", "State:decided", "State:superseded", "State:conflict", "State:settled", "State:stale",
		"State:foreign", "State:released", "State:already decided", "Reason:spacing", "Reason:rate", "Reason:throttled",
		"parked index",
	} {
		if seen[want] == 0 {
			t.Errorf("%q never came up", want)
		}
	}
}

func (w *twins) step(rng *rand.Rand, tokens *[]dedupe.Token, seen map[string]int) {
	w.t.Helper()
	ctx := w.t.Context()
	id := dedupe.Identity{AppID: appID, Kind: "refund", OutRequestNo: fmt.Sprintf("R%d", rng.IntN(3))}
	if rng.IntN(3) == 0 {
		*tokens = append(*tokens, dedupe.NewToken())
	}
	token := (*tokens)[max(0, len(*tokens)-1-rng.IntN(6))]
	fp := "v1:a"
	if rng.IntN(15) == 0 {
		fp = "v1:b"
	}
	slot := dedupe.Slot{Rate: []int{0, 3, 60}[rng.IntN(3)], Query: rng.IntN(3) == 0}
	if rng.IntN(2) == 0 {
		slot.Trade, slot.Spacing = fmt.Sprintf("T%d", rng.IntN(2)), 3*time.Second
	}
	if rng.IntN(3) == 0 {
		slot.Merchant = fmt.Sprintf("shop:%d", rng.IntN(2))
	}
	entry := ""
	if rng.IntN(3) > 0 {
		entry = w.stores[0].Entry(time.UnixMilli(1_700_000_000_000), 12, id)
	}
	generation := rng.Int64N(4)
	note := fmt.Appendf(nil, "note %d \x00\xff", rng.IntN(100))
	var said string
	switch rng.IntN(14) {
	case 0, 1:
		said = w.same(fmt.Sprintf("claim %s %.4s %d %+v", fp, token, generation, slot), func(s *dedupe.Store) (any, error) {
			c, g, err := s.ClaimWithSlot(ctx, dedupe.ClaimRequest{ID: id, Fingerprint: fp, Token: token, Generation: generation, Note: note}, slot)
			c.Deadline, g = time.Time{}, bySpans(g)
			return fmt.Sprintf("%+v %+v", c.Answer, g), err
		})
	case 2:
		succeeded, event := rng.IntN(4) == 0, fmt.Appendf(nil, "event\n%d", rng.IntN(9))
		said = w.same(fmt.Sprintf("settle %s %.4s %v", fp, token, succeeded), func(s *dedupe.Store) (any, error) {
			return s.Settle(ctx, dedupe.SettleRequest{ID: id, Fingerprint: fp, Token: token, Succeeded: succeeded, Event: event, Entry: entry})
		})
	case 3, 4:
		parked := rng.IntN(4) == 0
		due := w.clock.Add(time.Duration(rng.IntN(100)) * time.Second)
		if parked {
			due = time.Time{}
		}
		said = w.same(fmt.Sprintf("release %s %.4s %v", fp, token, parked), func(s *dedupe.Store) (any, error) {
			return s.Release(ctx, dedupe.ReleaseRequest{ID: id, Token: token, Fingerprint: fp, Note: note, Entry: entry, Due: due, Parked: parked})
		})
	case 5:
		w.same(fmt.Sprintf("confirm %d", generation), func(s *dedupe.Store) (any, error) {
			return nil, s.Confirm(ctx, id, generation)
		})
	case 6:
		said = w.same("amend", func(s *dedupe.Store) (any, error) {
			rec, err := s.Read(ctx, id)
			if err != nil {
				return nil, err
			}
			rec, amended, err := s.Amend(ctx, id, rec, note)
			return fmt.Sprintf("%+v %v", rec, amended), err
		})
	case 7:
		said = w.same(fmt.Sprintf("reserve %.4s %+v", token, slot), func(s *dedupe.Store) (any, error) {
			g, err := s.Reserve(ctx, appID, slot, token)
			return bySpans(g), err
		})
	case 8:
		w.same("undo", func(s *dedupe.Store) (any, error) { return nil, s.Undo(ctx, appID, slot, token) })
	case 9:
		if rng.IntN(3) == 0 {
			// A grant of the future is one of now.
			pace := dedupe.Turns{Pace: []float64{0, 3, 8.5, 40}[rng.IntN(4)]}
			asked := dedupe.Grant{Asked: time.Now().Add(time.Hour), Turns: pace, Merchant: pace}
			if rng.IntN(4) == 0 {
				asked.Asked = time.Now().Add(-time.Duration(rng.IntN(3)) * time.Second)
			}
			w.same("throttled", func(s *dedupe.Store) (any, error) {
				return nil, s.Throttled(ctx, appID, slot.Merchant, asked, slot.Rate)
			})
		}
	case 10:
		said = w.same("read, totals", func(s *dedupe.Store) (any, error) {
			rec, err := s.Read(ctx, id)
			totals, err2 := s.Totals(ctx, appID)
			overdue, err3 := s.Overdue(ctx, appID, w.clock, 10)
			if totals.Parked > 0 {
				seen["parked index"]++
			}
			for i := range overdue {
				overdue[i].Due = time.Time{} // it may be this machine's time
			}
			slices.SortFunc(overdue, func(a, b dedupe.Undecided) int { return strings.Compare(a.Entry, b.Entry) })
			return fmt.Sprintf("%+v %+v %+v", rec, totals, overdue), errors.Join(err, err2, err3)
		})
	case 11:
		d := []time.Duration{
			time.Duration(rng.IntN(300_000)) * time.Microsecond, 3250 * time.Millisecond, 10 * time.Second, lease, keep / 4,
		}[rng.IntN(5)]
		w.trace = append(w.trace, fmt.Sprint("pass ", d))
		w.pass(d.Truncate(time.Millisecond))
	case 12:
		w.same("park the entry", func(s *dedupe.Store) (any, error) {
			return nil, s.Reschedule(ctx, appID, entry, time.Time{})
		})
	case 13:
		event := fmt.Appendf(nil, "event\n%d", rng.IntN(9))
		w.same(fmt.Sprintf("told %s %q", fp, event), func(s *dedupe.Store) (any, error) {
			return nil, s.MarkPublished(ctx, dedupe.Refund{Identity: id, Fingerprint: fp, Born: time.UnixMilli(1_700_000_000_000), Fen: 12}, event)
		})
	}
	for word := range strings.FieldsSeq(strings.NewReplacer("{", " ", "}", " ", "already decided", "already-decided").Replace(said)) {
		seen[strings.ReplaceAll(word, "-", " ")]++
	}
}

// The sweeper works on the Redis of this package: lock, overdue entries, parked ones.
func TestSweeper(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		memory := dedupetest.NewRedis(time.Now)
		store, err := dedupe.New(memory.Client(nil), dedupe.Config{Prefix: "p:", Lease: lease, Keep: keep})
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		for i, parked := range []bool{false, true} {
			id := dedupe.Identity{AppID: appID, Kind: "refund", OutRequestNo: fmt.Sprintf("R%d", i)}
			token := dedupe.NewToken()
			if c, err := store.Claim(ctx, dedupe.ClaimRequest{ID: id, Fingerprint: "v1:a", Token: token, Note: []byte("note")}); err != nil || c.State != dedupe.Won {
				t.Fatal(c, err)
			}
			due := time.Now()
			if parked {
				due = time.Time{}
			}
			rel, err := store.Release(ctx, dedupe.ReleaseRequest{
				ID: id, Token: token, Note: []byte("note"), Entry: store.Entry(time.Now(), 5, id), Due: due, Parked: parked,
			})
			if err != nil || rel.State != dedupe.Released {
				t.Fatal(rel, err)
			}
			if parked {
				if err := store.Reschedule(ctx, appID, store.Entry(time.Now(), 5, id), due); err != nil {
					t.Fatal(err)
				}
			}
		}
		var republished []string
		sweeper, err := dedupe.NewSweeper(store, dedupe.SweeperConfig{
			AppID: appID, Every: time.Minute, Grace: time.Hour,
			Republish: func(_ context.Context, key string, r dedupe.Record) error {
				republished = append(republished, fmt.Sprint(key, " generation ", r.Generation))
				return nil
			},
			Failed: func(err error) { t.Error(err) },
		})
		if err != nil {
			t.Fatal(err)
		}
		go sweeper.Run(ctx)
		<-time.After(90 * time.Minute)
		synctest.Wait()
		stop()
		synctest.Wait()
		if len(republished) != 1 || republished[0] != "p:r:"+appID+":-:refund:R0 generation 1" {
			t.Errorf("republished %q, want the overdue one once", republished)
		}
	})
}

// Writes can be taken back, newest first, and everything can be forgotten.
func TestForgets(t *testing.T) {
	memory := dedupetest.NewRedis(func() time.Time { return time.UnixMilli(1) })
	store, err := dedupe.New(memory.Client(nil), dedupe.Config{Prefix: "p:", Lease: lease, Keep: keep})
	if err != nil {
		t.Fatal(err)
	}
	id := dedupe.Identity{AppID: appID, Kind: "refund", OutRequestNo: "R"}
	key := store.Key(id)
	token := dedupe.NewToken()
	if _, err := store.Claim(t.Context(), dedupe.ClaimRequest{ID: id, Fingerprint: "f", Token: token}); err != nil {
		t.Fatal(err)
	}
	held := memory.Record(key)
	if _, err := store.Release(t.Context(), dedupe.ReleaseRequest{ID: id, Token: token, Entry: "1:2:" + key, Due: time.UnixMilli(5)}); err != nil {
		t.Fatal(err)
	}
	if n := memory.RollBack(2); n != 2 || memory.Record(key) != held {
		t.Errorf("%d writes taken back, record %+v, want %+v", n, memory.Record(key), held)
	}
	if totals, err := store.Totals(t.Context(), appID); err != nil || totals.Count != 0 {
		t.Errorf("index %+v, %v, want an empty one", totals, err)
	}
	memory.Wipe()
	if rec := memory.Record(key); rec.Exists || memory.RollBack(1) != 0 {
		t.Errorf("after the wipe: %+v", rec)
	}
}
