package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"refundd/cmd/internal/tap"
)

// load is how commands come.
type load struct {
	name    string
	refunds int
	rate    int // a second; 0: they lie there when the process starts
	latency time.Duration
	warmUp  int
}

func (b *bench) loads() []load {
	var all []load
	if b.backlog > 0 {
		all = append(all, load{name: fmt.Sprintf("backlog of %d, Alipay takes %v, %d at work", b.backlog, b.slow, b.instances), refunds: b.backlog, latency: b.slow})
	}
	if b.rate > 0 {
		all = append(all, load{
			name:    fmt.Sprintf("%d a second for %d s, Alipay takes %v, %d at work", b.rate, b.seconds, b.latency, b.instances),
			refunds: b.rate * b.seconds, rate: b.rate, latency: b.latency, warmUp: b.warmUp,
		})
	}
	return all
}

// result is what one run showed.
type result struct {
	cpu                     time.Duration // of a refund
	signature               time.Duration // one, right before and after
	signatures              float64       // cpu as so many of them
	perSecond               float64
	first                   time.Duration // from the process' start to the first event
	latencies               []time.Duration
	objects, size           float64 // allocated for a refund; size in KiB
	rss                     float64 // MiB
	trips, traffic, kept    float64 // reads by Redis, bytes to and from it, bytes of its memory; for a refund
	alipayConns, redisConns int64
	verdict                 string
}

// limit is how long a run may take altogether.
const limit = 5 * time.Minute

func (b *bench) measure(ctx context.Context, c contender, l load) (r result, err error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	b.runs++
	name := fmt.Sprintf("bench-%d-%d", os.Getpid(), b.runs)
	folder := filepath.Join(b.folder, fmt.Sprintf("%d-%s", b.runs, c.name))
	if err := os.Mkdir(folder, 0o700); err != nil {
		return r, err
	}
	t, err := b.createTopics(ctx, name)
	if err != nil {
		return r, err
	}
	defer b.deleteTopics(t)
	if err := b.redis.FlushAll(ctx).Err(); err != nil {
		return r, err
	}
	g, err := startGateway(ctx, b.keys, l.latency)
	if err != nil {
		return r, err
	}
	defer g.close()
	seen := newEvents()
	following, stopFollowing := context.WithCancel(ctx)
	defer stopFollowing()
	ready := make(chan struct{})
	go func() {
		err := tap.Follow(following, b.cluster, tap.Following{Topic: t.event, Beginning: true, Ready: func() { close(ready) }}, seen.add)
		seen.ended(err)
	}()
	select {
	case <-ready:
	case <-ctx.Done():
		return r, ctx.Err()
	}
	before := signature(b.keys)
	commands := &commands{b: b, topic: t.command, run: b.runs}
	if l.rate == 0 {
		if err := commands.atOnce(ctx, l.refunds); err != nil {
			return r, err
		}
	}
	redisBefore, err := b.redisState(ctx)
	if err != nil {
		return r, err
	}
	p, err := b.startAll(ctx, c, t, g.url, folder)
	if err != nil {
		return r, err
	}
	stopped := false
	defer func() {
		if !stopped {
			_ = p.stop()
		}
	}()
	var cpuBefore time.Duration
	var objects, size float64
	began := p.begun()
	if l.rate > 0 {
		if err := commands.atOnce(ctx, l.warmUp); err != nil {
			return r, err
		}
		if err := seen.wait(ctx, p, l.warmUp); err != nil {
			return r, err
		}
		if cpuBefore, err = p.cpu(); err != nil {
			return r, err
		}
		if objects, size, err = p.memory(ctx); err != nil {
			return r, err
		}
		if redisBefore, err = b.redisState(ctx); err != nil {
			return r, err
		}
		began = time.Now()
		if err := commands.atRate(ctx, l.refunds, l.rate); err != nil {
			return r, err
		}
	}
	if err := seen.wait(ctx, p, l.warmUp+l.refunds); err != nil {
		return r, err
	}
	cpu, err := p.cpu()
	if err != nil {
		return r, err
	}
	took := time.Since(began)
	objectsAfter, sizeAfter, err := p.memory(ctx)
	if err != nil {
		return r, err
	}
	redisAfter, err := b.redisState(ctx)
	if err != nil {
		return r, err
	}
	if r.rss, err = p.rss(); err != nil {
		return r, err
	}
	stopped = true
	if err := p.stop(); err != nil {
		return r, fmt.Errorf("stop: %w", err)
	}
	stopFollowing()
	r.signature = (before + signature(b.keys)) / 2
	n := float64(l.refunds)
	r.cpu = time.Duration(float64(cpu-cpuBefore) / n)
	r.signatures = float64(r.cpu) / float64(r.signature)
	r.perSecond = n / took.Seconds()
	r.first = seen.first().Sub(p.begun())
	r.latencies = commands.latencies(seen, l.warmUp)
	r.objects, r.size = (objectsAfter-objects)/n, (sizeAfter-size)/n/1024
	r.trips = float64(redisAfter.reads-redisBefore.reads) / n
	r.traffic = float64(redisAfter.traffic-redisBefore.traffic) / n
	r.redisConns, r.alipayConns = redisAfter.connections-redisBefore.connections, g.opened.Load()
	if r.kept, err = b.kept(ctx, n+float64(l.warmUp)); err != nil {
		return r, err
	}
	r.verdict = judge(commands, g, seen)
	return r, nil
}

// commands sends a run's commands and remembers them.
type commands struct {
	b     *bench
	topic string
	run   int

	mu   sync.Mutex
	sent []sentCommand
}

type sentCommand struct {
	number, trade, message string
	at                     time.Time
}

const amount = "16.00"

func (c *commands) send(ctx context.Context, i int) error {
	s := sentCommand{number: fmt.Sprintf("R-%d-%07d", c.run, i), trade: fmt.Sprintf("T-%d-%07d", c.run, i), at: time.Now()}
	body, err := json.Marshal(map[string]string{"out_request_no": s.number, "out_trade_no": s.trade, "refund_amount": amount})
	if err != nil {
		return err
	}
	for try := 1; ; try++ {
		// A broker that is busy says no. What it took all the same is one command more, as in life.
		if s.message, err = c.b.sender.Send(ctx, tap.Outgoing{Topic: c.topic, Keys: s.number, Body: body}); err == nil {
			break
		}
		if try == 10 {
			return err
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sent = append(c.sent, s)
	return nil
}

// atOnce sends as fast as the broker takes them.
func (c *commands) atOnce(ctx context.Context, n int) error {
	base := len(c.all())
	var wg sync.WaitGroup
	next := make(chan int)
	failed := make(chan error, n)
	for range 32 {
		wg.Go(func() {
			for i := range next {
				if err := c.send(ctx, i); err != nil {
					failed <- err
				}
			}
		})
	}
	for i := range n {
		next <- base + i
	}
	close(next)
	wg.Wait()
	return first(failed)
}

// atRate sends so many a second, each when it is due, however long others take.
func (c *commands) atRate(ctx context.Context, n, rate int) error {
	base := len(c.all())
	var wg sync.WaitGroup
	failed := make(chan error, n)
	begin := time.Now()
	for i := range n {
		due := time.NewTimer(time.Until(begin.Add(time.Duration(i) * time.Second / time.Duration(rate))))
		select {
		case <-due.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		wg.Go(func() {
			if err := c.send(ctx, base+i); err != nil {
				failed <- err
			}
		})
	}
	wg.Wait()
	return first(failed)
}

func first(failed chan error) error {
	select {
	case err := <-failed:
		return err
	default:
		return nil
	}
}

func (c *commands) all() []sentCommand {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.sent)
}

// latencies are those from a command's birth to its event's storing, of all
// commands but the first ones.
func (c *commands) latencies(e *events, skip int) []time.Duration {
	stored := map[string]time.Time{}
	for _, seen := range e.all() {
		if at, ok := stored[seen.number]; !ok || seen.stored.Before(at) {
			stored[seen.number] = seen.stored
		}
	}
	var all []time.Duration
	for _, s := range c.all()[skip:] {
		if at, ok := stored[s.number]; ok {
			all = append(all, at.Sub(s.at))
		}
	}
	slices.Sort(all)
	return all
}

// redisState is what Redis has counted.
type redisState struct{ reads, traffic, connections int64 }

func (b *bench) redisState(ctx context.Context) (redisState, error) {
	info, err := b.redis.Info(ctx, "stats").Result()
	if err != nil {
		return redisState{}, err
	}
	var s redisState
	for name, into := range map[string]*int64{
		"total_reads_processed": &s.reads, "total_net_input_bytes": &s.traffic, "total_net_output_bytes": &s.traffic,
		"total_connections_received": &s.connections,
	} {
		match := regexp.MustCompile(name + `:(\d+)`).FindStringSubmatch(info)
		if match == nil {
			return s, fmt.Errorf("redis does not count %s", name)
		}
		n, err := strconv.ParseInt(match[1], 10, 64)
		if err != nil {
			return s, err
		}
		*into += n
	}
	return s, nil
}

// kept returns how many bytes Redis keeps for a refund, by MEMORY USAGE of
// everything that does not expire within seconds.
func (b *bench) kept(ctx context.Context, refunds float64) (float64, error) {
	var total int64
	keys := b.redis.Scan(ctx, 0, "*", 1000).Iterator()
	for keys.Next(ctx) {
		left, err := b.redis.PTTL(ctx, keys.Val()).Result()
		if err != nil {
			return 0, err
		}
		if left > 0 && left < 10*time.Second {
			continue
		}
		size, err := b.redis.MemoryUsage(ctx, keys.Val()).Result()
		if err != nil && !errors.Is(err, redis.Nil) {
			return 0, err
		}
		total += size
	}
	return float64(total) / refunds, keys.Err()
}
