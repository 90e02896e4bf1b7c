package dedupe

// Pace is how fast calls are made of which Alipay refuses some as too many. It
// is learnt from the refusals alone: it falls to a little below what they show
// to be let through, rises slowly from there, and ever faster once it is beyond
// what was refused last, until the next refusal. What Alipay has not refused for
// ten minutes is not limited any more.
//
// Rates are in millionths of a call a second, times in microseconds of one clock,
// which may be set back: then the pace is forgotten. rate.lua and throttle.lua
// do the same for an application or one of its merchants, over all instances. The
// zero value is no limit.
type Pace struct {
	// Rate is the pace; 0: nothing is limited.
	Rate int64
	// Peak is what Alipay is believed to let through; 0: not known yet.
	Peak int64
	// Fell is when the pace fell last, Grown when a turn was given last.
	Fell, Grown int64
	// Granted and Refused count the turns that were given since the pace fell,
	// and those of them that Alipay refused.
	Granted, Refused int64
}

// The numbers of the pace. Scripts are given none of them: they have their own.
const (
	paceFirst  = 10_000_000  // the pace after the first refusal: 10/s
	paceFloor  = 16_667      // one call a minute, also while Alipay refuses all
	paceMemory = 600_000_000 // 10 min
	paceSettle = 1_000_000   // between two falls: the window before the last one counts no more
)

// Known returns the pace, or the zero value if it is forgotten by now.
func (p Pace) Known(now int64) Pace {
	if age := now - p.Fell; p.Rate == 0 || age < 0 || age >= paceMemory {
		return Pace{}
	}
	return p
}

// Grant counts a turn. Scarce says that the turn lies ahead: calls wait for the
// pace, so that it may rise, at most to top.
func (p *Pace) Grant(now int64, scarce bool, top int64) {
	if scarce {
		since := float64(now - p.Grown)
		since = min(since, max(1e6, 1e12/float64(p.Rate)))
		grown := float64(p.Rate) * min(4, 1+p.growth()*since/1e6)
		p.Rate = max(paceFloor, min(top, int64(grown)))
	}
	p.Grown = now
	p.Granted++
}

// growth is by what part the pace rises in a second.
func (p *Pace) growth() float64 {
	if p.Peak == 0 {
		return 0.5
	}
	switch x := float64(p.Rate) / float64(p.Peak); {
	case x < 0.9:
		return 0.3
	case x < 1.05:
		return 0.02
	default:
		return min(0.5, 0.02+(x-1.05)*4)
	}
}

// Refuse counts a call that Alipay refused as one too many: when its turn was
// asked for, and what the pace was then, 0 if that is not known. A refusal of
// what was asked for before the last fall says nothing new.
func (p *Pace) Refuse(now, asked, pace, top int64) {
	*p = p.Known(now)
	if p.Rate == 0 {
		*p = Pace{Rate: max(paceFloor, min(top, paceFirst)), Fell: now, Grown: now}
		return
	}
	if asked <= p.Fell {
		return
	}
	p.Refused++
	if now-p.Fell < paceSettle {
		return
	}
	if pace == 0 || pace > p.Rate {
		pace = p.Rate
	}
	share := float64(p.Refused-1) / float64(max(1, p.Granted))
	if p.Refused >= p.Granted {
		share = max(share, 0.5) // nothing was let through
	}
	through := float64(pace)
	switch {
	case share > 0.2:
		through *= 1 - min(share, 0.9)
	case p.Peak == 0 || through/float64(p.Peak) > 1.1:
		through *= 0.85 // found while rising fast: it is beyond the limit by far
	}
	peak := int64(through)
	*p = Pace{Rate: max(paceFloor, int64(float64(peak)*0.95)), Peak: max(paceFloor, peak), Fell: now, Grown: now}
}
