package history

import "slices"

// ask is one request to Alipay and what came back.
type ask struct {
	method, delivery   string
	begun, ended       int // facts; ended is -1 where nothing came back
	from, until        moment
	result             string
	signed, queryFirst bool
}

// moment is a time by the history's clock and by Redis', which the service goes by.
type moment struct{ at, clock int64 }

// apart reports whether so much time lies between two moments, by either clock.
func (m moment) apart(later moment, least int64) bool {
	return later.at-m.at >= least || later.clock-m.clock >= least
}

// refused: a definite refusal, signed or not.
func (a *ask) refused() bool { return a.ended >= 0 && a.result == Refused }

// trusted: a refusal that can be believed of its own call.
func (a *ask) trusted() bool { return a.refused() && a.signed && !a.queryFirst }

// harmless: Alipay or the network said, in a way that can be believed, that the call
// was not executed.
func (a *ask) harmless() bool {
	switch {
	case a.ended < 0:
		return false
	case a.result == NotSent:
		return true
	}
	return a.trusted() || a.signed && slices.Contains([]string{"limited", "blocked_merchant", "blocked_configuration"}, a.result)
}

// I10 needs settles, answers and the settings. It is said here once more, apart from
// the flow, what proves a failure:
//   - a query that shows the refund as closed; or
//   - one round: a refusal that is signed and not of a code that may mean "made before",
//     then a query that does not find the refund. The query may follow at once if this was
//     the first call ever, on a delivery that was never tried before; else it begins
//     QUERY_AFTER behind the refusal, and every earlier call is known as not executed; or
//   - two rounds with any refusals, QUERY_AFTER apart, and no call of unknown end since the
//     first; if the second refusal is not signed, its query begins QUERY_AFTER behind it; or
//   - of a red packet that cannot be asked for: such a refusal of the first call ever; or
//   - of what was given up or came too late: no call, or two queries that do not find it,
//     QUERY_AFTER apart and after the last call.
//
// Between a refusal, its query and the settlement no call begins. Calls before a loss of
// Redis that touched the refund are not known to who claims it then, unless its copy says
// that it was claimed: that counts as a call of unknown end.
func failureProven(b *book) (string, []breach) {
	if b.set.QueryAfter == 0 {
		return "settings.query_after", nil
	}
	if lacks := b.lacking(Settle, Answer); lacks != "" {
		return lacks, nil
	}
	var broken []breach
	for _, r := range b.order {
		asks := b.asks(r)
		b.each(r, Settle, func(i int, f *Fact) {
			if f.Outcome != Failed || f.Result != Settled {
				return
			}
			if why := b.unproven(r, i, until(asks, i)); why != "" {
				broken = append(broken, breach{i, r, "failed was settled, and " + why})
			}
		})
	}
	return "", broken
}

// asks are all requests about a refund, in the order in which they began.
func (b *book) asks(r refund) []*ask {
	var all []*ask
	open := map[string]*ask{}
	ahead := map[string]int64{} // delivery -> by how much Redis' clock is ahead
	for _, i := range b.of[r] {
		f := &b.facts[i]
		now := moment{f.At, f.At + ahead[f.Delivery]}
		//exhaustive:ignore
		switch f.What {
		case Claim:
			if f.Result == Won && f.Clock > 0 {
				ahead[f.Delivery] = f.Clock - f.At
			}
		case Call:
			a := &ask{method: f.Method, delivery: f.Delivery, begun: i, ended: -1, from: now, until: now}
			open[f.Call] = a
			all = append(all, a)
		case Answer:
			if a := open[f.Call]; a != nil {
				a.ended, a.until, a.result, a.signed, a.queryFirst = i, now, f.Result, f.Signed, f.QueryFirst
			}
		}
	}
	return all
}

// until are the asks that had begun before a fact; what was answered later is unknown.
func until(asks []*ask, fact int) []*ask {
	var known []*ask
	for _, a := range asks {
		if a.begun >= fact {
			break
		}
		if a.ended >= fact {
			open := *a
			open.ended = -1
			a = &open
		}
		known = append(known, a)
	}
	return known
}

// unproven says what is missing of the proof of a failure that was settled at a fact.
func (b *book) unproven(r refund, settled int, asks []*ask) string {
	f := &b.facts[settled]
	var calls, queries []*ask
	closed := false
	for _, a := range asks {
		closed = closed || a.ended >= 0 && a.result == Closed
		if a.method == MethodRefund {
			calls = append(calls, a)
		} else {
			queries = append(queries, a)
		}
	}
	if closed {
		return ""
	}
	if f.Reason == "expired" || f.Reason == "withdrawn" {
		return b.unwished(calls, queries)
	}
	if len(calls) == 0 {
		return "Alipay was never asked for it"
	}
	last := calls[len(calls)-1]
	if !last.refused() {
		return "Alipay did not refuse the last call"
	}
	first, doubt, cut := b.before(r, calls)
	absent := absences(queries, last.ended, settled)
	switch {
	case last.trusted() && first && len(absent) > 0:
		return ""
	case last.trusted() && first && b.cannotBeAsked(r, last, queries):
		return ""
	case len(absent) == 0:
		return "no query behind the refusal agreed"
	case last.trusted() && !doubt && last.until.apart(absent[len(absent)-1].from, b.set.QueryAfter):
		return ""
	case !last.signed && !last.until.apart(absent[len(absent)-1].from, b.set.QueryAfter):
		return "the query came too soon behind a refusal that is not signed"
	case !b.roundBefore(calls, queries, cut):
		return "one round does not prove it here"
	}
	return ""
}

// before reports whether the last call was the first one ever, as far as whoever made it
// could know, and whether an earlier one may have been executed. Calls from before cut
// are those that Redis may have lost.
func (b *book) before(r refund, calls []*ask) (first, doubt bool, cut int) {
	last := calls[len(calls)-1]
	claim := last.begun
	cut = -1
	b.each(r, Claim, func(i int, f *Fact) {
		if f.Result == Won && f.Delivery == last.delivery && i < last.begun {
			claim = i
		}
	})
	for _, loss := range b.lost[r] {
		if loss < claim {
			cut = loss
		}
	}
	first = !b.has[Claim] || b.facts[claim].Fresh
	for _, a := range calls[:len(calls)-1] {
		if a.begun > cut {
			first = false
			doubt = doubt || !a.harmless()
		}
	}
	retried, claimed := map[string]bool{}, map[string]bool{} // deliveries
	for _, i := range b.of[r] {
		f := &b.facts[i]
		switch {
		case i > last.begun:
		case f.What == Delivery:
			retried[f.Delivery], claimed[f.Delivery] = f.Topic != TopicCommand, f.Claimed
		case f.What == Claim && f.Result == Won && f.Fresh && i > cut:
			doubt = doubt || claimed[f.Delivery]
		}
	}
	return first && !doubt && !retried[last.delivery], doubt, cut
}

// absences are the queries that began behind one fact, were answered before another,
// and did not find the refund.
func absences(queries []*ask, from, to int) []*ask {
	var found []*ask
	for _, q := range queries {
		if q.begun > from && q.ended >= 0 && q.ended < to && q.result == Absent {
			found = append(found, q)
		}
	}
	return found
}

// roundBefore reports whether the last call comes QUERY_AFTER behind a complete round, and
// no known call behind that round has an unknown end.
func (b *book) roundBefore(calls, queries []*ask, cut int) bool {
	last := calls[len(calls)-1]
	for n := len(calls) - 2; n >= 0; n-- {
		a := calls[n]
		if !a.refused() && !a.harmless() && a.begun > cut {
			return false
		}
		if !a.refused() {
			continue
		}
		for _, q := range absences(queries, a.ended, calls[n+1].begun) {
			if q.until.apart(last.from, b.set.QueryAfter) {
				return true
			}
		}
	}
	return false
}

// cannotBeAsked: a red packet whose command names no order, or one that Alipay never
// named itself, and of which no answer named an operation.
func (b *book) cannotBeAsked(r refund, last *ask, queries []*ask) bool {
	if r.kind != "coupon_refund" {
		return false
	}
	askable := false
	b.each(r, Command, func(_ int, f *Fact) { askable = askable || f.Askable })
	asked := false
	for _, q := range queries {
		if q.begun > last.begun && q.ended >= 0 {
			asked = asked || q.result == Unproven
		}
	}
	return asked || !askable
}

// unwished judges what was given up, or came too late.
func (b *book) unwished(calls, queries []*ask) string {
	if len(calls) == 0 {
		return ""
	}
	last := calls[len(calls)-1]
	absent := absences(queries, last.begun, len(b.facts))
	for n, q := range absent {
		if last.until.apart(q.from, b.set.QueryAfter) && q.until.apart(absent[len(absent)-1].from, b.set.QueryAfter) && n < len(absent)-1 {
			return ""
		}
	}
	return "no two rounds of queries agree that it was not made"
}
