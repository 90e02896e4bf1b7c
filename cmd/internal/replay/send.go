package replay

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"refundd/cmd/internal/cli"
	"refundd/cmd/internal/match"
	"refundd/cmd/internal/tap"
	"refundd/cmd/internal/tape"
	"refundd/consumer"
)

// sendTries is how often a message is sent that the broker does not confirm.
const sendTries = 3

// sending sends recorded messages, each of them counted once.
type sending struct {
	o      *Options
	env    cli.Env
	kind   consumer.Kind
	sender *tap.Sender
	table  *match.Table // nil: nothing is held against events

	read, sent, unsure, bad atomic.Int64
	took                    time.Duration // from the first to the last

	complaints sync.Mutex
	complained int
}

// all sends until the source or ctx ends. What is being sent then is waited for.
func (s *sending) all(ctx context.Context, from Source) error {
	working, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	queue := make(chan tape.Message, 4*s.o.Concurrency)
	var wg sync.WaitGroup
	for range s.o.Concurrency {
		wg.Go(func() {
			for m := range queue {
				if err := s.one(working, m); err != nil {
					cancel(err)
				}
			}
		})
	}
	stopProgress := s.env.Progress(func() string {
		text := fmt.Sprintf("so far %d sent", s.sent.Load())
		if n := from.Total(); n > 0 {
			text += fmt.Sprintf(" of %d", n)
		}
		return text
	})
	start := time.Now()
	p := s.o.pacer(start)
	err := from.Each(working, func(m tape.Message) error {
		if s.o.Count > 0 && s.read.Load() == s.o.Count {
			return errEnough
		}
		if !p.wait(working, m.Born) {
			return nil // each ends with ctx
		}
		s.read.Add(1)
		queue <- m
		return nil
	})
	close(queue)
	wg.Wait()
	s.took = time.Since(start)
	stopProgress()
	switch cause := context.Cause(working); {
	case ctx.Err() != nil, errors.Is(err, errEnough):
		return nil
	case cause != nil:
		return cause
	}
	return err
}

// Prepared is a recorded command as it is expected to be answered.
type Prepared struct {
	match.Command
	Bad  bool
	body []byte // with its new numbers
	keys string
}

// Prepare reads a recorded command. A bad one keeps its numbers: it is rejected.
func Prepare(kind consumer.Kind, r Renumbering, m tape.Message) (Prepared, error) {
	cmd, bad := consumer.DecodeCommand(kind, m.Body)
	p := Prepared{
		Command: match.Command{Key: match.Key{Kind: kind, Merchant: cmd.Merchant, Number: cmd.OutRequestNo}, Amount: int64(cmd.Amount), Sent: m.Born},
		body:    m.Body, keys: m.Properties["KEYS"], Bad: bad != nil,
	}
	if p.Bad {
		sum := sha256.Sum256(m.Body)
		p.Content, p.Amount = [16]byte(sum[:16]), 0
		return p, nil
	}
	digest, _ := hex.DecodeString(strings.TrimPrefix(cmd.Fingerprint(), "1:")) // a fingerprint is hex
	copy(p.Content[:], digest)
	if r.Prefix == "" {
		return p, nil
	}
	var err error
	if p.body, err = r.body(m.Body); err != nil {
		return p, fmt.Errorf("renumber message %s: %w", m.ID, err)
	}
	p.Number = r.number(cmd.OutRequestNo)
	p.keys = p.Number
	return p, nil
}

// one sends one message. Its error is of this machine: a full disk.
func (s *sending) one(ctx context.Context, m tape.Message) error {
	p, err := Prepare(s.kind, s.o.Renumbering, m)
	if err != nil {
		return err
	}
	if p.Bad {
		s.bad.Add(1)
	}
	p.Sent = time.Now()
	id, err := s.send(ctx, tap.Outgoing{Topic: s.o.Topic, Keys: p.keys, Properties: carried(m.Properties, s.o.Prefix != ""), Body: p.body})
	if err != nil {
		p.Unsure = true
		s.unsure.Add(1)
		s.complain("message %s: %v", m.ID, err)
	} else {
		s.sent.Add(1)
	}
	if p.Number == "" {
		p.Number = id
	}
	if s.table == nil {
		return nil
	}
	return s.table.Command(p.Command)
}

// send repeats what is not confirmed: a command is executed once however often
// it is there.
func (s *sending) send(ctx context.Context, out tap.Outgoing) (id string, err error) {
	for range sendTries {
		out := out
		out.Properties = maps.Clone(out.Properties) // the SDK writes into it
		// A message that is being sent is waited for: it may be there already.
		if id, err = s.sender.Send(context.WithoutCancel(ctx), out); err == nil || ctx.Err() != nil {
			return id, err
		}
	}
	return "", err
}

// complain tells of the first few; all are counted.
func (s *sending) complain(format string, args ...any) {
	s.complaints.Lock()
	defer s.complaints.Unlock()
	s.complained++
	if s.complained <= 20 {
		_, _ = fmt.Fprintf(s.env.Stderr, format+"\n", args...)
	}
}

// carried are the properties that a message takes along: not those that the
// broker or the client write themselves, nor, for a new refund, what refundd
// noted about the old one.
func carried(properties map[string]string, fresh bool) map[string]string {
	kept := maps.Clone(properties)
	if kept == nil {
		return map[string]string{}
	}
	maps.DeleteFunc(kept, func(name, _ string) bool {
		return slices.Contains(brokersOwn(), name) || strings.HasPrefix(name, "__") || strings.HasPrefix(name, "TIMER_") ||
			fresh && strings.HasPrefix(name, "REFUNDD_")
	})
	return kept
}

// brokersOwn are the names of RocketMQ's MessageConst, except KEYS and TAGS.
func brokersOwn() []string {
	return []string{
		"UNIQ_KEY", "WAIT", "DELAY", "RETRY_TOPIC", "REAL_TOPIC", "REAL_QID", "TRAN_MSG", "PGROUP", "MIN_OFFSET", "MAX_OFFSET",
		"ORIGIN_MESSAGE_ID", "TRANSFER_FLAG", "CORRECTION_FLAG", "MQ2_FLAG", "RECONSUME_TIME", "MSG_REGION", "TRACE_ON",
		"MAX_RECONSUME_TIMES", "CONSUME_START_TIME", "POP_CK", "POP_CK_OFFSET", "1ST_POP_TIME", "CLUSTER", "INNER_NUM", "INNER_BASE",
		"DUP_INFO", "PROPERTY_TRACE_SWITCH", "TRACE_CONTEXT", "MULTI_DISPATCH", "INNER_MULTI_DISPATCH", "INNER_MULTI_QUEUE_OFFSET",
	}
}

// pacer says when the next message is due.
type pacer struct {
	start time.Time
	first time.Time     // of the recording
	gap   time.Duration // between two; 0: none
	speed float64       // of the recording; 0: even
	n     int64
}

func (o *Options) pacer(start time.Time) *pacer {
	p := &pacer{start: start}
	if o.Rate > 0 {
		p.gap = time.Second / time.Duration(o.Rate)
	}
	if o.Pace == PaceRecorded {
		p.speed = o.Speed
	}
	return p
}

// wait returns when the message that was born then is due, and true unless ctx
// has ended. Lost time is made good: the mean rate counts.
func (p *pacer) wait(ctx context.Context, born time.Time) bool {
	due := time.Duration(p.n) * p.gap
	p.n++
	if p.speed > 0 {
		if p.first.IsZero() {
			p.first = born
		}
		due = max(due, time.Duration(float64(born.Sub(p.first))/p.speed))
	}
	left := time.Until(p.start.Add(due))
	if left <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(left)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
