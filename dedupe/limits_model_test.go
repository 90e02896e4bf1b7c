package dedupe_test

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"refundd/dedupe"
)

const (
	usable = 250_000 // µs for which a grant may be used from its turn on
	lead   = 400_000 // µs that a turn may be ahead
)

// reservation is one that was granted, in the model's memory, which forgets none.
type reservation struct {
	token dedupe.Token
	at    int64 // its turn, µs
	share bool
	old   bool // cannot be undone any more
}

// limitModel is the limits of one application in plain Go. It works everything
// out from all that was ever granted, where the scripts keep sums.
type limitModel struct {
	trades map[string]reservation
	calls  []reservation
}

type limits struct{ cost, shareCost int64 }

func limitsOf(rate int) limits {
	if rate == 0 {
		return limits{shareCost: 1e6}
	}
	cost := (1_000_000 + int64(rate) - 1) / int64(rate)
	return limits{cost: cost, shareCost: min(1e6, 5*cost)}
}

type answer struct {
	ok     bool
	turn   int64 // from now
	until  int64 // from now
	wait   int64
	reason string
}

func (m *limitModel) space(slot dedupe.Slot, token dedupe.Token, now int64) answer {
	valid := int64(lead + usable)
	gap := valid + slot.Spacing.Microseconds()
	if last, there := m.trades[slot.Trade]; there {
		age := now - last.at
		if last.token == token && age <= valid {
			return answer{ok: true, turn: -age, until: valid - age}
		}
		if age < gap {
			return answer{wait: gap - age, reason: dedupe.ReasonSpacing}
		}
	}
	m.trades[slot.Trade] = reservation{token: token, at: now}
	return answer{ok: true, until: valid}
}

func (m *limitModel) rate(slot dedupe.Slot, token dedupe.Token, now int64) answer {
	l := limitsOf(slot.Rate)
	var all, share int64
	slices.SortStableFunc(m.calls, func(a, b reservation) int { return cmp.Compare(a.at, b.at) })
	for _, r := range m.calls {
		if r.token == token && now-r.at <= usable && !r.old {
			return answer{ok: true, turn: r.at - now, until: r.at - now + usable}
		}
		all = max(all, r.at) + l.cost
		if r.share {
			share = max(share, r.at) + l.shareCost
		}
	}
	wait := max(0, all-now)
	fromShare := wait > lead && slot.Query
	if fromShare {
		wait = min(wait, max(0, share-now))
	}
	if wait > lead {
		return answer{wait: wait - lead, reason: dedupe.ReasonRate}
	}
	if slot.Rate > 0 {
		for i, r := range m.calls {
			m.calls[i].old = r.old || now-r.at > usable || i < len(m.calls)-63
		}
		m.calls = append(m.calls, reservation{token: token, at: now + wait, share: fromShare})
	}
	return answer{ok: true, turn: wait, until: wait + usable}
}

func (m *limitModel) reserve(slot dedupe.Slot, token dedupe.Token, now int64) (a answer, allDenied bool) {
	rate := m.rate(slot, token, now)
	if slot.Trade == "" || slot.Spacing == 0 || slot.Query {
		return rate, !rate.ok
	}
	space := m.space(slot, token, now)
	switch {
	case rate.ok && space.ok:
		return answer{ok: true, turn: max(0, rate.turn, space.turn), until: min(rate.until, space.until)}, false
	case rate.ok:
		m.undoRate(token)
	case space.ok:
		m.undoSpace(slot, token)
	}
	if space.wait > rate.wait {
		return space, !rate.ok
	}
	return rate, !space.ok
}

func (m *limitModel) undoRate(token dedupe.Token) {
	m.calls = slices.DeleteFunc(m.calls, func(r reservation) bool { return r.token == token && !r.old })
}

func (m *limitModel) undoSpace(slot dedupe.Slot, token dedupe.Token) {
	if m.trades[slot.Trade].token == token {
		delete(m.trades, slot.Trade)
	}
}

// The scripts against the model, on a clock that the test moves, with waits kept
// to the microsecond, tokens used again, and undoing at any time.
func TestLimitsAgainstTheModel(t *testing.T) {
	for _, rate := range []int{0, 1, 3, 7, 10, 60, 1000} {
		t.Run(fmt.Sprintf("rate %d", rate), func(t *testing.T) {
			seed := rand.Uint64()
			defer func() {
				if t.Failed() {
					t.Logf("seed %d", seed)
				}
			}()
			// Chance may leave an answer out of one walk; it may not of all.
			counts := map[string]int{}
			for walk := uint64(1); walk <= 20 && !everyAnswer(counts); walk++ {
				compareLimits(t, rate, rand.New(rand.NewPCG(seed, walk)), counts)
			}
			if !everyAnswer(counts) && rate > 0 {
				t.Errorf("some answer never came: the test proves little: %v", counts)
			}
		})
	}
}

func everyAnswer(counts map[string]int) bool {
	return counts["ok"] > 0 && counts["ahead"] > 0 && counts[dedupe.ReasonSpacing] > 0
}

func compareLimits(t *testing.T, rate int, random *rand.Rand, counts map[string]int) {
	t.Helper()
	b := onMiniredis(t)
	b.moveTo(b.clock.Truncate(time.Microsecond))
	model := &limitModel{trades: map[string]reservation{}}
	tokens := []dedupe.Token{dedupe.NewToken()}
	wait := time.Duration(0)
	for step := range 700 {
		now := b.clock.UnixMicro()
		slot := dedupe.Slot{Rate: rate, Query: random.IntN(3) == 0}
		if random.IntN(4) > 0 {
			slot.Trade = fmt.Sprintf("m:T%d", random.IntN(3))
			slot.Spacing = 1500 * time.Millisecond
		}
		token := tokens[max(0, len(tokens)-1-random.IntN(12))]
		switch random.IntN(20) {
		case 0, 1:
			must(t, b.store.Undo(t.Context(), appID, slot, token))
			model.undoRate(token)
			if slot.Trade != "" && !slot.Query {
				model.undoSpace(slot, token)
			}
			continue
		case 2, 3, 4, 5, 6:
			d := []time.Duration{
				wait, wait - time.Microsecond, time.Duration(random.IntN(5000)) * time.Microsecond,
				time.Duration(random.IntN(400_000)) * time.Microsecond, usable * time.Microsecond,
				usable*time.Microsecond + 1000,
			}[random.IntN(6)]
			if random.IntN(100) == 0 {
				d = time.Duration(random.IntN(40_000)) * time.Millisecond
			}
			b.moveTo(b.clock.Add(max(0, d)))
			continue
		case 7: // an old token
		default:
			token = dedupe.NewToken()
			tokens = append(tokens, token)
		}
		before := b.limitKeys(t)
		began := time.Now()
		got, err := b.store.Reserve(t.Context(), appID, slot, token)
		must(t, err)
		ended := time.Now()
		want, untouched := model.reserve(slot, token, now)
		wait = got.Wait
		if got.OK {
			counts["ok"]++
			if want.turn > 0 {
				counts["ahead"]++
			}
			turn, until := got.Start.Sub(got.Asked).Microseconds(), got.Deadline.Sub(got.Asked).Microseconds()
			if !want.ok || got.Wait != 0 || got.Reason != "" || got.Asked.Before(began) || got.Asked.After(ended) ||
				turn != max(0, want.turn) || until != want.until {
				t.Fatalf("step %d: %+v for %+v, want %+v", step, got, slot, want)
			}
			continue
		}
		counts[got.Reason]++
		if want.ok || got.Wait.Microseconds() != want.wait || got.Reason != want.reason || !got.Deadline.IsZero() {
			t.Fatalf("step %d: %+v for %+v, want %+v", step, got, slot, want)
		}
		if after := b.limitKeys(t); untouched && before != after {
			t.Fatalf("step %d: a denied %+v moved something:\n%s\n%s", step, slot, before, after)
		}
	}
}

// moveTo sets the clock of miniredis.
func (b *bench) moveTo(now time.Time) {
	b.clock = now
	b.mini.SetTime(now)
}

// keys returns the keys of the test that match a pattern, in order.
func (b *bench) keys(t *testing.T, pattern string) []string {
	t.Helper()
	var mu sync.Mutex
	var all []string
	list := func(ctx context.Context, node *redis.Client) error {
		keys, err := node.Keys(ctx, b.prefix+pattern).Result()
		mu.Lock()
		defer mu.Unlock()
		all = append(all, keys...)
		return err
	}
	switch client := b.client.(type) {
	case *redis.ClusterClient:
		must(t, client.ForEachMaster(t.Context(), list))
	case *redis.Client:
		must(t, list(t.Context(), client))
	}
	slices.Sort(all)
	return all
}

// limitKeys shows all limits as they lie in Redis, with the time they have left.
func (b *bench) limitKeys(t *testing.T) string {
	t.Helper()
	var text string
	for _, key := range b.keys(t, "[tl]:*") {
		members, err := b.client.ZRangeWithScores(t.Context(), key, 0, -1).Result()
		must(t, err)
		left, err := b.client.PTTL(t.Context(), key).Result()
		must(t, err)
		if left < 0 {
			t.Fatalf("%s never expires: %v", key, left)
		}
		text += fmt.Sprintln(key[len(b.prefix):], members, left)
	}
	return text
}

// Any mix of calls on a clock that the test moves: what is granted never comes
// above the rate over any window, queries get their share while refund calls are
// denied, and refund calls get theirs while there are queries without end.
func TestRateOverEveryWindow(t *testing.T) {
	const seconds = 2
	tests := []struct {
		name            string
		rate            int
		refunds, others float64 // chance of a try, per step
		throttled       bool
		least           int // refund calls a second
		leastQueries    int // a second
	}{
		{"refunds alone", 50, 1, 0, false, 46, 0},
		{"queries alone", 50, 0, 1, false, 0, 46},
		{"both without end", 50, 1, 1, false, 37, 9},
		{"queries now and then", 50, 1, 0.001, false, 40, 0},
		{"slow", 3, 1, 1, false, 1, 1},
		{"one", 1, 1, 1, false, 0, 0},
		{"fast", 120, 1, 1, false, 88, 21},
		{"throttled", 50, 1, 1, true, 0, 1},
		{"throttled, slow", 2, 1, 1, true, 0, 1},
		{"throttled, no rate", 0, 1, 1, true, 0, 1},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			b := onMiniredis(t)
			b.moveTo(b.clock.Truncate(time.Microsecond))
			random := rand.New(rand.NewPCG(7, 7))
			l := limitsOf(test.rate)
			step := time.Duration(max(l.cost, l.shareCost/20)) * time.Microsecond / 4
			var times []int64
			granted := map[bool]int{}
			start := b.clock
			for b.clock.Sub(start) < seconds*time.Second {
				if test.throttled {
					must(t, b.store.Throttled(t.Context(), appID, "", dedupe.Grant{Asked: time.Now()}, test.rate))
				}
				for _, query := range []bool{false, true} {
					chance := test.refunds
					if query {
						chance = test.others
					}
					if random.Float64() >= chance {
						continue
					}
					grant, err := b.store.Reserve(t.Context(), appID, dedupe.Slot{Rate: test.rate, Query: query}, dedupe.NewToken())
					must(t, err)
					if grant.OK {
						granted[query]++
						times = append(times, b.clock.Add(grant.Start.Sub(grant.Asked)).UnixMicro())
					}
				}
				b.moveTo(b.clock.Add(step))
			}
			// Queries of the share come between the turns that were given ahead.
			slices.Sort(times)
			for i := range times {
				for j := i; j < len(times) && test.rate > 0; j++ {
					n, most := int64(j-i+1), (times[j]-times[i])/l.cost+2+(lead+l.shareCost-1)/l.shareCost
					if n > most {
						t.Fatalf("%d calls in %d µs, want at most %d", n, times[j]-times[i], most)
					}
				}
			}
			if granted[false] < test.least*seconds || granted[true] < test.leastQueries*seconds {
				t.Errorf("%d refund calls and %d queries in %d s", granted[false], granted[true], seconds)
			}
			// The first pace is ten a second, of which the queries have a part, and after
			// a second in which all was refused it is less than half.
			if test.throttled && granted[false] > 15 {
				t.Errorf("%d refund calls although all are refused", granted[false])
			}
		})
	}
}
