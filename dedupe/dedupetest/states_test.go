package dedupetest_test

import (
	"cmp"
	"fmt"
	"hash/maphash"
	"slices"
	"strings"
	"testing"
	"time"

	"refundd/dedupe"
	"refundd/dedupe/dedupetest"
)

// The walk visits every state that two workers, the broker's copies of one command
// and its record can reach within the bounds: every order of their acts, a message
// delivered to both, a lease that ends, a copy stored without its sender's knowledge,
// and, as far as the bounds allow them: a worker killed between any two acts, a script
// that its client sent twice and that arrives at any time later, and a Redis that
// forgets or is rolled back to any earlier state of the record.
type bounds struct {
	messages int8 // ever made, the first one included; at most mostMessages
	claims   int8 // ever sent
	crashes  int8
	late     int8 // scripts that arrive a second time
	forgets  bool
}

const mostMessages = 4

// world is one state. It is comparable.
type world struct {
	bounds  bounds
	rec     dedupetest.Record
	msgs    [mostMessages]message
	made    int8
	claims  int8
	late    script // to arrive, at some time, once more
	lates   int8
	crashes int8
	forgot  int8 // Redis has lost something: 1 wiped, 2 rolled back
	saved   dedupetest.Record
	saves   int8
	told    bool // an event of the decided record was published
	workers [2]worker
}

type message struct {
	gen   int8
	alive bool // neither acknowledged nor lost: the broker will deliver it
}

type worker struct {
	at    place
	msg   int8
	token int8 // 0: none
	gen   int8 // of the copy to publish
	valid bool // by the worker's own clock its lease has not ended
}

// place is what a worker will do next.
type place int8

const (
	idle     place = iota
	claiming       // has a message
	working        // has won: may call Alipay while valid
	telling        // publishes the stored event
	copying        // publishes a copy, then confirms it
	holding        // publishes a copy of what it has in hand, and confirms nothing
	confirms       // writes down that the copy lives
	acking         // acknowledges
)

type script struct {
	op    string
	token int8
	gen   int8
	ok    bool
}

// rules are the scripts that the walk uses: the model, or a mutation of it.
type rules struct {
	claim   func(r *dedupetest.Record, token string, gen int64) dedupe.Answer
	settle  func(r *dedupetest.Record, token string, ok bool) dedupe.Settlement
	release func(r *dedupetest.Record, token string) dedupe.Release
	confirm func(r *dedupetest.Record, gen int64)
}

func model() rules {
	return rules{
		claim: func(r *dedupetest.Record, token string, gen int64) dedupe.Answer {
			return r.Claim(dedupe.ClaimRequest{Fingerprint: "fp", Token: dedupe.Token(token), Generation: gen}, 0, time.Millisecond)
		},
		settle: func(r *dedupetest.Record, token string, ok bool) dedupe.Settlement {
			event := "failed"
			if ok {
				event = "succeeded"
			}
			return r.Settle(dedupe.SettleRequest{Fingerprint: "fp", Token: dedupe.Token(token), Succeeded: ok, Event: []byte(event)}, 0, 0)
		},
		release: func(r *dedupetest.Record, token string) dedupe.Release { return r.Release("fp", token, "", false) },
		confirm: func(r *dedupetest.Record, gen int64) { r.Confirm(gen, 0) },
	}
}

// Time stands at zero: a lease that runs ends at 1, one that has ended at 0.
const running = 1

// mostStates keeps a walk whose bounds are too wide from eating the machine.
const mostStates = 4_000_000

// walk goes through all states, breadth first, and returns how many there are, or
// the shortest way to one that breaks a rule.
func walk(b bounds, r rules) (states int, story []string) {
	type step struct {
		from int32
		act  string
	}
	type found struct {
		world
		id int32
	}
	first := world{bounds: b, made: 1}
	first.msgs[0].alive = true
	seed := maphash.MakeSeed()
	seen := map[uint64]bool{maphash.Comparable(seed, first): true} // of 64 bits, so that a walk fits into memory
	steps := []step{{-1, "a command is sent"}}
	for front := []found{{first, 0}}; len(front) > 0; {
		var next []found
		for _, f := range front {
			f.next(r, func(act string, to world, breaks string) {
				if story != nil {
					return
				}
				to.tidy()
				if breaks == "" {
					breaks = to.breaks()
				}
				if breaks != "" {
					story = []string{breaks, act}
					for at := f.id; at >= 0; at = steps[at].from {
						story = append(story, steps[at].act)
					}
					slices.Reverse(story)
					return
				}
				key := maphash.Comparable(seed, to)
				if seen[key] {
					return
				}
				seen[key] = true
				id := int32(len(steps))
				steps = append(steps, step{f.id, act})
				next = append(next, found{to, id})
			})
			if story != nil || len(steps) > mostStates {
				return len(steps), story
			}
		}
		front = next
	}
	return len(steps), nil
}

// tidy makes states equal that differ in nothing that matters any more: which of
// the workers is A, and messages that are gone.
func (w *world) tidy() {
	for m := range w.msgs {
		inHand := false
		for _, k := range w.workers {
			inHand = inHand || k.at != idle && int(k.msg) == m
		}
		if !w.msgs[m].alive && !inHand {
			w.msgs[m] = message{}
		}
	}
	if w.workers[1].before(w.workers[0]) {
		w.workers[0], w.workers[1] = w.workers[1], w.workers[0]
	}
}

func (k worker) before(o worker) bool {
	return cmp.Or(cmp.Compare(k.at, o.at), cmp.Compare(k.msg, o.msg), cmp.Compare(k.token, o.token), cmp.Compare(k.gen, o.gen)) < 0
}

// breaks tells which rule a state breaks.
func (w *world) breaks() string {
	alive := 0
	for _, m := range w.msgs {
		if m.alive {
			alive++
		}
	}
	switch {
	case alive == 0 && !w.told:
		return "R7: the last copy of an undecided command is gone"
	case w.forgot == 0 && w.workers[0].calls() && w.workers[1].calls():
		return "R5: two workers may call Alipay at the same time"
	case w.rec.Confirmed > w.rec.Generation:
		return "the record confirms a copy that it never released"
	}
	return ""
}

func (k worker) calls() bool { return k.at == working && k.valid }

// next tells every state that one act leads to.
func (w world) next(r rules, tell func(act string, to world, breaks string)) {
	for i, k := range w.workers {
		name := string(rune('A' + i))
		if k.at != idle && w.crashes < w.bounds.crashes {
			to := w
			to.crashes++
			to.workers[i] = worker{}
			tell(name+" is killed", to, "")
		}
		if k.at == working && k.valid {
			to := w
			to.workers[i].valid = false
			tell(name+"'s lease ends by its own clock", to, "")
		}
		w.act(r, i, name, tell)
	}
	w.around(r, tell)
}

// act tells what the worker may do next.
func (w world) act(r rules, i int, name string, tell func(string, world, string)) {
	k := w.workers[i]
	to := w
	me := &to.workers[i]
	switch k.at {
	case idle:
		for m, msg := range w.msgs {
			if msg.alive {
				to := w
				to.workers[i] = worker{at: claiming, msg: int8(m)}
				tell(fmt.Sprintf("%s is given message %d of generation %d", name, m, msg.gen), to, "")
			}
		}
	case claiming:
		if w.claims == w.bounds.claims {
			return
		}
		to.claims++
		s := script{op: "claim", token: to.claims, gen: w.msgs[k.msg].gen}
		to.run(r, s, name+" claims", func(to *world, answer any) {
			me := &to.workers[i]
			me.token = s.token
			claim, _ := answer.(dedupe.Answer)
			switch claim.State {
			case dedupe.Won:
				me.at, me.valid = working, true
			case dedupe.Decided:
				me.at = telling
			case dedupe.Superseded:
				me.at = acking
			case dedupe.Held, dedupe.Conflict, dedupe.Rejected:
				me.at, me.gen = holding, s.gen
			}
		}, tell)
	case working:
		for _, ok := range []bool{true, false} {
			s := script{op: "settle", token: k.token, ok: ok}
			to.run(r, s, fmt.Sprintf("%s settles, succeeded %v", name, ok), func(to *world, answer any) {
				me := &to.workers[i]
				settlement, _ := answer.(dedupe.Settlement)
				if me.valid, me.at = false, telling; settlement.State == dedupe.Stale {
					me.at, me.gen = holding, w.msgs[k.msg].gen
				}
			}, tell)
		}
		to.run(r, script{op: "release", token: k.token}, name+" releases", func(to *world, answer any) {
			me := &to.workers[i]
			rel, _ := answer.(dedupe.Release)
			me.valid = false
			switch rel.State {
			case dedupe.Released:
				me.at, me.gen = copying, int8(rel.Generation)
			case dedupe.AlreadyDecided:
				me.at = telling
			case dedupe.Stale, dedupe.Settled, dedupe.Foreign: // the last two are no answers to it
				me.at, me.gen = holding, w.msgs[k.msg].gen
			}
		}, tell)
	case telling:
		to.told, me.at = true, acking
		tell(name+" publishes the event", to, "")
	case copying, holding:
		if w.made == w.bounds.messages {
			return
		}
		to.msgs[w.made] = message{gen: k.gen, alive: true}
		to.made++
		tell(fmt.Sprintf("%s publishes a copy of generation %d, and does not learn it", name, k.gen), to, "")
		if me.at = acking; k.at == copying {
			me.at = confirms
		}
		tell(fmt.Sprintf("%s publishes a copy of generation %d", name, k.gen), to, "")
	case confirms:
		to.run(r, script{op: "confirm", gen: k.gen}, name+" confirms", func(to *world, _ any) { to.workers[i].at = acking }, tell)
		me.at = acking
		tell(name+" cannot confirm", to, "")
	case acking:
		to.msgs[k.msg].alive = false
		to.workers[i] = worker{}
		tell(name+" acknowledges", to, "")
	}
}

// run carries out a script once, and once more at some later time.
func (w world) run(r rules, s script, act string, then func(*world, any), tell func(string, world, string)) {
	answer, breaks := w.carryOut(r, s)
	then(&w, answer)
	tell(act+answerText(answer), w, breaks)
	if w.lates < w.bounds.late {
		w.lates++
		w.late = s
		tell(act+answerText(answer)+", and the script will arrive again", w, breaks)
	}
}

func answerText(answer any) string {
	switch a := answer.(type) {
	case dedupe.Answer:
		return ": " + a.State.String()
	case dedupe.Settlement:
		return ": " + a.State.String()
	case dedupe.Release:
		return ": " + a.State.String()
	}
	return ""
}

// carryOut runs a script on the record and holds the step to the rules of the fence.
func (w *world) carryOut(r rules, s script) (answer any, breaks string) {
	before, token := w.rec, fmt.Sprint(s.token)
	switch s.op {
	case "claim":
		answer = r.claim(&w.rec, token, int64(s.gen))
	case "settle":
		answer = r.settle(&w.rec, token, s.ok)
	case "release":
		answer = r.release(&w.rec, token)
	case "confirm":
		r.confirm(&w.rec, int64(s.gen))
	}
	after := w.rec
	fenced := s.op == "release" || s.op == "settle" && !s.ok
	switch {
	case before.Decided && after != before && (before.Letter != "F" || after.Letter != "C"):
		return answer, "R5: what was decided has changed"
	case fenced && before.Token != token && after != before:
		return answer, "R5: a stale token has written"
	case s.op == "claim" && before.Token != "" && before.Until == running && before.Token != token && after != before:
		return answer, "R5: a claim has changed a record that another token holds"
	case before.Exists && !after.Exists, before.Confirmed > after.Confirmed && !after.Decided:
		return answer, "R7: a script has forgotten what was known"
	}
	return answer, ""
}

// around is what happens to the workers.
func (w world) around(r rules, tell func(string, world, string)) {
	held := false
	for _, k := range w.workers {
		held = held || k.valid && w.rec.Token == fmt.Sprint(k.token)
	}
	// A holder's own clock, from before its claim was sent, is never later.
	if w.rec.Until == running && !held {
		to := w
		to.rec.Until = 0
		tell("the lease ends in Redis", to, "")
	}
	if w.late.op != "" {
		to := w
		to.late = script{}
		_, breaks := to.carryOut(r, w.late)
		tell("a "+w.late.op+" arrives again", to, breaks)
	}
	if w.bounds.forgets && w.saves == 0 && w.rec.Exists {
		to := w
		to.saves, to.saved = 1, w.rec
		tell("a replica copies the record", to, "")
	}
	if w.bounds.forgets && w.forgot == 0 && w.rec.Exists {
		to := w
		to.forgot, to.rec, to.saves, to.saved = 1, dedupetest.Record{}, 2, dedupetest.Record{}
		tell("Redis forgets the record", to, "")
	}
	if w.forgot == 0 && w.saves == 1 {
		to := w
		to.forgot, to.rec, to.saves, to.saved = 2, w.saved, 2, dedupetest.Record{}
		tell("Redis is rolled back", to, "")
	}
}

// Every state that the bounds allow keeps the rules of the fence and of the copies.
func TestEveryState(t *testing.T) {
	for name, b := range map[string]bounds{
		"three claims, a crash, a script twice":  {messages: 3, claims: 3, crashes: 1, late: 1},
		"three claims, a crash, Redis forgets":   {messages: 3, claims: 3, crashes: 1, forgets: true},
		"two claims, everything":                 {messages: 3, claims: 2, crashes: 1, late: 1, forgets: true},
		"four claims, four messages, no mishaps": {messages: 4, claims: 4},
	} {
		t.Run(name, func(t *testing.T) {
			if raced && (b.crashes > 0 || b.late > 0) {
				t.Skip("needs a build without the race detector")
			}
			states, story := walk(b, model())
			if story != nil {
				t.Fatalf("after %d states:\n%s", states, strings.Join(story, "\n"))
			}
			t.Logf("%d states, all of them good", states)
			if states < 5_000 || states > mostStates {
				t.Errorf("%d states: the bounds are not right", states)
			}
		})
	}
}

// The walk finds what it is there for: each of these breaks one rule of the scripts.
func TestEveryStateFindsMutations(t *testing.T) {
	const fence, copies = "R5", "R7"
	tests := []struct {
		name, breaks string
		mutate       func(*rules)
	}{
		{"a claim takes a record whose lease still runs", fence, func(r *rules) {
			r.claim = func(rec *dedupetest.Record, token string, gen int64) dedupe.Answer {
				rec.Until = 0
				return model().claim(rec, token, gen)
			}
		}},
		{"a release needs no token", fence, func(r *rules) {
			r.release = func(rec *dedupetest.Record, token string) dedupe.Release {
				if !rec.Decided && rec.Exists {
					rec.Token = token
				}
				return model().release(rec, token)
			}
		}},
		{"a failure needs no token", fence, func(r *rules) {
			r.settle = func(rec *dedupetest.Record, token string, ok bool) dedupe.Settlement {
				if !rec.Decided && rec.Exists {
					rec.Token = token
				}
				return model().settle(rec, token, ok)
			}
		}},
		{"a decided record can be claimed", fence, func(r *rules) {
			r.claim = func(rec *dedupetest.Record, token string, gen int64) dedupe.Answer {
				if rec.Decided {
					*rec = dedupetest.Record{}
				}
				return model().claim(rec, token, gen)
			}
		}},
		{"the confirmed generation itself is superseded", copies, func(r *rules) {
			r.claim = func(rec *dedupetest.Record, token string, gen int64) dedupe.Answer {
				if rec.Confirmed > 0 && !rec.Decided {
					gen--
				}
				return model().claim(rec, token, gen)
			}
		}},
		{"a release confirms its copy before it is published", copies, func(r *rules) {
			r.release = func(rec *dedupetest.Record, token string) dedupe.Release {
				rel := model().release(rec, token)
				if rel.State == dedupe.Released {
					rec.Confirm(rel.Generation, 0)
				}
				return rel
			}
		}},
		{"a confirmation does not lift the generation of a record that was rolled back", "confirms", func(r *rules) {
			r.confirm = func(rec *dedupetest.Record, gen int64) {
				if rec.Exists && !rec.Decided {
					rec.Confirmed = max(rec.Confirmed, gen)
				}
			}
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := model()
			test.mutate(&r)
			var story []string
			for _, b := range []bounds{{messages: 3, claims: 3, crashes: 1}, {messages: 3, claims: 3, crashes: 1, forgets: true}} {
				if _, story = walk(b, r); story != nil {
					break
				}
			}
			if story == nil {
				t.Fatal("no state breaks a rule")
			}
			t.Log(strings.Join(story, "\n"))
			if last := story[len(story)-1]; !strings.Contains(last, test.breaks) {
				t.Errorf("%q is broken, want %s", last, test.breaks)
			}
		})
	}
}
