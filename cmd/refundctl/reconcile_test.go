package main

import (
	"bytes"
	"crypto/rsa"
	"encoding/csv"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"refundd/alipay"
	"refundd/alipay/alipaytest"
	"refundd/producer"
)

// downloads are both bills of a local Alipay that carried out, and the
// lines of the events that a perfect service would have published.
func downloads(t *testing.T) (trade, fund string, events []producer.Event) {
	t.Helper()
	keys, err := alipaytest.NewKeys()
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now().Truncate(time.Second)
	sim, err := alipaytest.New(alipaytest.Config{Keys: keys, Now: func() time.Time { return start }})
	if err != nil {
		t.Fatal(err)
	}
	url, err := sim.Start("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = sim.Close() }()
	client, err := alipay.New(alipay.Config{
		Gateway: url + "/gateway.do", AppID: "2021000000000001", Signer: keys.AppPrivate, AlipayKeys: []*rsa.PublicKey{keys.AlipayPublic},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer client.CloseIdleConnections()
	for i := range 10 {
		ev := producer.Event{
			Subject: fmt.Sprintf("R-%d", i), Time: start, Kind: producer.KindRefund, Outcome: producer.Succeeded, AppID: "A",
			OutRequestNo: fmt.Sprintf("R-%d", i), OutTradeNo: fmt.Sprintf("T-%d", i/3), AmountFen: int64(100 + i),
			ConfirmedBy: producer.ByResponse, RefundedAt: start, Calls: 1,
		}
		ev.TradeNo = alipaytest.TradeNo(ev.OutTradeNo)
		ev.ID, ev.RefundKey = decidedID(ev), strings.Repeat("0", 32)
		events = append(events, ev)
		if _, err := client.Refund(t.Context(), &alipay.RefundRequest{
			OutTradeNo: ev.OutTradeNo, OutRequestNo: ev.OutRequestNo, RefundAmount: alipay.Amount(ev.AmountFen),
		}); err != nil {
			t.Fatal(err)
		}
	}
	names := map[string]string{}
	for _, kind := range []string{alipaytest.TradeBill, alipaytest.FundBill} {
		var b bytes.Buffer
		if err := sim.WriteBill(&b, kind, "", start); err != nil {
			t.Fatal(err)
		}
		names[kind] = filepath.Join(t.TempDir(), kind+".csv.zip")
		if err := os.WriteFile(names[kind], b.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return names[alipaytest.TradeBill], names[alipaytest.FundBill], events
}

func decidedID(ev producer.Event) string {
	return producer.DecidedID(producer.Identity{AppID: "A", Kind: ev.Kind, OutRequestNo: ev.OutRequestNo}, ev.OutTradeNo, ev.AmountFen, ev.Outcome)
}

func lines(t *testing.T, events []producer.Event) string {
	t.Helper()
	var b strings.Builder
	for _, ev := range events {
		encoded, err := ev.Encode()
		if err != nil {
			t.Fatal(err)
		}
		b.Write(encoded.Body)
		b.WriteByte('\n')
	}
	return b.String()
}

func TestEveryFenIsExplained(t *testing.T) {
	trade, fund, events := downloads(t)
	report := filepath.Join(t.TempDir(), "all.csv")
	got := ctl(t.Context(), nil, lines(t, append(events, events[3])), "reconcile", "--bill", trade, "--bill", fund, "--events", "-", "--all", "--report", report)
	if got.code != 0 || strings.Count(got.stdout, "10: 10.45") != 8 || !strings.Contains(got.stdout, "verdict: every fen is explained\n") {
		t.Errorf("%+v", got)
	}
	content, err := os.ReadFile(report)
	if err != nil {
		t.Fatal(err)
	}
	rows, err := csv.NewReader(bytes.NewReader(content)).ReadAll()
	if err != nil || len(rows) != 21 {
		t.Fatalf("%d rows, %v", len(rows), err)
	}
	for _, row := range rows[1:] {
		if row[1] != "matched" || row[5] != row[6] || row[7] != "0.00" || !strings.HasPrefix(row[2], "R-") {
			t.Errorf("row %v", row)
		}
	}
}

func TestDifferencesAreFound(t *testing.T) {
	trade, fund, events := downloads(t)
	events[4].AmountFen++
	events[4].ID = decidedID(events[4])
	stranger := events[0]
	stranger.Subject, stranger.OutRequestNo, stranger.OutTradeNo, stranger.TradeNo = "R-99", "R-99", "T-99", "2026"
	stranger.ID = decidedID(stranger)
	yesterday := stranger
	yesterday.OutRequestNo, yesterday.Subject, yesterday.RefundedAt = "R-98", "R-98", stranger.RefundedAt.AddDate(0, 0, -3)
	yesterday.ID = decidedID(yesterday)
	events = append(slices.Delete(events, 7, 8), stranger, yesterday)

	report := filepath.Join(t.TempDir(), "differences.csv")
	got := ctl(t.Context(), nil, lines(t, events)+"\n", "reconcile", "--bill", trade, "--bill", fund, "--events", "-", "--report", report)
	for _, want := range []string{"8: 8.34", "1: 1.04", "1: 1.05", "1: 1.07", "1: 1.00", "10: 10.45", "11: 11.39", "verdict: DIFFERENCES"} {
		if !strings.Contains(got.stdout, want) {
			t.Errorf("no %q", want)
		}
	}
	if got.code != 1 || t.Failed() {
		t.Errorf("%d\n%s%s", got.code, got.stdout, got.stderr)
	}
	content, err := os.ReadFile(report)
	if err != nil {
		t.Fatal(err)
	}
	rows, err := csv.NewReader(bytes.NewReader(content)).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	var states []string
	for _, row := range rows[1:] {
		states = append(states, strings.Join([]string{row[0], row[1], row[3], row[7]}, " "))
	}
	slices.Sort(states)
	want := []string{
		"fund amount_differs T-1 -0.01", "fund missing_here T-2 1.07", "fund missing_there T-99 -1.00",
		"trade amount_differs T-1 -0.01", "trade missing_here T-2 1.07", "trade missing_there T-99 -1.00",
	}
	if !slices.Equal(states, want) {
		t.Errorf("the report has %q", states)
	}
	if got := ctl(t.Context(), nil, lines(t, events), "reconcile", "--bill", trade, "--events", "-", "-o", "json"); got.code != 1 ||
		!strings.Contains(got.stdout, `"missing_there":{"count":1,"fen":100}`) || !strings.Contains(got.stdout, `"adds_up":true`) {
		t.Errorf("%+v", got)
	}
}

func TestReconcileUsage(t *testing.T) {
	trade, _, _ := downloads(t)
	nothing := filepath.Join(t.TempDir(), "nothing")
	for args, want := range map[string]string{
		"": "one of --bill and --commands",

		"--bill a --commands b":                    "one of --bill and --commands",
		"--bill a --all":                           "--all needs --report",
		"--commands a --all --report b":            "--all goes with --bill",
		"--bill a --renumber X":                    "--renumber goes with --commands",
		"--bill a --kind other":                    "--kind",
		"--bill a -o xml":                          "-o",
		"--bill a":                                 "REFUNDD_ROCKETMQ_NAMESERVERS",
		"--events - --bill " + nothing:             "--bill: open",
		"--events - --commands " + nothing:         "--commands: open",
		"--bill " + trade + " --events " + nothing: "--events: open",
		"--bill " + trade + " --events - --report " + nothing + "/x": "--report",
		"--bill " + trade + " --temp " + nothing + " --events -":     "--temp",
	} {
		got := ctl(t.Context(), nil, "", append([]string{"reconcile"}, strings.Fields(args)...)...)
		if got.code != exitUsage || !strings.Contains(got.stderr, want) || got.stdout != "" {
			t.Errorf("%s: %+v, want %q", args, got, want)
		}
	}
	if got := ctl(t.Context(), nil, "no event\n", "reconcile", "--bill", trade, "--events", "-"); got.code != exitUsage || !strings.Contains(got.stderr, "- line 1: neither") {
		t.Errorf("%+v", got)
	}
}
