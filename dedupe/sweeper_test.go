package dedupe_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"refundd/dedupe"
)

const grace = time.Hour

// newSweeper fills what a test leaves open.
func newSweeper(t *testing.T, b *bench, cfg dedupe.SweeperConfig) *dedupe.Sweeper {
	t.Helper()
	cfg.AppID = appID
	if cfg.Every == 0 {
		cfg.Every = time.Hour
	}
	if cfg.Grace == 0 {
		cfg.Grace = grace
	}
	if cfg.Republish == nil {
		cfg.Republish = func(context.Context, string, dedupe.Record) error { return nil }
	}
	if cfg.Failed == nil {
		cfg.Failed = func(err error) { t.Errorf("sweep: %v", err) }
	}
	sweeper, err := dedupe.NewSweeper(b.store, cfg)
	must(t, err)
	return sweeper
}

// sweepOnce runs one round: it ends the sweeper once its lock was given back.
func sweepOnce(t *testing.T, b *bench, cfg dedupe.SweeperConfig) {
	t.Helper()
	start(t, b, newSweeper(t, b, cfg))
}

func start(t *testing.T, b *bench, sweeper *dedupe.Sweeper) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	over := make(chan struct{})
	hook := &lockWatch{key: b.prefix + "u:" + appID + ":sweeper", over: over}
	b.own.AddHook(hook)
	var done sync.WaitGroup
	done.Go(func() { sweeper.Run(ctx) })
	select {
	case <-over:
	case <-time.After(20 * time.Second):
		t.Error("the round does not end")
	}
	cancel()
	done.Wait()
}

// lockWatch sees when the sweeper's lock is given back.
type lockWatch struct {
	key  string
	once sync.Once
	over chan struct{}
}

func (*lockWatch) DialHook(next redis.DialHook) redis.DialHook { return next }

func (w *lockWatch) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		err := next(ctx, cmd)
		args := fmt.Sprint(cmd.Args()...)
		if strings.Contains(args, w.key) && strings.HasPrefix(cmd.Name(), "eval") && fmt.Sprint(cmd.Args()[len(cmd.Args())-1]) == "0" && err == nil {
			w.once.Do(func() { close(w.over) })
		}
		return err
	}
}

func (*lockWatch) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

// index puts a released record and its entry, due some time ago.
func (b *bench) index(t *testing.T, number string, ago time.Duration) (dedupe.Identity, string) {
	t.Helper()
	id, due := refund(number), time.Now().Add(-ago)
	entry := b.store.Entry(due.Add(-time.Minute), 100, id)
	b.release(t, dedupe.ReleaseRequest{ID: id, Token: b.won(t, id), Note: []byte("note of " + number), Entry: entry, Due: due})
	return id, entry
}

func (b *bench) due(t *testing.T, entry string) time.Time {
	t.Helper()
	entries, err := b.store.Overdue(t.Context(), appID, time.Now().Add(1000*time.Hour), 1000)
	must(t, err)
	for _, u := range entries {
		if u.Entry == entry {
			return u.Due
		}
	}
	t.Errorf("%s is not due at any time", entry)
	return time.Time{}
}

func TestSweeperLooksAtWhatIsOverdue(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, b *bench) {
		ctx := t.Context()
		lost, lostEntry := b.index(t, "lost", 3*grace)
		_, recentEntry := b.index(t, "recent", grace/2)
		recent := b.due(t, recentEntry)
		untold, untoldEntry := b.index(t, "untold", 4*grace)
		b.settle(t, dedupe.SettleRequest{ID: untold, Fingerprint: "fp", Succeeded: true, Event: []byte("e")})
		settling, settlingEntry := b.index(t, "settling", 3*grace)
		b.settle(t, dedupe.SettleRequest{ID: settling, Fingerprint: "fp", Succeeded: true, Event: []byte("e"), Entry: settlingEntry})
		vanished, vanishedEntry := b.index(t, "vanished", 3*grace)
		must(t, b.client.Del(ctx, b.store.Key(vanished)).Err())
		held, heldEntry := b.index(t, "held", 3*grace)
		b.won(t, held)
		halfParked, halfParkedEntry := b.index(t, "half parked", 3*grace)
		b.release(t, dedupe.ReleaseRequest{ID: halfParked, Token: b.won(t, halfParked), Note: []byte("parked"), Parked: true})
		takenUp, takenUpEntry := b.index(t, "taken up", 3*grace)
		b.park(t, takenUp, takenUpEntry)
		b.release(t, dedupe.ReleaseRequest{ID: takenUp, Token: b.won(t, takenUp)})
		must(t, b.client.ZAdd(ctx, b.prefix+"u:"+appID, redis.Z{Score: 1, Member: "unreadable"}).Err())

		var published, alarmed []string
		began := time.Now()
		sweepOnce(t, b, dedupe.SweeperConfig{
			Republish: func(ctx context.Context, key string, r dedupe.Record) error {
				if _, bounded := ctx.Deadline(); !bounded {
					t.Error("republish has no deadline")
				}
				published = append(published, fmt.Sprintf("%s %s%s %d", key, r.Note, r.Event, r.Generation))
				return nil
			},
			Alarm: func(u dedupe.Undecided, r dedupe.Record) {
				alarmed = append(alarmed, fmt.Sprint(u.Entry, " decided ", r.Decided))
			},
		})

		want := []string{b.store.Key(untold) + " e 0", b.store.Key(lost) + " note of lost 1", b.store.Key(halfParked) + " parked 2"}
		slices.Sort(published)
		if slices.Sort(want); !slices.Equal(published, want) {
			t.Errorf("published %q, want %q", published, want)
		}
		want = []string{"unreadable decided false", untoldEntry + " decided true", lostEntry + " decided false", halfParkedEntry + " decided false"}
		slices.Sort(alarmed)
		if slices.Sort(want); !slices.Equal(alarmed, want) {
			t.Errorf("alarmed %q, want %q", alarmed, want)
		}
		entries := b.entries(t)
		for _, gone := range []string{untoldEntry, vanishedEntry} {
			if score, there := entries[gone]; there {
				t.Errorf("%s is still there, due %s", gone, score)
			}
		}
		for _, soon := range []string{settlingEntry, takenUpEntry} {
			if due := b.due(t, soon); due.Before(began.Add(-time.Minute)) || due.After(time.Now()) {
				t.Errorf("%s is due %v, want about now", soon, due)
			}
		}
		if entries[halfParkedEntry] != "+Inf" {
			t.Errorf("half parked, and told now: due %s, want never", entries[halfParkedEntry])
		}
		for _, later := range []string{lostEntry, heldEntry, "unreadable"} {
			if due := b.due(t, later); due.Before(began.Add(grace).Truncate(time.Millisecond)) {
				t.Errorf("%s is due %v, want after the grace", later, due)
			}
		}
		if due := b.due(t, recentEntry); !due.Equal(recent) {
			t.Errorf("what is within its grace moved from %v to %v", recent, due)
		}
	})
}

func TestSweeperLeavesWhatCouldNotBePublished(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, b *bench) {
		_, first := b.index(t, "first", 4*grace)
		_, second := b.index(t, "second", 3*grace)
		before := b.due(t, first)
		broken := errors.New("broker is away")
		var failures []error
		sweepOnce(t, b, dedupe.SweeperConfig{
			Republish: func(_ context.Context, key string, _ dedupe.Record) error {
				if key == b.store.Key(refund("first")) {
					return broken
				}
				return nil
			},
			Failed: func(err error) { failures = append(failures, err) },
		})
		if len(failures) != 1 || !errors.Is(failures[0], broken) {
			t.Fatalf("failures %v, want the broker's", failures)
		}
		mustContain(t, failures[0].Error(), "dedupe: republish", b.store.Key(refund("first")))
		if due := b.due(t, first); !due.Equal(before) {
			t.Errorf("the entry moved from %v to %v", before, due)
		}
		if due := b.due(t, second); due.Before(time.Now()) {
			t.Errorf("the entry behind it was not swept: due %v", due)
		}
	})
}

// What a person was told of stays parked for as long as it is, and not for ever.
func TestSweeperWalksThroughParkedEntries(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, b *bench) {
		want := map[string]string{}
		for i := range 7 {
			id := refund(fmt.Sprintf("P%d", i))
			entry := b.store.Entry(time.UnixMilli(int64(i)), 1, id)
			b.park(t, id, entry)
			if i%2 == 0 {
				want[entry] = "+Inf"
				continue
			}
			b.settle(t, dedupe.SettleRequest{ID: id, Fingerprint: "fp", Succeeded: true, Event: []byte("e")})
		}
		ctx, cancel := context.WithCancel(t.Context())
		sweeper := newSweeper(t, b, dedupe.SweeperConfig{Batch: 2, Every: 5 * time.Millisecond})
		var done sync.WaitGroup
		done.Go(func() { sweeper.Run(ctx) })
		waitFor(t, func() bool { return len(b.entries(t)) <= len(want) })
		// Once through, it begins again with the first.
		delete(want, b.store.Entry(time.UnixMilli(0), 1, refund("P0")))
		b.settle(t, dedupe.SettleRequest{ID: refund("P0"), Fingerprint: "fp", Succeeded: true, Event: []byte("e")})
		waitFor(t, func() bool { return len(b.entries(t)) <= len(want) })
		cancel()
		done.Wait()
		if got := b.entries(t); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("index %q\nwant %q", got, want)
		}
	})
}

// A decided record's event is told until the broker has it, and then no more.
func TestSweeperTellsUntilItIsStored(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, b *bench) {
		id, entry := b.index(t, "untold", 3*grace)
		b.settle(t, dedupe.SettleRequest{ID: id, Fingerprint: "fp", Token: b.won(t, id), Event: []byte("failed")})
		broken := errors.New("broker is away")
		var told []string
		cfg := dedupe.SweeperConfig{
			Republish: func(_ context.Context, _ string, r dedupe.Record) error {
				told = append(told, string(r.Event))
				return broken
			},
			Failed: func(err error) {
				if !errors.Is(err, broken) {
					t.Error(err)
				}
			},
		}
		sweepOnce(t, b, cfg)
		if len(b.entries(t)) != 1 {
			t.Fatal("the entry has gone, and nothing was told")
		}
		// While it is told, a success is proven.
		broken = nil
		republish := cfg.Republish
		cfg.Republish = func(ctx context.Context, key string, r dedupe.Record) error {
			b.settle(t, dedupe.SettleRequest{ID: id, Fingerprint: "fp", Succeeded: true, Event: []byte("succeeded"), Entry: entry})
			return republish(ctx, key, r)
		}
		sweepOnce(t, b, cfg)
		if len(b.entries(t)) != 1 {
			t.Fatal("the entry has gone, and the success was not told")
		}
		cfg.Grace, cfg.Republish = time.Millisecond, republish
		<-time.After(2 * time.Millisecond)
		sweepOnce(t, b, cfg)
		sweepOnce(t, b, cfg)
		if want := []string{"failed", "failed", "succeeded"}; !slices.Equal(told, want) || len(b.entries(t)) != 0 {
			t.Errorf("told %q, want %q; index %q", told, want, b.entries(t))
		}
	})
}

func TestOneSweeperAtATime(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, b *bench) {
		for i := range 20 {
			b.index(t, fmt.Sprintf("R%d", i), 3*grace)
		}
		var running, published atomic.Int32
		ctx, cancel := context.WithCancel(t.Context())
		var all sync.WaitGroup
		for range 4 {
			sweeper := newSweeper(t, b, dedupe.SweeperConfig{
				Every: time.Millisecond, Batch: 3,
				Republish: func(context.Context, string, dedupe.Record) error {
					if n := running.Add(1); n != 1 {
						t.Errorf("%d sweepers at once", n)
					}
					defer running.Add(-1)
					published.Add(1)
					return nil
				},
			})
			all.Go(func() { sweeper.Run(ctx) })
		}
		waitFor(t, func() bool { return published.Load() >= 20 })
		cancel()
		all.Wait()
		if n := published.Load(); n != 20 {
			t.Errorf("%d published, want 20: one of each", n)
		}
		if n, err := b.client.Exists(t.Context(), b.prefix+"u:"+appID+":sweeper").Result(); n != 0 || err != nil {
			t.Errorf("the lock is still there (%d, %v)", n, err)
		}
	})
}

// A sweeper that was frozen for longer than its lock finds that it has lost it,
// stops, and leaves the lock of the next one alone.
func TestASweeperThatLostItsLockStops(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, b *bench) {
		ctx, lock := t.Context(), b.prefix+"u:"+appID+":sweeper"
		for i := range 3 {
			b.index(t, fmt.Sprintf("R%d", i), 3*grace)
		}
		var published atomic.Int32
		sweepOnce(t, b, dedupe.SweeperConfig{
			Republish: func(context.Context, string, dedupe.Record) error {
				published.Add(1)
				ttl, err := b.client.PTTL(ctx, lock).Result()
				if err != nil || ttl <= 0 || ttl > time.Minute {
					t.Errorf("lock expires in %v, %v", ttl, err)
				}
				return b.client.Set(ctx, lock, "another's", time.Minute).Err()
			},
		})
		if n := published.Load(); n != 1 {
			t.Errorf("%d published, want 1", n)
		}
		if holder, err := b.client.Get(ctx, lock).Result(); holder != "another's" || err != nil {
			t.Errorf("lock held by %q, %v, want another's", holder, err)
		}
	})
}

func TestSweeperTellsWhenRedisIsDown(t *testing.T) {
	b := onMiniredis(t)
	b.mini.SetError("LOADING Redis is loading the dataset in memory")
	failed := make(chan error, 100)
	ctx, cancel := context.WithCancel(t.Context())
	sweeper := newSweeper(t, b, dedupe.SweeperConfig{Failed: func(err error) { failed <- err; cancel() }})
	sweeper.Run(ctx)
	mustContain(t, (<-failed).Error(), "dedupe: lock", "LOADING")
}

func TestNewSweeperRefusesWhatCannotWork(t *testing.T) {
	b := onMiniredis(t)
	ok := dedupe.SweeperConfig{
		AppID: appID, Every: time.Hour, Republish: func(context.Context, string, dedupe.Record) error { return nil },
	}
	for _, row := range []struct {
		name  string
		spoil func(*dedupe.SweeperConfig)
		want  string
	}{
		{"no app id", func(c *dedupe.SweeperConfig) { c.AppID = "" }, "app id"},
		{"no pause", func(c *dedupe.SweeperConfig) { c.Every = 0 }, "every"},
		{"negative grace", func(c *dedupe.SweeperConfig) { c.Grace = -1 }, "grace"},
		{"negative batch", func(c *dedupe.SweeperConfig) { c.Batch = -1 }, "batch"},
		{"nothing to publish with", func(c *dedupe.SweeperConfig) { c.Republish = nil }, "republish"},
	} {
		t.Run(row.name, func(t *testing.T) {
			cfg := ok
			row.spoil(&cfg)
			_, err := dedupe.NewSweeper(b.store, cfg)
			if err == nil {
				t.Fatal("no error")
			}
			mustContain(t, err.Error(), row.want)
		})
	}
	if _, err := dedupe.NewSweeper(nil, ok); err == nil {
		t.Error("no store: no error")
	}
	if _, err := dedupe.NewSweeper(b.store, ok); err != nil {
		t.Errorf("defaults: %v", err)
	}
}

// waitFor polls until a condition holds.
func waitFor(t *testing.T, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !holds(); {
		if time.Now().After(deadline) {
			t.Fatal("the condition does not come true")
		}
		<-time.After(2 * time.Millisecond)
	}
}
