package history

import "fmt"

// R2 needs calls that say for whom they are made. Where the record was lost between the
// claims of two calls, the second one may be made for another.
func oneAuthorisation(b *book) (string, []breach) {
	named := false
	b.all(Call, func(_ int, f *Fact) { named = named || f.Authorised != "" })
	if !named {
		return "calls that say for whom they are made", nil
	}
	var broken []breach
	for _, r := range b.order {
		first, since := -1, -1      // the first call, and the claim that it was made for
		claimed := map[string]int{} // delivery -> its claim
		for _, i := range b.of[r] {
			f := &b.facts[i]
			if f.What == Claim && f.Result == Won {
				claimed[f.Delivery] = i
			}
			if f.What != Call {
				continue
			}
			at, known := claimed[f.Delivery]
			if !known {
				at = i
			}
			if first >= 0 && b.gone(r, since, at) {
				first = -1
			}
			switch {
			case first < 0 && f.Method == MethodRefund:
				first, since = i, at
			case first >= 0 && f.Authorised != b.facts[first].Authorised:
				broken = append(broken, breach{i, r, fmt.Sprintf(
					"a %s is made for %q, and the first call was made for %q", f.Method, f.Authorised, b.facts[first].Authorised)})
			}
		}
	}
	return "", broken
}

// R10 needs the record's transitions, deliveries and an end. A command that Redis lost,
// too, or of which nobody had acknowledged that it was claimed, is excused.
func notForgotten(b *book) (string, []breach) {
	if !b.ended {
		return "an end", nil
	}
	if lacks := b.lacking(Claim, Delivery, Ack, Publish); lacks != "" {
		return lacks, nil
	}
	var broken []breach
	for _, r := range b.order {
		undecided, cared := -1, false
		alive := map[string]bool{}
		for _, i := range b.of[r] {
			f := &b.facts[i]
			switch {
			case f.What == Command, f.What == Publish && f.Topic == TopicRetry && stored(f):
				if f.What == Command {
					alive[f.Message] = true
				} else {
					alive[f.Copy] = true
				}
			case f.What == Ack, f.What == Lost:
				delete(alive, f.Copy)
			case f.What == Claim && f.Result == Won:
				if undecided < 0 {
					undecided = i
				}
			case f.What == Alarm, event(f, Succeeded, Failed, Unresolved), f.What == Publish && f.Topic == TopicParked && stored(f):
				cared = true
			}
		}
		if undecided >= 0 && !cared && len(alive) == 0 && !b.nowhere(r) && !b.rejectedUnknowing(r) {
			broken = append(broken, breach{undecided, r, "nothing carries this command any more, and nobody was told"})
		}
	}
	return "", broken
}

// R10i needs what enters and leaves the index. Who acknowledges knows of the claim if
// the record told it, and the copy that it leaves says so. What Redis lost behind that
// answer is excused, and an entry that left it for the end that was published.
func indexed(b *book) (string, []breach) {
	if lacks := b.lacking(Claim, Delivery, Ack, Publish, Index); lacks != "" {
		return lacks, nil
	}
	var broken []breach
	for _, r := range b.order {
		decided, last := false, 0
		entries := map[string]bool{}
		answered := map[string]int{}            // delivery -> when the record told it of the claim
		copied := map[string]bool{}             // deliveries that left a copy which says so
		ended, over := map[string]bool{}, false // deliveries that published an end; the newest entry left for one
		for _, i := range b.of[r] {
			f := &b.facts[i]
			decided = decided && !b.forgot(r, last, i)
			last = i
			//exhaustive:ignore
			switch f.What {
			case Index:
				if entries[f.Name] = true; f.Result == Left {
					delete(entries, f.Name)
				}
				over = f.Result == Left && ended[f.Delivery]
			case Settle:
				decided = decided || f.Result == Settled
			case Claim:
				decided = decided && f.Result != Won
				if !f.Unheard && (f.Result == Won || f.Result == Held) {
					answered[f.Delivery] = i
				}
			case Publish:
				copied[f.Delivery] = copied[f.Delivery] || f.Topic == TopicRetry && f.Result == Confirmed && f.Claimed
				ended[f.Delivery] = ended[f.Delivery] || event(f, Succeeded, Failed) && f.Result == Confirmed
			case Ack:
				at, knows := answered[f.Delivery]
				if knows && copied[f.Delivery] && !decided && !over && len(entries) == 0 && !b.forgot(r, at, i) {
					broken = append(broken, breach{i, r, "a claimed command was acknowledged, and the index does not know it"})
				}
			}
		}
	}
	return "", broken
}

// R10q needs claims that say whether they made the record, and the settings. A message
// is as old as its command; clocks may differ by half of the margin that KEEP leaves.
// What the first claim of a record decides holds for the life of that record, however
// often it is claimed, and until another claim makes a new one.
func onlyQueried(b *book) (string, []breach) {
	if b.set.Keep == 0 {
		return "settings.keep", nil
	}
	if lacks := b.lacking(Command, Claim, Call); lacks != "" {
		return lacks, nil
	}
	margin := min(b.set.Keep/10, 60*60*1000)
	born := map[string]int64{}
	b.all(Command, func(_ int, f *Fact) { born[f.Message] = f.At })
	var broken []breach
	for _, r := range b.order {
		old := false
		for _, i := range b.of[r] {
			f := &b.facts[i]
			at, known := born[f.Message]
			switch {
			case f.What == Claim && f.Result == Won && f.Fresh && known:
				old = f.At-at > b.set.Keep-margin/2
			case f.What == Call && f.Method == MethodRefund && old:
				broken = append(broken, breach{i, r, "called, although its message was older than KEEP when it had no record"})
			}
		}
	}
	return "", broken
}
