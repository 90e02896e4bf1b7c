package match_test

import (
	"encoding/binary"
	"fmt"
	"os"
	"reflect"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"refundd/cmd/internal/match"
	"refundd/producer"
)

func table(t testing.TB, limit int64) *match.Table {
	t.Helper()
	table, err := match.New(match.Config{Dir: t.TempDir(), Limit: limit})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := table.Close(); err != nil {
			t.Error(err)
		}
	})
	return table
}

func at(seconds float64) time.Time { return time.UnixMilli(1_800_000_000_000 + int64(seconds*1000)) }

func key(number string) match.Key { return match.Key{Kind: producer.KindRefund, Number: number} }

func id(n int) (b [16]byte) {
	binary.BigEndian.PutUint64(b[:], uint64(n))
	return b
}

// A story is a word a message, in this order: a command c:CONTENT:FEN (u: unsure)
// or an event OUTCOME:ID:FEN.
func tell(t *testing.T, table *match.Table, number, story string) {
	t.Helper()
	for word := range strings.FieldsSeq(story) {
		var n int
		var fen int64
		name, rest, _ := strings.Cut(word, ":")
		if _, err := fmt.Sscanf(rest, "%d:%d", &n, &fen); err != nil {
			t.Fatalf("%s: %v", word, err)
		}
		var err error
		switch name {
		case "c", "u":
			err = table.Command(match.Command{Key: key(number), Content: id(n), Amount: fen, Sent: at(0), Unsure: name == "u"})
		default:
			err = table.Event(match.Event{Key: key(number), ID: id(n), Outcome: producer.Outcome(name), Amount: fen, Stored: at(1)})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestJudgement(t *testing.T) {
	for name, c := range map[string]struct {
		story string
		want  match.Result
		rows  string
	}{
		"succeeded":             {"c:1:100 succeeded:1:100", match.Result{Commands: 1, Matched: 1, Succeeded: 1, Events: 1}, ""},
		"the event first":       {"failed:1:100 c:1:100", match.Result{Commands: 1, Matched: 1, Failed: 1, Events: 1}, ""},
		"an event twice":        {"c:1:100 succeeded:1:100 succeeded:1:100", match.Result{Commands: 1, Matched: 1, Succeeded: 1, Events: 2, Repeats: 1}, ""},
		"a command thrice":      {"c:1:100 c:1:100 c:1:100 succeeded:1:100", match.Result{Commands: 3, Matched: 3, Succeeded: 3, Again: 2, Events: 1}, ""},
		"unresolved first":      {"c:1:100 unresolved:7:100 succeeded:1:100", match.Result{Commands: 1, Matched: 1, Succeeded: 1, Events: 2}, ""},
		"missing":               {"c:1:100", match.Result{Commands: 1, Missing: 1}, "missing 1 no event"},
		"only a notification":   {"c:1:100 notified:1:100", match.Result{Commands: 1, Missing: 1}, "missing 1 no event"},
		"unresolved":            {"c:1:100 unresolved:7:100", match.Result{Commands: 1, Unresolved: 1, Events: 1}, "unresolved 1 parked for a person: there is an unresolved event and no final one"},
		"two truths":            {"c:1:100 failed:1:100 succeeded:2:100", match.Result{Commands: 1, Conflicting: 1, Events: 2}, "conflicting 1 two different final events"},
		"another amount":        {"c:1:100 succeeded:1:101", match.Result{Commands: 1, Conflicting: 1, Events: 1}, "conflicting 1 its final event tells another amount"},
		"decided and rejected":  {"c:1:100 succeeded:1:100 rejected:2:100", match.Result{Commands: 1, Conflicting: 1, Events: 2}, "conflicting 1 more final events than commands"},
		"a conflict, rejected":  {"c:1:100 c:2:200 succeeded:1:100 rejected:2:200", match.Result{Commands: 2, Matched: 2, Succeeded: 1, Rejected: 1, Events: 2}, ""},
		"the other one won":     {"c:1:100 c:2:100 c:2:100 succeeded:1:100 rejected:2:100", match.Result{Commands: 3, Matched: 3, Succeeded: 2, Rejected: 1, Again: 1, Events: 2}, ""},
		"a rejection missing":   {"c:1:100 c:2:200 succeeded:1:100", match.Result{Commands: 2, Matched: 1, Missing: 1, Succeeded: 1, Events: 1}, "missing 1 no event; there is one of another command with this number"},
		"bad, twice":            {"c:1:0 c:2:0 rejected:1:0 rejected:2:0", match.Result{Commands: 2, Matched: 2, Rejected: 2, Events: 2}, ""},
		"bad, one rejected":     {"c:1:0 c:1:0 rejected:1:0", match.Result{Commands: 2, Matched: 1, Rejected: 1, Missing: 1, Again: 1, Events: 1}, "missing 1 no event; there is one of another command with this number"},
		"nobody's":              {"succeeded:1:100 succeeded:1:100", match.Result{Foreign: 2}, ""},
		"unsure, not there":     {"u:1:100", match.Result{Commands: 1, Unsure: 1}, "missing 1 no event, and the broker did not confirm that it has the command"},
		"unsure, there":         {"u:1:100 succeeded:1:100", match.Result{Commands: 1, Matched: 1, Succeeded: 1, Events: 1}, ""},
		"sure and unsure, none": {"u:1:100 c:1:100", match.Result{Commands: 2, Missing: 1, Unsure: 1, Again: 1}, "missing 2 no event"},
	} {
		t.Run(name, func(t *testing.T) {
			table := table(t, 0)
			tell(t, table, "R-1", c.story)
			tell(t, table, "R-0", "c:9:1 succeeded:9:1") // somebody else, who is well
			var rows []string
			got, err := table.Join(func(r match.Row) error {
				if r.Number != "R-1" || !r.Sent.Equal(at(0)) {
					t.Errorf("row %+v", r)
				}
				rows = append(rows, fmt.Sprintf("%s %d %s", r.State, r.Commands, r.Detail))
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			want := c.want
			want.Commands, want.Matched, want.Succeeded, want.Events = want.Commands+1, want.Matched+1, want.Succeeded+1, want.Events+1
			got.Latency = match.Latency{}
			if !reflect.DeepEqual(got, want) || strings.Join(rows, "; ") != c.rows {
				t.Errorf("%+v, rows %q\nwant %+v, rows %q", got, rows, want, c.rows)
			}
			if sum := got.Matched + got.Missing + got.Unresolved + got.Conflicting + got.Unsure; sum != got.Commands {
				t.Errorf("the states sum up to %d of %d", sum, got.Commands)
			}
			if got.Clean() != (c.rows == "") {
				t.Errorf("clean: %t", got.Clean())
			}
		})
	}
}

func TestKindAndMerchantTellRefundsApart(t *testing.T) {
	table := table(t, 0)
	keys := []match.Key{
		{Kind: producer.KindRefund, Number: "R"},
		{Kind: producer.KindCouponRefund, Number: "R"},
		{Kind: producer.KindRefund, Merchant: "m", Number: "R"},
	}
	for i, k := range keys {
		if err := table.Command(match.Command{Key: k, Content: id(i), Amount: 1, Sent: at(0)}); err != nil {
			t.Fatal(err)
		}
	}
	for i, k := range keys[1:] {
		if err := table.Event(match.Event{Key: k, ID: id(i), Outcome: producer.Succeeded, Amount: 1, Stored: at(1)}); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := table.Join(func(match.Row) error { return nil }); err != nil || got.Matched != 2 || got.Missing != 1 {
		t.Errorf("%+v, %v", got, err)
	}
}

// fill adds rows of which each 1000th has no event, and returns how many that are.
func fill(t testing.TB, table *match.Table, rows int) (missing int64) {
	t.Helper()
	for i := range rows {
		k := key(fmt.Sprintf("LOAD-2026-11-25-%012d", i))
		if err := table.Command(match.Command{Key: k, Content: id(i), Amount: int64(i%1000 + 1), Sent: at(0)}); err != nil {
			t.Fatal(err)
		}
		if i%1000 == 500 {
			missing++
			continue
		}
		ev := match.Event{Key: k, ID: id(i), Outcome: producer.Succeeded, Amount: int64(i%1000 + 1), Stored: at(float64(i%1000) / 100)}
		if err := table.Event(ev); err != nil {
			t.Fatal(err)
		}
	}
	return missing
}

// peak is the largest heap in use while do runs, over what was in use before.
// Little garbage is let stand, since on a busy machine it is most of the heap.
func peak(do func()) int64 {
	defer debug.SetGCPercent(debug.SetGCPercent(10))
	runtime.GC()
	var before runtime.MemStats
	runtime.ReadMemStats(&before)
	var top atomic.Int64
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(2 * time.Millisecond)
		defer tick.Stop()
		for {
			var now runtime.MemStats
			runtime.ReadMemStats(&now)
			top.Store(max(top.Load(), int64(now.HeapAlloc-min(before.HeapAlloc, now.HeapAlloc))))
			select {
			case <-stop:
				return
			case <-tick.C:
			}
		}
	}()
	do()
	close(stop)
	<-done
	return top.Load()
}

func join(t testing.TB, rows int, limit int64) {
	t.Helper()
	table := table(t, limit)
	missing := fill(t, table, rows)
	told := int64(0)
	got, err := table.Join(func(match.Row) error { told++; return nil })
	if err != nil || got.Commands != int64(rows) || got.Missing != missing || told != missing || got.Matched != int64(rows)-missing {
		t.Fatalf("%+v, %d told, %v", got, told, err)
	}
	if p50, top := got.Latency.Quantile(0.5), got.Latency.Quantile(1); p50 < 4900*time.Millisecond || p50 > 5100*time.Millisecond || top != 9990*time.Millisecond {
		t.Errorf("p50 %s, max %s", p50, top)
	}
}

func TestMemoryDoesNotGrowWithTheRows(t *testing.T) {
	const limit = 32 << 10 // two levels of partitions for the many
	few := peak(func() { join(t, 20_000, limit) })
	many := peak(func() { join(t, 150_000, limit) })
	t.Logf("heap above the start: %d KiB with 20,000 rows, %d KiB with 150,000", few>>10, many>>10)
	// 300,000 entries in maps would be more than twice that.
	if many > few+(16<<20) {
		t.Errorf("heap grew from %d to %d bytes with so many more rows", few, many)
	}
}

func TestJoinAgainWhenMoreHasCome(t *testing.T) {
	table := table(t, 10)
	tell(t, table, "R-1", "c:1:100")
	tell(t, table, "R-2", "c:2:100 succeeded:2:100")
	if got, err := table.Join(func(match.Row) error { return nil }); err != nil || got.Missing != 1 || got.Matched != 1 || got.Settled() {
		t.Errorf("%+v, %v", got, err)
	}
	tell(t, table, "R-1", "failed:1:100")
	if got, err := table.Join(func(match.Row) error { return nil }); err != nil || got.Matched != 2 || !got.Clean() || !got.Settled() {
		t.Errorf("%+v, %v", got, err)
	}
	if c, e := table.Counts(); c != 2 || e != 2 {
		t.Errorf("%d commands, %d events", c, e)
	}
}

func TestNothingIsLeftBehind(t *testing.T) {
	dir := t.TempDir()
	table, err := match.New(match.Config{Dir: dir, Limit: 1 << 10})
	if err != nil {
		t.Fatal(err)
	}
	fill(t, table, 600)
	if _, err := table.Join(func(match.Row) error { return os.ErrClosed }); err == nil {
		t.Error("the error of tell is lost")
	}
	if err := table.Close(); err != nil {
		t.Error(err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}

func TestQuantiles(t *testing.T) {
	table := table(t, 0)
	var took []int
	for i := range 1000 {
		ms := i * i * 7 % 100_003
		took = append(took, ms)
		k := key(fmt.Sprint(i))
		if err := table.Command(match.Command{Key: k, Amount: 1, Sent: at(0)}); err != nil {
			t.Fatal(err)
		}
		ev := match.Event{Key: k, Outcome: producer.Succeeded, Amount: 1, Stored: at(0).Add(time.Duration(ms) * time.Millisecond)}
		if err := table.Event(ev); err != nil {
			t.Fatal(err)
		}
	}
	slices.Sort(took)
	got, err := table.Join(func(match.Row) error { return nil })
	if err != nil || got.Latency.Count() != 1000 {
		t.Fatalf("%+v, %v", got, err)
	}
	for _, q := range []float64{0, 0.25, 0.5, 0.9, 0.99, 0.999} {
		want, ms := took[int(q*1000)], int(got.Latency.Quantile(q).Milliseconds())
		if ms < want || ms > want+want/100+1 {
			t.Errorf("quantile %v: %d ms, want %d", q, ms, want)
		}
	}
	if got.Latency.Quantile(1) != time.Duration(took[999])*time.Millisecond {
		t.Errorf("maximum %s, want %d", got.Latency.Quantile(1), took[999])
	}
}

// BenchmarkJoin is one run of so many rows with the standard limit; its heap is
// what counts: go test -bench Join -benchtime 1x ./cmd/internal/match
func BenchmarkJoin(b *testing.B) {
	for _, rows := range []int{200_000, 2_000_000, 10_000_000} {
		b.Run(fmt.Sprint(rows), func(b *testing.B) {
			for range b.N {
				b.ReportMetric(float64(peak(func() { join(b, rows, 0) }))/(1<<20), "peak-MiB")
			}
			b.ReportMetric(float64(rows)*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
		})
	}
}
