//go:build !race

// The RocketMQ SDK has data races of its own.

package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"refundd/alipay/alipaytest"
)

// The whole way with the real service: commands are recorded and replayed as new
// refunds, each is found in its event, and both of Alipay's bills agree with the
// events to the fen.
func TestReplayAndReconcileThroughTheService(t *testing.T) {
	begun := time.Now()
	w := startWorld(t, nil)
	dir := t.TempDir()
	commands := filepath.Join(dir, "refunds.jsonl")
	var b strings.Builder
	for i := range 30 {
		fmt.Fprintf(&b, `{"out_request_no":"R-%d","out_trade_no":"T-%d","refund_amount":"%d.50"}`+"\n", i, i/2, i+1)
	}
	b.WriteString(`{"out_request_no":"R-1","out_trade_no":"T-0","refund_amount":"2.5"}` + "\n")                     // again
	b.WriteString(`{"out_request_no":"R-2","out_trade_no":"T-1","refund_amount":"99.00"}` + "\n")                   // conflicts
	b.WriteString(`{"out_request_no":"R-31","out_trade_no":"nosuch-T","refund_amount":"1.00"}` + "\n")              // refused
	b.WriteString(`{"out_request_no":"R-32","out_trade_no":"T-0","refund_amount":"1.00","merchant":"shop"}` + "\n") // another account
	b.WriteString("no command\n")
	must(t, os.WriteFile(commands, []byte(b.String()), 0o600))
	w.ctl(exitDone, "send", "--file", commands, "--force")

	tape := filepath.Join(dir, "tape.jsonl.gz")
	w.ctl(exitDone, "record", "--topic", "refund-command", "--file", tape)
	got := w.ctl(exitDone, "replay", "--file", tape, "--topic", "refund-command", "--renumber", "LT-", "--renumber-trades", "--rate", "500", "--yes", "--wait", "50s")
	for _, want := range []string{"commands       35\n", "matched      35  succeeded 3", "verdict: all matched"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	if got := w.ctl(exitDone, "reconcile", "--commands", tape); !strings.Contains(got, "matched      35") {
		t.Errorf("the first time\n%s", got)
	}

	args := []string{"reconcile", "--merchant", "-"}
	days := []time.Time{begun, time.Now()}
	if days[0].In(beijing()).YearDay() == days[1].In(beijing()).YearDay() {
		days = days[:1]
	}
	for _, kind := range []string{alipaytest.TradeBill, alipaytest.FundBill} {
		for i, day := range days {
			var zipped bytes.Buffer
			must(t, w.alipay.WriteBill(&zipped, kind, "", day))
			name := filepath.Join(dir, fmt.Sprintf("%s%d.zip", kind, i))
			must(t, os.WriteFile(name, zipped.Bytes(), 0o600))
			args = append(args, "--bill", name)
		}
	}
	got = w.ctl(exitDone, args...)
	if strings.Count(got, "sum ") != 2 || !strings.Contains(got, "verdict: every fen is explained") {
		t.Errorf("bills\n%s", got)
	}
	// Without the filter the merchant's refunds are missing in this account's bill.
	got = w.ctl(exitFailed, slices.Delete(args, 1, 3)...)
	if !strings.Contains(got, "missing_there") {
		t.Errorf("all accounts\n%s", got)
	}
}

func beijing() *time.Location { return time.FixedZone("GMT+8", 8*60*60) }
