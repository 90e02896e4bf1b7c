package simulation

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"hash/crc32"
	"runtime"
	"slices"
	"strconv"
	"time"

	"refundd/consumer/history"
)

// op is one outside act of an actor: a delivery, the sweeper or a notification.
// The actor waits in park until the scheduler has carried it out.
type op struct {
	proc  *process
	actor string
	what  string // such as "redis claim", "publish event", "refund"
	key   string // sorts what is parked
	wire  bool   // a request on its way: it may arrive although its process died
	do    func() // carries the act out
	// watched: somebody else of the process looks at the time-out, and goes on.
	watched bool

	parked   time.Time
	deadline time.Time // of the actor's context; zero: none
	ended    time.Time // when the actor gave up
	done     chan struct{}
	resumed  bool // by the scheduler
	die      bool
	gone     bool // the actor's context ended first
	unheard  bool // the actor will not learn what became of it
}

type actorKey struct{}

// as names the actor of everything that is done under a context.
func as(ctx context.Context, actor string) context.Context {
	return context.WithValue(ctx, actorKey{}, actor)
}

// actor tells who acts: by the context, or by the goroutine where the flow makes a
// context of its own.
func (w *world) actor(ctx context.Context) string {
	if name, ok := ctx.Value(actorKey{}).(string); ok {
		return name
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.goroutines[goroutine()]
}

// goroutine is the number of the calling one.
func goroutine() int {
	var buf [64]byte
	text := buf[:runtime.Stack(buf[:], false)]
	text = bytes.TrimPrefix(text, []byte("goroutine "))
	n, _ := strconv.Atoi(string(text[:bytes.IndexByte(text, ' ')]))
	return n
}

// run lets an actor do something in a goroutine of its own.
func (w *world) run(actor string, do func()) {
	w.mu.Lock()
	w.running++
	w.mu.Unlock()
	go func() {
		id := goroutine()
		w.mu.Lock()
		w.goroutines[id] = actor
		w.mu.Unlock()
		defer func() {
			cause := recover()
			w.mu.Lock()
			defer w.mu.Unlock()
			if cause != nil {
				w.result.panics = append(w.result.panics, fmt.Sprintf("%s: %v\n%s", actor, cause, stack()))
			}
			delete(w.goroutines, id)
			w.running--
		}()
		do()
	}()
}

func stack() []byte {
	buf := make([]byte, 8<<10)
	return buf[:runtime.Stack(buf, false)]
}

// park waits until the act was carried out. It does not return if the process was
// killed. If it returns false, the actor's context ended first: the act may still
// be carried out, and the actor will not know.
func (w *world) park(ctx context.Context, o *op) bool {
	if o.actor == "" {
		o.actor = w.actor(ctx)
	}
	o.done, o.parked = make(chan struct{}), time.Now()
	o.deadline, _ = ctx.Deadline()
	w.mu.Lock()
	if o.proc.dead {
		w.mu.Unlock()
		runtime.Goexit()
	}
	w.counts[o.actor]++
	o.key = fmt.Sprintf("%s %05d %s", o.actor, w.counts[o.actor], o.what)
	w.parked = append(w.parked, o)
	w.waiting[o] = true
	w.mu.Unlock()
	select {
	case w.wake <- struct{}{}:
	default:
	}
	select {
	case <-o.done:
	case <-ctx.Done():
		if !o.watched { // a frozen process does not see its time-outs
			w.thaw(o)
		}
		w.mu.Lock()
		o.gone, o.ended = !o.resumed, time.Now()
		delete(w.waiting, o)
		w.mu.Unlock()
		if o.gone {
			return false
		}
		<-o.done
	}
	if o.die {
		runtime.Goexit()
	}
	return true
}

// thaw waits for the end of a freeze, and a bit: no two actors go on at one moment.
func (w *world) thaw(o *op) {
	for {
		w.mu.Lock()
		left := time.Until(o.proc.until)
		w.mu.Unlock()
		if left <= 0 {
			return
		}
		time.Sleep(left + time.Duration(crc32.ChecksumIEEE([]byte(o.key))%1_000_000)) //nolint:forbidigo // virtual time
	}
}

// told is a fact that an actor told, until the scheduler writes it down.
type told struct {
	actor string
	fact  history.Fact
}

// tell is fact for actors. Several may run at one moment of virtual time, in no
// order; flush brings one into what they tell.
func (w *world) tell(p *process, actor string, f history.Fact) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if p.dead {
		return
	}
	f.At = w.at()
	w.pending = append(w.pending, told{actor, f})
}

func (w *world) flush() {
	w.mu.Lock()
	pending := w.pending
	w.pending = nil
	w.mu.Unlock()
	slices.SortStableFunc(pending, func(a, b told) int {
		return cmp.Or(cmp.Compare(a.fact.At, b.fact.At), cmp.Compare(a.actor, b.actor))
	})
	for _, t := range pending {
		w.facts = append(w.facts, t.fact)
	}
}

// resume lets the actor go on, or ends it. It needs the lock.
func (w *world) resume(o *op, die bool) {
	if o.resumed || o.gone {
		return
	}
	o.resumed, o.die = true, die
	delete(w.waiting, o)
	close(o.done)
}

func (w *world) unpark(o *op) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if i := slices.Index(w.parked, o); i >= 0 {
		w.parked = slices.Delete(w.parked, i, i+1)
	}
}

// release lets the actor of a finished act go on.
func (w *world) release(o *op) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.resume(o, o.proc.dead)
}

// act carries out one parked act, or lets something go wrong with it.
func (w *world) act(o *op) {
	w.context = o
	defer func() { w.context = nil }()
	w.unpark(o)
	if !o.proc.background(o) {
		w.lastAct = time.Now()
	}
	if o.gone {
		w.late(o)
		return
	}
	w.acts++
	for _, k := range w.opts.kills {
		if k.act == w.acts {
			w.happened("kill", o.what)
			if k.after {
				o.unheard = true
				w.carryOut(o)
			}
			w.loses = k.loses
			w.kill(o.proc)
			w.loses = false
			return
		}
	}
	if o.what == "publish parked" || o.what == "redis release" {
		if cmd := w.inHand[o.actor]; cmd.number != "" && w.fault("notification meanwhile", o.what, 0.05) {
			w.notify(cmd)
		}
	}
	switch {
	case w.fault("kill before", o.what, 0.004):
		w.kill(o.proc)
		return
	case w.fault("kill after", o.what, 0.006):
		o.unheard = true
		w.carryOut(o)
		w.kill(o.proc)
		return
	case w.fault("freeze after", o.what, 0.003):
		w.freeze(o.proc)
		o.unheard = !o.deadline.IsZero() && !o.proc.until.Before(o.deadline)
		w.carryOut(o)
		w.later(time.Until(o.proc.until), func() { w.release(o) })
		return
	case w.fault("freeze", o.what, 0.003):
		w.freeze(o.proc)
		w.mu.Lock()
		w.parked = append(w.parked, o)
		w.mu.Unlock()
		return
	case w.fault("delay before", o.what, 0.01):
		w.later(w.someSeconds(), func() {
			if o.gone || o.proc.dead {
				w.late(o)
				return
			}
			w.carryOut(o)
			w.release(o)
		})
		return
	case w.fault("delay after", o.what, 0.01):
		w.answerLate(o)
		return
	}
	w.carryOut(o)
	w.release(o)
}

func (w *world) someSeconds() time.Duration {
	return time.Duration(w.rng.Int64N(int64(lateMost) - int64(time.Second)))
}

// late is an act whose actor gave up or died. What was written may still arrive.
func (w *world) late(o *op) {
	o.unheard = true
	since := o.ended
	if !o.gone {
		since = o.proc.died
	}
	if o.proc.dead && !o.wire || time.Since(since) > lateMost || w.opts.mute || w.rng.IntN(2) == 0 {
		return
	}
	w.happened("arrives late", o.what)
	w.carryOut(o)
}

// answerLate carries an act out and keeps the answer back for some seconds, or for
// so long that its actor gives up.
func (w *world) answerLate(o *op) {
	d := w.someSeconds()
	if !o.deadline.IsZero() && !time.Now().Add(d+100*time.Millisecond).Before(o.deadline) {
		o.unheard = true
		w.carryOut(o)
		return
	}
	w.carryOut(o)
	w.later(d, func() { w.release(o) })
}

// carryOut does the act; its result stands in the op afterwards.
func (w *world) carryOut(o *op) {
	was := w.context
	w.context = o
	o.do()
	w.context = was
}
