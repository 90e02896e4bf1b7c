package dedupe_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"refundd/dedupe"
)

// fill puts entries of records that do not exist into the index, all due at a time.
func (b *bench) fill(t *testing.T, count int, due time.Time) {
	t.Helper()
	t.Helper()
	var members []redis.Z
	for i := range count {
		entry := b.store.Entry(time.UnixMilli(int64(i+1)), 1, refund(fmt.Sprintf("F%04d", i)))
		members = append(members, redis.Z{Score: float64(due.UnixMilli()), Member: entry})
	}
	must(t, b.client.ZAdd(t.Context(), b.prefix+"u:"+appID, members...).Err())
}

// TestUndecidedOfReadsEveryPage: a number is found wherever its entry lies, once for
// each identity, and among entries that are not ours.
func TestUndecidedOfReadsEveryPage(t *testing.T) {
	for _, count := range []int{499, 500, 501, 1203} {
		b := onMiniredis(t)
		b.fill(t, count, time.UnixMilli(1))
		last := refund("LAST")
		must(t, b.client.ZAdd(t.Context(), b.prefix+"u:"+appID,
			redis.Z{Score: 0, Member: "not ours"},
			redis.Z{Score: 0, Member: "1:1:another:r:" + appID + ":-:refund:LAST"},
			redis.Z{Score: 2, Member: b.store.Entry(time.UnixMilli(1), 1, last)},
			redis.Z{Score: 3, Member: b.store.Entry(time.UnixMilli(2), 1, last)},
		).Err())
		for _, id := range []dedupe.Identity{refund("F0000"), refund(fmt.Sprintf("F%04d", count-1)), last} {
			found, err := b.store.UndecidedOf(t.Context(), appID, id.OutRequestNo)
			if err != nil || !slices.Equal(found, []dedupe.Identity{id}) {
				t.Errorf("%s among %d: %+v, %v", id.OutRequestNo, count, found, err)
			}
		}
		totals, err := b.store.Totals(t.Context(), appID)
		if err != nil || totals.Count != count+4 {
			t.Errorf("%d entries, want %d, %v", totals.Count, count+4, err)
		}
	}
}

// TestMarksAtTheirLimits: the longest text is taken, and a mark goes only when it is
// more than 90 days older than the newest.
func TestMarksAtTheirLimits(t *testing.T) {
	b := onMiniredis(t)
	now, longest := time.UnixMilli(1_790_000_000_000), strings.Repeat("x", 512)
	for message, at := range map[string]time.Time{
		"just":  now.Add(-90 * 24 * time.Hour),
		"older": now.Add(-90*24*time.Hour - time.Millisecond),
		longest: now,
	} {
		must(t, b.store.SetMark(t.Context(), appID, message, dedupe.Mark{Deed: "dropped", By: longest, Why: longest, At: at}))
	}
	must(t, b.store.SetMark(t.Context(), appID, "new", dedupe.Mark{At: now}))
	marks, err := b.store.Marks(t.Context(), appID)
	must(t, err)
	for message, there := range map[string]bool{"just": true, "older": false, longest: true, "new": true} {
		if _, is := marks[message]; is != there {
			t.Errorf("the mark on %.8s is there: %t", message, is)
		}
	}
	// A mark of long ago may be written again, and does not take itself away.
	must(t, b.store.SetMark(t.Context(), appID, "just", dedupe.Mark{Why: "again", At: now.Add(200 * 24 * time.Hour)}))
	marks, err = b.store.Marks(t.Context(), appID)
	if err != nil || len(marks) != 1 || marks["just"].Why != "again" {
		t.Errorf("marks %+v, %v", marks, err)
	}
	must(t, b.client.HSet(t.Context(), b.prefix+"m:"+appID, "odd", "{").Err())
	if marks, err = b.store.Marks(t.Context(), appID); err != nil || len(marks) != 2 || marks["odd"] != (dedupe.Mark{}) {
		t.Errorf("with one that cannot be read: %+v, %v", marks, err)
	}
	for _, wrong := range []struct {
		app, message string
		mark         dedupe.Mark
	}{
		{appID, "M", dedupe.Mark{By: longest + "x"}},
		{appID, "M", dedupe.Mark{Why: longest + "x"}},
		{appID, longest + "x", dedupe.Mark{}},
		{appID, "", dedupe.Mark{}},
		{"", "M", dedupe.Mark{}},
	} {
		if err := b.store.SetMark(t.Context(), wrong.app, wrong.message, wrong.mark); err == nil {
			t.Errorf("taken: %.8q %.8q %.40v", wrong.app, wrong.message, wrong.mark)
		}
	}
}

// TestSweeperWithoutAWord: what its config leaves open is two hours and a hundred
// entries, and nobody needs to be told.
func TestSweeperWithoutAWord(t *testing.T) {
	b := onMiniredis(t)
	for i := range 101 {
		b.index(t, fmt.Sprintf("R%03d", i), 3*time.Hour)
	}
	young, _ := b.index(t, "young", 2*time.Hour-time.Minute)
	published := map[string]bool{}
	sweeper, err := dedupe.NewSweeper(b.store, dedupe.SweeperConfig{
		AppID: appID, Every: time.Hour,
		Republish: func(_ context.Context, key string, _ dedupe.Record) error {
			published[key] = true
			if len(published) == 1 {
				return errors.New("the broker is away")
			}
			return nil
		},
	})
	must(t, err)
	start(t, b, sweeper)
	if len(published) != 100 || published[b.store.Key(young)] {
		t.Errorf("%d published, the young one among them: %t", len(published), published[b.store.Key(young)])
	}
	left, err := b.store.Overdue(t.Context(), appID, time.Now().Add(time.Hour), 1000)
	if err != nil || len(left) != 3 { // the first, whose publishing failed, the last, and the young one
		t.Errorf("%d entries are still due, %v", len(left), err)
	}
}
