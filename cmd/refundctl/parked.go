package main

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

	"github.com/spf13/cobra"

	"refundd/alipay"
	"refundd/cmd/internal/cli"
	"refundd/cmd/internal/story"
	"refundd/consumer"
	"refundd/producer"
)

const parkedListLong = `Tells which refunds wait for a person, why, and what has become of each since. The
parked topic keeps a message whatever is done with it (until its retention ends),
so what was done stands in Redis, in the refund's record: decided since, requeued
or dropped, by whom and why.

How a refund stands:
  open           undecided; the next step is a person's: mend the cause, then requeue
  forgotten      undecided, and Redis has no record of it any more
  foreign        its number's record is of a command with other content
  contradiction  succeeded after failed was published: tell accounting
  unreadable     was claimed, and cannot be read here: an older version, or another topic
  stub           stands for what the broker refuses to store; there is no body to send
  rejected       never sent to Alipay, as its event said
  requeued       sent again and not taken up yet; after 15 minutes it is listed again
  working, retrying, decided, dropped, newer (another parked copy of it is): with --all

Exit codes: 0 told, 1 failed, 2 wrong usage.`

const parkedListExample = `  refundctl parked list                              what waits for a person now
  refundctl parked list --all                        decided, requeued and dropped ones too
  refundctl parked list -r blocked_merchant -m shop-a --older 2h
  refundctl parked list -o json | jq -r '.refunds[].out_request_no'`

const parkedShowLong = `Prints everything about the parked messages of one refund: properties, record, deeds,
and the command's body, which is upstream's own data.`

const parkedShowExample = `  refundctl parked show R-1
  refundctl parked show R-1 -k coupon_refund -m shop-a -o json`

func parkedCommand(env cli.Env) *cobra.Command {
	cmd := &cobra.Command{
		Use: "parked", Short: "those that wait for a person: list, show, requeue, drop",
		Long: "Works off the refunds that wait for a person.", Example: "  refundctl parked list\n  refundctl help parked requeue",
	}
	cmd.AddCommand(parkedListCommand(env), parkedShowCommand(env), parkedRequeueCommand(env), parkedDropCommand(env))
	return cmd
}

// parkedFilter says which parked refunds are meant.
type parkedFilter struct {
	reason, merchant, kind, number string
	older, newer                   when
	ofMerchant                     bool // --merchant was given; "" is the app's own
}

func (f *parkedFilter) register(cmd *cobra.Command) {
	choice{value: &f.reason, of: reasons(), many: true}.register(cmd, "reason", "r", "only these `reasons`, with commas between them")
	f.registerOne(cmd)
	flags := cmd.Flags()
	flags.StringVar(&f.number, "number", "", "only these out_request_no, with commas between `them`")
	flags.Var(&f.older, "older", "only parked before this `time`, or longer ago than: 90m, 12h, 7d")
	flags.Var(&f.newer, "newer", "only parked since this `time`, or within: 90m, 12h, 7d")
}

// registerOne is for the commands about one number.
func (f *parkedFilter) registerOne(cmd *cobra.Command) {
	choice{value: &f.kind, of: kinds()}.register(cmd, "kind", "k", "only refund or coupon_refund")
	cmd.Flags().StringVarP(&f.merchant, "merchant", "m", "", "only refunds of this `name`; empty: the app's own")
}

// note takes what only the flags know.
func (f *parkedFilter) note(cmd *cobra.Command) { f.ofMerchant = cmd.Flags().Changed("merchant") }

func (f *parkedFilter) any() bool {
	return f.reason != "" || f.ofMerchant || f.kind != "" || f.number != "" || !f.older.IsZero() || !f.newer.IsZero()
}

func (f *parkedFilter) takes(p *parkedRefund) bool {
	return (f.reason == "" || slices.Contains(strings.Split(f.reason, ","), p.copy.Reason)) &&
		(!f.ofMerchant || f.merchant == p.cmd.Merchant) &&
		(f.kind == "" || f.kind == string(p.kind)) &&
		(f.number == "" || slices.Contains(strings.Split(f.number, ","), p.number)) &&
		(f.older.IsZero() || p.message.Born.Before(f.older.Time)) &&
		(f.newer.IsZero() || !p.message.Born.Before(f.newer.Time))
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

// parkedList holds the flags of list and show.
type parkedList struct {
	deskFlags
	parkedFilter
	output
	all bool
}

func parkedListCommand(env cli.Env) *cobra.Command {
	var o parkedList
	cmd := &cobra.Command{
		Use: "list", Short: "the refunds that wait for a person, by reason, and what became of them", Long: parkedListLong, Example: parkedListExample,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.note(cmd)
			return o.list(cmd.Context(), env)
		},
	}
	o.deskFlags.register(cmd)
	o.parkedFilter.register(cmd)
	o.output.register(cmd)
	cmd.Flags().BoolVarP(&o.all, "all", "a", false, "also those that wait for nobody")
	return cmd
}

func (o *parkedList) list(ctx context.Context, env cli.Env) error {
	desk, done, err := o.open(env)
	if err != nil {
		return err
	}
	defer done()
	found, messages, err := desk.scan(ctx, &o.parkedFilter)
	if err != nil {
		return err
	}
	shown := found
	if !o.all {
		shown = slices.DeleteFunc(slices.Clone(found), func(p *parkedRefund) bool { return !p.waits() })
	}
	if o.json() {
		list := struct {
			Topic    string        `json:"topic"`
			Messages int           `json:"messages"`
			Sums     []parkedSum   `json:"sums"`
			Refunds  []parkedShort `json:"refunds"`
		}{desk.parked, messages, sums(found), []parkedShort{}}
		for _, p := range shown {
			list.Refunds = append(list.Refunds, p.short())
		}
		return cli.PrintJSON(env.Stdout, list)
	}
	return printParked(env.Stdout, desk.parked, messages, found, shown)
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

func parkedShowCommand(env cli.Env) *cobra.Command {
	var o parkedList
	cmd := &cobra.Command{
		Use: "show NUMBER", Short: "one of them in full", Long: parkedShowLong, Example: parkedShowExample, Args: oneNumber,
		RunE: func(cmd *cobra.Command, args []string) error {
			o.note(cmd)
			o.number = args[0]
			return o.show(cmd.Context(), env)
		},
	}
	o.deskFlags.register(cmd)
	o.registerOne(cmd)
	o.output.register(cmd)
	return cmd
}

func (o *parkedList) show(ctx context.Context, env cli.Env) error {
	desk, done, err := o.open(env)
	if err != nil {
		return err
	}
	defer done()
	found, _, err := desk.scan(ctx, &o.parkedFilter)
	if err != nil {
		return err
	}
	if len(found) == 0 {
		return fmt.Errorf("%s has no message of %q; refundctl explain looks elsewhere, too", desk.parked, o.number)
	}
	for _, p := range found {
		if o.json() {
			err = cli.PrintJSON(env.Stdout, p.full())
		} else {
			err = p.print(env.Stdout)
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
