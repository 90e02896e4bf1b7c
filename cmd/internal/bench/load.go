package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"time"

	"refundd/cmd/internal/tap"
)

// load is how commands come, and what they meet.
type load struct {
	refunds   int
	rate      int // a second; 0: they lie there when the process starts
	latency   time.Duration
	warmUp    int
	instances int
	queues    int // of each topic
	workers   int // of an instance; 0: what the contender has by default
	in        *surroundings
	closely   bool // sample the contender's own metrics, too
	again     bool // afterwards, deliver everything once more
}

// defaultWorkers are those of REFUNDD_CONCURRENCY.
const defaultWorkers = 128

func (l load) workersOf() int {
	if l.workers == 0 {
		return defaultWorkers
	}
	return l.workers
}

// limit is how long a run may take altogether.
func (l load) limit() time.Duration {
	each := 10*time.Millisecond + 2*l.latency/time.Duration(l.workersOf()*l.instances)
	if l.rate > 0 {
		each += time.Second / time.Duration(l.rate)
	}
	return 5*time.Minute + time.Duration(l.refunds)*each
}

// result is what one run showed.
type result struct {
	cpu                         time.Duration // of a refund
	signature                   time.Duration // one, right before and after
	signatures                  float64       // cpu as so many of them
	perSecond                   float64       // from the process' start to the last event
	steady                      float64       // a second, without start and end
	first                       time.Duration // from the process' start to the first event
	again                       float64       // signatures, of a decided refund that comes again; NaN where none did
	latencies                   []time.Duration
	hop, twoHops                []time.Duration // of the broker meanwhile, sorted
	objects, size               float64         // allocated for a refund; size in KiB
	rss                         float64         // MiB
	refunds                     int
	samples                     []sample
	atAlipay                    int64   // calls at once
	leastShare                  float64 // of several instances
	trips, traffic              float64 // reads by Redis, bytes to and from it; for a refund
	exchanges                   float64 // of refundd with Redis, by its own count; for a refund
	kept, keptAll               float64 // bytes of Redis' memory for a refund, by MEMORY USAGE and by what it uses altogether
	scriptMicros, bareSetMicros float64 // Redis at work on a script and on a SET
	alipayConns, redisConns     int64
	verdict                     string
}

// counts are what grows in a run.
type counts struct {
	cpu     []time.Duration
	counted counted
	redis   redisState
}

func count(ctx context.Context, p processes, in *surroundings) (c counts, err error) {
	if c.cpu, err = p.cpu(); err != nil {
		return c, err
	}
	if c.counted, err = p.counted(ctx); err != nil {
		return c, err
	}
	c.redis, err = in.redisState(ctx)
	return c, err
}

func (b *bench) measure(ctx context.Context, c contender, l load) (r result, err error) {
	ctx, cancel := context.WithTimeout(ctx, l.limit())
	defer cancel()
	b.runs++
	name := fmt.Sprintf("bench-%d-%d", os.Getpid(), b.runs)
	folder := filepath.Join(b.folder, fmt.Sprintf("%d-%s", b.runs, c.name))
	if err := os.Mkdir(folder, 0o700); err != nil {
		return r, err
	}
	t, err := l.in.createTopics(ctx, name, l.queues)
	if err != nil {
		return r, err
	}
	defer l.in.deleteTopics(t)
	if err := l.in.emptyRedis(ctx); err != nil {
		return r, err
	}
	g, err := startGateway(ctx, b.keys, l.latency)
	if err != nil {
		return r, err
	}
	defer g.close()
	seen, stopFollowing, err := follow(ctx, l.in, t.event)
	if err != nil {
		return r, err
	}
	defer stopFollowing()
	commands := &commands{sender: l.in.sender, topic: t.command, run: b.runs}
	if l.rate == 0 {
		began := time.Now()
		if err := commands.atOnce(ctx, l.refunds); err != nil {
			return r, err
		}
		if l.refunds >= manyRefunds {
			fmt.Fprintf(os.Stderr, "bench: sent %d commands in %.0f s\n", l.refunds, time.Since(began).Seconds())
		}
	}
	signatureBefore := signature(b.keys)
	var before counts // a process that begins has counted nothing
	if before.redis, err = l.in.redisState(ctx); err != nil {
		return r, err
	}
	p, err := b.startAll(ctx, c, l, t, g.url, folder)
	if err != nil {
		return r, err
	}
	stopped := false
	defer func() {
		if !stopped {
			_ = p.stop()
		}
	}()
	began := p.begun()
	before.cpu = make([]time.Duration, len(p))
	sampled := watch(ctx, p, seen, l.warmUp+l.refunds, l.closely)
	if l.rate > 0 {
		if err := commands.atOnce(ctx, l.warmUp); err != nil {
			return r, err
		}
		if err := seen.wait(ctx, p, l.warmUp); err != nil {
			return r, err
		}
		h, err := startHops(ctx, l.in, b.runs, l.queues)
		if err != nil {
			return r, err
		}
		if before, err = count(ctx, p, l.in); err != nil {
			_, _, _ = h.end()
			return r, err
		}
		began = time.Now()
		err = commands.atRate(ctx, l.refunds, l.rate)
		var ofHops error
		r.hop, r.twoHops, ofHops = h.end()
		if err != nil {
			return r, err
		}
		if ofHops != nil {
			return r, fmt.Errorf("hops of the broker: %w", ofHops)
		}
	}
	err = seen.wait(ctx, p, l.warmUp+l.refunds)
	r.samples, r.refunds = sampled(), l.warmUp+l.refunds
	if err != nil {
		return r, err
	}
	took := time.Since(began)
	after, err := count(ctx, p, l.in)
	if err != nil {
		return r, err
	}
	if r.rss, err = p.rss("VmHWM"); err != nil {
		return r, err
	}
	stopped = true
	if err := p.stop(); err != nil {
		return r, fmt.Errorf("stop: %w", err)
	}
	r.signature = (signatureBefore + signature(b.keys)) / 2
	r.compare(before, after, float64(l.refunds))
	r.perSecond, r.steady = float64(l.refunds)/took.Seconds(), steady(seen.storedAt())
	r.first = seen.storedAt()[0].Sub(p.begun())
	r.latencies = commands.latencies(seen, l.warmUp)
	r.alipayConns, r.atAlipay = g.opened.Load(), g.most.Load()
	if r.kept, err = l.in.kept(ctx, float64(l.refunds+l.warmUp)); err != nil {
		return r, err
	}
	if r.bareSetMicros, err = l.in.bareSet(ctx); err != nil {
		return r, err
	}
	calls := g.called()
	if r.again, err = b.again(ctx, c, l, t, g.url, folder+"-again", commands, seen); err != nil {
		return r, fmt.Errorf("again: %w", err)
	}
	r.again /= float64(r.signature)
	stopFollowing()
	r.verdict = judge(commands, g, seen, l.limit())
	if more := g.called() - calls; more > 0 && r.verdict == clean {
		r.verdict = fmt.Sprintf("%d calls for refunds that were decided before", more)
	}
	return r, nil
}

// again sends every command of the run once more, lets the contender begin anew,
// and returns the CPU nanoseconds that a refund takes which was decided before.
func (b *bench) again(ctx context.Context, c contender, l load, t topics, gateway, folder string, sent *commands, seen *events) (float64, error) {
	if !l.again {
		return math.NaN(), nil
	}
	if err := os.Mkdir(folder, 0o700); err != nil {
		return 0, err
	}
	if err := sent.again(ctx); err != nil {
		return 0, err
	}
	n := len(sent.all())
	p, err := b.startAll(ctx, c, l, t, gateway, folder)
	if err != nil {
		return 0, err
	}
	if err := seen.waitAll(ctx, p, len(seen.all())+n); err != nil {
		return 0, errors.Join(err, p.stop())
	}
	each, err := p.cpu()
	sum := time.Duration(0)
	for _, one := range each {
		sum += one
	}
	return float64(sum) / float64(n), errors.Join(err, p.stop())
}

// compare fills in what one refund has cost.
func (r *result) compare(before, after counts, refunds float64) {
	each := make([]time.Duration, len(after.cpu))
	sum := time.Duration(0)
	for i := range each {
		each[i] = after.cpu[i] - before.cpu[i]
		sum += each[i]
	}
	r.cpu, r.leastShare = time.Duration(float64(sum)/refunds), leastShare(each)
	r.signatures = float64(r.cpu) / float64(r.signature)
	r.objects = (after.counted.objects - before.counted.objects) / refunds
	r.size = (after.counted.size - before.counted.size) / refunds / 1024
	r.exchanges = (after.counted.exchanges - before.counted.exchanges) / refunds
	redis := func(of func(redisState) int64) float64 { return float64(of(after.redis) - of(before.redis)) }
	r.trips = redis(func(s redisState) int64 { return s.reads }) / refunds
	r.traffic = redis(func(s redisState) int64 { return s.traffic }) / refunds
	r.keptAll = math.NaN() // buffers of connections are more than what few refunds leave
	if refunds >= manyRefunds {
		r.keptAll = redis(func(s redisState) int64 { return s.memory }) / refunds
	}
	r.redisConns = after.redis.connections - before.redis.connections
	if scripts := redis(func(s redisState) int64 { return s.scripts }); scripts > 0 {
		r.scriptMicros = redis(func(s redisState) int64 { return s.scriptMicros }) / scripts
	}
}

// follow reads the event topic from its beginning until stop.
func follow(ctx context.Context, in *surroundings, topic string) (seen *events, stop context.CancelFunc, err error) {
	seen = newEvents()
	following, stop := context.WithCancel(ctx)
	ready := make(chan struct{})
	go func() {
		err := tap.Follow(following, in.cluster, tap.Following{Topic: topic, Beginning: true, Ready: func() { close(ready) }}, seen.add)
		if following.Err() == nil {
			seen.ended(err)
		}
	}()
	select {
	case <-ready:
		return seen, stop, nil
	case <-ctx.Done():
		stop()
		return nil, nil, ctx.Err()
	}
}
