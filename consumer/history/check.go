package history

import (
	"fmt"
	"slices"
	"strings"
)

// Options say how to judge.
type Options struct {
	// Repeat is the Hash of another run of the same seed, for I19; empty: there was none.
	Repeat string
	// Only are the names of the invariants to check; nil means all.
	Only []string
}

// Invariant is one promise.
type Invariant struct {
	Name string // I1 to I20, and the rules R7 to R10 of consumer/DESIGN.md
	Says string // in one sentence
	// check returns what the history lacks to be judged, or where it is broken.
	check func(*book) (lacks string, broken []breach)
}

// breach is one place where an invariant does not hold.
type breach struct {
	at     int // index of the fact that shows it
	refund refund
	text   string
}

// Violation is one broken invariant, with the story of the refund concerned.
type Violation struct {
	Invariant string `json:"invariant"`
	Says      string `json:"says"`
	Refund    string `json:"refund,omitempty"`
	// Fact is the number of the fact that shows it, from 1: the line of its file.
	Fact  int      `json:"fact"`
	Text  string   `json:"text"`
	Story []string `json:"story,omitempty"`
}

// Unchecked is an invariant that the history cannot show.
type Unchecked struct {
	Invariant string `json:"invariant"`
	Lacks     string `json:"lacks"`
}

// Report is the verdict.
type Report struct {
	Facts      int         `json:"facts"`
	Refunds    int         `json:"refunds"`
	Hash       string      `json:"hash"`
	Held       []string    `json:"held"`
	Unchecked  []Unchecked `json:"not_checked"`
	Violations []Violation `json:"violations"`
}

// Clean reports that nothing that could be checked is broken.
func (r Report) Clean() bool { return len(r.Violations) == 0 }

// most is how many breaches of one invariant are printed; the first ones explain the
// others.
const most = 5

// Check holds a history to every invariant.
func Check(facts []Fact, opts Options) Report {
	b := open(facts, opts)
	r := Report{Facts: len(facts), Refunds: len(b.order), Hash: Hash(facts)}
	for _, inv := range Invariants() {
		if !wanted(opts.Only, inv.Name) {
			continue
		}
		lacks, broken := inv.check(b)
		switch {
		case lacks != "":
			r.Unchecked = append(r.Unchecked, Unchecked{inv.Name, lacks})
		case len(broken) == 0:
			r.Held = append(r.Held, inv.Name)
		}
		if lacks != "" {
			continue
		}
		for _, one := range broken[:min(len(broken), most)] {
			r.Violations = append(r.Violations, Violation{
				Invariant: inv.Name, Says: inv.Says, Refund: one.refund.String(), Fact: one.at + 1, Text: one.text,
				Story: b.story(one.refund),
			})
		}
	}
	return r
}

func wanted(only []string, name string) bool {
	if only == nil {
		return true
	}
	return slices.Contains(only, name)
}

// String writes the verdict to a person.
func (r Report) String() string {
	var b strings.Builder
	for _, v := range r.Violations {
		fmt.Fprintf(&b, "%s is broken: %s\n  fact %d: %s\n", v.Invariant, v.Says, v.Fact, v.Text)
		if v.Refund != "" {
			fmt.Fprintf(&b, "  the story of %s:\n", v.Refund)
			for _, line := range v.Story {
				fmt.Fprintf(&b, "    %s\n", line)
			}
		}
	}
	for _, u := range r.Unchecked {
		fmt.Fprintf(&b, "%s not checked: lacks %s\n", u.Invariant, u.Lacks)
	}
	fmt.Fprintf(&b, "%d facts about %d refunds, hash %s: %d invariants hold, %d not checked, %d violations\n",
		r.Facts, r.Refunds, r.Hash, len(r.Held), len(r.Unchecked), len(r.Violations))
	return b.String()
}

// refund is an identity.
type refund struct{ app, merchant, kind, number, trade string }

func (r refund) String() string {
	if r == (refund{}) {
		return ""
	}
	s := r.kind + " " + r.number
	if r.trade != "" {
		s += " of trade " + r.trade
	}
	if r.merchant != "" {
		s += " of merchant " + r.merchant
	}
	return s
}

// book is a history, ready to be asked.
type book struct {
	facts    []Fact
	opts     Options
	set      Settings
	has      map[What]bool
	of       map[refund][]int // indices of its facts, in order
	order    []refund         // by first appearance
	messages map[string]refund
	prints   map[string]string // message -> its command's fingerprint
	copies   map[string]string // copy -> its first message
	carried  map[string]string // delivery -> its first message
	about    map[string][]int  // first message -> indices of its facts, in order
	lost     map[refund][]int  // see losses
	divided  []int             // the looks that found Redis divided
	ended    bool
}

func open(facts []Fact, opts Options) *book {
	b := &book{
		facts: facts, opts: opts, has: map[What]bool{}, of: map[refund][]int{}, messages: map[string]refund{},
		prints: map[string]string{}, copies: map[string]string{}, carried: map[string]string{},
		about: map[string][]int{},
	}
	for _, f := range facts {
		if f.What == Run && f.Settings != nil {
			b.set = *f.Settings
		}
	}
	for i, f := range facts {
		b.has[f.What] = true
		r, ok := b.refundOf(f)
		if f.What == Command {
			b.copies[f.Message] = f.Message
		}
		if f.What == Command && ok {
			b.messages[f.Message], b.prints[f.Message] = r, f.Fingerprint
		}
		if f.What == Delivery {
			b.carried[f.Delivery] = f.Message
		}
		if f.Copy != "" && f.Message != "" {
			b.copies[f.Copy] = f.Message
		}
		if !ok && f.Message != "" {
			r, ok = b.messages[f.Message]
		}
		if !ok {
			continue
		}
		if _, known := b.of[r]; !known {
			b.order = append(b.order, r)
		}
		b.of[r] = append(b.of[r], i)
	}
	for i := range facts {
		if message := b.messageOf(&facts[i]); message != "" {
			b.about[message] = append(b.about[message], i)
		}
	}
	b.ended = b.has[End]
	b.lost = b.losses()
	b.all(Redis, func(i int, f *Fact) {
		if f.Result == Divided {
			b.divided = append(b.divided, i)
		}
	})
	return b
}

func (b *book) refundOf(f Fact) (refund, bool) {
	if f.Number == "" {
		return refund{}, false
	}
	r := refund{f.AppID, f.Merchant, f.Kind, f.Number, ""}
	if b.set.ScopeTrade {
		r.trade = f.Trade
	}
	return r, true
}

// each calls f for every fact of one kind about a refund, in order.
func (b *book) each(r refund, w What, f func(i int, fact *Fact)) {
	for _, i := range b.of[r] {
		if b.facts[i].What == w {
			f(i, &b.facts[i])
		}
	}
}

// all calls f for every fact of one kind.
func (b *book) all(w What, f func(i int, fact *Fact)) {
	for i := range b.facts {
		if b.facts[i].What == w {
			f(i, &b.facts[i])
		}
	}
}

// lacking names the first of the kinds that the history has no fact of.
func (b *book) lacking(kinds ...What) string {
	for _, w := range kinds {
		if !b.has[w] {
			return "facts of kind " + string(w)
		}
	}
	return ""
}

// stored reports whether the message of a Publish is at the broker.
func stored(f *Fact) bool { return f.Result == Confirmed || f.Result == Stored }

func event(f *Fact, outcomes ...string) bool {
	if f.What != Publish || f.Topic != TopicEvent || !stored(f) {
		return false
	}
	return slices.Contains(outcomes, f.Outcome)
}

// story is what happened to a refund.
func (b *book) story(r refund) []string {
	if r == (refund{}) {
		return nil
	}
	indices := b.of[r]
	calls, deliveries, processes := map[string]bool{}, map[string]bool{"": true}, map[string]bool{}
	for _, i := range indices {
		calls[b.facts[i].Call] = true
		deliveries[b.facts[i].Delivery] = true
		processes[b.facts[i].Process] = true
	}
	var lines []string
	start := int64(-1)
	next := 0
	for i := range b.facts {
		f := &b.facts[i]
		mine := next < len(indices) && indices[next] == i
		if mine {
			next++
		}
		if !mine && f.Call != "" && calls[f.Call] || !mine && f.Delivery != "" && deliveries[f.Delivery] {
			mine = true
		}
		//exhaustive:ignore
		switch f.What {
		case Redis:
			mine = mine || f.Number == ""
		case Quiet, End:
			mine = true
		case Process:
			mine = mine || processes[f.Process]
		case Fault:
			mine = mine || deliveries[f.Delivery]
		}
		if !mine {
			continue
		}
		if start < 0 {
			start = f.At
		}
		lines = append(lines, fmt.Sprintf("%5d %9.3fs %s", i+1, float64(f.At-start)/1000, f.tell()))
	}
	return lines
}

// tell is a fact in a line.
func (f *Fact) tell() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%-12s", f.What)
	say := func(label, value string) {
		if value != "" {
			fmt.Fprintf(&b, " %s%s", label, value)
		}
	}
	number := func(label string, n int64) {
		if n != 0 {
			fmt.Fprintf(&b, " %s%d", label, n)
		}
	}
	say("", f.Process)
	say("", f.Delivery)
	say("", f.Topic)
	say("", f.Method)
	say("", f.Name)
	say("", f.Outcome)
	say("-> ", f.Result)
	say("because ", f.Reason)
	say("copy ", f.Copy)
	say("token ", f.Token)
	say("for ", f.Authorised)
	say("event ", f.Event)
	number("amount ", f.Amount)
	number("generation ", f.Generation)
	number("lease until ", f.Lease)
	number("clock ", f.Clock)
	number("value ", f.Value)
	flag := func(word string, is bool) {
		if is {
			say("", word)
		}
	}
	flag("fresh", f.Fresh)
	flag("claimed", f.Claimed)
	flag("parked", f.Parked)
	flag("contradiction", f.Contradiction)
	flag("signed", f.Signed)
	flag("query first", f.QueryFirst)
	return b.String()
}
