package producer_test

import (
	"bytes"
	"compress/flate"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"refundd/producer"
)

// plainSuccess is the event of most refunds.
func plainSuccess() producer.Event {
	return producer.Event{
		ID: "ad55c7da667e1786607898f327a655cd", RefundKey: "0c5b2b6bd5d4f2f0a7f0c1a3f4d96e51", Subject: "R-20261122-000001", Time: time.UnixMilli(1_795_327_367_061),
		Kind: producer.KindRefund, Outcome: producer.Succeeded, AppID: "2021000000000001",
		OutRequestNo: "R-20261122-000001", OutTradeNo: "T-20261122-000001", TradeNo: "2026010107139631834483767358",
		AmountFen: 1600, TotalRefundedFen: 1600, ConfirmedBy: producer.ByResponse, RefundedAt: time.UnixMilli(1_795_327_366_000),
		AlipayCode: "10000", TraceID: "a35ab40c3c8aef6030b015a5c9453628", Calls: 1,
	}
}

// threeChannels is one that went back through as many.
func threeChannels() producer.Event {
	e := plainSuccess()
	e.Funds = &producer.Funds{
		SendBackFee: fen(1580), HasDepositBack: "true",
		RefundDetailItemList: []producer.FundChannel{
			{FundChannel: "ALIPAYACCOUNT", Amount: fen(700)},
			{FundChannel: "BANKCARD", BankCode: "ICBC", FundType: "DEBIT_CARD", Amount: fen(880), RealAmount: fen(880)},
			{FundChannel: "COUPON", Amount: fen(20)},
		},
	}
	return e
}

// storedEvents are events of all sorts.
func storedEvents() map[string]producer.Event {
	timeless := plainSuccess()
	timeless.RefundedAt = time.Time{}
	all := map[string]producer.Event{"plain": plainSuccess(), "without its time": timeless, "three channels": threeChannels()}
	for typ, e := range events() {
		all[string(typ)] = e
	}
	e := all[string(producer.TypeRefundFailed)]
	e.Detail = "Alipay refused the refund (ACQ.SELLER_BALANCE_NOT_ENOUGH), and a query shows that it was not carried out"
	e.AlipaySubMsg = "卖家余额不足"
	all[string(producer.TypeRefundFailed)] = e
	e = all[string(producer.TypeCouponRefundSucceeded)]
	e.AuthNo, e.OutOrderNo, e.OperationID, e.Currency = "2014070800002001550000014417", "hb20261122", "20140708090020015500000144", "CNY"
	e.TotalRefundedFen, e.TraceID, e.AlipayCode, e.RefundedAt = 0, "0b1a2c3d", "10000", time.UnixMilli(1_795_327_366_000)
	e.ConfirmedBy = producer.ByQuery
	all[string(producer.TypeCouponRefundSucceeded)] = e
	return all
}

func encode(t *testing.T, e producer.Event) producer.Encoded {
	t.Helper()
	enc, err := e.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return enc
}

// TestStoredSameBytes: what is stored is short and gives the very event back.
func TestStoredSameBytes(t *testing.T) {
	for name, e := range storedEvents() {
		want := encode(t, e)
		stored := want.Stored()
		got, err := producer.DecodeEncoded(stored)
		if err != nil || got.ID != want.ID || got.Type != want.Type || got.Subject != want.Subject || !bytes.Equal(got.Body, want.Body) {
			t.Errorf("%s: %v, is\n%s\nwant\n%s", name, err, got.Body, want.Body)
		}
		if stored[0] == '{' || len(stored) >= len(want.Body)*2/3 {
			t.Errorf("%s: %d bytes are stored as %d", name, len(want.Body), len(stored))
		}
	}
	if plain, three := len(encode(t, plainSuccess()).Stored()), len(encode(t, threeChannels()).Stored()); plain > 210 || three > 270 {
		t.Errorf("a plain success is stored in %d bytes, one with three channels in %d", plain, three)
	}
	if enc := encode(t, plainSuccess()); !bytes.Equal(enc.Stored(), enc.Stored()) {
		t.Error("stored twice, the bytes differ")
	}
	e := plainSuccess()
	e.Detail, e.Metadata = "\u007f\x00\x01 20261122", map[string]string{"0": "abcdef0", "1": "2026-11-22T14:02:46+08:00", "2": "9999-99-99T99:99:99.999Z"}
	want := encode(t, e)
	if got, err := producer.DecodeEncoded(want.Stored()); err != nil || !bytes.Equal(got.Body, want.Body) {
		t.Errorf("%v, is\n%s\nwant\n%s", err, got.Body, want.Body)
	}
}

// TestStoredForEver: every form that a version has ever written gives its event.
// The files of testdata/stored are never written anew.
func TestStoredForEver(t *testing.T) {
	const folder = "testdata/stored/v2"
	if *update {
		if _, err := os.Stat(folder); err == nil {
			t.Log("testdata/stored stays as it is")
		} else {
			writeStored(t, folder)
		}
	}
	files, err := filepath.Glob(folder + "/*.hex")
	if err != nil || len(files) != len(storedEvents()) {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, file := range files {
		stored, err := hex.DecodeString(strings.TrimSpace(readText(t, file)))
		if err != nil {
			t.Fatal(err)
		}
		want := readText(t, strings.TrimSuffix(file, ".hex")+".json")
		for _, form := range [][]byte{stored, []byte(want)} {
			if got, err := producer.DecodeEncoded(form); err != nil || string(got.Body) != want {
				t.Errorf("%s: %v, is\n%s\nwant\n%s", file, err, got.Body, want)
			}
		}
	}
}

func writeStored(t *testing.T, folder string) {
	t.Helper()
	if err := os.MkdirAll(folder, 0o750); err != nil {
		t.Fatal(err)
	}
	for name, e := range storedEvents() {
		enc := encode(t, e)
		for suffix, content := range map[string][]byte{".json": enc.Body, ".hex": []byte(hex.EncodeToString(enc.Stored()) + "\n")} {
			if err := os.WriteFile(filepath.Join(folder, strings.ReplaceAll(name, " ", "-")+suffix), content, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func readText(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestDecodeEncodedRefusesDamage(t *testing.T) {
	whole := encode(t, plainSuccess()).Stored()
	for name, stored := range map[string][]byte{
		"nothing":           nil,
		"later version":     append([]byte{3}, whole[1:]...),
		"former version":    append([]byte{1}, whole[1:]...),
		"nothing after it":  {2},
		"another text":      append([]byte{2}, "refund"...),
		"only half of it":   whole[:len(whole)/2],
		"grows without end": append([]byte{2}, deflated(t, make([]byte, 1<<20))...),
	} {
		if _, err := producer.DecodeEncoded(stored); err == nil || strings.Contains(err.Error(), "2021") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func deflated(t *testing.T, text []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := flate.NewWriter(&out, flate.BestSpeed)
	if err == nil {
		_, err = w.Write(text)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// FuzzStored: whatever bytes an event has, they come back; whatever is stored, reading it ends.
func FuzzStored(f *testing.F) {
	for _, e := range events() {
		enc, err := e.Encode()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(enc.Body)
		f.Add(enc.Stored())
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if got, err := producer.DecodeEncoded(data); err == nil {
			again, err := producer.DecodeEncoded(got.Stored())
			if err != nil || !bytes.Equal(again.Body, got.Body) {
				t.Errorf("%v, is %q, want %q", err, again.Body, got.Body)
			}
		}
		_ = producer.Encoded{Body: data}.Stored()
	})
}

func BenchmarkStored(b *testing.B) {
	enc, err := plainSuccess().Encode()
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		enc.Stored()
	}
}
