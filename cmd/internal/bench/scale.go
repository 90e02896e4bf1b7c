package main

import (
	"context"
	"fmt"
	"time"
)

// questions are those of -scale, in the order in which all are answered:
//
//   - redis: one Redis beside a Cluster of three masters, under the backlog;
//   - flush: a broker and a Redis that write to the disk in the background beside
//     ones that do so before they confirm, under the backlog;
//   - instances: 1, 2 and 4 of them with few workers each, so that Alipay's time is
//     the limit and not this machine; each has a backlog of its own size;
//   - inflight: one process that holds -in-flight refunds of a slow Alipay, with few
//     queues and with many;
//   - drain: the backlog, whatever its size, with the memory on the way.
//
// The contender is refundd-openssl unless -only says otherwise.
func questions() []string {
	return []string{kindRedis, kindFlush, kindInstances, kindInFlight, kindDrain}
}

const (
	instancesLatency = 100 * time.Millisecond
	instancesWorkers = 16
	inFlightLatency  = 5 * time.Second
	manyQueues       = 64
)

// scaleGroup starts what the question needs.
func (b *bench) scaleGroup(ctx context.Context, question string) (group, error) {
	if b.contender == "" {
		b.contender = contenderOpenSSL
	}
	contenders, err := b.contenders()
	if err != nil {
		return group{}, err
	}
	c := contenders[0]
	g := group{kind: question, columns: scaleColumns()}
	enter := func(name string, l load) {
		l.closely = true
		g.entrants = append(g.entrants, entrant{name, c, l})
	}
	l := b.plain()
	l.refunds, l.latency = b.backlog, b.slow
	backlog := fmt.Sprintf("%s, backlog of %d, Alipay takes %v, %d workers", c.name, b.backlog, b.slow, l.workersOf())
	switch question {
	case kindRedis:
		cluster, err := startCluster(ctx, b.folder)
		if err != nil {
			return g, err
		}
		g.title, g.cold, g.close = "Redis: "+backlog, true, cluster.close
		enter("one Redis", l)
		l.in = b.home.on(cluster)
		enter(fmt.Sprintf("Cluster of %d masters", masters), l)
	case kindFlush:
		second, stop, err := secondStack(ctx, b.stack, "-sync-flush", "-topics", "", "-group", "")
		if err != nil {
			return g, err
		}
		g.title, g.cold, g.close = "Flush of broker and Redis: "+backlog, true, stop
		enter("in the background", l)
		l.in = second
		enter("before confirming", l)
	case kindInstances:
		l.latency = instancesLatency
		if b.workers == 0 {
			l.workers = instancesWorkers
		}
		g.title = fmt.Sprintf("Instances: %s, backlog of %d for each, Alipay takes %v, %d workers each", c.name, b.backlog, l.latency, l.workers)
		for _, n := range []int{1, 2, 4} {
			l.instances, l.refunds = n, n*b.backlog
			enter(fmt.Sprint(n), l)
		}
	case kindInFlight:
		l.latency, l.workers, l.refunds, l.instances = inFlightLatency, b.inFlight, 2*b.inFlight, 1
		g.title = fmt.Sprintf("In flight: %s, %d workers, %d refunds, Alipay takes %v", c.name, l.workers, l.refunds, l.latency)
		for _, n := range []int{b.queues, manyQueues} {
			l.queues = n
			enter(fmt.Sprintf("%d queues", n), l)
		}
	case kindDrain:
		g.title = "Drain: " + backlog
		enter(fmt.Sprintf("%d", b.backlog), l)
	}
	return g, nil
}

func scaleColumns() []column {
	at := func(share float64) func(result) float64 {
		return func(r result) float64 { return r.rssAt(share) }
	}
	return []column{
		{"refunds/s", "%.0f", func(r result) float64 { return r.perSecond }},
		{"steady/s", "%.0f", func(r result) float64 { return r.steady }},
		{"first event s", "%.1f", func(r result) float64 { return r.first.Seconds() }},
		{"least share", "%.2f", func(r result) float64 { return r.leastShare }},
		{"in flight", "%.0f", result.inFlight},
		{"at Alipay", "%.0f", func(r result) float64 { return float64(r.atAlipay) }},
		{"goroutines", "%.0f", result.goroutines},
		{"RSS MiB", "%.0f", func(r result) float64 { return r.rss }},
		{"at 10 %", "%.0f", at(0.1)},
		{"50 %", "%.0f", at(0.5)},
		{"100 %", "%.0f", at(1)},
		{"Redis trips", "%.2f", func(r result) float64 { return r.exchanges }},
		{"reads", "%.2f", func(r result) float64 { return r.trips }},
		{"kept B", "%.0f", func(r result) float64 { return r.kept }},
		{"in all", "%.0f", func(r result) float64 { return r.keptAll }},
		{"conns Alipay", "%.0f", func(r result) float64 { return float64(r.alipayConns) }},
		{"Redis", "%.0f", func(r result) float64 { return float64(r.redisConns) }},
	}
}

// rssAt is the memory when a share of the refunds was done.
func (r result) rssAt(share float64) float64 { return rssAt(r.samples, r.refunds, share) }

func (r result) inFlight() float64 {
	return peak(r.samples, func(s sample) float64 { return s.inFlight })
}

func (r result) goroutines() float64 {
	return peak(r.samples, func(s sample) float64 { return s.goroutines })
}
