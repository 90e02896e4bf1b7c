package simulation

import (
	"context"
	"errors"
	"strings"
	"time"

	"refundd/consumer/history"
	"refundd/dedupe"
	"refundd/dedupe/dedupetest"
)

var (
	errReset    = errors.New("connection reset")
	errDown     = errors.New("connection refused")
	errNoMemory = errors.New("OOM command not allowed when used memory > 'maxmemory'")
)

// exchange is the process's connection to Redis: one outside act.
func (p *process) exchange(ctx context.Context, commands [][]any) ([]any, error) {
	var replies []any
	var failed error
	o := &op{proc: p, what: "redis " + p.w.redis.Name(commands[0])}
	o.do = func() {
		replies, failed = p.w.exchange(o, p.written(commands))
		replies = p.read(replies)
	}
	if !p.w.park(ctx, o) {
		return nil, ctx.Err()
	}
	return replies, failed
}

// exchange carries out what a client sent at once, or a part of it.
func (w *world) exchange(o *op, commands [][]any) ([]any, error) {
	if time.Now().Before(w.redisDown) {
		return nil, errDown
	}
	if w.fault("request lost", o.what, 0.01) {
		return nil, errReset
	}
	n := len(commands)
	if n > 1 && w.fault("exchange cut", o.what, 0.01) {
		n = w.rng.IntN(n)
	}
	if n < len(commands) || w.fault("answer lost", o.what, 0.015) {
		o.unheard = true
	}
	replies := make([]any, len(commands))
	for i, command := range commands[:n] {
		replies[i] = w.do(o, command)
		if w.fault("sent twice", o.what, 0.01) {
			replies[i] = w.do(o, command)
		}
	}
	if o.unheard {
		return nil, errReset
	}
	return replies, nil
}

// seen writes a script's work down.
func (w *world) seen(t dedupetest.Transition) {
	cmd, known := w.keys[t.Key]
	o := w.context
	if !known || o == nil {
		return
	}
	f := o.by(cmd.bare(history.Fact{Token: t.Token, Clock: t.Now, Generation: t.Generation}))
	if !t.After.Decided {
		f.Expires = t.After.Expires
	}
	switch answer := t.Answer.(type) {
	case dedupe.Answer:
		f.What, f.Result, f.Fresh, f.Unheard = history.Claim, answer.State.String(), answer.Fresh, o.unheard
		f.Message, f.Sent, f.Fingerprint = w.broker.origin(o.actor), o.parked.Sub(w.begin).Milliseconds(), t.After.Fingerprint
		if answer.State == dedupe.Won {
			f.Lease = t.After.Until
		}
	case dedupe.Settlement:
		f.What, f.Result, f.Contradiction = history.Settle, strings.ReplaceAll(answer.State.String(), " ", "_"), answer.Contradiction
		f.Outcome, f.Expires = history.Failed, t.After.Expires
		if t.After.Decided && t.After.Letter != "F" {
			f.Outcome = history.Succeeded
		}
		f.Event, f.Reason = eventID(t.After.Event)
		if f.Token == "" {
			f.Token = "none"
		}
	case dedupe.Release:
		if answer.State == dedupe.Released {
			w.released[t.Key] = t.After.Fingerprint
		}
		f.What, f.Result, f.Generation, f.Parked = history.Release, strings.ReplaceAll(answer.State.String(), " ", "_"), answer.Generation, t.After.Parked
	case string: // a rejection, which is its own event
		return
	case bool:
		f.What, f.Result = history.Amend, "no"
		if answer {
			f.Result = "amended"
		}
	default:
		f.What = history.Confirm
	}
	w.fact(f)
}

// by tells whose act a fact is.
func (o *op) by(f history.Fact) history.Fact {
	f.Process, f.Delivery = o.proc.name, o.actor
	if o.actor == "" || o.actor[0] != 'd' {
		f.Delivery = ""
	}
	return f
}
