package history

import "fmt"

// Invariants are all that Check knows, in the order of their names. I15 (an order
// of events) is void: none is promised.
func Invariants() []Invariant {
	return []Invariant{
		{"I1", "the money of a refund moves at most once, whatever Redis forgets", movesOnce},
		{"I2", "every command reaches an end, and what is decided stays decided", oneEnd},
		{"I3", "succeeded is told if and only if the money moved; after failed it never moves", truth},
		{"I4", "no trade gives back more than was paid, and events tell the ledger's amounts", conserved},
		{"I5", "what is decided is told, with one id and the same bytes every time, and a refund under one key", toldAlike},
		{"I6", "nothing without a cause: events and records have commands, calls have claims", noOrphan},
		{"I7", "a delivery is acknowledged only when its event or its copy is safely stored", ackSafe},
		{"I8", "another command under the same number never reaches Alipay, and is told", oneContent},
		{"I9", "one holder at a time, and a stale token writes nothing", oneHolder},
		{"I10", "failed needs refusals of Alipay and queries that agree, as often and as far apart as they can be believed", failureProven},
		{"I11", "decided records are kept long enough, undecided ones for ever", keptLong},
		{"I12", "a forged notification does nothing, success is answered after publishing, one id one event", notified},
		{"I13", "after the signal no new call begins, and the process ends within its budget", drained},
		{"I14", "when faults stop, everything ends within bounded time", live},
		{"I16", "calls keep to the rate over all processes", withinRate},
		{"I17", "counters say what happened", counted},
		{"I18", "no secret is found where it must not be", discreet},
		{"I19", "the same seed gives the same history", repeatable},
		{"I20", "each injected fault really happened", reached},
		{"R2", "all that is asked for one refund from its first call on is asked for one authorisation", oneAuthorisation},
		{"R7", "copies of a command merge and do not multiply", copiesBounded},
		{"R8", "no call begins unless it fits into its lease", callFits},
		{"R9", "what was claimed once is never rejected", neverRejected},
		{"R10", "no undecided command is without a living copy or an alarm", notForgotten},
		{"R10i", "who acknowledges a command that it knows as claimed and undecided has put it in the index before", indexed},
		{"R10q", "what is older than KEEP and has no record is never called", onlyQueried},
	}
}

// I1 needs the ledger.
func movesOnce(b *book) (string, []breach) {
	if lacks := b.lacking(Money); lacks != "" && b.lacking(Call) != "" {
		return lacks, nil
	}
	type ledgerKey struct{ merchant, kind, trade, number string }
	moved := map[ledgerKey]bool{}
	var broken []breach
	b.all(Money, func(i int, f *Fact) {
		k := ledgerKey{f.Merchant, f.Kind, f.Trade, f.Number}
		if moved[k] {
			r, _ := b.refundOf(*f)
			broken = append(broken, breach{i, r, "the money of this refund moved a second time"})
		}
		moved[k] = true
	})
	return "", broken
}

// I2 needs commands and events. That each has an end can be judged only in a
// history that has one. A record that was lost behind a failure excuses a success that
// was decided then, and never the reverse: both decisions may be published much later. A
// command that the broker lost before anybody knew it, or that Redis lost as well, has
// no end.
func oneEnd(b *book) (string, []breach) {
	if lacks := b.lacking(Command, Publish); lacks != "" {
		return lacks, nil
	}
	var broken []breach
	rejected := map[string]bool{}
	b.all(Publish, func(_ int, f *Fact) {
		if event(f, Rejected) {
			rejected[f.Message] = true
		}
	})
	for _, r := range b.order {
		since := b.decisions(r)
		told := map[string]map[string]int{} // content -> outcome -> since when
		ends := false
		excused := false
		b.each(r, Publish, func(i int, f *Fact) {
			excused = excused || f.Topic == TopicParked && f.Reason == "contradiction" && stored(f)
			if event(f, Succeeded, Failed, Unresolved) {
				ends = true
			}
			if event(f, Succeeded, Failed) {
				if told[f.content()] == nil {
					told[f.content()] = map[string]int{}
				}
				if _, ok := told[f.content()][f.Outcome]; !ok {
					told[f.content()][f.Outcome] = since(i)
				}
			}
		})
		for _, outcomes := range told {
			s, succeeded := outcomes[Succeeded]
			f, failed := outcomes[Failed]
			first, second := f, s
			if !b.has[Settle] { // which was decided first is not known
				first, second = min(s, f), max(s, f)
			}
			if succeeded && failed && !excused && !b.gone(r, first, second) {
				broken = append(broken, breach{max(s, f), r, "both succeeded and failed were told, and nobody was called"})
			}
		}
		b.each(r, Command, func(i int, f *Fact) {
			if b.ended && !ends && !rejected[f.Message] && !b.vanished(f.Message) && !b.nowhere(r) {
				broken = append(broken, breach{i, r, "the command never reached an end"})
			}
		})
		broken = append(broken, absorbing(b, r)...)
	}
	b.all(Command, func(i int, f *Fact) {
		if b.ended && f.Number == "" && !rejected[f.Message] && !b.vanished(f.Message) {
			broken = append(broken, breach{i, refund{}, "the unreadable command was never rejected"})
		}
	})
	return "", broken
}

// decisions says since when the outcome of the event that was published at an index
// was decided: when it was last settled before, or its sender had the answer that the record
// is another's, or else when it was published.
func (b *book) decisions(r refund) func(published int) int {
	settled, foreign := map[string][]int{}, map[string][]int{} // by event, by delivery
	b.each(r, Settle, func(i int, f *Fact) {
		//exhaustive:ignore
		switch f.Result {
		case Settled:
			settled[f.Event] = append(settled[f.Event], i)
		case Foreign:
			foreign[f.Delivery] = append(foreign[f.Delivery], i)
		}
	})
	return func(published int) int {
		since := published
		decided := settled[b.facts[published].Event]
		if len(decided) == 0 && b.facts[published].Delivery != "" {
			decided = foreign[b.facts[published].Delivery]
		}
		for _, at := range decided {
			if at < published {
				since = at
			}
		}
		return since
	}
}

// content is what a refund is about: where Redis has forgotten the first command of
// a number, a second one may ask for something else.
func (f *Fact) content() string { return fmt.Sprint(f.Trade, " ", f.Amount) }

func absorbing(b *book, r refund) []breach {
	var broken []breach
	last := -1
	b.each(r, Settle, func(i int, f *Fact) {
		if f.Result != Settled {
			return
		}
		if last >= 0 && !b.gone(r, last, i) {
			was := b.facts[last].Outcome
			if was != Failed || f.Outcome != Succeeded || !f.Contradiction {
				broken = append(broken, breach{i, r, fmt.Sprintf("a record that was decided as %s was decided again as %s", was, f.Outcome)})
			}
		}
		last = i
	})
	return broken
}

// I3 needs events and the ledger. A record that was lost behind a failure excuses money
// that a call made after the loss moved, and not what an earlier call moved late. Money
// of which nobody hears is excused where both the broker and Redis lost the refund.
func truth(b *book) (string, []breach) {
	if lacks := b.lacking(Publish, Command); lacks != "" {
		return lacks, nil
	}
	if lacks := b.lacking(Money); lacks != "" && b.lacking(Call) != "" {
		return lacks, nil
	}
	var broken []breach
	for _, r := range b.order {
		moved, failed, unmoved, ends := map[string]bool{}, map[string]int{}, -1, false
		first := -1
		since := b.decisions(r)
		for _, i := range b.of[r] {
			f := &b.facts[i]
			switch {
			case f.What == Money:
				if at, told := failed[f.content()]; told && !b.calledAnew(r, at, i) {
					broken = append(broken, breach{i, r, "the money moved after failed was told"})
				}
				if first < 0 {
					first = i
				}
				moved[f.content()] = true
			case event(f, Succeeded):
				ends = true
				if !moved[f.content()] {
					unmoved = i
				}
			case event(f, Failed):
				failed[f.content()] = since(i)
				if moved[f.content()] {
					broken = append(broken, breach{i, r, "failed was told although the money had moved"})
				}
			case event(f, Unresolved):
				ends = true
			}
		}
		if unmoved >= 0 {
			broken = append(broken, breach{unmoved, r, "succeeded was told although this money had not moved"})
		}
		if first >= 0 && b.ended && !ends && !b.nowhere(r) && !b.rejectedUnknowing(r) {
			broken = append(broken, breach{first, r, "the money moved, and neither succeeded nor unresolved was ever told"})
		}
	}
	return "", broken
}

// calledAnew reports whether a call that moved money before a fact was begun after the
// record of an earlier decision was gone.
func (b *book) calledAnew(r refund, decided, moved int) bool {
	if !b.has[Call] {
		return b.gone(r, decided, moved)
	}
	anew := false
	b.each(r, Call, func(i int, f *Fact) {
		anew = anew || f.Method == MethodRefund && i > decided && i < moved && b.gone(r, decided, i)
	})
	return anew
}

// I4 needs the ledger and what was paid.
func conserved(b *book) (string, []breach) {
	if lacks := b.lacking(Trade); lacks != "" {
		return lacks, nil
	}
	type ledgerKey struct{ merchant, kind, trade string }
	paid, back := map[ledgerKey]int64{}, map[ledgerKey]int64{}
	var broken []breach
	for i := range b.facts {
		f := &b.facts[i]
		k := ledgerKey{f.Merchant, f.Kind, f.Trade}
		r, _ := b.refundOf(*f)
		//exhaustive:ignore
		switch f.What {
		case Trade:
			paid[k] = f.Amount
		case Money:
			back[k] += f.Amount
			if back[k] > paid[k] {
				broken = append(broken, breach{i, r, fmt.Sprintf("%d fen were given back of a trade of %d", back[k], paid[k])})
			}
		}
	}
	for _, r := range b.order {
		var ledger, told int64
		ids := map[string]bool{}
		at := -1
		b.each(r, Money, func(_ int, f *Fact) { ledger += f.Amount })
		b.each(r, Publish, func(i int, f *Fact) {
			if event(f, Succeeded) && !ids[f.Event] {
				ids[f.Event] = true
				told += f.Amount
				at = i
			}
		})
		if at >= 0 && told > ledger {
			broken = append(broken, breach{at, r, fmt.Sprintf("events tell of %d fen, the ledger of %d", told, ledger)})
		}
	}
	return "", broken
}

// I5 needs events; that a decision is published, an end. Each time that the record was lost
// behind the decision excuses one other form of it; what was rejected has one form for
// ever. Where Redis forgot a decision before it was published, its command comes to another
// end: it is proven anew, and a refund that had failed may be carried out then; a person
// is called; or it conflicts with one that came first. Also where a person was called
// before, as by one whom Redis did not answer.
func toldAlike(b *book) (string, []breach) {
	if lacks := b.lacking(Publish); lacks != "" {
		return lacks, nil
	}
	var broken []breach
	type form struct{ event, body string }
	seen, forms := map[form]bool{}, map[string]int{}
	decided := b.firstDecided()
	ids := map[string]string{}
	keys := map[refund]string{}
	told := map[string]bool{}
	ended := map[refund]int{} // the last such event
	b.all(Publish, func(i int, f *Fact) {
		r, _ := b.refundOf(*f)
		if event(f, Succeeded, Failed, Rejected, Unresolved) {
			ended[r] = i
		}
		if event(f, Succeeded, Failed, Unresolved) {
			if key, known := keys[r]; known && key != f.Key {
				broken = append(broken, breach{i, r, "one refund was told under two keys"})
			}
			keys[r] = f.Key
		}
		if !event(f, Succeeded, Failed, Rejected) {
			return
		}
		told[f.Event] = true
		if !seen[form{f.Event, f.Body}] {
			seen[form{f.Event, f.Body}] = true
			forms[f.Event]++
			if n := forms[f.Event]; n > 1 && (f.Outcome == Rejected || n > 1+b.timesGone(r, decided(r, f.Event), i)) {
				broken = append(broken, breach{i, r, "the same event was told with other bytes"})
			}
		}
		if f.Outcome == Rejected {
			return
		}
		fact := fmt.Sprint(r, f.Trade, f.Amount, f.Outcome)
		if id, known := ids[fact]; known && id != f.Event {
			broken = append(broken, breach{i, r, "one fact was told under two ids"})
		}
		ids[fact] = f.Event
	})
	b.all(Settle, func(i int, f *Fact) {
		if b.ended && f.Result == Settled && f.Event != "" && !told[f.Event] {
			r, _ := b.refundOf(*f)
			at, other := ended[r]
			other = other && at > i && (b.gone(r, i, at) || event(&b.facts[at], Unresolved) && b.forgot(r, at, len(b.facts)))
			if other || b.nowhere(r) && (b.forgot(r, i, len(b.facts)) || b.unknown(b.carried[f.Delivery])) {
				return
			}
			broken = append(broken, breach{i, r, f.Outcome + " was settled and never told"})
		}
	})
	return "", broken
}

// firstDecided reports when an event was first settled, as far as anybody learnt: by
// a request whose answer was lost, the next one finds it decided. Where nobody wrote
// that down, any time since the refund began may be it.
func (b *book) firstDecided() func(r refund, event string) int {
	first := map[string]int{}
	b.all(Settle, func(i int, f *Fact) {
		if _, known := first[f.Event]; !known && f.Result != "stale" && f.Result != "foreign" {
			first[f.Event] = i
		}
	})
	return func(r refund, event string) int {
		if at, known := first[event]; known {
			return at
		}
		return b.of[r][0]
	}
}

// timesGone is how often what Redis knew of a refund was lost or over between two facts.
func (b *book) timesGone(r refund, from, to int) int {
	n := b.forgotTimes(r, from, to)
	if b.expired(r, from, to) {
		n++
	}
	return n
}

// I6 needs commands.
func noOrphan(b *book) (string, []breach) {
	if lacks := b.lacking(Command); lacks != "" {
		return lacks, nil
	}
	var broken []breach
	for _, r := range b.order {
		commanded := false
		claimed := map[string]bool{} // process
		for _, i := range b.of[r] {
			f := &b.facts[i]
			//exhaustive:ignore
			switch f.What {
			case Command:
				commanded = true
			case Claim:
				claimed[f.Process] = claimed[f.Process] || f.Result == Won
				if !commanded {
					broken = append(broken, breach{i, r, "a record was made for what nobody had commanded"})
				}
			case Publish:
				if event(f, Succeeded, Failed, Unresolved) && !commanded {
					broken = append(broken, breach{i, r, "an event was told of what nobody had commanded"})
				}
			case Call:
				if b.has[Claim] && !claimed[f.Process] {
					broken = append(broken, breach{i, r, "Alipay was asked before the record was claimed"})
				}
			}
		}
	}
	return "", broken
}

// I7 needs deliveries, and publishes that say which delivery caused them.
func ackSafe(b *book) (string, []breach) {
	if lacks := b.lacking(Delivery, Ack, Publish); lacks != "" {
		return lacks, nil
	}
	safe, parked, unread := map[string]bool{}, map[string]bool{}, map[string]bool{}
	var broken []breach
	for i := range b.facts {
		f := &b.facts[i]
		//exhaustive:ignore
		switch f.What {
		case Delivery:
			unread[f.Delivery] = f.Number == ""
		case Publish:
			if f.Result != Confirmed || f.Delivery == "" {
				continue
			}
			switch f.Topic {
			case TopicRetry:
				safe[f.Delivery] = true
			case TopicParked:
				parked[f.Delivery] = true
				safe[f.Delivery] = safe[f.Delivery] || unread[f.Delivery]
			case TopicEvent:
				safe[f.Delivery] = safe[f.Delivery] || f.Outcome != Unresolved || parked[f.Delivery]
			}
		case Claim:
			if f.Result == Superseded {
				safe[f.Delivery] = true
			}
		case Ack:
			if !safe[f.Delivery] {
				r, _ := b.refundOf(*f)
				if r == (refund{}) {
					r = b.messages[f.Message]
				}
				broken = append(broken, breach{i, r, "acknowledged, and neither an event nor a copy of it was confirmed"})
			}
		}
	}
	return "", broken
}
