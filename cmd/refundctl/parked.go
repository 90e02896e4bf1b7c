package main

import (
	"context"
	"encoding/base64"
	"flag"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
	"unicode/utf8"

	"refundd/alipay"
	"refundd/consumer"
	"refundd/producer"
)

const parkedListHelp = `refundctl parked list tells which refunds wait for a person, why, and what has
become of each since. The parked topic keeps a message whatever is done with it
(until its retention ends), so what was done stands in Redis, in the refund's
record: decided since, requeued or dropped, by whom and why.

usage: refundctl parked list [flags]

  refundctl parked list                              what waits for a person now
  refundctl parked list -all                         decided, requeued and dropped ones too
  refundctl parked list -reason blocked_merchant -merchant shop-a -older 2h
  refundctl parked list -o json | jq -r '.refunds[].out_request_no'

How a refund stands:
  open           undecided; the next step is a person's: mend the cause, then requeue
  forgotten      undecided, and Redis has no record of it any more
  foreign        its number's record is of a command with other content
  contradiction  succeeded after failed was published: tell accounting
  unreadable     was claimed, and cannot be read here: an older version, or another topic
  stub           stands for what the broker refuses to store; there is no body to send
  rejected       never sent to Alipay, as its event said
  requeued       sent again and not taken up yet; after 15 minutes it is listed again
  working, retrying, decided, dropped, newer (another parked copy of it is): with -all

Exit codes: 0 told, 1 failed, 2 wrong usage.
`

const parkedShowHelp = `refundctl parked show prints everything about the parked messages of one refund:
properties, record, deeds, and the command's body, which is upstream's own data.

usage: refundctl parked show NUMBER [flags]

  refundctl parked show R-1
  refundctl parked show R-1 -kind coupon_refund -merchant shop-a -o json
`

// parkedFilter says which parked refunds are meant.
type parkedFilter struct {
	reason, merchant, kind, number string
	older, newer                   timeAgo
	ofMerchant                     bool // -merchant was given; "" is the app's own
}

func (f *parkedFilter) register(flags *flag.FlagSet) {
	flags.StringVar(&f.reason, "reason", "", "only these `reasons`, with commas between them")
	flags.Func("merchant", "only refunds of this `name`; empty: the app's own", func(name string) error {
		f.merchant, f.ofMerchant = name, true
		return nil
	})
	flags.StringVar(&f.kind, "kind", "", "only `refund|coupon_refund`")
	flags.StringVar(&f.number, "number", "", "only these out_request_no, with commas between `them`")
	flags.Var(&f.older, "older", "only parked longer ago than this `time`: 90m, 12h, 7d")
	flags.Var(&f.newer, "newer", "only parked within this `time`: 90m, 12h, 7d")
}

func (f *parkedFilter) any() bool {
	return f.reason != "" || f.ofMerchant || f.kind != "" || f.number != "" || f.older != 0 || f.newer != 0
}

func (f *parkedFilter) takes(p *parkedRefund, now time.Time) bool {
	age := now.Sub(p.message.Born)
	return (f.reason == "" || slices.Contains(strings.Split(f.reason, ","), p.copy.Reason)) &&
		(!f.ofMerchant || f.merchant == p.cmd.Merchant) &&
		(f.kind == "" || f.kind == string(p.kind)) &&
		(f.number == "" || slices.Contains(strings.Split(f.number, ","), p.number)) &&
		(f.older == 0 || age > time.Duration(f.older)) &&
		(f.newer == 0 || age <= time.Duration(f.newer))
}

// parkedSum counts the refunds of one reason and standing.
type parkedSum struct {
	Reason  string   `json:"reason"`
	Stands  standing `json:"stands"`
	Refunds int      `json:"refunds"`
	Amount  string   `json:"amount"`
	fen     alipay.Amount
}

func sums(refunds []*parkedRefund) []parkedSum {
	var list []parkedSum
	for _, p := range refunds {
		if p.stands == standsNewer {
			continue
		}
		i := slices.IndexFunc(list, func(s parkedSum) bool { return s.Reason == p.copy.Reason && s.Stands == p.stands })
		if i < 0 {
			i = len(list)
			list = append(list, parkedSum{Reason: p.copy.Reason, Stands: p.stands})
		}
		list[i].Refunds++
		list[i].fen += p.cmd.Amount
	}
	slices.SortFunc(list, func(a, b parkedSum) int {
		return strings.Compare(a.Reason+" "+string(a.Stands), b.Reason+" "+string(b.Stands))
	})
	for i := range list {
		list[i].Amount = list[i].fen.String()
	}
	return list
}

func parkedList(ctx context.Context, args []string, env environment) error {
	var (
		d   deskFlags
		f   parkedFilter
		out output
		all bool
	)
	flags := flag.NewFlagSet("parked list", flag.ContinueOnError)
	d.register(flags)
	f.register(flags)
	out.register(flags)
	flags.BoolVar(&all, "all", false, "also those that wait for nobody")
	if err := parse(flags, args, env, parkedListHelp); err != nil {
		return err
	}
	if err := checkAll(out.check(flags.Name()), checkKind(flags.Name(), f.kind)); err != nil {
		return err
	}
	desk, done, err := d.open(flags.Name(), env)
	if err != nil {
		return err
	}
	defer done()
	found, messages, err := desk.scan(ctx, &f)
	if err != nil {
		return err
	}
	shown := found
	if !all {
		shown = slices.DeleteFunc(slices.Clone(found), func(p *parkedRefund) bool { return !p.waits() })
	}
	if out.json() {
		list := struct {
			Topic    string        `json:"topic"`
			Messages int           `json:"messages"`
			Sums     []parkedSum   `json:"sums"`
			Refunds  []parkedShort `json:"refunds"`
		}{desk.parked, messages, sums(found), []parkedShort{}}
		for _, p := range shown {
			list.Refunds = append(list.Refunds, p.short())
		}
		return printJSON(env.stdout, list)
	}
	return printParked(env.stdout, desk.parked, messages, found, shown)
}

func checkAll(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func printParked(w io.Writer, topic string, messages int, found, shown []*parkedRefund) error {
	_, _ = fmt.Fprintf(w, "%s: %d messages, %d of them asked for\n", topic, messages, len(found))
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	if len(found) > 0 {
		_, _ = fmt.Fprintf(table, "\nreason\tstands\trefunds\tyuan\n")
	}
	for _, s := range sums(found) {
		_, _ = fmt.Fprintf(table, "%s\t%s\t%d\t%s\n", s.Reason, s.Stands, s.Refunds, s.Amount)
	}
	if len(shown) > 0 {
		_, _ = fmt.Fprintf(table, "\nparked\tkind\tnumber\tmerchant\tyuan\treason\tstands\t\n")
	}
	for _, p := range shown {
		_, _ = fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n",
			clock(p.message.Born), p.kind, p.number, p.cmd.Merchant, p.yuan(), p.copy.Reason, p.stands, p.says())
	}
	if err := table.Flush(); err != nil {
		return fmt.Errorf("print: %w", err)
	}
	return nil
}

func (p *parkedRefund) yuan() string {
	if p.cmd.Amount == 0 {
		return ""
	}
	return p.cmd.Amount.String()
}

// says is what is worth knowing about how it stands, in a line.
func (p *parkedRefund) says() string {
	var parts []string
	if p.detail != "" {
		parts = append(parts, p.detail)
	}
	if m := p.memory; m.Calls+m.Queries > 0 {
		parts = append(parts, fmt.Sprintf("calls: %d, queries: %d", m.Calls, m.Queries))
	}
	if m := p.memory; m.SubCode != "" {
		parts = append(parts, m.SubCode)
	}
	return strings.Join(parts, "; ")
}

// parkedShort is one refund of a list.
type parkedShort struct {
	Kind         consumer.Kind  `json:"kind,omitempty"`
	OutRequestNo string         `json:"out_request_no"`
	Merchant     string         `json:"merchant,omitempty"`
	Amount       string         `json:"amount,omitempty"`
	Reason       string         `json:"reason"`
	ParkedAt     time.Time      `json:"parked_at"`
	Park         int            `json:"park"`
	Stands       standing       `json:"stands"`
	Waits        bool           `json:"waits"`
	Detail       string         `json:"detail,omitempty"`
	Calls        int            `json:"calls"`
	Queries      int            `json:"queries"`
	SubCode      string         `json:"alipay_sub_code,omitempty"`
	Acts         []consumer.Act `json:"acts,omitempty"`
	Stub         *producer.Stub `json:"stub,omitempty"`
}

func (p *parkedRefund) short() parkedShort {
	return parkedShort{
		Kind: p.kind, OutRequestNo: p.number, Merchant: p.cmd.Merchant, Amount: p.yuan(), Reason: p.copy.Reason,
		ParkedAt: p.message.Born.UTC(), Park: p.copy.Park, Stands: p.stands, Waits: p.waits(), Detail: p.detail,
		Calls: p.memory.Calls, Queries: p.memory.Queries, SubCode: p.memory.SubCode, Acts: p.acts(), Stub: p.stub,
	}
}

func parkedShow(ctx context.Context, args []string, env environment) error {
	var (
		d   deskFlags
		f   parkedFilter
		out output
	)
	flags := flag.NewFlagSet("parked show", flag.ContinueOnError)
	d.register(flags)
	out.register(flags)
	flags.StringVar(&f.kind, "kind", "", "only `refund|coupon_refund`")
	flags.Func("merchant", "only the refund of this `name`; empty: the app's own", func(name string) error {
		f.merchant, f.ofMerchant = name, true
		return nil
	})
	number, err := parseWithNumber(flags, args, env, parkedShowHelp)
	if err != nil {
		return err
	}
	f.number = number
	if err := checkAll(out.check(flags.Name()), checkKind(flags.Name(), f.kind)); err != nil {
		return err
	}
	desk, done, err := d.open(flags.Name(), env)
	if err != nil {
		return err
	}
	defer done()
	found, _, err := desk.scan(ctx, &f)
	if err != nil {
		return err
	}
	if len(found) == 0 {
		return fmt.Errorf("%s has no message of %q; refundctl explain looks elsewhere, too", desk.parked, number)
	}
	for _, p := range found {
		if out.json() {
			err = printJSON(env.stdout, p.full())
		} else {
			err = p.print(env.stdout)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// parkedFull is everything about one parked message.
type parkedFull struct {
	parkedShort
	MessageID  string            `json:"message_id"`
	Queue      string            `json:"queue"`
	Offset     int64             `json:"offset"`
	Properties map[string]string `json:"properties"`
	Body       string            `json:"body,omitempty"`
	Body64     string            `json:"body_base64,omitempty"` // where the body is no text
	Next       string            `json:"next,omitempty"`
}

func (p *parkedRefund) full() parkedFull {
	full := parkedFull{
		parkedShort: p.short(), MessageID: p.message.ID, Queue: p.message.Queue, Offset: p.message.Offset,
		Properties: p.copy.Properties(), Next: p.memory.Next,
	}
	if utf8.Valid(p.message.Body) {
		full.Body = string(p.message.Body)
	} else {
		full.Body64 = base64.StdEncoding.EncodeToString(p.message.Body)
	}
	return full
}

func (p *parkedRefund) print(w io.Writer) error {
	f := p.full()
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	row := func(name, value string) {
		if value != "" {
			_, _ = fmt.Fprintf(table, "%s\t%s\n", name, value)
		}
	}
	row("number", p.number)
	row("kind", string(p.kind))
	row("merchant", p.cmd.Merchant)
	row("amount", p.yuan())
	row("parked", fmt.Sprintf("%s (%s ago), number %d, reason %s", clock(p.message.Born), ago(time.Since(p.message.Born)), p.copy.Park, p.copy.Reason))
	row("stands", strings.TrimSuffix(string(p.stands)+": "+p.says(), ": "))
	for _, act := range p.acts() {
		row("deed", told(act))
	}
	row("first message", fmt.Sprintf("%s from %s, born %s", p.copy.MsgID, p.copy.Topic, clock(p.copy.Born)))
	row("parked message", fmt.Sprintf("%s at %s offset %d", f.MessageID, f.Queue, f.Offset))
	for _, name := range slices.Sorted(maps.Keys(f.Properties)) {
		row("property", name+"="+f.Properties[name])
	}
	if m := p.memory; m.Next != "" {
		row("asked so far", fmt.Sprintf("calls: %d, queries: %d; newest call ended %q, newest query showed %q", m.Calls, m.Queries, m.Ended, m.Found))
		row("Alipay said", strings.TrimSpace(strings.Join([]string{m.Code, m.SubCode, m.SubMsg}, " ")))
		row("a requeue", outlook(m.Next))
	}
	if err := table.Flush(); err != nil {
		return fmt.Errorf("print: %w", err)
	}
	if p.stub != nil {
		_, _ = fmt.Fprintf(w, "sha256 of the whole: %s\nits first %d bytes:\n%q\n\n", p.stub.SHA256, len(p.stub.Head), p.stub.Head)
		return nil
	}
	if f.Body64 != "" {
		_, _ = fmt.Fprintf(w, "body, no text, as base64:\n%s\n\n", f.Body64)
		return nil
	}
	_, _ = fmt.Fprintf(w, "body:\n%s\n\n", f.Body)
	return nil
}
