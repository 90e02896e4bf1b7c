package dedupe_test

import (
	"fmt"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"refundd/dedupe"
)

func millis(t time.Time) string { return strconv.FormatInt(t.UnixMilli(), 10) }

func TestEntriesCanBeReadBack(t *testing.T) {
	b := onMiniredis(t)
	born := time.UnixMilli(1_790_000_000_456)
	for _, row := range []struct {
		name string
		fen  int64
		id   dedupe.Identity
	}{
		{"plain", 1230, refund("R1")},
		{"number with colons", 1, refund("R:1:2")},
		{"scope trade", 1 << 60, dedupe.Identity{AppID: appID, Merchant: "m", Kind: "coupon_refund", OutRequestNo: "a:b", Trade: "c:d"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			entry := b.store.Entry(born, row.fen, row.id)
			got, err := dedupe.ParseEntry(entry)
			want := dedupe.Undecided{Entry: entry, FirstBorn: born, Fen: row.fen, Key: b.store.Key(row.id)}
			if err != nil || got != want {
				t.Errorf("%+v, %v\nwant %+v", got, err, want)
			}
		})
	}
	for _, entry := range []string{"", "1", "1:2", "1:2:", "x:2:key", "1:2.50:key", "1::key"} {
		if got, err := dedupe.ParseEntry(entry); err == nil || got.Key != "" {
			t.Errorf("%q gives %+v, want an error", entry, got)
		}
	}
}

func TestReleaseAndSettleKeepTheIndex(t *testing.T) {
	due := time.UnixMilli(1_790_000_000_000)
	id := refund("R1")
	for _, row := range []struct {
		name string
		act  func(t *testing.T, b *bench, entry string)
		want string // score of the entry; empty: none
	}{
		{"released", func(t *testing.T, b *bench, entry string) {
			b.release(t, dedupe.ReleaseRequest{ID: id, Token: b.won(t, id), Entry: entry, Due: due})
		}, millis(due)},
		{"released without an entry", func(t *testing.T, b *bench, _ string) {
			b.release(t, dedupe.ReleaseRequest{ID: id, Token: b.won(t, id), Due: due})
		}, ""},
		{"released twice, later", func(t *testing.T, b *bench, entry string) {
			b.release(t, dedupe.ReleaseRequest{ID: id, Token: b.won(t, id), Entry: entry, Due: due.Add(-time.Hour)})
			b.release(t, dedupe.ReleaseRequest{ID: id, Token: b.won(t, id), Entry: entry, Due: due})
		}, millis(due)},
		{"parked at once, and nobody was told", func(t *testing.T, b *bench, entry string) {
			b.release(t, dedupe.ReleaseRequest{ID: id, Token: b.won(t, id), Entry: entry, Parked: true})
		}, "now"},
		{"parked later", func(t *testing.T, b *bench, entry string) {
			b.release(t, dedupe.ReleaseRequest{ID: id, Token: b.won(t, id), Entry: entry, Due: due})
			b.release(t, dedupe.ReleaseRequest{ID: id, Token: b.won(t, id), Entry: entry, Parked: true})
		}, "now"},
		{"parked, and a person was told", func(t *testing.T, b *bench, entry string) {
			b.park(t, id, entry)
		}, "+Inf"},
		{"parked and taken up again", func(t *testing.T, b *bench, entry string) {
			b.park(t, id, entry)
			b.release(t, dedupe.ReleaseRequest{ID: id, Token: b.won(t, id), Entry: entry, Due: due})
		}, millis(due)},
		{"parked once more", func(t *testing.T, b *bench, entry string) {
			b.park(t, id, entry)
			b.release(t, dedupe.ReleaseRequest{ID: id, Token: b.won(t, id), Entry: entry, Parked: true})
		}, "now"},
		{"a stale release cannot park another's entry", func(t *testing.T, b *bench, entry string) {
			b.release(t, dedupe.ReleaseRequest{ID: id, Token: b.won(t, id), Entry: entry, Due: due})
			b.won(t, id)
			b.release(t, dedupe.ReleaseRequest{ID: id, Token: dedupe.NewToken(), Entry: entry, Parked: true})
		}, "now"},
		{"succeeded", func(t *testing.T, b *bench, entry string) {
			b.release(t, dedupe.ReleaseRequest{ID: id, Token: b.won(t, id), Entry: entry, Due: due})
			b.settle(t, dedupe.SettleRequest{ID: id, Fingerprint: "fp", Succeeded: true, Event: []byte("e"), Entry: entry})
		}, "now"},
		{"failed", func(t *testing.T, b *bench, entry string) {
			b.release(t, dedupe.ReleaseRequest{ID: id, Token: b.won(t, id), Entry: entry, Due: due})
			b.settle(t, dedupe.SettleRequest{ID: id, Fingerprint: "fp", Token: b.won(t, id), Event: []byte("e"), Entry: entry})
		}, "now"},
		{"parked, and succeeded", func(t *testing.T, b *bench, entry string) {
			b.park(t, id, entry)
			b.settle(t, dedupe.SettleRequest{ID: id, Fingerprint: "fp", Succeeded: true, Event: []byte("e"), Entry: entry})
		}, "now"},
		{"succeeded, and was never released", func(t *testing.T, b *bench, entry string) {
			b.won(t, id)
			b.settle(t, dedupe.SettleRequest{ID: id, Fingerprint: "fp", Succeeded: true, Event: []byte("e"), Entry: entry})
		}, "now"},
		{"succeeded without an entry", func(t *testing.T, b *bench, _ string) {
			b.settle(t, dedupe.SettleRequest{ID: id, Fingerprint: "fp", Token: b.won(t, id), Succeeded: true, Event: []byte("e")})
		}, ""},
		{"succeeded and told", func(t *testing.T, b *bench, entry string) {
			b.release(t, dedupe.ReleaseRequest{ID: id, Token: b.won(t, id), Entry: entry, Due: due})
			b.settle(t, dedupe.SettleRequest{ID: id, Fingerprint: "fp", Succeeded: true, Event: []byte("e"), Entry: entry})
			b.told(t, id, "fp", entry, "e")
		}, ""},
		{"a stale failure cannot remove another's entry", func(t *testing.T, b *bench, entry string) {
			b.release(t, dedupe.ReleaseRequest{ID: id, Token: b.won(t, id), Entry: entry, Due: due})
			b.settle(t, dedupe.SettleRequest{ID: id, Fingerprint: "fp", Token: dedupe.NewToken(), Event: []byte("e"), Entry: entry})
		}, "now"},
		{"a failure was told while its contradiction was settled", func(t *testing.T, b *bench, entry string) {
			b.settle(t, dedupe.SettleRequest{ID: id, Fingerprint: "fp", Token: b.won(t, id), Event: []byte("failed"), Entry: entry})
			b.settle(t, dedupe.SettleRequest{ID: id, Fingerprint: "fp", Succeeded: true, Event: []byte("e"), Entry: entry})
			b.told(t, id, "fp", entry, "failed")
		}, "now"},
		{"told, and Redis was rolled back to before the decision", func(t *testing.T, b *bench, entry string) {
			b.release(t, dedupe.ReleaseRequest{ID: id, Token: b.won(t, id), Entry: entry, Due: due})
			b.told(t, id, "fp", entry, "e")
		}, "now"},
		{"told, and the record has expired", func(t *testing.T, b *bench, entry string) {
			b.settle(t, dedupe.SettleRequest{ID: id, Fingerprint: "fp", Succeeded: true, Event: []byte("e"), Entry: entry})
			must(t, b.client.Del(t.Context(), b.store.Key(id)).Err())
			b.told(t, id, "fp", entry, "e")
		}, ""},
		{"told, and the record is another command's", func(t *testing.T, b *bench, entry string) {
			b.settle(t, dedupe.SettleRequest{ID: id, Fingerprint: "other", Succeeded: true, Event: []byte("other"), Entry: entry})
			b.told(t, id, "fp", entry, "e")
		}, ""},
		{"released after somebody settled", func(t *testing.T, b *bench, entry string) {
			token := b.won(t, id)
			b.settle(t, dedupe.SettleRequest{ID: id, Fingerprint: "fp", Succeeded: true, Event: []byte("e")})
			b.release(t, dedupe.ReleaseRequest{ID: id, Token: token, Entry: entry, Due: due})
		}, millis(due)},
	} {
		t.Run(row.name, func(t *testing.T) {
			onEveryRedis(t, func(t *testing.T, b *bench) {
				entry := b.store.Entry(due.Add(-time.Hour), 1230, id)
				before := time.Now()
				row.act(t, b, entry)
				entries := b.entries(t)
				is := entries[entry]
				if at, err := strconv.ParseInt(is, 10, 64); err == nil && at >= before.UnixMilli() && at <= time.Now().UnixMilli() {
					is = "now"
				}
				if is != row.want || len(entries) > 1 || len(entries) == 1 && row.want == "" {
					t.Errorf("index %q, want %q", entries, row.want)
				}
			})
		})
	}
}

func TestOverdueAndTotals(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, b *bench) {
		ctx := t.Context()
		totals, err := b.store.Totals(ctx, appID)
		if err != nil || totals != (dedupe.Totals{}) {
			t.Errorf("empty index: %+v, %v", totals, err)
		}

		// More than two pages, one entry in ten parked, the last one foreign.
		const count = 1203
		start := time.UnixMilli(1_790_000_000_000)
		index := b.prefix + "u:" + appID
		var members []redis.Z
		var parked []string
		for i := range count {
			at := start.Add(time.Duration(i) * time.Second)
			entry := b.store.Entry(at, 3, refund(fmt.Sprintf("R%d", i)))
			members = append(members, redis.Z{Score: float64(at.UnixMilli()), Member: entry})
			if i%10 == 0 {
				parked = append(parked, entry)
			}
		}
		members = append(members, redis.Z{Score: 0, Member: "not ours"})
		must(t, b.client.ZAdd(ctx, index, members...).Err())
		for _, entry := range parked {
			must(t, b.store.Reschedule(ctx, appID, entry, time.Time{}))
		}

		totals, err = b.store.Totals(ctx, appID)
		want := dedupe.Totals{Count: count + 1, Parked: len(parked), Fen: 3 * count, Oldest: start}
		if err != nil || totals != want {
			t.Errorf("totals %+v, %v\nwant %+v", totals, err, want)
		}

		got, err := b.store.Overdue(ctx, appID, start.Add(3*time.Second), 100)
		must(t, err)
		second := start.Add(time.Second)
		if len(got) != 3 || got[0] != (dedupe.Undecided{Entry: "not ours", Due: time.UnixMilli(0)}) || got[1] != (dedupe.Undecided{
			Entry: b.store.Entry(second, 3, refund("R1")), FirstBorn: second, Fen: 3, Due: second, Key: b.store.Key(refund("R1")),
		}) {
			t.Errorf("overdue %+v, want the foreign one, R1 and R2, and neither R0 (parked) nor R3 (due just then)", got)
		}
		for n, want := range map[int]int{0: 0, -1: 0, 2: 2} {
			if got, err := b.store.Overdue(ctx, appID, start.Add(time.Hour), n); err != nil || len(got) != want {
				t.Errorf("overdue, %d of them: %d, %v", n, len(got), err)
			}
		}
		if got, err := b.store.Overdue(ctx, "another", start.Add(time.Hour), 9); err != nil || len(got) != 0 {
			t.Errorf("overdue of another application: %+v, %v", got, err)
		}
	})
}

func TestUndecidedOf(t *testing.T) {
	b := onMiniredis(t)
	ours := []dedupe.Identity{
		refund("R1"),
		{AppID: appID, Merchant: "-", Kind: "refund", OutRequestNo: "R1"},
		{AppID: appID, Merchant: "a:b%", Kind: "coupon_refund", OutRequestNo: "R1", Trade: "c:d"},
	}
	for _, id := range append(slices.Clone(ours), refund("R12"), refund("XR1")) {
		entry := b.store.Entry(time.UnixMilli(1), 100, id)
		b.release(t, dedupe.ReleaseRequest{ID: id, Token: b.won(t, id), Entry: entry, Due: time.UnixMilli(2)})
	}
	found, err := b.store.UndecidedOf(t.Context(), appID, "R1")
	if err != nil || len(found) != len(ours) {
		t.Fatalf("found %+v, %v", found, err)
	}
	for _, id := range ours {
		if !slices.Contains(found, id) {
			t.Errorf("%+v is not among %+v", id, found)
		}
	}
}

func TestEntered(t *testing.T) {
	b := onMiniredis(t)
	id, due := refund("R1"), time.UnixMilli(1_790_000_000_000)
	entry := b.store.Entry(due, 100, id)
	if u, there, err := b.store.Entered(t.Context(), appID, entry); there || err != nil {
		t.Errorf("before: %+v, %t, %v", u, there, err)
	}
	b.release(t, dedupe.ReleaseRequest{ID: id, Token: b.won(t, id), Entry: entry, Due: due})
	if u, there, err := b.store.Entered(t.Context(), appID, entry); !there || err != nil || !u.Due.Equal(due) || u.Parked {
		t.Errorf("released: %+v, %t, %v", u, there, err)
	}
	b.park(t, id, entry)
	if u, there, err := b.store.Entered(t.Context(), appID, entry); !there || err != nil || !u.Parked || u.Fen != 100 {
		t.Errorf("parked: %+v, %t, %v", u, there, err)
	}
}

func TestAForgottenEntryDoesNotComeBack(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, b *bench) {
		entry := b.store.Entry(time.UnixMilli(1), 1, refund("R1"))
		b.release(t, dedupe.ReleaseRequest{ID: refund("R1"), Token: b.won(t, refund("R1")), Entry: entry, Due: time.UnixMilli(5)})
		must(t, b.store.Forget(t.Context(), appID, entry))
		must(t, b.store.Forget(t.Context(), appID, entry))
		must(t, b.store.Reschedule(t.Context(), appID, entry, time.UnixMilli(6)))
		if entries := b.entries(t); len(entries) != 0 {
			t.Errorf("index %q, want none", entries)
		}
	})
}
