package desk

import (
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"refundd/alipay"
	"refundd/cmd/internal/cli"
	"refundd/cmd/internal/story"
	"refundd/consumer"
	"refundd/producer"
)

// Filter says which parked refunds are meant.
type Filter struct {
	Reason, Number string // with commas between them
	Merchant, Kind string
	OfMerchant     bool      // a merchant is meant; "" is the app's own
	Older, Newer   time.Time // parked before, parked since
}

// Any reports whether it leaves anything out.
func (f *Filter) Any() bool {
	return f.Reason != "" || f.OfMerchant || f.Kind != "" || f.Number != "" || !f.Older.IsZero() || !f.Newer.IsZero()
}

func (f *Filter) takes(p *parkedRefund) bool {
	return (f.Reason == "" || slices.Contains(strings.Split(f.Reason, ","), p.copy.Reason)) &&
		(!f.OfMerchant || f.Merchant == p.cmd.Merchant) &&
		(f.Kind == "" || f.Kind == string(p.kind)) &&
		(f.Number == "" || slices.Contains(strings.Split(f.Number, ","), p.number)) &&
		(f.Older.IsZero() || p.message.Born.Before(f.Older)) &&
		(f.Newer.IsZero() || !p.message.Born.Before(f.Newer))
}

// Sum counts the refunds of one reason and standing.
type Sum struct {
	Reason  string   `json:"reason"`
	Stands  Standing `json:"stands"`
	Refunds int      `json:"refunds"`
	Amount  string   `json:"amount"`
	fen     alipay.Amount
}

func sums(refunds []*parkedRefund) []Sum {
	var list []Sum
	for _, p := range refunds {
		if p.stands == StandsNewer {
			continue
		}
		i := slices.IndexFunc(list, func(s Sum) bool { return s.Reason == p.copy.Reason && s.Stands == p.stands })
		if i < 0 {
			i = len(list)
			list = append(list, Sum{Reason: p.copy.Reason, Stands: p.stands})
		}
		list[i].Refunds++
		list[i].fen += p.cmd.Amount
	}
	slices.SortFunc(list, func(a, b Sum) int {
		return strings.Compare(a.Reason+" "+string(a.Stands), b.Reason+" "+string(b.Stands))
	})
	for i := range list {
		list[i].Amount = list[i].fen.String()
	}
	return list
}

// List prints the refunds that wait for a person; with all, the others, too.
func (d *Desk) List(ctx context.Context, f Filter, all bool, format cli.Format) error {
	found, messages, err := d.scan(ctx, &f)
	if err != nil {
		return err
	}
	shown := found
	if !all {
		shown = slices.DeleteFunc(slices.Clone(found), func(p *parkedRefund) bool { return !p.waits() })
	}
	if format.JSON() {
		list := struct {
			Topic    string  `json:"topic"`
			Messages int     `json:"messages"`
			Sums     []Sum   `json:"sums"`
			Refunds  []Short `json:"refunds"`
		}{d.parked, messages, sums(found), []Short{}}
		for _, p := range shown {
			list.Refunds = append(list.Refunds, p.short())
		}
		return cli.PrintJSON(d.env.Stdout, list)
	}
	return printParked(d.env.Stdout, d.parked, messages, found, shown)
}

func printParked(w io.Writer, topic string, messages int, found, shown []*parkedRefund) error {
	_, _ = fmt.Fprintf(w, "%s: %d messages, %d of them asked for\n", topic, messages, len(found))
	if len(found) > 0 {
		_, _ = fmt.Fprintln(w)
		t := cli.NewTable(w, "reason", "stands", "refunds", "yuan")
		for _, s := range sums(found) {
			t.Row(s.Reason, s.Stands, s.Refunds, s.Amount)
		}
		if err := t.Flush(); err != nil {
			return err
		}
	}
	if len(shown) == 0 {
		return nil
	}
	_, _ = fmt.Fprintln(w)
	t := cli.NewTable(w, "parked", "kind", "number", "merchant", "yuan", "reason", "stands", "")
	for _, p := range shown {
		t.Row(cli.Clock(p.message.Born), p.kind, p.number, p.cmd.Merchant, p.yuan(), p.copy.Reason, p.stands, p.says())
	}
	return t.Flush()
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

// Short is one refund of a list.
type Short struct {
	Kind         consumer.Kind  `json:"kind,omitempty"`
	OutRequestNo string         `json:"out_request_no"`
	Merchant     string         `json:"merchant,omitempty"`
	Amount       string         `json:"amount,omitempty"`
	Reason       string         `json:"reason"`
	ParkedAt     time.Time      `json:"parked_at"`
	Park         int            `json:"park"`
	Stands       Standing       `json:"stands"`
	Waits        bool           `json:"waits"`
	Detail       string         `json:"detail,omitempty"`
	Calls        int            `json:"calls"`
	Queries      int            `json:"queries"`
	SubCode      string         `json:"alipay_sub_code,omitempty"`
	Acts         []consumer.Act `json:"acts,omitempty"`
	Stub         *producer.Stub `json:"stub,omitempty"`
}

func (p *parkedRefund) short() Short {
	return Short{
		Kind: p.kind, OutRequestNo: p.number, Merchant: p.cmd.Merchant, Amount: p.yuan(), Reason: p.copy.Reason,
		ParkedAt: p.message.Born.UTC(), Park: p.copy.Park, Stands: p.stands, Waits: p.waits(), Detail: p.detail,
		Calls: p.memory.Calls, Queries: p.memory.Queries, SubCode: p.memory.SubCode, Acts: p.acts(), Stub: p.stub,
	}
}

// Show prints everything about the parked messages of one refund.
func (d *Desk) Show(ctx context.Context, f Filter, format cli.Format) error {
	found, _, err := d.scan(ctx, &f)
	if err != nil {
		return err
	}
	if len(found) == 0 {
		return fmt.Errorf("%s has no message of %q; refundctl explain looks elsewhere, too", d.parked, f.Number)
	}
	for _, p := range found {
		if format.JSON() {
			err = cli.PrintJSON(d.env.Stdout, p.full())
		} else {
			err = p.print(d.env.Stdout)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// parkedFull is everything about one parked message.
type parkedFull struct {
	Short
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
		Short: p.short(), MessageID: p.message.ID, Queue: p.message.Queue, Offset: p.message.Offset,
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
	t := cli.NewTable(w)
	row := func(name, value string) {
		if value != "" {
			t.Row(name, value)
		}
	}
	row("number", p.number)
	row("kind", string(p.kind))
	row("merchant", p.cmd.Merchant)
	row("amount", p.yuan())
	row("parked", fmt.Sprintf("%s (%s ago), number %d, reason %s", cli.Clock(p.message.Born), cli.Ago(time.Since(p.message.Born)), p.copy.Park, p.copy.Reason))
	row("stands", strings.TrimSuffix(string(p.stands)+": "+p.says(), ": "))
	for _, act := range p.acts() {
		row("deed", story.Act(act))
	}
	row("first message", fmt.Sprintf("%s from %s, born %s", p.copy.MsgID, p.copy.Topic, cli.Clock(p.copy.Born)))
	row("parked message", fmt.Sprintf("%s at %s offset %d", f.MessageID, f.Queue, f.Offset))
	for _, name := range slices.Sorted(maps.Keys(f.Properties)) {
		row("property", name+"="+f.Properties[name])
	}
	if m := p.memory; m.Next != "" {
		row("asked so far", fmt.Sprintf("calls: %d, queries: %d; newest call ended %q, newest query showed %q", m.Calls, m.Queries, m.Ended, m.Found))
		row("Alipay said", strings.TrimSpace(strings.Join([]string{m.Code, m.SubCode, m.SubMsg}, " ")))
		row("a requeue", story.Outlook(m.Next))
	}
	if err := t.Flush(); err != nil {
		return err
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
