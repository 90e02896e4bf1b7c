// Package match holds commands against the events that came of them, row by row,
// in memory that does not grow with the rows: both sides are written to
// partition files in a temporary folder, by a hash of what identifies a refund,
// and joined one partition at a time. A partition that is too large is
// partitioned again. Ten million commands and their events take about a
// gigabyte and a half of disk.
//
// What it expects is what the contract says: every command has a final event
// (succeeded, failed, or rejected), repeats of one id are fine, and two
// different final ids for one command are not. A number is taken to be one
// refund, as with REFUNDD_DEDUPE_SCOPE=merchant: where numbers repeat per trade,
// two refunds of one number look like a conflict.
package match

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"refundd/producer"
)

// Key names one refund for the join. Members that are not known are empty.
type Key struct {
	Kind     producer.Kind
	Merchant string
	// Number is the out_request_no or, of a command from which none could be
	// read, its message id; as the subject of its event.
	Number string
}

func (k Key) hash() [16]byte {
	b := make([]byte, 0, 160)
	b = append(append(append(b, k.Kind...), 0), k.Merchant...)
	b = append(append(b, 0), k.Number...)
	sum := sha256.Sum256(b)
	return [16]byte(sum[:16])
}

// Command is one command that was sent.
type Command struct {
	Key
	// Content is the same for commands that ask for the same refund.
	Content [16]byte
	Amount  int64 // fen; 0 if the command is bad
	Sent    time.Time
	// Unsure marks a command of which nobody knows whether the broker has it. No
	// event is expected of it, and one is no surprise.
	Unsure bool
}

// Event is one event, or a repeat of it.
type Event struct {
	Key
	ID      [16]byte
	Outcome producer.Outcome
	Amount  int64 // fen; 0 if it tells none
	Stored  time.Time
}

const (
	tagCommand byte = iota
	tagUnsure
	tagSucceeded
	tagFailed
	tagRejected
	tagUnresolved
)

// Config says how much memory and which disk may be used.
type Config struct {
	Dir string // of the temporary folder; empty: the system's
	// Limit is the size from which a partition is partitioned again; default 8 MiB.
	// Joining takes a few times as much memory.
	Limit int64
}

// spill is what a table of either kind has on disk.
type spill struct {
	dir   string
	limit int64

	joining sync.Mutex // one join at a time

	mu    sync.Mutex
	parts *parts
}

func newSpill(cfg Config) (*spill, error) {
	dir, err := os.MkdirTemp(cfg.Dir, "refundctl-match-")
	if err != nil {
		return nil, fmt.Errorf("match: %w", err)
	}
	s := &spill{dir: dir, limit: cfg.Limit}
	if s.limit <= 0 {
		s.limit = 8 << 20
	}
	if s.parts, err = newParts(dir, 0, 32<<10); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return s, nil
}

// Close removes the temporary folder.
func (s *spill) Close() error { return errors.Join(s.parts.close(), os.RemoveAll(s.dir)) }

// join gathers what was added so far by key.
func (s *spill) join(fresh func() gathering) error {
	s.joining.Lock()
	defer s.joining.Unlock()
	pieces, err := s.pieces()
	if err != nil {
		return err
	}
	p := partitions{s.dir, s.limit, fresh}
	return p.join(pieces)
}

func (s *spill) pieces() ([]part, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.parts.flush(); err != nil {
		return nil, fmt.Errorf("match: %w", err)
	}
	pieces := make([]part, fanOut)
	for i := range pieces {
		pieces[i] = part{0, s.parts.files[i], s.parts.size[i]}
	}
	return pieces, nil
}

func (s *spill) add(e entry, count *int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	*count++
	return s.parts.add(e)
}

// Table takes commands and events and joins them. It is safe for concurrent use.
type Table struct {
	*spill
	commands, events int64
}

// New makes the temporary folder.
func New(cfg Config) (*Table, error) {
	s, err := newSpill(cfg)
	if err != nil {
		return nil, err
	}
	return &Table{spill: s}, nil
}

// Command adds a command.
func (t *Table) Command(c Command) error {
	e := entry{tag: tagCommand, key: c.hash(), id: c.Content, at: c.Sent.UnixMilli(), amount: c.Amount, text: c.Number}
	if c.Unsure {
		e.tag = tagUnsure
	}
	return t.add(e, &t.commands)
}

// Event adds an event. Those that are no answer to a command, such as
// notifications, are left out.
func (t *Table) Event(ev Event) error {
	e := entry{key: ev.hash(), id: ev.ID, at: ev.Stored.UnixMilli(), amount: ev.Amount}
	switch ev.Outcome {
	case producer.Succeeded:
		e.tag = tagSucceeded
	case producer.Failed:
		e.tag = tagFailed
	case producer.Rejected:
		e.tag = tagRejected
	case producer.Unresolved:
		e.tag = tagUnresolved
	case producer.Notified, producer.DepositBack:
		return nil
	default:
		return nil
	}
	return t.add(e, &t.events)
}

// Counts is how many of each were added, repeats included.
func (t *Table) Counts() (commands, events int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.commands, t.events
}

// Join compares what was added so far and hands each row that does not match to
// tell, in no order. More can be added meanwhile and afterwards.
func (t *Table) Join(tell func(Row) error) (Result, error) {
	j := joiner{tell: tell}
	err := t.join(func() gathering { return &group{joiner: &j} })
	return j.result, err
}
