package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"refundd/alipay/alipaytest"
	"refundd/cmd/internal/tap"
	"refundd/consumer/remoting"
)

const appID = "2021000000000001"

// bench is what all runs share.
type bench struct {
	options
	nameServer, redisURL string
	cluster              tap.Cluster
	sender               *tap.Sender
	redis                *redis.Client
	keys                 *alipaytest.Keys
	folder               string // of keys and logs
	runs                 int
}

// contenders are image, plain and peer, with the settings that each has.
func (b *bench) contenders() ([]contender, error) {
	self, errSelf := os.Executable()
	dockerfile, errImage := os.ReadFile("deploy/Dockerfile")
	own, shared := imageSettings(string(dockerfile))
	shared = append(shared, strings.Fields(b.env)...)
	return []contender{
		{name: "image", args: []string{"bin/image/refundd"}, env: append(own, shared...)},
		{name: "plain", args: []string{"bin/plain/refundd"}, env: shared},
		{name: rolePeer, args: []string{self, rolePeer}, env: shared},
	}, errors.Join(errSelf, errImage)
}

var imageSetting = regexp.MustCompile(`\b(REFUNDD_[A-Z_]+|GOMAXPROCS|GOGC|GOMEMLIMIT|GODEBUG)=[^\s"]+`)

// imageSettings are what a Dockerfile sets: refundd's own, and those of Go's
// runtime, which are for all contenders.
func imageSettings(dockerfile string) (own, shared []string) {
	for _, setting := range imageSetting.FindAllString(dockerfile, -1) {
		if strings.HasPrefix(setting, "REFUNDD_") {
			own = append(own, setting)
		} else {
			shared = append(shared, setting)
		}
	}
	return own, shared
}

// run measures and prints what was asked for. A run of refundd that was not clean
// is an error after that; the peer promises nothing.
func (b *bench) run(ctx context.Context, out io.Writer) error {
	contenders, err := b.contenders()
	if err != nil {
		return err
	}
	var wrong error
	for _, name := range b.tables {
		t := b.plan(name, contenders)
		for n := range t.rounds * len(t.rows) {
			row := &t.rows[(n+n/len(t.rows))%len(t.rows)] // another one begins each round
			r, err := b.measure(ctx, row.c, row.l)
			if err != nil {
				return fmt.Errorf("%s, %s: %w", t.title, row.name, err)
			}
			fmt.Fprintf(os.Stderr, "bench: %s, round %d, %s: %.0f/s, %s\n", t.name, n/len(t.rows)+1, row.name, r.perSecond, r.verdict)
			if row.results = append(row.results, r); r.verdict != clean && row.c.isRefundd() {
				wrong = errors.Join(wrong, fmt.Errorf("%s, %s: %s", t.title, row.name, r.verdict))
			}
		}
		if len(t.rows) > 0 {
			t.print(out)
		}
	}
	return wrong
}

// plan is the table of this name.
func (b *bench) plan(name string, contenders []contender) table {
	t := table{name: name, rounds: b.rounds}
	enter := func(name string, c contender, l load) {
		if b.only == "" || b.only == c.name {
			t.rows = append(t.rows, row{name: name, c: c, l: l})
		}
	}
	beside := func(l load) {
		for _, c := range contenders {
			if l.tls = false; b.tls != "on" {
				enter(c.name, c, l)
			}
			if l.tls = true; b.tls != "off" {
				enter(c.name+", TLS", c, l)
			}
		}
	}
	image, peer := contenders[0], contenders[len(contenders)-1]
	switch name {
	case "backlog":
		t.title, t.columns = fmt.Sprintf("backlog of %d", b.backlog), backlogColumns()
		t.goals = "image ≤ 0.55 and plain ≤ 1.00 × the peer's CPU; memory ≤ 45 MiB; again ≤ 0.25 signatures"
		beside(load{refunds: b.backlog, again: true})
	case "rate":
		t.title, t.columns = fmt.Sprintf("%d/s for %d s, Alipay takes %v", b.rate, b.seconds, b.latency), rateColumns()
		t.goals = "image ≤ 0.65 and plain ≤ 0.97 × the peer's CPU; p99 ≤ the peer's + 2 ms"
		beside(load{refunds: b.rate * b.seconds, rate: b.rate, latency: b.latency})
	case "limit":
		t.title = fmt.Sprintf("Alipay takes %v and lets so many calls a second through, %d times as many after %v; found is %v later, and so is lifted",
			b.latency, lifted, limitedFor, foundAfter)
		t.goals = "image ≤ 1.3 × the signatures of its backlog"
		t.columns, t.rounds = limitColumns(), 1 // its figures are counts of thousands
		for _, limit := range []int{30, 300} {
			l := load{refunds: (1 + lifted) * limit * int(limitedFor.Seconds()) * 11 / 10, latency: b.latency, limit: limit}
			enter(fmt.Sprintf("image, %d/s", limit), image, l)
			enter(fmt.Sprintf("peer, %d/s", limit), peer, l)
			l.instances = 2
			enter(fmt.Sprintf("2 of image, %d/s", limit), image, l)
		}
	case "instances":
		t.title, t.columns = fmt.Sprintf("instances of 16 workers, backlog of %d for each, Alipay takes 100 ms", b.backlog), backlogColumns()
		t.goals = "twice the instances work off twice as much, until Alipay or this machine is the limit"
		image.env = append(image.env, "REFUNDD_CONCURRENCY=16")
		for _, n := range []int{1, 2, 4} {
			enter(strconv.Itoa(n), image, load{refunds: n * b.backlog, latency: 100 * time.Millisecond, instances: n})
		}
	}
	return t
}

const queues = 8 // of each topic on each broker

// topics are those of one run, and its group.
type topics struct{ group, command, event, retry, parked string }

// createTopics makes them on every broker, and empties Redis.
func (b *bench) createTopics(ctx context.Context, run string) (topics, error) {
	t := topics{run, run + "-command", run + "-event", run + "-retry", run + "-parked"}
	brokers, err := remoting.Brokers(ctx, b.nameServer)
	err = errors.Join(err, b.redis.FlushAll(ctx).Err())
	for _, topic := range []string{t.command, t.event, t.retry, t.parked} {
		for _, broker := range brokers {
			err = errors.Join(err, remoting.CreateTopic(ctx, broker, topic, queues), remoting.CreateGroup(ctx, broker, t.group))
		}
		err = errors.Join(err, remoting.WaitRoute(ctx, b.nameServer, topic))
	}
	return t, err
}

// redisBytes is the memory that Redis uses now.
func (b *bench) redisBytes(ctx context.Context) (float64, error) {
	info := b.redis.InfoMap(ctx, "memory")
	used, err := strconv.ParseFloat(info.Item("Memory", "used_memory"), 64)
	return used, errors.Join(info.Err(), err)
}
