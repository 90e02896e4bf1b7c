package desk

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"refundd/cmd/internal/cli"
	"refundd/cmd/internal/story"
	"refundd/cmd/internal/tap"
	"refundd/consumer"
	"refundd/dedupe"
	"refundd/producer"
)

// moment is one line of a timeline.
type moment struct {
	At    time.Time `json:"at"`
	Where string    `json:"where"`
	What  string    `json:"what"`
}

// refund is one, and everything that is known of it.
type refund struct {
	Kind         consumer.Kind `json:"kind,omitempty"`
	OutRequestNo string        `json:"out_request_no"`
	Merchant     string        `json:"merchant,omitempty"`
	Trade        string        `json:"trade,omitempty"` // scope trade
	Amount       string        `json:"amount,omitempty"`
	Timeline     []moment      `json:"timeline"`
	story.Conclusion
	Live *LiveAnswer `json:"live,omitempty"`

	id     dedupe.Identity
	cmd    consumer.Command
	known  bool // the command can be read
	record dedupe.Record
	memory consumer.Summary
	events []producer.Event // without repeats
	copies []*parkedRefund  // parked ones
	tries  []producer.Copy  // of the retry topic
	due    time.Time
	brakes []dedupe.Brake
	// indexed: the index names it. unpublished: it does, and no event of the topic
	// says what was decided.
	indexed, unpublished bool
}

// Question says which refund is to be explained, and how.
type Question struct {
	Number     string // out_request_no, or a message id
	Kind       string // empty: any
	Merchant   string
	OfMerchant bool // a merchant is meant; "" is the app's own
	Trade      string
	Live       bool      // ask Alipay, too
	Since      time.Time // from when on topics are read
	Scan       bool      // message by message, and not through the brokers' index
	Format     cli.Format
}

// explainer gathers what is known of a number.
type explainer struct {
	Question
	desk    *Desk
	stories map[string]*refund // by the record's key
	strays  *refund            // what belongs to no identity, such as an event about a message id
}

// Explain prints everything about one refund.
func (d *Desk) Explain(ctx context.Context, q Question) error {
	var ask *asker
	if q.Live {
		var err error
		if ask, err = newAsker(d.env); err != nil {
			return err
		}
		defer ask.close()
	}
	e := &explainer{Question: q, desk: d, stories: map[string]*refund{}}
	stories, err := e.gather(ctx)
	if err != nil {
		return err
	}
	for _, s := range stories {
		if ask != nil {
			s.Live = ask.about(ctx, s)
		}
		s.Conclusion = story.Conclude(s.facts(), time.Now())
	}
	return e.print(d.env.Stdout, stories)
}

func (e *explainer) print(w io.Writer, stories []*refund) error {
	nothing := len(stories) == 1 && stories[0].Stands == story.Unknown
	if e.Format.JSON() {
		if err := cli.PrintJSON(w, map[string]any{"number": e.Number, "refunds": stories}); err != nil {
			return err
		}
	} else {
		for _, s := range stories {
			if err := s.print(w); err != nil {
				return err
			}
		}
	}
	if nothing {
		return cli.ErrFound
	}
	return nil
}

// gather reads the topics first, since they may name merchants and trades that
// nobody gave, and then the records.
func (e *explainer) gather(ctx context.Context) ([]*refund, error) {
	for _, source := range []struct {
		topic string
		since time.Time
		tell  func(tap.Message)
	}{
		{e.desk.event, e.Since, e.event}, {e.desk.retry, e.Since, e.try}, {e.desk.parked, time.Time{}, e.park},
	} {
		if !e.Scan {
			if found, ok := e.desk.cluster.ByKey(ctx, source.topic, e.Number, source.since); ok {
				for _, m := range found {
					source.tell(m)
				}
				continue
			}
		}
		if err := e.desk.read(ctx, source.topic, source.since, source.tell); err != nil {
			return nil, err
		}
	}
	if err := errors.Join(e.guess(ctx), e.desk.readMarks(ctx)); err != nil {
		return nil, err
	}
	var list []*refund
	for _, s := range e.stories {
		if err := e.remember(ctx, s); err != nil {
			return nil, err
		}
		if s.record.Exists || len(s.events)+len(s.copies)+len(s.tries) > 0 {
			list = append(list, s)
		}
	}
	if e.strays != nil {
		list = append(list, e.strays)
	}
	if len(list) == 0 {
		list = append(list, e.nothing())
	}
	slices.SortFunc(list, func(a, b *refund) int {
		return cmp.Or(strings.Compare(string(a.Kind), string(b.Kind)), strings.Compare(a.Merchant, b.Merchant), strings.Compare(a.Trade, b.Trade))
	})
	return list, nil
}

// nothing is the story of a number that nobody knows here. Alipay may.
func (e *explainer) nothing() *refund {
	s := &refund{OutRequestNo: e.Number, Kind: consumer.KindRefund, Merchant: e.Merchant}
	if e.Kind != "" {
		s.Kind = consumer.Kind(e.Kind)
	}
	s.cmd = consumer.Command{Kind: s.Kind, OutRequestNo: e.Number, Merchant: e.Merchant, OutTradeNo: e.Trade, AuthNo: e.Trade}
	return s
}

// refund finds or begins the refund's.
func (e *explainer) refund(id dedupe.Identity) *refund {
	key := e.desk.store.Key(id)
	s := e.stories[key]
	if s == nil {
		s = &refund{Kind: consumer.Kind(id.Kind), OutRequestNo: id.OutRequestNo, Merchant: id.Merchant, Trade: id.Trade, id: id}
		e.stories[key] = s
	}
	return s
}

// guess begins the stories of records that no message told of: those that the
// index names, and each kind, for the merchant given, or the app's own and those
// that were found.
func (e *explainer) guess(ctx context.Context) error {
	within, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	undecided, err := e.desk.store.UndecidedOf(within, e.desk.appID, e.Number)
	if err != nil {
		return err
	}
	for _, id := range undecided {
		if e.wants(consumer.Kind(id.Kind), id.Merchant) && e.desk.scopeTrade == (id.Trade != "") {
			e.refund(id).indexed = true
		}
	}
	merchants := []string{e.Merchant}
	trades := []string{""}
	if e.desk.scopeTrade {
		trades = []string{e.Trade}
	}
	for _, s := range e.stories {
		if !e.OfMerchant && !slices.Contains(merchants, s.Merchant) {
			merchants = append(merchants, s.Merchant)
		}
	}
	for _, kind := range []consumer.Kind{consumer.KindRefund, consumer.KindCouponRefund} {
		for _, merchant := range merchants {
			for _, trade := range trades {
				if e.wants(kind, merchant) && (trade != "" || !e.desk.scopeTrade) {
					e.refund(dedupe.Identity{AppID: e.desk.appID, Merchant: merchant, Kind: string(kind), OutRequestNo: e.Number, Trade: trade})
				}
			}
		}
	}
	return nil
}

func (e *explainer) wants(kind consumer.Kind, merchant string) bool {
	return (e.Kind == "" || e.Kind == string(kind)) && (!e.OfMerchant || e.Merchant == merchant)
}

// facts are what is judged.
func (s *refund) facts() story.Facts {
	f := story.Facts{
		Number: s.OutRequestNo, Record: s.record, Summary: s.memory, Due: s.due, Brakes: s.brakes, Events: s.events,
		Retried: len(s.tries) > 0, Unpublished: s.unpublished,
	}
	for _, p := range s.copies {
		f.Copies = append(f.Copies, p.copied())
	}
	if s.Live != nil {
		f.Alipay = s.Live.Found
	}
	return f
}

// print is the story for a person.
func (s *refund) print(w io.Writer) error {
	name := strings.TrimSpace(fmt.Sprintf("%s %s", s.Kind, s.OutRequestNo))
	if s.Merchant != "" {
		name += " of " + s.Merchant
	}
	if s.Amount != "" {
		name += ", " + s.Amount + " yuan"
	}
	if trade := s.cmd.Trade(); trade != "" {
		name += ", trade " + trade
	}
	_, _ = fmt.Fprintln(w, name)
	slices.SortStableFunc(s.Timeline, func(a, b moment) int { return a.At.Compare(b.At) })
	t := cli.NewTable(w)
	for _, m := range s.Timeline {
		t.Row("  "+m.At.Format("2006-01-02T15:04:05.000Z"), m.Where, m.What)
	}
	if s.Live != nil {
		t.Row("  "+s.Live.At.Format("2006-01-02T15:04:05.000Z"), "Alipay", s.Live.Says)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, "true:  %s\nnext:  %s\ndo:    %s\n\n", s.True, s.Next, s.Do)
	if err != nil {
		return fmt.Errorf("print: %w", err)
	}
	return nil
}
