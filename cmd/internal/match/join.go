package match

import (
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"refundd/producer"
)

// State is what became of a row.
type State string

// The states of a row. Only the first is well.
const (
	Matched     State = "matched"     // one final event, the right one
	Missing     State = "missing"     // no event at all
	Unresolved  State = "unresolved"  // parked for a person: an event, but no final one
	Conflicting State = "conflicting" // two different final events, or one for another amount
)

// Row is a command that does not match, with all its like: commands of one
// number and content are one row.
type Row struct {
	State    State
	Number   string // as in Key
	Amount   int64  // fen; 0 where none is known
	Commands int64  // messages
	Sent     time.Time
	Detail   string
	EventIDs []string // the final ones
}

// Result counts messages. Commands is the sum of the states and Unsure.
type Result struct {
	Commands    int64 `json:"commands"`
	Matched     int64 `json:"matched"`
	Missing     int64 `json:"missing"`
	Unresolved  int64 `json:"unresolved"`
	Conflicting int64 `json:"conflicting"`
	// Unsure are commands whose sending was not confirmed and that have no event.
	Unsure int64 `json:"unsure"`

	// Of the matched, what their events say.
	Succeeded int64 `json:"succeeded"`
	Failed    int64 `json:"failed"`
	Rejected  int64 `json:"rejected"`

	Events int64 `json:"events"` // of these commands, repeats included
	// Repeats are events whose id was there before: at least once, as promised.
	Repeats int64 `json:"repeats"`
	// Foreign are events of no command that was added.
	Foreign int64 `json:"foreign"`
	// Again are commands that repeat an earlier one, number and content.
	Again int64 `json:"again"`

	Latency Latency `json:"latency"`
}

// Clean reports whether every command matches.
func (r Result) Clean() bool { return r.Missing+r.Unresolved+r.Conflicting+r.Unsure == 0 }

// Settled reports whether there is no event to wait for: what is unresolved
// waits for a person.
func (r Result) Settled() bool { return r.Missing+r.Unsure == 0 }

type joiner struct {
	tell   func(Row) error
	result Result
}

// gathering takes all entries of one key, and then judges them.
type gathering interface {
	add(e entry)
	judge() error
}

// partitions reads a partition, in memory if it is small enough.
type partitions struct {
	dir   string
	limit int64
	fresh func() gathering
}

func (j *partitions) join(pieces []part) error {
	for _, p := range pieces {
		if err := j.part(p); err != nil {
			return fmt.Errorf("match: %w", err)
		}
	}
	return nil
}

func (j *partitions) part(p part) (err error) {
	if p.size > j.limit && p.depth+1 < maxDepth {
		finer, err := newParts(j.dir, p.depth+1, 4<<10)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, finer.close()) }()
		if err := errors.Join(p.each(finer.add), finer.flush()); err != nil {
			return err
		}
		for i, file := range finer.files {
			if err := j.part(part{p.depth + 1, file, finer.size[i]}); err != nil {
				return err
			}
		}
		return nil
	}
	groups := map[[16]byte]gathering{}
	if err := p.each(func(e entry) error {
		g := groups[e.key]
		if g == nil {
			g = j.fresh()
			groups[e.key] = g
		}
		g.add(e)
		return nil
	}); err != nil {
		return err
	}
	for _, g := range groups {
		if err := g.judge(); err != nil {
			return err
		}
	}
	return nil
}

// group is everything of one key. Nearly always that is one command and one
// event, so the small lists are searched from the front.
type group struct {
	joiner   *joiner
	commands []asked
	events   []told
}

// asked are the commands of one content.
type asked struct {
	content      [16]byte
	text         string
	amount, sent int64
	sure, unsure int64
}

// told are the events of one id.
type told struct {
	id                     [16]byte
	tag                    byte
	amount, stored, copies int64
}

func (g *group) add(e entry) {
	if e.tag != tagCommand && e.tag != tagUnsure {
		for i := range g.events {
			if ev := &g.events[i]; ev.id == e.id && ev.tag == e.tag {
				ev.copies++
				ev.stored = min(ev.stored, e.at)
				return
			}
		}
		g.events = append(g.events, told{e.id, e.tag, e.amount, e.at, 1})
		return
	}
	i := slices.IndexFunc(g.commands, func(c asked) bool { return c.content == e.id })
	if i < 0 {
		i = len(g.commands)
		g.commands = append(g.commands, asked{content: e.id, text: e.text, amount: e.amount, sent: e.at})
	}
	c := &g.commands[i]
	c.sent = min(c.sent, e.at)
	if e.tag == tagUnsure {
		c.unsure++
	} else {
		c.sure++
	}
}

func (g *group) judge() error {
	j := g.joiner
	var decided, rejected []told
	unresolved := false
	copies := int64(0)
	for _, ev := range g.events {
		copies += ev.copies
		switch ev.tag {
		case tagSucceeded, tagFailed:
			decided = append(decided, ev)
		case tagRejected:
			rejected = append(rejected, ev)
		case tagUnresolved:
			unresolved = true
		}
	}
	r := &j.result
	if len(g.commands) == 0 {
		r.Foreign += copies
		return nil
	}
	r.Events += copies
	r.Repeats += copies - int64(len(g.events))
	sent := int64(0)
	for _, c := range g.commands {
		sent += c.sure + c.unsure
		r.Again += c.sure + c.unsure - 1
	}
	r.Commands += sent
	switch {
	case len(decided) > 1:
		return j.conflict(g.commands, "two different final events", slices.Concat(decided, rejected))
	case int64(len(decided)+len(rejected)) > sent:
		return j.conflict(g.commands, "more final events than commands", slices.Concat(decided, rejected))
	}
	covered := j.cover(g.commands, decided, rejected)
	return j.rest(g.commands, unresolved, len(decided) > 0 && !covered, slices.Concat(decided, rejected))
}

// cover takes what the events answer off the commands, and counts it. A decided
// event answers every command of its content; the commands of another content
// with the same number are each answered by a rejection. It reports whether the
// decided event was the answer to any.
func (j *joiner) cover(commands []asked, decided, rejected []told) (covered bool) {
	open := int64(len(rejected))
	if len(decided) == 1 {
		ev := decided[0]
		best := -1
		total := int64(0)
		for _, c := range commands {
			total += c.sure + c.unsure
		}
		for i, c := range commands {
			if c.amount != ev.amount {
				continue
			}
			// The content whose others are all rejected explains everything; else the first.
			if best < 0 || total-c.sure-c.unsure == open {
				best = i
			}
		}
		if best >= 0 {
			outcome := producer.Succeeded
			if ev.tag == tagFailed {
				outcome = producer.Failed
			}
			c := &commands[best]
			j.take(c, c.sure+c.unsure, outcome, ev.stored)
			covered = true
		}
	}
	for i := range commands {
		c := &commands[i]
		for open > 0 && c.sure+c.unsure > 0 {
			j.take(c, 1, producer.Rejected, rejected[len(rejected)-int(open)].stored)
			open--
		}
	}
	return covered
}

// take counts so many commands of one content as matched.
func (j *joiner) take(c *asked, n int64, outcome producer.Outcome, stored int64) {
	r := &j.result
	r.Matched += n
	switch outcome {
	case producer.Succeeded:
		r.Succeeded += n
	case producer.Failed:
		r.Failed += n
	case producer.Rejected, producer.Unresolved, producer.Notified, producer.DepositBack:
		r.Rejected += n
	}
	r.Latency.add(max(stored-c.sent, 0))
	unsure := min(c.unsure, n)
	c.unsure -= unsure
	c.sure -= n - unsure
}

// rest tells what no event answers.
func (j *joiner) rest(commands []asked, unresolved, foreign bool, final []told) error {
	for _, c := range commands {
		n := c.sure + c.unsure
		row := Row{Number: c.text, Amount: c.amount, Commands: n, Sent: time.UnixMilli(c.sent), EventIDs: ids(final)}
		switch {
		case n == 0:
			continue
		case foreign:
			row.State, row.Detail = Conflicting, "its final event tells another amount"
			j.result.Conflicting += n
		case unresolved:
			row.State, row.Detail = Unresolved, "parked for a person: there is an unresolved event and no final one"
			j.result.Unresolved += n
		case c.sure == 0:
			j.result.Unsure += n
			row.State, row.Detail = Missing, "no event, and the broker did not confirm that it has the command"
		default:
			j.result.Missing += c.sure
			j.result.Unsure += c.unsure
			row.State, row.Detail = Missing, "no event"
		}
		if row.State == Missing && len(final) > 0 {
			row.Detail += "; there is one of another command with this number"
		}
		if err := j.tell(row); err != nil {
			return err
		}
	}
	return nil
}

func (j *joiner) conflict(commands []asked, detail string, final []told) error {
	for _, c := range commands {
		n := c.sure + c.unsure
		j.result.Conflicting += n
		row := Row{
			State: Conflicting, Number: c.text, Amount: c.amount, Commands: n, Sent: time.UnixMilli(c.sent),
			Detail: detail, EventIDs: ids(final),
		}
		if err := j.tell(row); err != nil {
			return err
		}
	}
	return nil
}

func ids(events []told) []string {
	set := map[string]bool{}
	for _, ev := range events {
		set[hex.EncodeToString(ev.id[:])] = true
	}
	return slices.Sorted(maps.Keys(set))
}
