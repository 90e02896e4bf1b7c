package dedupe_test

import (
	"testing"

	"refundd/dedupe"
)

const (
	perSecond = int64(1_000_000)
	top       = 1000 * perSecond
	minute    = 60 * perSecond // µs
)

// TestPaceIsForgotten: ten minutes after it fell, or if the clock was set back.
func TestPaceIsForgotten(t *testing.T) {
	p := dedupe.Pace{Rate: 5 * perSecond, Peak: 6 * perSecond, Fell: 100, Grown: 200, Granted: 3, Refused: 1}
	for _, row := range []struct {
		now  int64
		want dedupe.Pace
	}{{99, dedupe.Pace{}}, {100, p}, {100 + 10*minute - 1, p}, {100 + 10*minute, dedupe.Pace{}}} {
		if got := p.Known(row.now); got != row.want {
			t.Errorf("at %d: %+v, want %+v", row.now, got, row.want)
		}
	}
	if got := (dedupe.Pace{Peak: 1, Fell: 100, Granted: 4}).Known(100); got != (dedupe.Pace{}) {
		t.Errorf("%+v, want nothing without a rate", got)
	}
}

// TestPaceGrows by what is between it and the peak, at most as of one second or of one
// turn, never beyond the top, and only while calls wait for it.
func TestPaceGrows(t *testing.T) {
	for _, row := range []struct {
		name              string
		rate, peak, since int64
		scarce            bool
		top, want         int64
	}{
		{"searching", 10 * perSecond, 0, perSecond, true, top, 15 * perSecond},
		{"searching, half a second", 10 * perSecond, 0, perSecond / 2, true, top, 12_500_000},
		{"idle for long", 10 * perSecond, 0, 9 * perSecond, true, top, 15 * perSecond},
		{"nobody waits", 10 * perSecond, 0, perSecond, false, top, 10 * perSecond},
		{"at the top", 10 * perSecond, 0, perSecond, true, 12 * perSecond, 12 * perSecond},
		{"far below the peak", 8 * perSecond, 10 * perSecond, perSecond, true, top, 10_400_000},
		{"just below the peak", 9 * perSecond, 10 * perSecond, perSecond, true, top, 9_180_000},
		{"at the peak", 10 * perSecond, 10 * perSecond, perSecond, true, top, 10_200_000},
		{"a little beyond the peak", 11 * perSecond, 10 * perSecond, perSecond, true, top, 13_420_000},
		{"far beyond the peak", 20 * perSecond, 10 * perSecond, perSecond, true, top, 30 * perSecond},
		{"one call in two seconds, after one turn", perSecond / 2, 0, 2 * perSecond, true, top, perSecond},
		{"one call in two seconds, after two turns", perSecond / 2, 0, 4 * perSecond, true, top, perSecond},
		{"one call a minute", 16_667, 0, minute, true, top, 4 * 16_667},
		{"below the floor", 1000, 0, 1, true, top, 16_667},
	} {
		p := dedupe.Pace{Rate: row.rate, Peak: row.peak, Fell: 5, Grown: 1000, Granted: 7, Refused: 2}
		p.Grant(1000+row.since, row.scarce, row.top)
		if diff := p.Rate - row.want; diff < -1 || diff > 1 {
			t.Errorf("%s: %d, want %d", row.name, p.Rate, row.want)
		}
		p.Rate = row.rate
		if p != (dedupe.Pace{Rate: row.rate, Peak: row.peak, Fell: 5, Grown: 1000 + row.since, Granted: 8, Refused: 2}) {
			t.Errorf("%s: %+v", row.name, p)
		}
	}
}

// TestPaceFalls to a little below what the refusals show to be let through.
func TestPaceFalls(t *testing.T) {
	const fell, now = 50 * perSecond, 60 * perSecond
	known := func(rate, peak, granted, refused int64) dedupe.Pace {
		return dedupe.Pace{Rate: rate * perSecond, Peak: peak * perSecond, Fell: fell, Grown: fell, Granted: granted, Refused: refused}
	}
	fallen := func(rate, peak int64) dedupe.Pace { return dedupe.Pace{Rate: rate, Peak: peak, Fell: now, Grown: now} }
	with := func(p dedupe.Pace, refused int64) dedupe.Pace {
		p.Refused = refused
		return p
	}
	for _, row := range []struct {
		name                  string
		pace                  dedupe.Pace
		now, asked, then, top int64
		want                  dedupe.Pace
	}{
		{"the first", dedupe.Pace{}, now, now, 0, top, fallen(10*perSecond, 0)},
		{"the first, at a low rate", dedupe.Pace{}, now, now, 0, 3 * perSecond, fallen(3*perSecond, 0)},
		{"the first, at the lowest rate", dedupe.Pace{}, now, now, 0, 1000, fallen(16_667, 0)},
		{"the first after ten minutes", dedupe.Pace{Rate: 5, Fell: now - 10*minute, Refused: 4}, now, now, 0, top, fallen(10*perSecond, 0)},
		{"asked for before the last fall", known(20, 30, 10, 1), now, fell, 0, top, known(20, 30, 10, 1)},
		{"asked for just after it", known(20, 20, 10, 1), now, fell + 1, 0, top, fallen(19*perSecond, 20*perSecond)},
		{"soon after it", known(20, 30, 10, 1), fell + perSecond - 1, fell + 1, 0, top, with(known(20, 30, 10, 1), 2)},
		{"a second after it", known(20, 20, 10, 0), fell + perSecond, fell + 1, 0, top, dedupe.Pace{Rate: 19 * perSecond, Peak: 20 * perSecond, Fell: fell + perSecond, Grown: fell + perSecond}},
		{"the pace was lower then", known(20, 20, 10, 0), now, now, 10 * perSecond, top, fallen(9_500_000, 10*perSecond)},
		{"the pace was higher then", known(20, 20, 10, 0), now, now, 40 * perSecond, top, fallen(19*perSecond, 20*perSecond)},
		{"a tenth beyond the peak", known(22, 20, 10, 0), now, now, 0, top, fallen(20_900_000, 22*perSecond)},
		{"more beyond the peak", known(24, 20, 10, 0), now, now, 0, top, fallen(19_380_000, 20_400_000)},
		{"searching", known(20, 0, 10, 0), now, now, 0, top, fallen(16_150_000, 17*perSecond)},
		{"a fifth was refused", known(20, 20, 10, 2), now, now, 0, top, fallen(19*perSecond, 20*perSecond)},
		{"more than a fifth was refused", known(20, 20, 10, 3), now, now, 0, top, fallen(13_300_000, 14*perSecond)},
		{"half of few", known(20, 20, 2, 1), now, now, 0, top, fallen(9_500_000, 10*perSecond)},
		{"all were refused", known(20, 20, 3, 2), now, now, 0, top, fallen(6_333_333, 6_666_666)},
		{"the only one was refused", known(20, 20, 1, 0), now, now, 0, top, fallen(9_500_000, 10*perSecond)},
		{"more than were counted", known(20, 20, 0, 9), now, now, 0, top, fallen(1_900_000, 2*perSecond)},
		{"down to the floor", dedupe.Pace{Rate: 17_000, Peak: 17_000, Fell: fell, Granted: 1}, now, now, 0, top, fallen(16_667, 16_667)},
	} {
		p := row.pace
		p.Refuse(row.now, row.asked, row.then, row.top)
		got := p
		for _, pair := range [][2]*int64{{&got.Rate, &row.want.Rate}, {&got.Peak, &row.want.Peak}} {
			if diff := *pair[0] - *pair[1]; diff == 1 || diff == -1 {
				*pair[0] = *pair[1] // a float's rounding
			}
		}
		if got != row.want {
			t.Errorf("%s: %+v, want %+v", row.name, p, row.want)
		}
	}
}
