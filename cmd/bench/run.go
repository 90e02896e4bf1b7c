package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// load is how commands come, and what they meet.
type load struct {
	refunds   int
	rate      int // a second; 0: they lie there when the process starts
	latency   time.Duration
	instances int // more than one
	limit     int // calls a second; 0: none
	tls       bool
	again     bool // afterwards, deliver everything once more
}

// result is what one run showed.
type result struct {
	signature  time.Duration // CPU time of one, right before and after
	cpu        time.Duration // of a refund
	again      time.Duration // of a decided refund that comes again; 0: none did
	perSecond  float64       // from the process' start to the last event
	latencies  []float64     // ms from sending a command to its event's storing
	peak       float64       // MiB
	redisBytes float64       // kept for a refund
	throttled  throttled
	verdict    string
}

// trial is one run of a contender.
type trial struct {
	c        contender
	l        load
	folder   string
	env      []string
	gateway  *gateway
	commands *commands
	warmUp   int // of the commands, which do not count
	events   *events
}

// prepare makes a trial, on topics of its own. Its gateway is to be closed.
func (b *bench) prepare(ctx context.Context, c contender, l load) (*trial, error) {
	b.runs++
	t := &trial{c: c, l: l, folder: filepath.Join(b.folder, fmt.Sprintf("%d-%s", b.runs, c.name))}
	if err := os.Mkdir(t.folder, 0o700); err != nil {
		return nil, err
	}
	topics, err := b.createTopics(ctx, fmt.Sprintf("bench-%d-%d", os.Getpid(), b.runs))
	if err != nil {
		return nil, err
	}
	certificate := filepath.Join(t.folder, "gateway.pem")
	if t.gateway, err = startGateway(b.keys, l, certificate); err != nil {
		return nil, err
	}
	t.env = []string{
		"REFUNDD_ROCKETMQ_NAMESERVERS=" + b.nameServer, "REFUNDD_ROCKETMQ_GROUP=" + topics.group, "REFUNDD_REDIS_URL=" + b.redisURL,
		"REFUNDD_TOPIC_REFUND=" + topics.command, "REFUNDD_TOPIC_COUPON_REFUND=", "REFUNDD_TOPIC_EVENT=" + topics.event,
		"REFUNDD_TOPIC_RETRY=" + topics.retry, "REFUNDD_TOPIC_PARKED=" + topics.parked,
		"REFUNDD_ALIPAY_APP_ID=" + appID, "REFUNDD_ALIPAY_GATEWAY=" + t.gateway.http.URL + "/gateway.do",
		"REFUNDD_ALIPAY_PRIVATE_KEY_FILE=" + filepath.Join(b.folder, "app_private_key.pem"),
		"REFUNDD_ALIPAY_PUBLIC_KEY_FILE=" + filepath.Join(b.folder, "alipay_public_key.pem"),
		"REFUNDD_HTTP_ADDR=", "REFUNDD_ADMIN_ADDR=127.0.0.1:0", "SSL_CERT_FILE=" + certificate,
	}
	if l.rate > 0 {
		t.warmUp = 100
	}
	t.events = follow(ctx, b.cluster, topics.event)
	t.commands = &commands{sender: b.sender, topic: topics.command, run: b.runs, sent: make([]time.Time, t.warmUp+l.refunds)}
	return t, nil
}

// measure lets a contender do one run.
func (b *bench) measure(ctx context.Context, c contender, l load) (r result, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	t, err := b.prepare(ctx, c, l)
	if err != nil {
		return r, err
	}
	defer t.gateway.http.Close()
	if l.rate == 0 {
		if err := t.commands.atOnce(ctx, 0, l.refunds); err != nil {
			return r, fmt.Errorf("send the backlog: %w", err)
		}
	}
	empty, errEmpty := b.redisBytes(ctx)
	before := signature(b.keys)
	if err := t.work(ctx, &r); err != nil {
		return r, err
	}
	full, errFull := b.redisBytes(ctx)
	if err := errors.Join(errEmpty, errFull); err != nil {
		return r, err
	}
	r.signature, r.redisBytes = (before+signature(b.keys))/2, (full-empty)/float64(l.refunds)
	calls := t.gateway.Calls()
	if l.again && c.isRefundd() { // a peer says nothing of what it has had before
		if r.again, err = t.again(ctx); err != nil {
			return r, fmt.Errorf("again: %w", err)
		}
	}
	if r.verdict = judge(t.commands, t.gateway.Movements(), t.events, l.limit > 0); len(t.gateway.Calls()) > len(calls) {
		r.verdict = "calls for refunds that were decided before; " + r.verdict
	}
	r.throttled = throttledBy(l.limit, calls)
	return r, nil
}

// work lets the processes do what there is, and stops them.
func (t *trial) work(ctx context.Context, r *result) error {
	began, before, n := time.Now(), time.Duration(0), len(t.commands.sent)
	p, err := t.start(ctx, "first-")
	if err != nil {
		return err
	}
	if t.l.rate > 0 {
		err = errors.Join(t.commands.atOnce(ctx, 0, t.warmUp), t.events.wait(ctx, p, t.warmUp, 0))
		before, _, _ = p.usage()
		began = time.Now()
		err = errors.Join(err, t.commands.atRate(ctx, t.warmUp, n, t.l.rate))
	}
	if t.l.limit > 0 {
		err = t.underLimit(ctx, p)
	} else {
		err = errors.Join(err, t.events.wait(ctx, p, n, 0))
	}
	done := max(len(t.gateway.Movements())-t.warmUp, 1)
	cpu, peak, errUsage := p.usage()
	if err := errors.Join(err, errUsage, p.stop()); err != nil {
		return err
	}
	r.cpu, r.peak = (cpu-before)/time.Duration(done), peak
	if err := t.events.wait(ctx, nil, len(t.gateway.Movements()), 0); err != nil { // what was under way
		return err
	}
	var last time.Time
	r.latencies, last = t.events.latencies(t.commands, t.warmUp)
	r.perSecond = float64(len(r.latencies)) / last.Sub(began).Seconds()
	return nil
}

// again sends every command once more, lets the contender begin anew, and returns
// the CPU time that a refund takes which was decided before.
func (t *trial) again(ctx context.Context) (time.Duration, error) {
	n := len(t.commands.sent)
	if err := t.commands.atOnce(ctx, 0, n); err != nil {
		return 0, err
	}
	_, total, _ := t.events.state()
	p, err := t.start(ctx, "again-")
	if err != nil {
		return 0, err
	}
	err = t.events.wait(ctx, p, n, total+n)
	if _, now, _ := t.events.state(); err == nil && now < total+n {
		err = fmt.Errorf("%d of %d have an event again", now-total, n)
	}
	cpu, _, errUsage := p.usage()
	return cpu / time.Duration(n), errors.Join(err, errUsage, p.stop())
}
