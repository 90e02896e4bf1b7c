// Package bill reads the bills that Alipay offers for download, a row at a time:
// the trade bill (业务明细) and the fund bill (账务明细), as ZIP or as the CSV in
// it, in GBK or, after somebody's editor, in UTF-8.
//
// The files are no CSV by the book: lines that begin with # stand around the
// table, values have tabs behind them, and names with commas are not quoted. So
// columns are found by their names, and what stands behind a name with commas by
// the time that follows it. A file without its end mark, or with fewer rows than
// its own totals say, is refused: it was cut off on its way.
package bill

import (
	"archive/zip"
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/text/encoding/simplifiedchinese"

	"refundd/alipay"
)

// Kind is which of the two bills a file is.
type Kind string

// The kinds.
const (
	Trade Kind = "trade" // names request numbers
	Fund  Kind = "fund"  // mostly does not, only trades
)

// Row is one refund.
type Row struct {
	Kind         Kind
	TradeNo      string
	OutTradeNo   string
	OutRequestNo string // where the bill names it
	Fen          int64  // above zero
	At           time.Time
	Line         int
}

// Info is what a bill says of itself.
type Info struct {
	File     string    `json:"file"`
	Kind     Kind      `json:"kind"`
	From     time.Time `json:"from"` // zero where it does not say
	To       time.Time `json:"to"`   // not in it
	Refunds  int64     `json:"refunds"`
	Fen      int64     `json:"-"`
	OtherRow int64     `json:"other_rows"` // payments, fees and the like
}

// zone is Alipay's: GMT+8 all year.
func zone() *time.Location { return time.FixedZone("GMT+8", 8*60*60) }

// Read hands every refund of the file to take, and returns what each bill in it
// says. Summaries in a ZIP are skipped.
func Read(name string, take func(Row) error) ([]Info, error) {
	file, err := os.Open(name) //nolint:gosec // the operator names the file
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }()
	var head [4]byte
	_, err = io.ReadFull(file, head[:])
	if err == nil && string(head[:]) == "PK\x03\x04" {
		return readZip(name, file, take)
	}
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	info, err := readCSV(name, file, take)
	switch {
	case err != nil:
		return nil, err
	case info == nil:
		return nil, fmt.Errorf("%s: neither a trade bill nor a fund bill: no line with the names of their columns", name)
	}
	return []Info{*info}, nil
}

func readZip(name string, file *os.File, take func(Row) error) ([]Info, error) {
	stat, err := file.Stat()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	archive, err := zip.NewReader(file, stat.Size())
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	var all []Info
	for i, entry := range archive.File {
		in, err := entry.Open()
		if err != nil {
			return nil, fmt.Errorf("%s: file %d: %w", name, i+1, err)
		}
		info, err := readCSV(name, in, take)
		if err = errors.Join(err, in.Close()); err != nil {
			return nil, err
		}
		if info != nil {
			all = append(all, *info)
		}
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("%s: neither a trade bill nor a fund bill among its %d files", name, len(archive.File))
	}
	return all, nil
}

// maxLine bounds a line, here and decoded.
const maxLine = 64 << 10

// text decodes GBK, unless the beginning is UTF-8 already.
func text(in io.Reader) *bufio.Reader {
	raw := bufio.NewReaderSize(in, maxLine)
	head, _ := raw.Peek(4 << 10)
	if bytes.HasPrefix(head, []byte("\uFEFF")) {
		_, _ = raw.Discard(3)
		return raw
	}
	if whole := bytes.LastIndexByte(head, '\n'); whole >= 0 {
		head = head[:whole]
	}
	if utf8.Valid(head) {
		return raw
	}
	return bufio.NewReaderSize(simplifiedchinese.GB18030.NewDecoder().Reader(raw), maxLine)
}

// readCSV returns nil for what is no detail bill.
func readCSV(name string, in io.Reader, take func(Row) error) (*Info, error) {
	r := text(in)
	b := reading{info: Info{File: name}, announced: -1}
	for line := 1; ; line++ {
		raw, err := r.ReadSlice('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("%s line %d: %w", name, line, err)
		}
		ended := err != nil
		if err := b.line(strings.TrimRight(string(raw), "\r\n"), line, take); err != nil {
			return nil, fmt.Errorf("%s line %d: %w", name, line, err)
		}
		if ended {
			break
		}
	}
	switch {
	case b.columns == nil:
		return nil, nil //nolint:nilnil // says that it is none
	case !b.ended:
		return nil, fmt.Errorf("%s: cut off: there is no line that ends the list", name)
	case b.announced >= 0 && b.announced != b.counted:
		return nil, fmt.Errorf("%s: its total says %d rows and it has %d: was it cut or edited?", name, b.announced, b.counted)
	}
	return &b.info, nil
}

// reading is one CSV on its way.
type reading struct {
	info      Info
	columns   map[string]int // nil before the line of names
	width     int
	time      int // the column of the first time
	ended     bool
	counted   int64 // rows that the total counts: refunds of a trade bill, expenses of a fund bill
	announced int64
}

var (
	period  = regexp.MustCompile(`起始日期：\[(\d{4})年(\d\d)月(\d\d)日 (\d\d:\d\d:\d\d)\]\s*终止日期：\[(\d{4})年(\d\d)月(\d\d)日 (\d\d:\d\d:\d\d)\]`)
	refunds = regexp.MustCompile(`^#退款合计：(\d+)笔`)
	expense = regexp.MustCompile(`^#支出合计：(\d+)笔`)
	isTime  = regexp.MustCompile(`^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d$`)
)

func (b *reading) line(text string, number int, take func(Row) error) error {
	switch {
	case strings.TrimSpace(text) == "":
		return nil
	case strings.HasPrefix(text, "#"):
		return b.comment(text)
	case b.columns == nil:
		return b.names(text)
	case b.ended:
		return errors.New("a row after the end of the list")
	}
	row, err := b.row(text)
	if err != nil || row.Fen == 0 {
		return err
	}
	row.Kind, row.Line = b.info.Kind, number
	b.info.Refunds++
	b.info.Fen += row.Fen
	return take(row)
}

func (b *reading) comment(text string) error {
	if m := period.FindStringSubmatch(text); m != nil {
		var err1, err2 error
		b.info.From, err1 = clock(fmt.Sprintf("%s-%s-%s %s", m[1], m[2], m[3], m[4]))
		b.info.To, err2 = clock(fmt.Sprintf("%s-%s-%s %s", m[5], m[6], m[7], m[8]))
		return errors.Join(err1, err2)
	}
	if b.columns == nil {
		return nil
	}
	b.ended = b.ended || strings.Contains(text, "列表结束")
	total := map[Kind]*regexp.Regexp{Trade: refunds, Fund: expense}[b.info.Kind]
	if m := total.FindStringSubmatch(text); m != nil {
		n, err := strconv.ParseInt(m[1], 10, 64)
		if err != nil {
			return errors.New("the total's number of rows is no number")
		}
		b.announced = n
	}
	return nil
}

// plain spells a column's name without its unit: 订单金额（元） is 订单金额.
func plain(name string) string {
	name = strings.NewReplacer("（", "(", "）", ")", "\t", "", " ", "").Replace(name)
	for _, unit := range []string{"(元)", "(+元)", "(-元)"} {
		name = strings.TrimSuffix(name, unit)
	}
	return name
}

// names takes the line with the columns' names. Other files have other lines
// here, such as the summary's; they are no detail bill.
func (b *reading) names(text string) error {
	fields := strings.Split(text, ",")
	columns := map[string]int{}
	for i, name := range fields {
		name = plain(name)
		for alias, real := range map[string]string{"交易号": "支付宝交易号", "收入": "收入金额", "支出": "支出金额", "账务类型": "业务类型", "商户退款请求号": "退款批次号/请求号", "退款请求号": "退款批次号/请求号"} {
			if name == alias {
				name = real
			}
		}
		columns[name] = i
	}
	need := []string{"商户订单号", "业务类型", "订单金额", "完成时间", "退款批次号/请求号"}
	first := "创建时间"
	switch {
	case has(columns, "支付宝交易号", "商户订单号"):
		b.info.Kind = Trade
	case has(columns, "账务流水号"):
		b.info.Kind = Fund
		need, first = []string{"业务流水号", "商户订单号", "业务类型", "发生时间", "支出金额", "收入金额"}, "发生时间"
	default:
		return nil
	}
	for _, name := range append(need, first) {
		if !has(columns, name) {
			return fmt.Errorf("the %s bill has no column %s", b.info.Kind, name)
		}
	}
	b.columns, b.width, b.time = columns, len(fields), columns[first]
	return nil
}

func has(columns map[string]int, names ...string) bool {
	return !slices.ContainsFunc(names, func(name string) bool { _, ok := columns[name]; return !ok })
}

// row reads a row; its Fen is 0 if it is no refund.
func (b *reading) row(text string) (Row, error) {
	fields := strings.Split(text, ",")
	for i := range fields {
		fields[i] = strings.Trim(fields[i], "\t `\"")
	}
	if len(fields) < b.width {
		return Row{}, fmt.Errorf("%d columns, want %d", len(fields), b.width)
	}
	// Commas in the product's name move what stands behind it.
	shift := slices.IndexFunc(fields, isTime.MatchString) - b.time
	if shift < 0 {
		return Row{}, errors.New("no time where a time belongs")
	}
	get := func(name string) string {
		i, ok := b.columns[name]
		if !ok {
			return ""
		}
		if i >= b.time {
			i += shift
		}
		if i >= len(fields) {
			return ""
		}
		return fields[i]
	}
	kind := get("业务类型")
	if b.info.Kind == Fund {
		return b.fund(get, kind)
	}
	if !strings.Contains(kind, "退款") {
		b.info.OtherRow++
		return Row{}, nil
	}
	b.counted++
	fen, err := yuan(get("订单金额"))
	if err != nil {
		return Row{}, fmt.Errorf("订单金额: %w", err)
	}
	at, err := clock(get("完成时间"))
	if err != nil {
		return Row{}, fmt.Errorf("完成时间: %w", err)
	}
	return Row{
		TradeNo: get("支付宝交易号"), OutTradeNo: get("商户订单号"), OutRequestNo: get("退款批次号/请求号"), Fen: max(fen, -fen), At: at,
	}, nil
}

func (b *reading) fund(get func(string) string, kind string) (Row, error) {
	out, err := yuan(get("支出金额"))
	if err != nil {
		return Row{}, fmt.Errorf("支出金额: %w", err)
	}
	if out != 0 {
		b.counted++
	}
	// Money that comes in from a refund is one that this merchant got.
	if !strings.Contains(kind, "退款") || out == 0 {
		b.info.OtherRow++
		return Row{}, nil
	}
	at, err := clock(get("发生时间"))
	if err != nil {
		return Row{}, fmt.Errorf("发生时间: %w", err)
	}
	return Row{
		TradeNo: get("业务流水号"), OutTradeNo: get("商户订单号"), OutRequestNo: get("退款批次号/请求号"), Fen: max(out, -out), At: at,
	}, nil
}

// yuan reads an amount with or without a sign; nothing is zero.
func yuan(text string) (int64, error) {
	digits, negative := strings.CutPrefix(text, "-")
	if digits == "" && !negative {
		return 0, nil
	}
	var fen alipay.Amount
	if err := fen.UnmarshalJSON([]byte(strings.TrimPrefix(digits, "+"))); err != nil {
		return 0, errors.New("no amount in yuan")
	}
	if negative {
		fen = -fen
	}
	return int64(fen), nil
}

func clock(text string) (time.Time, error) {
	at, err := time.ParseInLocation(time.DateTime, text, zone())
	if err != nil {
		return time.Time{}, errors.New("no time such as 2026-01-31 08:00:00")
	}
	return at, nil
}
