package history

import "slices"

// What is no longer known excuses something only for a refund whose record it can
// have touched, and only from then on.

// losses are, for each refund, the indices of the Redis facts that touched it. Where
// a fact does not say whose records were lost, as in a run on a real Redis, they are
// those that were there; where nobody wrote claims down, all that had begun.
func (b *book) losses() map[refund][]int {
	lost := map[refund][]int{}
	var unnamed []int
	b.all(Redis, func(i int, f *Fact) {
		switch r, named := b.refundOf(*f); {
		case named:
			lost[r] = append(lost[r], i)
		case f.Name != Limits && f.Result != Divided:
			unnamed = append(unnamed, i)
		}
	})
	for r, facts := range b.of {
		there, next := false, 0
		for _, loss := range unnamed {
			for ; next < len(facts) && facts[next] < loss; next++ {
				f := &b.facts[facts[next]]
				there = there || !b.has[Claim] || f.What == Claim || f.What == Settle && f.Result == Settled
			}
			if there {
				lost[r] = append(lost[r], loss)
			}
			there = there && b.facts[loss].Result != Wiped
		}
		slices.Sort(lost[r])
	}
	return lost
}

// forgot reports whether Redis lost something of a refund between two facts.
func (b *book) forgot(r refund, from, to int) bool { return b.forgotTimes(r, from, to) > 0 }

func (b *book) forgotTimes(r refund, from, to int) int {
	n := 0
	for _, i := range b.lost[r] {
		if i > from && i < to {
			n++
		}
	}
	for _, i := range b.divided {
		if f := &b.facts[i]; f.At-f.Value <= b.facts[min(to, len(b.facts)-1)].At && f.At >= b.facts[from].At {
			n++
		}
	}
	return n
}

// expired reports whether a record that was decided at or behind one fact was over by
// the time of another. An undecided one never is.
func (b *book) expired(r refund, from, to int) bool {
	if b.set.Keep == 0 {
		return false
	}
	end := &b.facts[to]
	for _, i := range b.of[r] {
		f := &b.facts[i]
		if i < from || i >= to || !event(f, Succeeded, Failed) && (f.What != Settle || f.Result != Settled) {
			continue
		}
		if end.At-f.At >= b.set.Keep || f.Expires > 0 && end.Clock >= f.Expires {
			return true
		}
	}
	return false
}

// gone reports whether what Redis knew of a refund at one fact may have been unknown to
// it at another.
func (b *book) gone(r refund, from, to int) bool {
	return b.forgot(r, from, to) || b.expired(r, from, to)
}

// nowhere reports whether all commands of a refund have vanished, but for those that were
// only ever rejected, or dropped for another: nothing can end that exists nowhere.
func (b *book) nowhere(r refund) bool {
	done, won := map[string]bool{}, map[string]bool{}
	for _, i := range b.of[r] {
		f := &b.facts[i]
		won[f.Message] = won[f.Message] || f.What == Claim && f.Result == Won
		if event(f, Rejected) || f.What == Claim && f.Result == Superseded {
			done[f.Message] = true
		}
	}
	all, some := true, false
	b.each(r, Command, func(_ int, f *Fact) {
		if won[f.Message] || !done[f.Message] {
			all, some = all && b.vanished(f.Message), true
		}
	})
	return all && some
}

// rejectedUnknowing reports whether a version that cannot read a claimed command
// rejected it, when no record told it of the claim any more.
func (b *book) rejectedUnknowing(r refund) bool {
	claimed := map[string]int{} // message -> its newest claim
	for _, i := range b.of[r] {
		f := &b.facts[i]
		if f.What == Claim && f.Result == Won {
			claimed[f.Message] = i
		}
		at, known := claimed[f.Message]
		if known && event(f, Rejected) && (f.Reason == "invalid" || f.Reason == "unknown_merchant") && b.forgot(r, at, i) {
			return true
		}
	}
	return false
}

// vanished reports whether the broker lost a message, or the last copy of it, and Redis
// lost what it knew since the message first met its record, or had no need to know it.
func (b *book) vanished(message string) bool {
	r, lost, met := b.messages[message], false, -1
	for _, i := range b.about[message] {
		f := &b.facts[i]
		lost = lost || f.What == Lost
		if met < 0 && f.What == Claim && (f.Result == Won || f.Result == Held) {
			met = i
		}
	}
	return lost && met >= 0 && b.forgot(r, met, len(b.facts)) || lost && b.unknown(message)
}

// unknown reports whether the broker lost a message before anybody had acknowledged it
// or a copy of it as claimed: until then only the broker is answerable for it.
func (b *book) unknown(message string) bool {
	lost := false
	claimed := map[string]bool{} // deliveries that left a copy which says so
	for _, i := range b.about[message] {
		f := &b.facts[i]
		//exhaustive:ignore
		switch f.What {
		case Lost:
			lost = true
		case Publish:
			claimed[f.Delivery] = claimed[f.Delivery] || f.Topic == TopicRetry && stored(f) && f.Claimed
		case Ack:
			if claimed[f.Delivery] {
				return false
			}
		}
	}
	return lost
}

// messageOf is the id of the first message that a fact is about.
func (b *book) messageOf(f *Fact) string {
	if f.Message == "" && f.Copy != "" {
		return b.copies[f.Copy]
	}
	return f.Message
}
