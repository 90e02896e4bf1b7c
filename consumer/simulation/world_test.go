package simulation

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"

	"refundd/consumer"
	"refundd/consumer/history"
	"refundd/dedupe"
	"refundd/dedupe/dedupetest"
)

// options say which run to make. The same options give the same history.
type options struct {
	seed uint64
	// salt changes only in which order things happen, not what is commanded.
	salt uint64
	// refunds is how many refunds are commanded; some are commanded twice.
	refunds int
	// keep are the commands to send, by number from 0; nil: all. Shrinking uses it.
	keep map[int]bool
	// only are the faults that may happen, more often than usual; nil: all may.
	only map[string]bool

	// told are commands sent instead of drawn ones, for stories that are told.
	told []command
	// answers are what Alipay's first calls meet, in order: names of faults, "" for
	// none. Only for stories.
	answers []string
	// refuses is the sub_code with which every trade refuses. Only for stories.
	refuses string
	// kills are the outside acts at which the process dies.
	kills []kill
	// mute: nothing else than answers and kills happens.
	mute bool
}

// kill is the death of the process that does the outside act of this number.
type kill struct {
	act   int
	after bool // the act was done, and its answer never came
	loses bool // the broker loses what the process had in hand
}

// result is what a run came to.
type result struct {
	facts   []history.Fact
	acts    int // outside acts
	virtual time.Duration
	refunds int
	// met counts faults by what they met: fault -> act.
	met map[string]map[string]int
	// states counts them by the record's state: fault -> state.
	states map[string]map[string]int
	// ends counts the final events.
	ends   map[string]int
	panics []string
}

// settings of every run: short enough that a run is over in a virtual day, and in
// proportion to the contract's defaults.
const (
	lease      = 60 * time.Second
	keep       = 24 * time.Hour
	maxAge     = 6 * time.Hour
	retention  = 6 * time.Hour
	queryAfter = 10 * time.Second
	timeout    = 15 * time.Second
	drain      = 25 * time.Second
	grace      = 2 * time.Hour
	sweepEvery = 20 * time.Minute
	faultTime  = 20 * time.Minute // faults happen within this much of the beginning
	bound      = 14 * time.Hour   // after that everything has to end
	mostSteps  = 400_000
)

const (
	appID       = "2021000000000001"
	refundTopic = "refund-command"
	couponTopic = "coupon-refund-command"
	retryTopic  = "refund-retry"
	eventTopic  = "refund-event"
	parkedTopic = "refund-parked"
	prefix      = "sim:"
)

// world is everything outside the code under test, and the scheduler: the only one
// who lets anything happen. Actors park here with every outside act.
type world struct {
	opts   options
	rng    *rand.Rand
	begin  time.Time
	rate   int
	space  time.Duration
	scoped bool // REFUNDD_DEDUPE_SCOPE=trade
	// versions: there are two of them, while rolling is true; see version_test.go.
	versions, rolling bool
	rage              float64 // how much more often than usual acts meet faults

	mu         sync.Mutex     // guards what actors touch: all up to ordered
	parked     []*op          // not carried out yet
	waiting    map[*op]bool   // whose actors wait
	counts     map[string]int // acts of each actor, for their keys
	asked      map[string]int // requests to Alipay of each actor
	pending    []told
	goroutines map[int]string     // actors
	inHand     map[string]command // actor -> what its delivery carries
	running    int                // actors' goroutines
	merchants  map[string]string  // name -> authorisation
	ordered    map[string]bool    // refunds whose order an answer has named

	wake    chan struct{}
	timers  []timer
	sequel  int
	facts   []history.Fact
	tokens  map[string]string
	acts    int
	quiet   bool
	forgets bool // Redis may forget; else the broker may lose a copy
	loses   bool // the broker loses what the process that dies now has in hand
	lastAct time.Time

	redis     *dedupetest.Redis
	skew      time.Duration // of Redis' clock
	jumped    time.Time
	redisDown time.Time // until when
	context   *op       // whose act is being carried out

	names  *dedupe.Store // knows the records' keys
	keys   map[string]command
	bodies map[string]command // topic and body -> command
	// illegal is the hash of a body that the broker refuses for its content, for ever.
	illegal string
	// released are the records that were given back undecided at least once, and
	// their commands' fingerprints.
	released map[string]string
	refunds  []command
	sent     int

	broker     broker
	brokerDown time.Time
	bank       bank
	limits     limits
	processes  []*process
	started    int
	nudges     int
	metrics    metrics
	result     result
}

// timer is something the world does later.
type timer struct {
	at  time.Time
	seq int
	do  func()
}

// run makes one run, in a bubble of its own.
func run(t *testing.T, opts options) result {
	t.Helper()
	var r result
	synctest.Test(t, func(*testing.T) { r = live(opts) })
	return r
}

// live makes one run. It has to be called in a synctest bubble.
func live(opts options) result {
	w := &world{
		opts: opts, rng: rand.New(rand.NewPCG(opts.seed, 0x5eed+opts.salt)), begin: time.Now(),
		waiting: map[*op]bool{}, counts: map[string]int{}, asked: map[string]int{}, tokens: map[string]string{}, goroutines: map[int]string{},
		inHand: map[string]command{}, wake: make(chan struct{}, 1), keys: map[string]command{}, bodies: map[string]command{},
		released: map[string]string{}, ordered: map[string]bool{},
		merchants: map[string]string{"shop": firstToken("shop"), "mall": firstToken("mall")},
		broker:    broker{from: map[string]string{}, delays: levels()},
		metrics:   metrics{new(atomic.Int64), new(atomic.Int64), new(atomic.Int64)},
		result:    result{met: map[string]map[string]int{}, states: map[string]map[string]int{}, ends: map[string]int{}},
	}
	w.redis = dedupetest.NewRedis(func() time.Time { return time.Now().Add(w.skew) })
	w.redis.Seen = w.seen
	w.bank.open(w)
	var err error
	if w.names, err = dedupe.New(w.redis.Client(nil), dedupe.Config{Prefix: prefix, Lease: lease, Keep: keep}); err != nil {
		panic(err) // the configuration is above
	}
	processes := 1
	if !opts.mute {
		seeded := rand.New(rand.NewPCG(opts.seed, 0x5e77))
		w.rate = []int{0, 0, 0, 5}[seeded.IntN(4)]
		w.space = []time.Duration{0, 3 * time.Second}[seeded.IntN(2)]
		w.scoped = seeded.IntN(4) == 0
		w.skew = time.Duration(seeded.IntN(60_000)-30_000) * time.Millisecond
		processes = 1 + seeded.IntN(3)
		w.rage = []float64{0.2, 1, 1, 4}[seeded.IntN(4)]
		w.versions = seeded.IntN(3) == 0
		w.rolling = w.versions
	}
	w.fact(history.Fact{What: history.Run, Settings: &history.Settings{
		Seed: opts.seed, ScopeTrade: w.scoped, Lease: lease.Milliseconds(), Keep: keep.Milliseconds(), MaxAge: maxAge.Milliseconds(),
		Retention: retention.Milliseconds(), Timeout: timeout.Milliseconds(), Drain: drain.Milliseconds(), QueryAfter: queryAfter.Milliseconds(),
		Rate: int64(w.rate), Bound: bound.Milliseconds(),
	}})
	for range processes {
		w.start()
	}
	w.plan()
	w.command()
	w.loop()
	w.close()
	w.result.facts, w.result.acts, w.result.refunds = w.facts, w.acts, len(w.refunds)
	w.result.virtual = time.Since(w.begin)
	return w.result
}

func (w *world) at() int64 { return time.Since(w.begin).Milliseconds() }

// fact writes a fact down. Only the scheduler may; actors tell.
func (w *world) fact(f history.Fact) {
	w.flush()
	f.At = w.at()
	if f.Token != "" {
		name, known := w.tokens[f.Token]
		if !known {
			name = fmt.Sprintf("t%d", len(w.tokens)+1)
			w.tokens[f.Token] = name
		}
		f.Token = name
	}
	w.facts = append(w.facts, f)
}

func (w *world) later(d time.Duration, do func()) {
	w.sequel++
	w.timers = append(w.timers, timer{time.Now().Add(d), w.sequel, do})
}

// loop lets one thing happen after the other until all has ended.
func (w *world) loop() {
	for range mostSteps {
		synctest.Wait()
		w.flush()
		if w.due() {
			continue
		}
		choices := w.choices()
		if len(choices) == 0 {
			if w.finished() || !w.wait() {
				return
			}
			continue
		}
		choices[w.rng.IntN(len(choices))]()
		// Never two acts at one moment: actors that wake at one would run in no order.
		d := time.Microsecond
		if ms := w.rng.IntN(40); ms < 20 {
			d += time.Duration(ms) * time.Millisecond
		}
		time.Sleep(d) //nolint:forbidigo // virtual time
	}
}

// due does what the world planned for now or earlier.
func (w *world) due() bool {
	i := w.nextTimer()
	if i < 0 || w.timers[i].at.After(time.Now()) {
		return false
	}
	t := w.timers[i]
	w.timers = slices.Delete(w.timers, i, i+1)
	t.do()
	return true
}

func (w *world) nextTimer() int {
	next := -1
	for i, t := range w.timers {
		if next < 0 || t.at.Before(w.timers[next].at) || t.at.Equal(w.timers[next].at) && t.seq < w.timers[next].seq {
			next = i
		}
	}
	return next
}

// wait lets virtual time go on to whatever comes next. False: it is too late.
func (w *world) wait() bool {
	if time.Since(w.begin) > keep+bound+48*time.Hour {
		return false
	}
	until := time.Hour
	if i := w.nextTimer(); i >= 0 {
		until = time.Until(w.timers[i].at)
	}
	if d, any := w.broker.next(); any {
		until = min(until, d)
	}
	t := time.NewTimer(max(until, time.Millisecond))
	defer t.Stop()
	select {
	case <-w.wake:
	case <-t.C:
	}
	return true
}

// choices are all that can happen now, in an order that depends on nothing but the
// run so far.
func (w *world) choices() []func() {
	w.mu.Lock()
	defer w.mu.Unlock()
	ops := slices.Clone(w.parked)
	slices.SortFunc(ops, func(a, b *op) int { return cmp.Compare(a.key, b.key) })
	var choices []func()
	for _, o := range ops {
		if !o.proc.frozen() {
			choices = append(choices, func() { w.act(o) })
		}
	}
	var takers []*process
	for _, p := range w.processes {
		if p.takes() {
			takers = append(takers, p)
		}
	}
	if len(takers) == 0 {
		return choices
	}
	for _, m := range w.broker.ready() {
		choices = append(choices, func() { w.deliver(m, takers[w.rng.IntN(len(takers))]) })
	}
	return choices
}

// finished: nothing is on its way any more.
func (w *world) finished() bool {
	if len(w.timers) > 0 || w.broker.alive() > 0 {
		return false
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, p := range w.processes {
		if p.busy > 0 {
			return false
		}
	}
	return w.undecided() == 0
}

// undecided is how many entries of the index wait to come due.
func (w *world) undecided() int {
	entries, _ := w.redis.Do([]any{"zrangebyscore", prefix + "u:" + appID, "-inf", "(+inf"}).([]redis.Z)
	return len(entries)
}

// close ends all processes and waits for their goroutines.
func (w *world) close() {
	left := w.broker.alive()
	end := w.lastAct
	if left > 0 || end.IsZero() {
		end = time.Now()
	}
	w.flush()
	for _, p := range w.processes {
		p.die()
	}
	for range 1000 {
		synctest.Wait()
		w.mu.Lock()
		running := w.running
		w.parked = nil
		for o := range w.waiting {
			w.resume(o, true)
		}
		w.mu.Unlock()
		if running == 0 {
			break
		}
		time.Sleep(time.Second) //nolint:forbidigo // virtual time
	}
	w.fact(history.Fact{What: history.Counter, Name: "events", Value: w.metrics.events.Load()})
	w.fact(history.Fact{What: history.Counter, Name: "retries", Value: w.metrics.retries.Load()})
	w.fact(history.Fact{What: history.Counter, Name: "parked", Value: w.metrics.parked.Load()})
	w.fact(history.Fact{What: history.End, Value: int64(left)})
	w.facts[len(w.facts)-1].At = end.Sub(w.begin).Milliseconds()
}

// fault draws whether a fault happens to what is done now.
func (w *world) fault(name, on string, probability float64) bool {
	if probability < 1 {
		probability *= w.rage
	}
	if w.opts.only != nil {
		probability = max(probability, 0.4/float64(1+len(w.opts.only)))
	}
	if w.opts.mute || w.quiet || w.rng.Float64() >= probability || w.opts.only != nil && !w.opts.only[name] {
		return false
	}
	w.happened(name, on)
	return true
}

// cover counts what a fault met.
func (w *world) cover(name, on string) {
	count := func(table map[string]map[string]int, column string) {
		if table[name] == nil {
			table[name] = map[string]int{}
		}
		table[name][column]++
	}
	count(w.result.met, on)
	if state := w.state(); state != "" {
		count(w.result.states, state)
	}
}

// state is that of the record whose command acts now, empty if none does.
func (w *world) state() string {
	if w.context == nil {
		return ""
	}
	w.mu.Lock()
	cmd, known := w.inHand[w.context.actor]
	w.mu.Unlock()
	if !known || cmd.number == "" {
		return ""
	}
	r := w.redis.Record(w.names.Key(cmd.identity()))
	switch {
	case !r.Exists:
		return "none"
	case r.Decided:
		return map[string]string{"S": "succeeded", "F": "failed", "C": "contradiction"}[r.Letter]
	case r.Token != "" && r.Until > time.Now().Add(w.skew).UnixMilli():
		return "held"
	case r.Token != "":
		return "lapsed"
	case r.Parked:
		return "parked"
	}
	return "released"
}

func (w *world) happened(name, on string) {
	w.cover(name, on)
	f := history.Fact{What: history.Fault, Name: name, Result: history.Happened, Reason: on}
	if w.context != nil {
		f = w.context.by(f)
	}
	w.fact(f)
}

// config is the flow's in every run.
func (w *world) config(p *process) consumer.Config {
	return consumer.Config{
		AppID: appID, ScopeTrade: w.scoped,
		Topics: map[consumer.Kind]string{consumer.KindRefund: refundTopic, consumer.KindCouponRefund: couponTopic},

		RetryTopic: retryTopic, EventTopic: eventTopic, ParkedTopic: parkedTopic,
		Lease: lease, Keep: keep, MaxAge: maxAge, QueryAfter: queryAfter, AlipayTimeout: timeout,
		RetryDelays: []time.Duration{
			10 * time.Second, 30 * time.Second, time.Minute, 2 * time.Minute, 5 * time.Minute, 10 * time.Minute, 30 * time.Minute,
		},
		Limits:   consumer.Limits{Spacing: w.space, Rate: w.rate, Paused: w.paused},
		Merchant: p.merchant, Workers: 128, Random: p.random(),
	}
}
