//go:build !race

package main

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"refundd/alipay/alipaytest"
	"refundd/cmd/internal/journal"
	"refundd/consumer/history"
)

// TestJournal: a process that is built for it writes down all of its acts. An ordinary build has
// nothing of it (TestNothingForTestsIsInTheService).
func TestJournal(t *testing.T) {
	t.Parallel()
	w := newWorld(t, alipaytest.Config{})
	path := filepath.Join(t.TempDir(), "p1.jsonl")
	p := w.start(map[string]string{"REFUNDD_TEST_JOURNAL": path})
	p.waitReady()
	w.send(refundOf(1), refundOf(2))
	w.wait("two refunds", time.Minute, func() bool { return len(w.judge([]string{"R00001", "R00002"}).missing) == 0 })
	w.wait("their acknowledgements", time.Minute, func() bool { return len(acts(t, path)["R00002"]) == 6 && len(acts(t, path)["R00001"]) == 6 })
	p.kill()
	want := []string{"delivery", "claim won", "call", "answer ok", "settle settled", "ack"}
	for number, got := range acts(t, path) {
		if number != "" && !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", number, got, want)
		}
		if n := len(got); number == "" && (n != 2 || got[0] != "publish confirmed") {
			t.Errorf("%q, want two events that were confirmed", got)
		}
	}
}

// acts are what a journal tells of each refund, in the order of their times.
func acts(t *testing.T, path string) map[string][]string {
	t.Helper()
	file, err := os.Open(path)
	check(t, err)
	defer func() { _ = file.Close() }()
	lines, err := journal.Read(file)
	check(t, err)
	slices.SortStableFunc(lines, func(a, b journal.Line) int { return int(a.Nanos - b.Nanos) })
	told := map[string][]string{}
	for _, line := range lines {
		f := line.Fact
		word := string(f.What)
		if f.Result != "" {
			word += " " + f.Result
		}
		if f.What == history.Settle && f.Result == history.Settled && f.Expires-f.Clock < (167*time.Hour).Milliseconds() {
			t.Errorf("%s expires %d ms after it was settled", f.Number, f.Expires-f.Clock)
		}
		told[f.Number] = append(told[f.Number], word)
	}
	return told
}
