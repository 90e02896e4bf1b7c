package history

import "fmt"

// I8 needs commands and calls. Two contents are excused where the record was lost
// between the claims that their calls were made for, or by which they came first.
func oneContent(b *book) (string, []breach) {
	if lacks := b.lacking(Command, Call); lacks != "" {
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
		called, since := -1, -1
		claimed := map[string]int{} // delivery -> its claim
		for _, i := range b.of[r] {
			f := &b.facts[i]
			switch {
			case f.What == Claim && f.Result == Won:
				claimed[f.Delivery] = i
			case f.What == Call && f.Method == MethodRefund:
				at, known := claimed[f.Delivery]
				if !known {
					at = i
				}
				if called >= 0 && !f.alike(&b.facts[called]) && !b.gone(r, since, at) {
					broken = append(broken, breach{i, r, "two calls under one number differ in trade or amount"})
				}
				called, since = i, at
			}
		}
		if b.ended {
			broken = append(broken, conflicts(b, r, rejected)...)
		}
	}
	return "", broken
}

// conflicts finds commands of different content that were taken under one number:
// neither rejected nor given to a person, and claimed while the other was known.
func conflicts(b *book, r refund, rejected map[string]bool) []breach {
	told, kept := map[string]bool{}, map[string]int{} // content; fingerprint -> command
	b.each(r, Publish, func(_ int, f *Fact) {
		if event(f, Unresolved) {
			told[f.content()] = true
		}
	})
	latest := 0
	b.each(r, Command, func(i int, f *Fact) {
		if !rejected[f.Message] && !told[f.content()] && !b.vanished(f.Message) {
			kept[f.Fingerprint] = i
			latest = i
		}
	})
	if len(kept) < 2 {
		return nil
	}
	const text = "two commands of different content under one number, and none was told to conflict"
	if !b.has[Claim] { // which of them came first is not known
		if b.timesGone(r, b.of[r][0], len(b.facts)-1) < len(kept)-1 {
			return []breach{{latest, r, text}}
		}
		return nil
	}
	var broken []breach
	won, last := map[string]bool{}, -1
	b.each(r, Claim, func(i int, f *Fact) {
		mine := b.prints[f.Message]
		if _, is := kept[mine]; !is || f.Result != Won {
			return
		}
		if last >= 0 && b.prints[b.facts[last].Message] != mine && !b.gone(r, last, i) {
			broken = append(broken, breach{i, r, text})
		}
		won[mine], last = true, i
	})
	for fingerprint, command := range kept {
		if !won[fingerprint] {
			broken = append(broken, breach{command, r, text})
		}
	}
	return broken
}

func (f *Fact) alike(g *Fact) bool { return f.Trade == g.Trade && f.Amount == g.Amount }

// I9 needs the record's transitions. A Redis that lost its newest writes may have
// kept, or brought back, any earlier holder, and any earlier release, which it then
// answers alike when it is sent again.
func oneHolder(b *book) (string, []breach) {
	if lacks := b.lacking(Claim); lacks != "" {
		return lacks, nil
	}
	var broken []breach
	for _, r := range b.order {
		holder, until, since := "", int64(0), 0
		released := ""
		won, unsure := map[string]bool{}, false
		gave := map[string]int{} // token -> its first release
		for _, i := range b.of[r] {
			f := &b.facts[i]
			if b.forgot(r, since, i) {
				holder, released, since, unsure = "", "", i, true
			}
			if unsure && won[f.Token] && (f.What == Release && f.Result == Released || f.What == Settle && f.Result == Settled) {
				holder = f.Token
			}
			switch {
			case f.What == Claim && f.Result == Won:
				// Redis' clock may have been set back: no lease is longer for that.
				if holder != "" && holder != f.Token && f.Clock < until && f.At < b.facts[since].At+b.set.Lease {
					broken = append(broken, breach{i, r, fmt.Sprintf("token %s won while %s held the record", f.Token, holder)})
				}
				holder, until, since, unsure = f.Token, f.Lease, i, false
				won[f.Token] = true
			case f.What == Release && f.Result == Released:
				at, again := gave[f.Token]
				repeated := again && b.forgot(r, at, i)
				if f.Token != holder && f.Token != released && !repeated {
					broken = append(broken, breach{i, r, fmt.Sprintf("token %s released what %q holds", f.Token, holder)})
				}
				if !again {
					gave[f.Token] = i
				}
				if f.Token == holder {
					holder, released, since, unsure = "", f.Token, i, false
				}
			case (f.What == Release || f.What == Settle) && f.Result == Unknown && f.Token == holder:
				holder, since, unsure = "", i, true // it may have given the record up
				if f.What == Release {
					released = f.Token // and is answered alike when it is sent again
				}
			case f.What == Settle && f.Result == Settled:
				if f.Outcome == Failed && f.Token != holder {
					broken = append(broken, breach{i, r, fmt.Sprintf("token %s settled failed, and %q holds the record", f.Token, holder)})
				}
				holder, since, unsure = "", i, false
			}
		}
	}
	return "", broken
}

// I11 needs settles, claims and the settings.
func keptLong(b *book) (string, []breach) {
	if b.set.Keep == 0 {
		return "settings.keep", nil
	}
	if lacks := b.lacking(Claim); lacks != "" {
		return lacks, nil
	}
	var broken []breach
	if b.set.Keep <= b.set.MaxAge+2*60*60*1000+b.set.Retention {
		broken = append(broken, breach{0, refund{}, "keep is not above max_age, the longest delay and the retention together"})
	}
	for i := range b.facts {
		f := &b.facts[i]
		r, _ := b.refundOf(*f)
		//exhaustive:ignore
		switch f.What {
		case Settle:
			if f.Result == Settled && f.Expires >= 0 && f.Expires-f.Clock < b.set.Keep {
				broken = append(broken, breach{i, r, fmt.Sprintf("a decided record expires after %d ms", f.Expires-f.Clock)})
			}
		case Claim:
			if f.Result == Won && f.Expires != 0 {
				broken = append(broken, breach{i, r, "an undecided record expires"})
			}
		case Release:
			if f.Result == Released && f.Expires != 0 {
				broken = append(broken, breach{i, r, "an undecided record expires"})
			}
		}
	}
	return "", broken
}

// I13 needs processes that were asked to stop, and the settings.
func drained(b *book) (string, []breach) {
	asked := map[string]int64{}
	var broken []breach
	for i := range b.facts {
		f := &b.facts[i]
		since, stopping := asked[f.Process]
		switch {
		case f.What == Process && f.Result == Stopping:
			asked[f.Process] = f.At
		case f.What == Process && f.Result == Stopped && stopping:
			if b.set.Drain > 0 && f.At-since > b.set.Drain {
				broken = append(broken, breach{i, refund{}, fmt.Sprintf("the stop took %d ms", f.At-since)})
			}
		case f.What == Process:
			delete(asked, f.Process)
		case f.What == Call && stopping && f.At-since > 1000:
			r, _ := b.refundOf(*f)
			broken = append(broken, breach{i, r, "a call began more than a second after the signal"})
		}
	}
	if len(asked) == 0 && len(broken) == 0 {
		return "a process that was asked to stop", nil
	}
	return "", broken
}

// R7 needs deliveries and copies that are named. A delivery that made a copy has
// replaced its own, acknowledged or not, so more may live only from what others
// added: commands, a copy that was stored without the sender's knowledge, another
// delivery of the same message, and a copy made from the record.
func copiesBounded(b *book) (string, []breach) {
	if lacks := b.lacking(Delivery, Ack, Publish); lacks != "" {
		return lacks, nil
	}
	var broken []breach
	for _, r := range b.order {
		alive, sources := map[string]bool{}, 1
		delivered := map[string]bool{}
		inHand := map[string]string{} // delivery -> copy
		for _, i := range b.of[r] {
			f := &b.facts[i]
			//exhaustive:ignore
			switch f.What {
			case Command:
				sources++
			case Delivery:
				if delivered[f.Copy] {
					sources++
					if f.Topic == TopicRetry {
						alive[f.Copy] = true
					}
				}
				delivered[f.Copy] = true
				inHand[f.Delivery] = f.Copy
			case Publish:
				if f.Topic != TopicRetry || !stored(f) {
					continue
				}
				alive[f.Copy] = true
				if f.Result == Stored || f.Delivery == "" {
					sources++
				} else {
					delete(alive, inHand[f.Delivery])
				}
				if len(alive) > sources {
					broken = append(broken, breach{i, r, fmt.Sprintf("%d copies live, which %d sources cannot explain", len(alive), sources)})
				}
			case Ack:
				delete(alive, f.Copy)
			}
		}
	}
	return "", broken
}

// R8 needs claims, calls and the settings.
func callFits(b *book) (string, []breach) {
	if b.set.Lease == 0 || b.set.Timeout == 0 {
		return "settings.lease and settings.timeout", nil
	}
	if lacks := b.lacking(Claim, Call); lacks != "" {
		return lacks, nil
	}
	var broken []breach
	for _, r := range b.order {
		deadline := map[string]int64{} // delivery
		for _, i := range b.of[r] {
			f := &b.facts[i]
			switch {
			case f.What == Claim && f.Result == Won:
				deadline[f.Delivery] = max(deadline[f.Delivery], f.Sent+b.set.Lease) // the first may come late
			case f.What == Call && f.Method == MethodRefund && f.At+b.set.Timeout > deadline[f.Delivery]:
				broken = append(broken, breach{i, r, fmt.Sprintf("the call began %d ms before its lease ended", deadline[f.Delivery]-f.At)})
			case f.What == Call && f.At > deadline[f.Delivery]:
				broken = append(broken, breach{i, r, "the query began after its lease had ended"})
			}
		}
	}
	return "", broken
}

// R9 needs claims and events. Where a conflict was found, the record was lost between
// it and the claim; elsewhere between the claim and the event.
func neverRejected(b *book) (string, []breach) {
	if lacks := b.lacking(Claim, Publish); lacks != "" {
		return lacks, nil
	}
	claimed := map[string][]int{} // message
	conflict := map[string]int{}  // delivery
	var broken []breach
	for i := range b.facts {
		f := &b.facts[i]
		switch {
		case f.What == Claim && f.Result == Won && f.Message != "":
			claimed[f.Message] = append(claimed[f.Message], i)
		case f.What == Claim && f.Result == Conflict:
			conflict[f.Delivery] = i
		case event(f, Rejected):
			at, found := conflict[f.Delivery]
			if !found {
				at = i
			}
			r, known := b.messages[f.Message]
			if !known {
				r, _ = b.refundOf(*f)
			}
			for _, since := range claimed[f.Message] {
				if !b.gone(r, min(since, at), max(since, at)) {
					broken = append(broken, breach{i, r, "rejected as never sent, and it had been claimed"})
					break
				}
			}
		}
	}
	return "", broken
}
