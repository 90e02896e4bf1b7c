package alipaytest

import (
	"archive/zip"
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/simplifiedchinese"
)

// The two bills of a day that Alipay offers for download.
const (
	// TradeBill is the business detail (bill_type trade): a row a payment or
	// refund, refunds with a minus and their request number.
	TradeBill = "trade"
	// FundBill is the account detail (bill_type signcustomer): a row a change of
	// the balance. It does not name request numbers.
	FundBill = "fund"
)

// WriteBill writes the bill of one Beijing day in the form in which Alipay
// delivers it: a ZIP with the details and a summary as CSV, in GBK, file names
// included, values with tabs behind them, totals below. It has the refunds whose
// money moved on that day for the merchant of this app_auth_token (empty: the
// app itself), and the payments of their trades. Red packets are in neither bill.
func (s *Server) WriteBill(w io.Writer, kind, appAuthToken string, day time.Time) error {
	if kind != TradeBill && kind != FundBill {
		return fmt.Errorf("alipaytest: no bill %q, only %s and %s", kind, TradeBill, FundBill)
	}
	year, month, date := day.In(beijingZone()).Date()
	from := time.Date(year, month, date, 0, 0, 0, 0, beijingZone())
	b := bill{account: SellerID(appAuthToken) + "0156", from: from, to: from.AddDate(0, 0, 1), made: s.now()}
	b.rows = s.movements(appAuthToken, b.from, b.to)

	word := map[string]string{TradeBill: "业务", FundBill: "账务"}[kind]
	archive := zip.NewWriter(w)
	for _, file := range []struct {
		name  string
		write func(io.Writer)
	}{
		{word + "明细(汇总)", func(w io.Writer) { b.summary(w, word) }},
		{word + "明细", map[string]func(io.Writer){TradeBill: b.trades, FundBill: b.funds}[kind]},
	} {
		gbk := encoding.ReplaceUnsupported(simplifiedchinese.GBK.NewEncoder())
		name, err := gbk.String(fmt.Sprintf("%s_%s_%s.csv", b.account, from.Format("20060102"), file.name))
		if err != nil {
			return fmt.Errorf("alipaytest: bill: %w", err)
		}
		entry, err := archive.CreateHeader(&zip.FileHeader{Name: name, NonUTF8: true, Method: zip.Deflate, Modified: b.made})
		if err != nil {
			return fmt.Errorf("alipaytest: bill: %w", err)
		}
		text := bufio.NewWriter(gbk.Writer(entry))
		file.write(text)
		if err := text.Flush(); err != nil {
			return fmt.Errorf("alipaytest: bill: %w", err)
		}
	}
	if err := archive.Close(); err != nil {
		return fmt.Errorf("alipaytest: bill: %w", err)
	}
	return nil
}

// billRow is one refund that moved.
type billRow struct {
	tradeNo, outTradeNo, number string
	total, amount               int64
	at                          time.Time
}

// movements are the refunds of trades that moved within a time, oldest first.
func (s *Server) movements(token string, from, to time.Time) []billRow {
	s.mu.Lock()
	defer s.mu.Unlock()
	var rows []billRow
	for _, e := range s.ledger.entries {
		o := e.order
		if o.kind != tradeRefundKind || o.owner.token != token {
			continue
		}
		s.ledger.arrive(o, s.now())
		if e.moved > 0 && !e.movedAt.Before(from) && e.movedAt.Before(to) {
			rows = append(rows, billRow{o.no, o.outNo, e.number, o.total, e.amount, e.movedAt})
		}
	}
	s.notifyMoved()
	slices.SortStableFunc(rows, func(a, b billRow) int { return a.at.Compare(b.at) })
	return rows
}

// bill is one day's bill of one account.
type bill struct {
	account  string
	from, to time.Time
	made     time.Time
	rows     []billRow
}

const billTime = "2006年01月02日 15:04:05"

func (b bill) head(w io.Writer, word string) {
	_, _ = fmt.Fprintf(w, "#支付宝%s明细查询\r\n#账号：[%s]\r\n#起始日期：[%s]   终止日期：[%s]\r\n", word, b.account, b.from.Format(billTime), b.to.Format(billTime))
	_, _ = fmt.Fprintf(w, "#-----------------------------------------%s明细列表----------------------------------------\r\n", word)
}

func (b bill) foot(w io.Writer, word string, totals ...string) {
	_, _ = fmt.Fprintf(w, "#-----------------------------------------%s明细列表结束------------------------------------\r\n", word)
	for _, total := range totals {
		_, _ = fmt.Fprintf(w, "#%s\r\n", total)
	}
	_, _ = fmt.Fprintf(w, "#导出时间：[%s]\r\n", b.made.In(beijingZone()).Format(billTime))
}

func (b bill) sum() (fen int64) {
	for _, r := range b.rows {
		fen += r.amount
	}
	return fen
}

// product is what was bought; some names have a comma, which Alipay does not quote.
func (r billRow) product() string {
	if hash("product", r.outTradeNo)%8 == 0 {
		return "红茶,一盒"
	}
	return "红茶"
}

func (b bill) trades(w io.Writer) {
	b.head(w, "业务")
	_, _ = io.WriteString(w, "支付宝交易号,商户订单号,业务类型,商品名称,创建时间,完成时间,门店编号,门店名称,操作员,终端号,对方账户,订单金额（元）,商家实收（元）,"+
		"支付宝红包（元）,集分宝（元）,支付宝优惠（元）,商家优惠（元）,券核销金额（元）,券名称,商家红包消费金额（元）,卡消费金额（元）,退款批次号/请求号,服务费（元）,分润（元）,备注\r\n")
	paid := map[string]bool{}
	total := int64(0)
	row := func(r billRow, kind, number, amount, remark string) {
		at := beijing(r.at)
		_, _ = fmt.Fprintf(w, "%s\t,%s\t,%s\t,%s,%s,%s,\t,\t,\t,\t,模*(sim***@example.com)\t,%s,%s,0.00,0.00,0.00,0.00,0.00,,0.00\t,0.00,%s\t,0.00,0.00,%s\r\n",
			r.tradeNo, r.outTradeNo, kind, r.product(), at, at, amount, amount, number, remark)
	}
	for _, r := range b.rows {
		if !paid[r.tradeNo] {
			paid[r.tradeNo] = true
			total += r.total
			row(r, "交易", "", FormatYuan(r.total), "")
		}
		row(r, "退款", r.number, "-"+FormatYuan(r.amount), "退款,部分")
	}
	b.foot(w, "业务",
		fmt.Sprintf("交易合计：%d笔，商家实收共%s元，商家优惠共0.00元", len(paid), FormatYuan(total)),
		fmt.Sprintf("退款合计：%d笔，商家实收退款共%s元，商家优惠退款共0.00元", len(b.rows), minus(b.sum())))
}

func (b bill) funds(w io.Writer) {
	b.head(w, "账务")
	_, _ = io.WriteString(w, "账务流水号,业务流水号,商户订单号,商品名称,发生时间,对方账号,收入金额（+元）,支出金额（-元）,账户余额（元）,交易渠道,业务类型,备注\r\n")
	paid := map[string]bool{}
	in, balance := int64(0), int64(100_000_000)
	row := func(r billRow, kind, plus, less string) {
		_, _ = fmt.Fprintf(w, "%d\t,%s\t,%s\t,%s\t,%s,模*(sim***@example.com)\t,%s,%s,%s,支付宝,%s,\r\n",
			hash("flow", kind, r.tradeNo, r.number), r.tradeNo, r.outTradeNo, r.product(), beijing(r.at), plus, less, FormatYuan(balance), kind)
	}
	for _, r := range b.rows {
		if !paid[r.tradeNo] {
			paid[r.tradeNo] = true
			in, balance = in+r.total, balance+r.total
			row(r, "在线支付", FormatYuan(r.total), "0.00")
		}
		balance -= r.amount
		row(r, "交易退款", "0.00", "-"+FormatYuan(r.amount))
	}
	b.foot(w, "账务",
		fmt.Sprintf("支出合计：%d笔，共%s元", len(b.rows), minus(b.sum())),
		fmt.Sprintf("收入合计：%d笔，共%s元", len(paid), FormatYuan(in)))
}

func (b bill) summary(w io.Writer, word string) {
	_, _ = fmt.Fprintf(w, "#支付宝%s汇总查询\r\n#账号：[%s]\r\n#起始日期：[%s]   终止日期：[%s]\r\n", word, b.account, b.from.Format(billTime), b.to.Format(billTime))
	_, _ = fmt.Fprintf(w, "门店编号,门店名称,交易订单总笔数,退款订单总笔数,实收净额（元）\r\n\t,合计\t,%d,%d,%s\r\n", len(b.rows), len(b.rows), minus(b.sum()))
	b.foot(w, word)
}

func minus(fen int64) string {
	if fen == 0 {
		return FormatYuan(0)
	}
	return "-" + FormatYuan(fen)
}

// serveBill is GET /sim/bill?type=trade&date=2026-11-25&app_auth_token=…; the
// default date is today, in Beijing.
func (s *Server) serveBill(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	kind, date := query.Get("type"), cmp.Or(query.Get("date"), s.now().In(beijingZone()).Format(time.DateOnly))
	day, err := time.ParseInLocation(time.DateOnly, date, beijingZone())
	if err == nil && kind != TradeBill && kind != FundBill {
		err = errors.New("type is neither trade nor fund")
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "application/zip")
	w.Header().Set("Content-Disposition", fmt.Sprintf(`attachment; filename="%s.zip"`, strings.Join([]string{"bill", kind, date}, "-")))
	_ = s.WriteBill(w, kind, query.Get("app_auth_token"), day) // fails only if the reader has gone
}
