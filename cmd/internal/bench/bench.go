package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"refundd/alipay/alipaytest"
)

const appID = "2021000000000001"

// bench is what all runs share.
type bench struct {
	options
	home   *surroundings
	keys   *alipaytest.Keys
	folder string
	runs   int
}

func newBench(o options) (*bench, error) {
	nameServer, redisURL := os.Getenv("REFUNDD_TEST_NAMESERVERS"), os.Getenv("REFUNDD_TEST_REDIS")
	if nameServer == "" || redisURL == "" {
		return nil, errors.New("there is no stack: run it by make bench")
	}
	b := &bench{options: o}
	var err error
	if b.home, err = standalone(nameServer, redisURL); err != nil {
		return nil, err
	}
	if b.folder, err = os.MkdirTemp("", "refundd-bench-"); err != nil {
		return nil, err
	}
	b.keys, err = alipaytest.LoadOrCreateKeys(b.folder)
	return b, err
}

func (b *bench) close() {
	b.home.close()
	if b.keep {
		fmt.Fprintln(os.Stderr, "bench: logs are in", b.folder)
		return
	}
	_ = os.RemoveAll(b.folder)
}

const (
	contenderGo      = "refundd"
	contenderOpenSSL = "refundd-openssl"
	contenderPeer    = "peer"
	contenderBare    = "bare"

	contenderBareOpenSSL = "bare-openssl"
)

func (b *bench) contenders() ([]contender, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	program, err := filepath.Abs(b.refundd)
	if err != nil {
		return nil, err
	}
	all := []contender{
		{name: contenderGo, program: program, env: append([]string{"REFUNDD_ALIPAY_SIGNER=go"}, b.env...)},
		{name: contenderOpenSSL, program: program, env: append([]string{"REFUNDD_ALIPAY_SIGNER=openssl"}, b.env...)},
		{name: contenderPeer, program: self, args: []string{rolePeer}},
		{name: contenderBare, program: self, args: []string{roleBare, "go"}},
		{name: contenderBareOpenSSL, program: self, args: []string{roleBare, "openssl"}},
	}
	if b.contender == "" {
		return all, nil
	}
	for _, c := range all {
		if c.name == b.contender {
			return []contender{c}, nil
		}
	}
	return nil, fmt.Errorf("no contender is called %q", b.contender)
}

// entrant is a contender under a load, a row of a table.
type entrant struct {
	name string
	c    contender
	l    load
}

// group are entrants that are compared with each other: they run in turns.
type group struct {
	kind     string
	title    string
	columns  []column
	entrants []entrant
	cold     bool   // something was started for it, which has to get warm
	close    func() // ends that; may be nil
}

// The kinds of groups: two loads for all contenders, and the questions of -scale.
const (
	kindBacklog   = "backlog"
	kindRate      = "rate"
	kindRedis     = "redis"
	kindFlush     = "flush"
	kindInstances = "instances"
	kindInFlight  = "inflight"
	kindDrain     = "drain"
)

// measured is an entrant with what its runs showed.
type measured struct {
	entrant
	kind    string
	results []result
}

// all measures every group and prints its table, and then the goals beside what
// was seen. A run that was not correct is an error, after the tables.
func (b *bench) all(ctx context.Context, out io.Writer) error {
	var seen []measured
	var wrong []error
	for _, prepare := range b.groups() {
		g, err := prepare(ctx)
		if err != nil {
			return err
		}
		rows, err := b.compete(ctx, g)
		if g.close != nil {
			g.close()
		}
		if err != nil {
			return err
		}
		printTable(out, g, rows)
		seen = append(seen, rows...)
		for _, m := range rows {
			for _, r := range m.results {
				if r.verdict != clean {
					wrong = append(wrong, fmt.Errorf("%s, %s: %s", g.title, m.name, r.verdict))
				}
			}
		}
	}
	var again []toldAgain
	if b.eachStage && b.scale == "" {
		var err error
		if again, err = b.stages(ctx, out); err != nil {
			wrong = append(wrong, fmt.Errorf("stages: %w", err))
		}
	}
	printGoals(out, judgeGoals(seen, again))
	return errors.Join(wrong...)
}

// groups are made one after the other, since each may start something.
func (b *bench) groups() (all []func(context.Context) (group, error)) {
	if b.scale != "" {
		for name := range strings.SplitSeq(b.scale, ",") {
			all = append(all, func(ctx context.Context) (group, error) { return b.scaleGroup(ctx, name) })
		}
		return all
	}
	if b.backlog > 0 {
		all = append(all, func(context.Context) (group, error) { return b.backlogGroup() })
	}
	if b.rate > 0 {
		all = append(all, func(context.Context) (group, error) { return b.rateGroup() })
	}
	return all
}

func (b *bench) backlogGroup() (group, error) {
	l := b.plain()
	l.refunds, l.latency = b.backlog, b.slow
	return b.sideBySide(group{
		kind: kindBacklog, columns: backlogColumns(),
		title: fmt.Sprintf("backlog of %d, Alipay takes %v, %d at work", b.backlog, b.slow, b.instances),
	}, l)
}

func (b *bench) rateGroup() (group, error) {
	l := b.plain()
	l.refunds, l.rate, l.latency, l.warmUp = b.rate*b.seconds, b.rate, b.latency, b.warmUp
	return b.sideBySide(group{
		kind: kindRate, columns: rateColumns(),
		title: fmt.Sprintf("%d a second for %d s, Alipay takes %v, %d at work", b.rate, b.seconds, b.latency, b.instances),
	}, l)
}

// plain is a load without commands on the stack as it is.
func (b *bench) plain() load {
	return load{instances: b.instances, queues: b.queues, workers: b.workers, in: b.home}
}

// sideBySide lets all contenders enter under the same load.
func (b *bench) sideBySide(g group, l load) (group, error) {
	contenders, err := b.contenders()
	for _, c := range contenders {
		l.again = g.kind == kindBacklog && c.isRefundd() // the others say nothing of what they have had before
		g.entrants = append(g.entrants, entrant{c.name, c, l})
	}
	return g, err
}

// coldRefunds are those of a run that does not count: a broker that has just begun
// compiles itself meanwhile, and would be held against who comes first.
const coldRefunds = 1000

// mostLosses is how often one that promises nothing may begin its run anew: where a
// call or a publish of the peer fails, SETNX keeps it from being done again.
const mostLosses = 5

// compete lets each entrant of the group run as often as there are rounds.
func (b *bench) compete(ctx context.Context, g group) ([]measured, error) {
	rows := make([]measured, len(g.entrants))
	for i, e := range g.entrants {
		rows[i] = measured{entrant: e, kind: g.kind}
	}
	if g.cold {
		for _, m := range rows {
			m.l.refunds = min(m.l.refunds, coldRefunds)
			if _, err := b.measure(ctx, m.c, m.l); err != nil {
				return nil, fmt.Errorf("%s, %s: %w", g.title, m.name, err)
			}
		}
	}
	for round := range b.rounds {
		for i := range rows {
			m := &rows[(round+i)%len(rows)] // another one begins each time
			r, err := b.measure(ctx, m.c, m.l)
			for try := 1; errors.Is(err, errStalled) && !m.c.isRefundd() && try < mostLosses; try++ {
				fmt.Fprintf(os.Stderr, "bench: %s, round %d: %s has lost some, which it may: %v; once more\n", g.title, round+1, m.name, err)
				r, err = b.measure(ctx, m.c, m.l)
			}
			if err != nil {
				return nil, fmt.Errorf("%s, %s: %w", g.title, m.name, err)
			}
			fmt.Fprintf(os.Stderr, "bench: %s, round %d: %s: %.2f signatures, %.0f/s, %s\n", g.title, round+1, m.name, r.signatures, r.perSecond, r.verdict)
			m.results = append(m.results, r)
		}
	}
	return rows, nil
}
