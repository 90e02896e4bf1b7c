package alipaytest_test

import (
	"crypto"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"refundd/alipay/alipaytest"
)

// Many workers hammer few refunds under the whole menu. The sums must fit
// whatever the interleaving was.
func TestLedgerUnderHammering(t *testing.T) {
	faults, err := alipaytest.ParseFaults("all=0.6,slow-drip=0,timeout-before=0,timeout-after=0")
	if err != nil {
		t.Fatal(err)
	}
	b := start(t, alipaytest.Config{TradeTotal: 500, Faults: faults, Hold: time.Millisecond, LateBy: time.Millisecond})
	var mu sync.Mutex
	answered := map[string]int{} // fund_change=Y seen, by number
	var wg sync.WaitGroup
	for worker := range 8 {
		wg.Go(func() {
			for i := range 60 {
				trade, number := fmt.Sprintf("T%d", (worker+i)%3), fmt.Sprintf("R%d", i%7)
				if i%3 == 2 {
					b.query(t, trade, number)
					continue
				}
				if b.refund(t, trade, number, "1").text("fund_change") == "Y" {
					mu.Lock()
					answered[trade+number]++
					mu.Unlock()
				}
			}
		})
	}
	wg.Wait()

	b.sim.Heal()
	moved, refunded := map[string]int{}, map[string]int{}
	for _, r := range b.sim.State().Refunds {
		if r.Moved > 1 {
			t.Errorf("%+v: moved twice", r)
		}
		moved[r.OutTradeNo+r.OutRequestNo] += r.Moved
		if r.Moved == 1 {
			fen, err := alipaytest.ParseYuan(r.Amount)
			if err != nil {
				t.Fatal(err)
			}
			refunded[r.OutTradeNo] += int(fen)
		}
	}
	for number, n := range answered {
		if n > 1 || moved[number] != 1 {
			t.Errorf("%s: fund_change=Y seen %d times, moved %d times", number, n, moved[number])
		}
	}
	for trade, fen := range refunded {
		if fen > 500 {
			t.Errorf("%s: %d fen refunded of 500", trade, fen)
		}
	}
	movedByCalls := map[string]int{}
	for _, c := range b.sim.Calls() {
		if c.End.Before(c.Start) {
			t.Errorf("call ends before it starts: %+v", c)
		}
		if c.Moved {
			movedByCalls[c.OutRequestNo]++
		}
	}
	for number, n := range movedByCalls {
		if n > 3 {
			t.Errorf("%s: %d calls moved money, there are 3 trades", number, n)
		}
	}
}

func TestStartAgainKeepsTheLedger(t *testing.T) {
	b := start(t, alipaytest.Config{})
	b.refund(t, "T", "R", "1")
	if _, err := b.sim.Start("127.0.0.1:0"); err == nil {
		t.Error("started twice")
	}
	for range 2 {
		if err := b.sim.Close(); err != nil {
			t.Fatal(err)
		}
	}
	b.http.CloseIdleConnections()
	base, err := b.sim.Start(strings.TrimPrefix(b.base, "http://"))
	if err != nil || base != b.base {
		t.Fatalf("start again: %s, %v", base, err)
	}
	if got := b.refund(t, "T", "R", "1"); got.text("fund_change") != "N" {
		t.Fatalf("the ledger is gone: %s", got.raw)
	}
}

func TestCloseEndsCallsThatHang(t *testing.T) {
	b := start(t, alipaytest.Config{})
	done := make(chan reply)
	go func() { done <- b.refund(t, "T", "fault-timeout-after-1", "1") }()
	waitFor(t, "the call", func() bool { return b.sim.FaultCounts()["timeout-after"] > 0 })
	if err := b.sim.Close(); err != nil {
		t.Fatal(err)
	}
	if r := <-done; r.err == nil {
		t.Fatalf("answered: %s", r.raw)
	}
}

func TestCallsAreBounded(t *testing.T) {
	b := start(t, alipaytest.Config{KeepCalls: 4})
	for i := range 11 {
		b.query(t, "T", fmt.Sprintf("R%d", i))
	}
	calls := b.sim.Calls()
	if len(calls) > 4 || calls[len(calls)-1].OutRequestNo != "R10" {
		t.Fatalf("calls = %+v", calls)
	}
}

// What a run is judged by from outside: what each call asked for, and of whom; and
// every movement with its time, late ones included.
func TestWireLogAndMovements(t *testing.T) {
	b := start(t, alipaytest.Config{TradeTotal: 500, LateBy: 20 * time.Millisecond})
	b.refund(t, "T", "R1", "1.00")
	b.refund(t, "T", "fault-late-R2", "2.00")
	b.refund(t, "T", "R3", "9.00")
	b.query(t, "T", "R1")
	waitFor(t, "the late money", func() bool { return len(b.sim.Movements()) == 2 })
	type asked struct {
		number string
		amount int64
	}
	want := []asked{{"R1", 100}, {"fault-late-R2", 200}, {"R3", 900}, {"R1", 0}}
	var sent time.Time
	for i, c := range b.sim.Calls() {
		if (asked{c.OutRequestNo, c.Amount}) != want[i] || c.Trade != alipaytest.TradeNo("T") || c.Host == "" {
			t.Errorf("call %d = %+v", i, c)
		}
		if i == 1 {
			sent = c.Start
		}
	}
	for i, m := range b.sim.Movements() {
		if (asked{m.OutRequestNo, m.Amount}) != want[i] || m.Trade != alipaytest.TradeNo("T") || m.Kind != "refund" || m.Paid != 500 {
			t.Errorf("movement %d = %+v", i, m)
		}
		if i == 1 && m.At.Sub(sent) < 20*time.Millisecond {
			t.Errorf("the late money moved %v after its call", m.At.Sub(sent))
		}
	}
}

// countingSigner has the key of another signer, and counts.
type countingSigner struct {
	crypto.Signer
	signed atomic.Int64
}

func (c *countingSigner) Sign(random io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	c.signed.Add(1)
	return c.Signer.Sign(random, digest, opts)
}

func TestAnotherSignerSigns(t *testing.T) {
	signer := &countingSigner{Signer: testKeys(t).AlipayPrivate}
	b := start(t, alipaytest.Config{Signer: signer})
	got := b.call(t, refundMethod, `{"out_trade_no":"T-1","out_request_no":"R-1","refund_amount":"1.00"}`)
	if got.code != "10000" || got.signed != "good" || signer.signed.Load() != 1 {
		t.Errorf("%s, signature %s, signed %d times", got.raw, got.signed, signer.signed.Load())
	}
}

func TestNewRefusesNonsense(t *testing.T) {
	keys := testKeys(t)
	for _, tt := range []struct {
		name string
		cfg  alipaytest.Config
	}{
		{"no keys", alipaytest.Config{}},
		{"negative total", alipaytest.Config{Keys: keys, TradeTotal: -1}},
		{"negative latency", alipaytest.Config{Keys: keys, Latency: -1}},
		{"unknown fault", alipaytest.Config{Keys: keys, Faults: map[string]float64{"x": 1}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := alipaytest.New(tt.cfg); err == nil {
				t.Fatal("accepted")
			}
		})
	}
}

func TestKeyDirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "keys")
	made, err := alipaytest.LoadOrCreateKeys(dir)
	if err != nil {
		t.Fatal(err)
	}
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, file := range files {
		names = append(names, file.Name())
		info, err := file.Info()
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode() != 0o600 {
			t.Errorf("%s has mode %s", file.Name(), info.Mode())
		}
	}
	want := "aes_key.txt alipay_cert.pem alipay_private_key.pem alipay_public_key.pem app_cert.pem app_private_key.pem app_public_key.pem root_cert.pem"
	if got := strings.Join(names, " "); got != want {
		t.Errorf("files = %s", got)
	}
	loaded, err := alipaytest.LoadOrCreateKeys(dir)
	if err != nil {
		t.Fatal(err)
	}
	if loaded.AppPrivatePEM != made.AppPrivatePEM || loaded.AlipayPublicPEM != made.AlipayPublicPEM ||
		loaded.AESBase64 != made.AESBase64 || loaded.AppCertSN != made.AppCertSN || loaded.RootCertSN != made.RootCertSN {
		t.Error("loaded keys differ from those made")
	}
	b := start(t, alipaytest.Config{Keys: loaded})
	b.refund(t, "T", "R", "1").want(t, "10000", "", "good")

	t.Run("half a set is left alone", func(t *testing.T) {
		if err := os.Remove(filepath.Join(dir, "aes_key.txt")); err != nil {
			t.Fatal(err)
		}
		if _, err := alipaytest.LoadOrCreateKeys(dir); err == nil || !strings.Contains(err.Error(), "aes_key.txt missing") {
			t.Fatalf("error = %v", err)
		}
	})
}

func TestKeyDirectoryRefusesWhatDoesNotFit(t *testing.T) {
	for _, tt := range []struct{ name, file, text string }{
		{"no PEM", "app_private_key.pem", "x"},
		{"public for private", "app_private_key.pem", testKeys(t).AppPublicPEM},
		{"alipay's key for the app's", "app_public_key.pem", testKeys(t).AlipayPublicPEM},
		{"short AES key", "aes_key.txt", "AAAA"},
		{"no certificate", "root_cert.pem", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.CopyFS(dir, os.DirFS("testdata/keys")); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, tt.file), []byte(tt.text), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := alipaytest.LoadOrCreateKeys(dir); err == nil {
				t.Fatal("accepted")
			}
		})
	}
}

func TestAmounts(t *testing.T) {
	for text, want := range map[string]int64{"1": 100, "0.01": 1, "1.5": 150, "100000000.00": 10_000_000_000, "12.34": 1234} {
		if got, err := alipaytest.ParseYuan(text); err != nil || got != want {
			t.Errorf("ParseYuan(%q) = %d, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "0", "0.00", "-1", "+1", "01", "1.", ".5", "1.234", "1e2", "1,000", " 1", "١", "100000000.01", "9999999999"} {
		if got, err := alipaytest.ParseYuan(text); err == nil {
			t.Errorf("ParseYuan(%q) = %d, want an error", text, got)
		}
	}
	if got := alipaytest.FormatYuan(-105); got != "-1.05" {
		t.Errorf("FormatYuan = %s", got)
	}
}
