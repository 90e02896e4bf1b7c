package simulation

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/sirupsen/logrus"

	"refundd/consumer"
	"refundd/consumer/history"
	"refundd/dedupe"
	"refundd/producer"
)

// process is one refundd: the real flow over a world.
type process struct {
	w        *world
	name     string
	gate     *consumer.Gate
	health   *consumer.Health
	handler  *consumer.Handler
	client   *redis.Client
	store    *dedupe.Store
	calls    context.Context // ends the Alipay calls, as in consumer.Consumer
	cancel   context.CancelFunc
	missing  string            // a merchant that its file lacks
	older    bool              // of the version before: see version_test.go
	files    map[string]string // merchants whose new authorisation has not reached it, with the old one
	dead     bool
	stopping bool
	died     time.Time
	until    time.Time // frozen until then
	busy     int       // deliveries in hand
}

// random is a source of the process's own, so that the seed says what it gives.
func (p *process) random() func() float64 {
	var mu sync.Mutex
	rng := rand.New(rand.NewPCG(p.w.opts.seed, uint64(p.w.started)))
	return func() float64 {
		mu.Lock()
		defer mu.Unlock()
		return rng.Float64()
	}
}

func (w *world) start() {
	w.started++
	p := &process{w: w, name: fmt.Sprintf("p%d", w.started), gate: consumer.NewGate(256), files: map[string]string{}}
	p.older = w.rolling && w.rng.IntN(2) == 0
	log := logrus.New()
	log.SetOutput(io.Discard)
	log.SetLevel(logrus.PanicLevel)
	p.health = consumer.NewHealth(log)
	p.client = w.redis.Client(p.exchange)
	store, err := dedupe.New(p.client, dedupe.Config{Prefix: prefix, Lease: lease, Keep: keep})
	if err != nil {
		panic(err) // the configuration is above
	}
	p.store = store
	publish := producer.New(p, producer.Config{EventTopic: eventTopic, RetryTopic: retryTopic, ParkedTopic: parkedTopic})
	p.handler = consumer.NewHandler(w.config(p), consumer.Dependencies{
		Alipay: gateway{p}, Records: store, Publisher: publish, Gate: p.gate, Health: p.health, Metrics: w.metrics, Log: log,
	})
	p.calls, p.cancel = context.WithCancel(as(context.Background(), "sweeper "+p.name))
	sweeper, err := dedupe.NewSweeper(store, dedupe.SweeperConfig{
		AppID: appID, Every: sweepEvery, Grace: grace, Republish: p.handler.Republish, Alarm: p.alarm,
	})
	if err != nil {
		panic(err)
	}
	w.processes = append(w.processes, p)
	w.fact(history.Fact{What: history.Process, Process: p.name, Result: "started"})
	w.run("sweeper "+p.name, func() { sweeper.Run(p.calls) })
}

func (p *process) alarm(u dedupe.Undecided, _ dedupe.Record) {
	if cmd, known := p.w.keys[u.Key]; known {
		p.w.mu.Lock()
		p.w.inHand["sweeper "+p.name] = cmd // it may be worked on, if its copy is refused
		p.w.mu.Unlock()
		p.w.tell(p, "sweeper "+p.name, cmd.fact(history.Fact{What: history.Alarm, Process: p.name}))
	}
}

func (p *process) merchant(name string) (consumer.Merchant, bool) {
	p.w.mu.Lock()
	defer p.w.mu.Unlock()
	token, known := p.w.merchants[name]
	if old, late := p.files[name]; late {
		token = old
	}
	return consumer.Merchant{AppAuthToken: token}, known && p.missing != name
}

func (p *process) frozen() bool { return time.Now().Before(p.until) }

// takes tells whether it takes another delivery: intake is suspended in trouble (R12).
func (p *process) takes() bool {
	return !p.dead && !p.stopping && !p.frozen() && p.busy < 16 &&
		!p.health.Trouble(consumer.PartRocketMQ) && !p.health.Trouble(consumer.PartRedis)
}

// background: an act that goes on also when there is nothing to do.
func (p *process) background(o *op) bool { return o.actor == "sweeper "+p.name }

// deliver hands a message to a process, in a goroutine as the SDK does.
func (w *world) deliver(m *message, p *process) {
	w.broker.deliveries++
	id := fmt.Sprintf("d%d", w.broker.deliveries)
	m.seen = true
	w.broker.from[id] = m.origin
	w.fact(m.cmd.bare(history.Fact{
		What: history.Delivery, Process: p.name, Delivery: id, Copy: m.id, Message: m.origin, Topic: m.role,
		Generation: m.generation, Claimed: m.claimed,
	}))
	w.mu.Lock()
	p.busy++
	m.holders = append(m.holders, p)
	w.inHand[id] = m.cmd
	w.mu.Unlock()
	d := consumer.Delivery{Topic: m.topic, MsgID: m.id, Body: p.body(m), Born: m.born, Properties: m.properties}
	ctx := as(p.calls, id)
	w.run(id, func() {
		defer w.left(p, m)
		if !p.gate.Enter() {
			return
		}
		ended := func() bool {
			defer p.gate.Leave()
			return p.handler.Handle(ctx, d).Acknowledged()
		}()
		if ended {
			w.park(context.WithoutCancel(ctx), &op{proc: p, what: "ack " + m.role, do: func() { w.ack(p, m, id) }})
		}
	})
}

// left: the delivery's goroutine has ended, however.
func (w *world) left(p *process, m *message) {
	w.mu.Lock()
	defer w.mu.Unlock()
	p.busy--
	if i := slices.Index(m.holders, p); i >= 0 {
		m.holders = slices.Delete(m.holders, i, i+1)
	}
}

func (w *world) ack(p *process, m *message, delivery string) {
	if p.dead {
		return
	}
	m.acked = true
	w.fact(m.cmd.bare(history.Fact{What: history.Ack, Process: p.name, Delivery: delivery, Copy: m.id, Message: m.origin}))
}

// kill ends a process at once.
func (w *world) kill(p *process) {
	if p.dead {
		return
	}
	w.fact(history.Fact{What: history.Process, Process: p.name, Result: history.Killed})
	w.bury(p)
}

// bury ends everything that a process still does, and starts another one. Requests
// that it was writing may still arrive.
func (w *world) bury(p *process) {
	w.mu.Lock()
	// Its actors end before their contexts do: which of them saw that first would be chance.
	p.dead = true
	var writing []*op
	w.parked = slices.DeleteFunc(w.parked, func(q *op) bool {
		if q.proc == p && q.wire && !q.gone {
			writing = append(writing, q)
		}
		return q.proc == p
	})
	inHand := slices.DeleteFunc(slices.Clone(w.broker.messages), func(m *message) bool {
		return m.acked || !slices.Contains(m.holders, p)
	})
	for q := range w.waiting {
		if q.proc == p {
			w.resume(q, true)
		}
	}
	w.mu.Unlock()
	p.die()
	for _, m := range inHand { // the one copy that would have come again
		if !m.lost && w.losable(m) && (w.loses || w.fault("acknowledged copy lost", m.role+" in hand", 0.3)) {
			w.lose(m)
		}
	}
	slices.SortFunc(writing, func(a, b *op) int { return cmp.Compare(a.key, b.key) })
	for _, q := range writing {
		if w.fault("request of the dead", q.what, 0.5) {
			w.later(w.someSeconds(), func() { w.late(q) })
		}
	}
	w.replace()
}

// die makes everything that the process does from now on end it.
func (p *process) die() {
	p.w.mu.Lock()
	p.dead, p.died = true, time.Now()
	p.w.mu.Unlock()
	p.cancel()
	p.gate.Close()
	p.gate.Open()
}

// replace starts a process in the place of one that has ended.
func (w *world) replace() {
	w.processes = slices.DeleteFunc(w.processes, func(p *process) bool { return p.dead })
	w.later(time.Duration(1+w.rng.IntN(20_000))*time.Millisecond, w.start)
}

// freeze stops a process from doing anything, often for longer than its leases. The
// acts that it was about to do come when it goes on.
func (w *world) freeze(p *process) {
	w.mu.Lock()
	p.until = time.Now().Add(time.Duration(w.rng.IntN(100_000)) * time.Millisecond)
	w.mu.Unlock()
	w.later(time.Until(p.until), func() {})
}

// stop asks a process to stop, as Consumer.Stop does: it waits for what is in hand,
// cuts calls short at the soft deadline, and leaves the rest in the end.
func (w *world) stop(p *process) {
	p.stopping = true
	w.fact(history.Fact{What: history.Process, Process: p.name, Result: history.Stopping})
	p.gate.Close()
	began := time.Now()
	var look func()
	look = func() {
		w.mu.Lock()
		busy := p.busy
		w.mu.Unlock()
		switch age := time.Since(began); {
		case p.dead:
			return
		case p.frozen() || busy > 0 && age < drain*4/5:
			if age >= drain*3/5 {
				p.cancel()
			}
			w.later(500*time.Millisecond, look)
			return
		}
		if time.Since(began) > drain { // it was frozen
			w.kill(p)
			return
		}
		w.fact(history.Fact{What: history.Process, Process: p.name, Result: history.Stopped})
		w.bury(p)
	}
	w.later(0, look)
}

// metrics counts what I17 compares with what happened.
type metrics struct{ events, retries, parked *atomic.Int64 }

func (metrics) Command(string, string, time.Time)  {}
func (metrics) Inflight(int)                       {}
func (metrics) Call(string, string, time.Duration) {}
func (m metrics) Published(string)                 { m.events.Add(1) }
func (metrics) PublishFailed(string)               {}
func (m metrics) Retried(string)                   { m.retries.Add(1) }
func (m metrics) Parked(string)                    { m.parked.Add(1) }
func (metrics) FundsCut()                          {}
func (metrics) Contradiction()                     {}
