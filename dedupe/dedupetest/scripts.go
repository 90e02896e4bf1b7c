package dedupetest

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"refundd/dedupe"
)

// script is what a script does with its one key and its arguments.
type script func(r *Redis, key string, args []string) (any, error)

// known are the scripts by the sentence that each begins with, behind the part that
// all of them share.
func known() []knownScript {
	return []knownScript{
		{"claim", "-- Takes the record for one lease.", claim},
		{"settle", "-- Decides the record.", settle},
		{"release", "-- Gives the record back, undecided.", release},
		{"confirm", "-- Writes down that a copy of this generation is known to live.", confirm},
		{"amend", "-- Replaces the note of an undecided record that nobody holds,", amend},
		{"reject", "-- Writes down that a message is rejected, unless there is a record.", reject},
		{"read", "-- Reads the record and writes nothing.", read},
		{"lock", "-- Extends (ARGV[2] > 0, in ms) or gives back (0)", lock},
		{"rate", "-- Reserves one call of the application, or of a merchant: GCRA", rate},
		{"space", "-- Reserves the next call on one trade.", space},
		{"throttle", "-- Learns that Alipay refused a call of the application or a merchant as one too many.", throttle},
	}
}

type knownScript struct {
	name, sentence string
	script         script
}

func scriptOf(source string) (knownScript, error) {
	for _, k := range known() {
		if strings.Contains(source, k.sentence) {
			return k, nil
		}
	}
	return knownScript{}, errors.New("dedupetest: a script that is not written here")
}

func claim(r *Redis, key string, args []string) (any, error) {
	lease, generation, err := twoNumbers(args[2], args[3])
	if err != nil {
		return nil, err
	}
	var now int64
	c, _ := r.transition(Transition{Op: "claim", Key: key, Token: args[1], Generation: generation}, func(rec *Record, at int64) any {
		now = at
		return rec.Claim(dedupe.ClaimRequest{
			Fingerprint: args[0], Token: dedupe.Token(args[1]), Generation: generation, Note: []byte(args[4]), Authorisation: args[5], Message: args[6], Claimed: args[7] == "1",
		}, at, time.Duration(lease)*time.Millisecond)
	}).(dedupe.Answer)
	content := c.Note
	if c.State == dedupe.Decided {
		content = c.Event
	}
	if c.State == dedupe.Rejected {
		content = []byte(c.Reason)
	}
	return fields(c.State.String(), now, c.Fresh, c.Generation, c.Lapses, c.LapsedFor, c.HeldFor, c.Parked, c.Contradiction, content, c.LapsedAuthorisation), nil
}

func settle(r *Redis, key string, args []string) (any, error) {
	keep, _, err := twoNumbers(args[3], "0")
	if err != nil {
		return nil, err
	}
	s, _ := r.transition(Transition{Op: "settle", Key: key, Token: args[1]}, func(rec *Record, now int64) any {
		return rec.Settle(dedupe.SettleRequest{
			Fingerprint: args[0], Token: dedupe.Token(args[1]), Succeeded: args[2] == "1", Event: []byte(args[4]),
		}, now, time.Duration(keep)*time.Millisecond)
	}).(dedupe.Settlement)
	return fields(wordOf(s.State), s.Contradiction, s.Event), nil
}

func release(r *Redis, key string, args []string) (any, error) {
	rel, _ := r.transition(Transition{Op: "release", Key: key, Token: args[0]}, func(rec *Record, _ int64) any {
		return rec.Release(args[3], args[0], args[1], args[2] == "1")
	}).(dedupe.Release)
	return fields(wordOf(rel.State), rel.Generation, rel.Event), nil
}

func confirm(r *Redis, key string, args []string) (any, error) {
	generation, _, err := twoNumbers(args[0], "0")
	if err != nil {
		return nil, err
	}
	r.transition(Transition{Op: "confirm", Key: key, Generation: generation}, func(rec *Record, now int64) any {
		rec.Confirm(generation, now)
		return nil
	})
	return fields(), nil
}

func amend(r *Redis, key string, args []string) (any, error) {
	amended, _ := r.transition(Transition{Op: "amend", Key: key}, func(rec *Record, now int64) any {
		return rec.Amend(args[0], args[1], now)
	}).(bool)
	if !amended {
		return fields(false, false, false, false), nil
	}
	rec := r.record(key)
	return fields(true, rec.Generation, rec.Confirmed, rec.Parked), nil
}

func read(r *Redis, key string, _ []string) (any, error) {
	rec := r.record(key)
	is := rec.Read(r.millis())
	switch {
	case !is.Exists:
		return fields("none", "", false, false, 0, 0, 0, false, ""), nil
	case is.Decided:
		return fields("decided", is.Fingerprint, is.Succeeded, is.Contradiction, 0, 0, 0, false, is.Event), nil
	}
	return fields("undecided", is.Fingerprint, false, false, is.Generation, is.Confirmed, is.HeldFor, is.Parked, is.Note), nil
}

func reject(r *Redis, key string, args []string) (any, error) {
	keep, _, err := twoNumbers(args[2], "0")
	if err != nil {
		return nil, err
	}
	stands, _ := r.transition(Transition{Op: "reject", Key: key}, func(rec *Record, now int64) any {
		return rec.Reject(args[0], args[1], now, time.Duration(keep)*time.Millisecond)
	}).(string)
	if stands != "" {
		return fields("rejected", "", false, false, 0, 0, 0, false, stands), nil
	}
	return read(r, key, nil)
}

func lock(r *Redis, key string, args []string) (any, error) {
	ms, _, err := twoNumbers(args[1], "0")
	if err != nil {
		return nil, err
	}
	was, there := r.word(key)
	if !there || was.text != args[0] {
		return int64(0), nil
	}
	if ms == 0 {
		delete(r.words, key)
	} else {
		r.words[key] = word{was.text, r.millis() + ms}
	}
	r.wrote(func() { r.words[key] = was })
	return int64(1), nil
}

// wordOf is an outcome as scripts spell it.
func wordOf(o dedupe.Outcome) string {
	if o == dedupe.AlreadyDecided {
		return "already"
	}
	return o.String()
}

// fields make a script's answer: everything is a string.
func fields(values ...any) []any {
	out := make([]any, len(values))
	for i, v := range values {
		switch v := v.(type) {
		case bool:
			out[i] = "0"
			if v {
				out[i] = "1"
			}
		case time.Duration:
			out[i] = strconv.FormatInt(v.Milliseconds(), 10)
		case []byte:
			out[i] = string(v)
		default:
			out[i] = fmt.Sprint(v)
		}
	}
	return out
}

func twoNumbers(a, b string) (x, y int64, err error) {
	x, err = strconv.ParseInt(a, 10, 64)
	y, err2 := strconv.ParseInt(b, 10, 64)
	if err = errors.Join(err, err2); err != nil {
		return 0, 0, fmt.Errorf("dedupetest: argument: %w", err)
	}
	return x, y, nil
}

// The limits, as limit.lua and what stands behind it has them: microseconds.

func (r *Redis) micros() int64 { return r.now().UnixMicro() }

// keep keeps the set for at least so many µs.
func (s *set) keep(us int64, now int64) {
	ms := int64(math.Ceil(float64(us)/1000)) + 1
	if left := s.expires - now; s.expires == 0 || left < ms {
		s.expires = now + ms
	}
}

func space(r *Redis, key string, args []string) (any, error) {
	spacing, usable, err := twoNumbers(args[1], args[2])
	if err != nil {
		return nil, err
	}
	now, gap := r.micros(), usable+spacing
	if last := r.members(key); len(last) > 0 {
		age := now - int64(last[0].Score)
		if last[0].Member == args[0] && age >= 0 && age <= usable {
			return fields("ok", -age), nil
		}
		if age < gap && age >= -gap {
			return fields("spacing", gap-age), nil
		}
	}
	r.change(key, func(s *set) {
		s.scores, s.expires = map[string]float64{args[0]: float64(now)}, 0
		s.keep(gap, r.millis())
	})
	return fields("ok", 0), nil
}

// reservation is a member of a rate's set: its name, and when its turn is.
type reservation struct {
	name string
	at   int64
}

// paceOf reads the pace from a rate's set.
func paceOf(state map[string]int64) dedupe.Pace {
	return dedupe.Pace{
		Rate: state[":pace"], Peak: state[":peak"], Fell: state[":fell"], Grown: state[":grown"],
		Granted: state[":granted"], Refused: state[":refused"],
	}
}

func (s *set) putPace(p dedupe.Pace) {
	s.scores[":pace"], s.scores[":peak"] = float64(p.Rate), float64(p.Peak)
	s.scores[":fell"], s.scores[":grown"] = float64(p.Fell), float64(p.Grown)
	s.scores[":granted"], s.scores[":refused"] = float64(p.Granted), float64(p.Refused)
}

func topOf(perSecond int64) int64 {
	if perSecond == 0 {
		perSecond = dedupe.MaxRate
	}
	return perSecond * 1_000_000
}

func rate(r *Redis, key string, args []string) (any, error) {
	perSecond, usable, err := twoNumbers(args[1], args[3])
	lead, _, err2 := twoNumbers(args[4], "0")
	if err = errors.Join(err, err2); err != nil {
		return nil, err
	}
	token, query, now := args[0], args[2] == "1", r.micros()

	state := map[string]int64{}
	var recent, older []reservation
	var void []string
	given := int64(-1)
	for _, m := range r.members(key) {
		name, _ := m.Member.(string)
		at := int64(m.Score)
		age := now - at
		switch {
		case name[0] == ':':
			state[name] = at
			continue
		case age < -lead:
			void = append(void, name)
			continue
		case age > usable:
			older = append(older, reservation{name, at})
			continue
		case name[2:] == token:
			given = at
		}
		recent = append(recent, reservation{name, at})
	}

	pace := paceOf(state).Known(now)
	paced := pace.Rate > 0 && (perSecond == 0 || pace.Rate < perSecond*1_000_000)
	var cost, shareCost int64 = 0, 1_000_000
	switch {
	case paced:
		cost = int64(math.Ceil(1e12 / float64(pace.Rate)))
	case perSecond > 0:
		cost = (1_000_000 + perSecond - 1) / perSecond
	}
	if cost > 0 {
		shareCost = min(max(shareCost, cost), 5*cost)
	}

	most, mostShare := now+lead+lead/5+3*cost, now+lead+shareCost
	add := func(all, share int64, reservations ...reservation) (int64, int64) {
		for _, res := range reservations {
			all = max(all, res.at) + cost
			if res.name[0] == 's' {
				share = max(share, res.at) + shareCost
			}
		}
		return min(all, most), min(share, mostShare)
	}
	if n := len(recent) - 63; n > 0 {
		older, recent = append(older, recent[:n]...), recent[n:]
	}
	oldAll, oldShare := state[":all"], state[":share"]
	if oldAll > most {
		oldAll = now
	}
	if oldShare > mostShare {
		oldShare = now
	}
	oldAll, oldShare = add(oldAll, oldShare, older...)
	all, share := add(oldAll, oldShare, recent...)

	shown := pace.Rate
	if shown > 0 && !paced {
		shown = perSecond * 1_000_000
	}
	answer := func(word string, span, all int64) (any, error) {
		return fields(word, span, shown, max(0, all-now), cost), nil
	}
	if given >= 0 {
		return answer("ok", given-now, all)
	}
	kind := "a:"
	wait := max(0, all-now)
	scarce := wait > 0
	if wait > lead && query {
		wait = min(wait, max(0, share-now))
		kind = "s:"
	}
	switch {
	case wait > lead && paced:
		return answer("throttled", wait-lead, all)
	case wait > lead:
		return answer("rate", wait-lead, all)
	case cost == 0:
		return fields("ok", 0, 0, 0, 0), nil
	}
	mine := reservation{kind + token, now + wait}
	all, share = add(all, share, mine)
	r.change(key, func(s *set) {
		for _, res := range older {
			delete(s.scores, res.name)
		}
		for _, name := range void {
			delete(s.scores, name)
		}
		s.scores[":all"], s.scores[":share"], s.scores[mine.name] = float64(oldAll), float64(oldShare), float64(mine.at)
		s.keep(max(lead+usable, all-now, share-now), r.millis())
		if pace.Rate > 0 {
			pace.Grant(now, scarce, topOf(perSecond))
			s.putPace(pace)
		}
	})
	return answer("ok", wait, all)
}

func throttle(r *Redis, key string, args []string) (any, error) {
	age, given, err := twoNumbers(args[0], args[1])
	perSecond, _, err2 := twoNumbers(args[2], "0")
	if err = errors.Join(err, err2); err != nil {
		return nil, err
	}
	now := r.micros()
	state := map[string]int64{}
	for _, m := range r.members(key) {
		if name, _ := m.Member.(string); name[0] == ':' {
			state[name] = int64(m.Score)
		}
	}
	pace := paceOf(state)
	was := pace.Known(now)
	pace.Refuse(now, now-age, given, topOf(perSecond))
	if pace != was {
		r.change(key, func(s *set) {
			if was.Rate == 0 {
				s.scores[":all"] = float64(max(state[":all"], now+400_000))
			}
			s.putPace(pace)
			if pace.Fell == now {
				s.keep(600_000_000, r.millis())
			}
		})
	}
	return fields(pace.Rate), nil
}
