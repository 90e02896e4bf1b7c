package bill_test

import (
	"archive/zip"
	"bytes"
	"crypto/rsa"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/text/encoding/simplifiedchinese"

	"refundd/alipay"
	"refundd/alipay/alipaytest"
	"refundd/cmd/internal/bill"
)

// ledger is a local Alipay after 20 refunds of 10 trades, all at one moment.
func ledger(t *testing.T) (*alipaytest.Server, time.Time) {
	t.Helper()
	keys, err := alipaytest.NewKeys()
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now().Truncate(time.Second)
	s, err := alipaytest.New(alipaytest.Config{Keys: keys, Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	url, err := s.Start("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	client, err := alipay.New(alipay.Config{
		Gateway: url + "/gateway.do", AppID: "2021000000000001", Signer: keys.AppPrivate, AlipayKeys: []*rsa.PublicKey{keys.AlipayPublic},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer client.CloseIdleConnections()
	for i := range 20 {
		if _, err := client.Refund(t.Context(), &alipay.RefundRequest{
			OutTradeNo: fmt.Sprintf("T-%d", i/2), OutRequestNo: fmt.Sprintf("R-%d", i), RefundAmount: alipay.Amount(100 + i),
		}); err != nil {
			t.Fatal(err)
		}
	}
	return s, now
}

func file(t *testing.T, content []byte) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "bill")
	if err := os.WriteFile(name, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func read(t *testing.T, name string) (rows []bill.Row, infos []bill.Info) {
	t.Helper()
	infos, err := bill.Read(name, func(r bill.Row) error { rows = append(rows, r); return nil })
	if err != nil {
		t.Fatal(err)
	}
	return rows, infos
}

func TestBothBillsAsDownloaded(t *testing.T) {
	s, now := ledger(t)
	year, month, date := now.In(time.FixedZone("GMT+8", 8*60*60)).Date()
	day := time.Date(year, month, date, 0, 0, 0, 0, time.FixedZone("GMT+8", 8*60*60))
	for _, kind := range []bill.Kind{bill.Trade, bill.Fund} {
		var zipped bytes.Buffer
		if err := s.WriteBill(&zipped, string(kind), "", day); err != nil {
			t.Fatal(err)
		}
		name := file(t, zipped.Bytes())
		rows, infos := read(t, name)
		fen := int64(0)
		for i, r := range rows {
			want := bill.Row{
				Kind: kind, TradeNo: alipaytest.TradeNo(fmt.Sprintf("T-%d", i/2)), OutTradeNo: fmt.Sprintf("T-%d", i/2), Fen: int64(100 + i), At: r.At, Line: r.Line,
			}
			if kind == bill.Trade {
				want.OutRequestNo = fmt.Sprintf("R-%d", i)
			}
			if r != want || !r.At.Equal(now) {
				t.Errorf("%s row %d: %+v, want %+v", kind, i, r, want)
			}
			fen += r.Fen
		}
		want := bill.Info{File: name, Kind: kind, From: day, To: day.AddDate(0, 0, 1), Refunds: 20, Fen: fen, OtherRow: 10}
		if len(infos) != 1 || !infos[0].From.Equal(want.From) || !infos[0].To.Equal(want.To) {
			t.Fatalf("%+v", infos)
		}
		want.From, want.To = infos[0].From, infos[0].To
		if infos[0] != want {
			t.Errorf("%+v, want %+v", infos[0], want)
		}
		zipped.Reset()
		if err := s.WriteBill(&zipped, string(kind), "", day.Add(-time.Second)); err != nil {
			t.Fatal(err)
		}
		if rows, infos := read(t, file(t, zipped.Bytes())); len(rows) != 0 || infos[0].Refunds != 0 {
			t.Errorf("the %s bill of the day before has %v", kind, rows)
		}
	}
}

// sample is a trade bill as text; the first row is what a real one looks like.
const sample = `#支付宝业务明细查询
#账号：[20880000000000010156]
#起始日期：[2026年06月05日 00:00:00]   终止日期：[2026年06月06日 00:00:00]
#-----------------------------------------业务明细列表----------------------------------------
支付宝交易号,商户订单号,业务类型,商品名称,创建时间,完成时间,门店编号,门店名称,操作员,终端号,对方账户,订单金额（元）,商家实收（元）,支付宝红包（元）,集分宝（元）,支付宝优惠（元）,商家优惠（元）,券核销金额（元）,券名称,商家红包消费金额（元）,卡消费金额（元）,退款批次号/请求号,服务费（元）,分润（元）,备注
2026060522000000000000000001	,T-1	,交易	,红茶,2026-06-05 16:01:34,2026-06-05 16:01:38,	,	,	,	,模*(156******89)	,9.90,9.90,0.00,0.00,0.00,0.00,0.00,某券,0.00	,0.00,	,0.00,0.00,
2026060522000000000000000001	,T-1	,退款	,红茶, 两盒, 热的,2026-06-05 17:01:34,2026-06-05 17:01:38,	,	,	,	,模*(156******89)	,-9.9,-9.90,0.00,0.00,0.00,0.00,0.00,,0.00	,0.00,R-1	,0.00,0.00,退款, 备注
#-----------------------------------------业务明细列表结束------------------------------------
#交易合计：1笔，商家实收共9.90元，商家优惠共0.00元
#退款合计：1笔，商家实收退款共-9.90元，商家优惠退款共0.00元
#导出时间：[2026年06月06日 08:11:12]
`

func TestCSVInEitherEncoding(t *testing.T) {
	gbk, err := simplifiedchinese.GBK.NewEncoder().String(sample)
	if err != nil {
		t.Fatal(err)
	}
	want := []bill.Row{{
		Kind: bill.Trade, TradeNo: "2026060522000000000000000001", OutTradeNo: "T-1", OutRequestNo: "R-1", Fen: 990,
		At: time.Date(2026, 6, 5, 17, 1, 38, 0, time.FixedZone("GMT+8", 8*60*60)), Line: 7,
	}}
	for name, text := range map[string]string{
		"GBK": gbk, "UTF-8": sample, "with a mark": "\uFEFF" + sample, "Windows": strings.ReplaceAll(gbk, "\n", "\r\n"),
		"half the units": strings.ReplaceAll(sample, "（元）", "(元)"), "no period": strings.ReplaceAll(sample, "起始日期", "起"),
	} {
		rows, infos := read(t, file(t, []byte(text)))
		if len(rows) == 1 {
			rows[0].At = rows[0].At.In(want[0].At.Location())
		}
		if len(rows) != 1 || !rows[0].At.Equal(want[0].At) || rows[0].OutRequestNo != "R-1" || rows[0].Fen != 990 || rows[0].Line != 7 {
			t.Errorf("%s: %+v", name, rows)
		}
		if infos[0].From.IsZero() != (name == "no period") {
			t.Errorf("%s: %+v", name, infos)
		}
	}
}

func TestWhatIsNoWholeBill(t *testing.T) {
	cut, _, _ := strings.Cut(sample, "#-----------------------------------------业务明细列表结束")
	var empty bytes.Buffer
	if err := zip.NewWriter(&empty).Close(); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ text, want string }{
		"cut off":            {cut, "cut off"},
		"a row lost":         {strings.Replace(sample, "退款合计：1笔", "退款合计：2笔", 1), "its total says 2 rows and it has 1"},
		"another table":      {"a,b\n1,2\n", "neither a trade bill nor a fund bill"},
		"empty":              {"", "neither a trade bill nor a fund bill"},
		"a broken ZIP":       {"PK\x03\x04", "zip"},
		"a column missing":   {strings.Replace(sample, "退款批次号/请求号", "其他", 1), "has no column 退款批次号/请求号"},
		"no amount":          {strings.Replace(sample, ",-9.9,", ",-9.999,", 1), "line 7: 订单金额: no amount in yuan"},
		"no time":            {strings.ReplaceAll(sample, "2026-06-05 17:01:", "gestern "), "line 7: no time where a time belongs"},
		"too few columns":    {strings.Replace(sample, ",退款, 备注", "", 1), ""},
		"half a row":         {strings.Replace(sample, ",-9.9,-9.90,0.00,0.00,0.00,0.00,0.00,,0.00", "", 1), "line 7"},
		"a line of 100 KiB":  {sample + strings.Repeat("x", 100<<10), "line 12"},
		"a row after it all": {sample + "1,2\n", "line 12: a row after the end"},
	} {
		_, err := bill.Read(file(t, []byte(c.text)), func(bill.Row) error { return nil })
		if c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	if _, err := bill.Read(filepath.Join(t.TempDir(), "nothing"), nil); err == nil {
		t.Error("a file that is not there was read")
	}
}

func FuzzRead(f *testing.F) {
	f.Add([]byte(sample))
	f.Add([]byte(strings.Replace(sample, "业务明细", "账务明细", 1)))
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, content []byte) {
		name := filepath.Join(dir, "fuzz")
		if err := os.WriteFile(name, content, 0o600); err != nil {
			t.Fatal(err)
		}
		rows, fen := int64(0), int64(0)
		infos, err := bill.Read(name, func(r bill.Row) error {
			if r.Fen <= 0 {
				t.Errorf("a refund of %d fen", r.Fen)
			}
			rows, fen = rows+1, fen+r.Fen
			return nil
		})
		if err != nil {
			return
		}
		for _, info := range infos {
			rows, fen = rows-info.Refunds, fen-info.Fen
		}
		if rows != 0 || fen != 0 {
			t.Errorf("the infos are off by %d rows and %d fen", rows, fen)
		}
	})
}
