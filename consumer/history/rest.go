package history

import "fmt"

// I12 needs notifications and their answers.
func notified(b *book) (string, []breach) {
	if lacks := b.lacking(Notification, Reply); lacks != "" {
		return lacks, nil
	}
	forged, genuine, published := map[string]bool{}, map[string]bool{}, map[string]string{}
	safe := map[string]bool{}
	var broken []breach
	for i := range b.facts {
		f := &b.facts[i]
		r, _ := b.refundOf(*f)
		//exhaustive:ignore
		switch f.What {
		case Notification:
			forged[f.Notify] = forged[f.Notify] || f.Result == Forged
			genuine[f.Notify] = genuine[f.Notify] || f.Result == Genuine
		case Publish:
			if f.Topic != TopicEvent || f.Notify == "" || !stored(f) {
				continue
			}
			if forged[f.Notify] && !genuine[f.Notify] {
				broken = append(broken, breach{i, r, "a forged notification was told"})
			}
			if id, told := published[f.Notify]; told && id != f.Event {
				broken = append(broken, breach{i, r, "one notification was told under two ids"})
			}
			published[f.Notify] = f.Event
			safe[f.Notify] = safe[f.Notify] || f.Result == Confirmed
		case Reply:
			// Of one millisecond, the publish came first.
			for _, g := range b.facts[i+1:] {
				if g.At > f.At {
					break
				}
				safe[f.Notify] = safe[f.Notify] || g.What == Publish && g.Topic == TopicEvent && g.Notify == f.Notify && g.Result == Confirmed
			}
			if f.Result == Success && !safe[f.Notify] && f.Reason == "" {
				broken = append(broken, breach{i, r, "success was answered, and nothing was safely published"})
			}
		}
	}
	return "", broken
}

// I14 needs to know when faults stopped, and an end.
func live(b *book) (string, []breach) {
	if lacks := b.lacking(Quiet, End); lacks != "" {
		return lacks, nil
	}
	var quiet int64
	var broken []breach
	for i := range b.facts {
		f := &b.facts[i]
		//exhaustive:ignore
		switch f.What {
		case Quiet:
			quiet = f.At
		case End:
			if f.Value > 0 {
				broken = append(broken, breach{i, refund{}, fmt.Sprintf("%d messages were still on their way", f.Value)})
			}
			if b.set.Bound > 0 && f.At-quiet > b.set.Bound {
				broken = append(broken, breach{i, refund{}, fmt.Sprintf("it took %d s", (f.At-quiet)/1000)})
			}
		}
	}
	return "", broken
}

// I16 needs calls and a rate. A call may begin a quarter of a second after its
// grant, and the burst is a tenth of a second's calls, and a fifth of that for
// queries, but at least one each. Each time that Redis lost what was granted allows
// one more burst, in the windows that the loss lies in.
func withinRate(b *book) (string, []breach) {
	if b.set.Rate == 0 {
		return "settings.rate", nil
	}
	if lacks := b.lacking(Call); lacks != "" {
		return lacks, nil
	}
	const window, late = 10_000, 250
	burst := max(1, b.set.Rate/10) + max(1, b.set.Rate/50)
	granted := b.set.Rate*(window+late)/1000 + burst
	var calls, losses []int64 // when
	var broken []breach
	for i := range b.facts {
		f := &b.facts[i]
		if f.What == Redis && f.Number == "" {
			losses = append(losses, f.At)
		}
		if f.What != Call {
			continue
		}
		calls = append(calls, f.At)
		for calls[0] <= f.At-window {
			calls = calls[1:]
		}
		for len(losses) > 0 && losses[0] < calls[0]-late {
			losses = losses[1:]
		}
		if n, most := int64(len(calls)), granted+burst*int64(len(losses)); n > most {
			r, _ := b.refundOf(*f)
			broken = append(broken, breach{i, r, fmt.Sprintf("%d calls in ten seconds, at most %d are allowed", n, most)})
		}
	}
	return "", broken
}

// I17 needs counters. A process that ended took at most one count of each
// delivery in hand with it.
func counted(b *book) (string, []breach) {
	if lacks := b.lacking(Counter); lacks != "" {
		return lacks, nil
	}
	var broken []breach
	happened := map[string]int64{}
	open := map[string]map[string]bool{} // process -> deliveries in hand
	var uncertain int64
	for i := range b.facts {
		f := &b.facts[i]
		switch {
		case f.What == Publish && f.Result == Confirmed:
			switch f.Topic {
			case TopicEvent:
				happened["events"]++
			case TopicRetry:
				happened["retries"]++
			case TopicParked:
				happened["parked"]++
			}
		case f.What == Delivery:
			if open[f.Process] == nil {
				open[f.Process] = map[string]bool{}
			}
			open[f.Process][f.Delivery] = true
		case f.What == Ack:
			delete(open[f.Process], f.Delivery)
		case f.What == Process && (f.Result == Killed || f.Result == Stopped):
			uncertain += int64(len(open[f.Process])) + 1 // the sweeper counts as well
			delete(open, f.Process)
		case f.What == Counter:
			if lost := happened[f.Name] - f.Value; lost < 0 || lost > uncertain {
				broken = append(broken, breach{i, refund{}, fmt.Sprintf("%s counts %d, and %d happened", f.Name, f.Value, happened[f.Name])})
			}
		}
	}
	return "", broken
}

// I18 needs canaries.
func discreet(b *book) (string, []breach) {
	if lacks := b.lacking(Canary); lacks != "" {
		return lacks, nil
	}
	var broken []breach
	b.all(Canary, func(i int, f *Fact) {
		if f.Result == Found {
			broken = append(broken, breach{i, refund{}, f.Name + " was found where it must not be"})
		}
	})
	return "", broken
}

// I19 needs a second run.
func repeatable(b *book) (string, []breach) {
	if b.opts.Repeat == "" {
		return "the hash of a second run", nil
	}
	if h := Hash(b.facts); h != b.opts.Repeat {
		return "", []breach{{0, refund{}, fmt.Sprintf("the second run has hash %s, this one %s", b.opts.Repeat, h)}}
	}
	return "", nil
}

// I20 needs faults.
func reached(b *book) (string, []breach) {
	if lacks := b.lacking(Fault); lacks != "" {
		return lacks, nil
	}
	injected, happened := map[string]int{}, map[string]bool{}
	var order []string
	b.all(Fault, func(i int, f *Fact) {
		if _, known := injected[f.Name]; !known {
			injected[f.Name] = i
			order = append(order, f.Name)
		}
		happened[f.Name] = happened[f.Name] || f.Result == Happened
	})
	var broken []breach
	for _, name := range order {
		if !happened[name] {
			broken = append(broken, breach{injected[name], refund{}, name + " was injected and never happened"})
		}
	}
	return "", broken
}
