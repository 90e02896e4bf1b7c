package reconcile

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"refundd/alipay"
	"refundd/cmd/internal/bill"
	"refundd/cmd/internal/cli"
	"refundd/cmd/internal/match"
	"refundd/cmd/internal/replay"
	"refundd/producer"
)

// account is one kind of bill and what it is held against.
type account struct {
	Kind   bill.Kind        `json:"bill"`
	Files  []bill.Info      `json:"files"`
	Result match.BillResult `json:"result"`
	AddsUp bool             `json:"adds_up"`

	table *match.Bills
}

// inside reports whether a time belongs to one of the bills.
func (a *account) inside(at time.Time) bool {
	for _, f := range a.Files {
		if f.From.IsZero() || !at.Before(f.From) && at.Before(f.To) {
			return true
		}
	}
	return false
}

// reconcileBills holds Alipay's bills against the events.
func (o *Options) reconcileBills(ctx context.Context, env cli.Env, events replay.Source) error {
	accounts, err := o.readBills(env)
	defer func() {
		for _, a := range accounts {
			_ = a.table.Close() // a folder that stays does no harm to the verdict
		}
	}()
	if err != nil {
		return err
	}
	strange, err := o.eachEvent(ctx, env, events, func(ev producer.Event, _ time.Time) error {
		for _, a := range accounts {
			if err := a.table.Event(ev); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	file, err := openBillReport(o.Report)
	if err != nil {
		return err
	}
	clean := true
	var first []billLine
	for _, a := range accounts {
		a.Result, err = a.table.Join(a.inside, func(r match.BillRow) error {
			line := lineOf(a.Kind, r)
			switch r.State {
			case match.BillMatched, match.Outside, match.Coupon:
				if !o.All {
					return nil
				}
			case match.AmountDiffers, match.MissingHere, match.MissingThere:
				if len(first) < replay.ShownRows {
					first = append(first, line)
				}
			}
			return file.Write(line)
		})
		if err != nil {
			return errors.Join(err, file.Close())
		}
		a.AddsUp = a.Result.AddsUp()
		clean = clean && a.Result.Clean() && a.AddsUp
	}
	if err := file.Close(); err != nil {
		return err
	}
	if err := o.tellBills(env.Stdout, accounts, first, clean, strange); err != nil {
		return err
	}
	if !clean {
		return cli.ErrFound
	}
	return nil
}

// readBills reads all files, each kind into an account of its own.
func (o *Options) readBills(env cli.Env) (accounts []*account, err error) {
	of := map[bill.Kind]*account{}
	for _, kind := range []bill.Kind{bill.Trade, bill.Fund} {
		table, err := match.NewBills(match.Config{Dir: o.Temp}, kind == bill.Fund)
		if err != nil {
			return accounts, cli.WrongUsage("--temp: %v", err)
		}
		of[kind] = &account{Kind: kind, table: table}
		accounts = append(accounts, of[kind])
	}
	read := counter{}
	defer env.Progress(func() string { return fmt.Sprintf("so far %s refunds in bills", read.of(0)) })()
	for _, name := range o.Bills {
		infos, err := bill.Read(name, func(r bill.Row) error {
			read.n.Add(1)
			return of[r.Kind].table.Row(match.Refund{TradeNo: r.TradeNo, OutTradeNo: r.OutTradeNo, OutRequestNo: r.OutRequestNo, Fen: r.Fen, At: r.At})
		})
		if err != nil {
			return accounts, cli.WrongUsage("--bill: %v", err)
		}
		for _, info := range infos {
			of[info.Kind].Files = append(of[info.Kind].Files, info)
		}
	}
	kept := accounts[:0:0]
	for _, a := range accounts {
		if len(a.Files) > 0 {
			kept = append(kept, a)
		} else {
			err = errors.Join(err, a.table.Close())
		}
	}
	return kept, err
}

// billLine is one line of the report.
type billLine struct {
	Bill         bill.Kind       `json:"bill"`
	State        match.BillState `json:"state"`
	OutRequestNo string          `json:"out_request_no,omitempty"`
	OutTradeNo   string          `json:"out_trade_no,omitempty"`
	TradeNo      string          `json:"trade_no,omitempty"`
	BillAmount   string          `json:"bill_amount,omitempty"`
	EventAmount  string          `json:"event_amount,omitempty"`
	Difference   string          `json:"difference,omitempty"` // bill less event
	BillTime     string          `json:"bill_time,omitempty"`
	EventTime    string          `json:"event_time,omitempty"`
	EventID      string          `json:"event_id,omitempty"`
	Detail       string          `json:"detail,omitempty"`
}

func lineOf(kind bill.Kind, r match.BillRow) billLine {
	zone := time.FixedZone("GMT+8", 8*60*60)
	line := billLine{Bill: kind, State: r.State, EventID: r.EventID, Detail: r.Detail}
	difference := int64(0)
	for _, side := range []*match.Refund{r.Event, r.Bill} { // the bill's own spelling wins
		if side == nil {
			continue
		}
		amount, at := alipay.Amount(side.Fen).String(), side.At.In(zone).Format(time.RFC3339)
		if side == r.Bill {
			line.BillAmount, line.BillTime = amount, at
			difference += side.Fen
		} else {
			line.EventAmount, line.EventTime = amount, at
			difference -= side.Fen
		}
		for _, m := range []struct {
			into *string
			from string
		}{{&line.OutRequestNo, side.OutRequestNo}, {&line.OutTradeNo, side.OutTradeNo}, {&line.TradeNo, side.TradeNo}} {
			if m.from != "" {
				*m.into = m.from
			}
		}
	}
	line.Difference = alipay.Amount(difference).String()
	return line
}

func openBillReport(name string) (*replay.ReportFile[billLine], error) {
	header := []string{
		"bill", "state", "out_request_no", "out_trade_no", "trade_no", "bill_amount", "event_amount", "difference", "bill_time", "event_time", "event_id", "detail",
	}
	return replay.OpenReport(name, header, func(l billLine) []string {
		return []string{
			string(l.Bill), string(l.State), l.OutRequestNo, l.OutTradeNo, l.TradeNo, l.BillAmount, l.EventAmount, l.Difference,
			l.BillTime, l.EventTime, l.EventID, l.Detail,
		}
	})
}

func (o *Options) tellBills(w io.Writer, accounts []*account, first []billLine, clean bool, strange int64) error {
	verdict := "every fen is explained"
	if !clean {
		verdict = "DIFFERENCES"
	}
	if o.Format.JSON() {
		return cli.PrintJSON(w, struct {
			Accounts []*account `json:"accounts"`
			Strange  int64      `json:"no_events"`
			Verdict  string     `json:"verdict"`
			Rows     []billLine `json:"rows,omitempty"`
		}{accounts, strange, verdict, first})
	}
	for _, a := range accounts {
		for _, f := range a.Files {
			_, _ = fmt.Fprintf(w, "%s bill %s: %s to %s, %d refunds, %d other rows\n", a.Kind, f.File, stamp(f.From), stamp(f.To), f.Refunds, f.OtherRow)
		}
		r := a.Result
		t := cli.NewTable(w, "", "bill", "events")
		line := func(text string, bill, event *match.Sum) { t.Row("  "+text, sumText(bill), sumText(event)) }
		line("matched", &r.Matched, &r.Matched)
		line("amount differs", &r.DiffersBill, &r.DiffersEvent)
		line("missing here (no event)", &r.MissingHere, nil)
		line("missing there (not in bill)", nil, &r.MissingThere)
		line("of another time", nil, &r.Outside)
		line("red packets", nil, &r.Coupon)
		line("sum", &r.Bill, &r.Events)
		if err := t.Flush(); err != nil {
			return err
		}
		if !a.AddsUp {
			_, _ = fmt.Fprintln(w, "  THE SUMS DO NOT ADD UP: that is a mistake of this program")
		}
		if r.Repeats > 0 {
			_, _ = fmt.Fprintf(w, "  %d repeats of an event id (fine)\n", r.Repeats)
		}
	}
	t := cli.NewTable(w)
	if len(first) > 0 {
		t.Row("bill", "state", "number", "trade", "in bill", "in event", "")
	}
	for _, l := range first {
		t.Row(l.Bill, l.State, cli.OrQuestion(l.OutRequestNo), cli.OrQuestion(l.OutTradeNo), cli.OrQuestion(l.BillAmount), cli.OrQuestion(l.EventAmount), l.Detail)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if len(first) == replay.ShownRows && o.Report == "" {
		_, _ = fmt.Fprintln(w, "… --report FILE has them all")
	}
	if o.Report != "" {
		_, _ = fmt.Fprintf(w, "lines are in %s\n", o.Report)
	}
	_, _ = fmt.Fprintf(w, "verdict: %s\n", verdict)
	return nil
}

func stamp(at time.Time) string {
	if at.IsZero() {
		return "?"
	}
	return at.Format(time.DateTime)
}

func sumText(s *match.Sum) string {
	if s == nil {
		return ""
	}
	return fmt.Sprintf("%d: %s", s.Count, alipay.Amount(s.Fen))
}
