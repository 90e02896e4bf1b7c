package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/redis/go-redis/v9"
	"refundd/alipay/alipaytest"
	"refundd/cmd/internal/tap"
	"refundd/consumer/remoting"
)

const appID = "2021000000000001"

// bench is the surroundings that all runs share.
type bench struct {
	options
	nameServer, redisURL string
	cluster              tap.Cluster
	redis                *redis.Client
	sender               *tap.Sender
	keys                 *alipaytest.Keys
	folder               string
	runs                 int
}

func newBench(o options) (*bench, error) {
	b := &bench{options: o, nameServer: os.Getenv("REFUNDD_TEST_NAMESERVERS"), redisURL: os.Getenv("REFUNDD_TEST_REDIS")}
	if b.nameServer == "" || b.redisURL == "" {
		return nil, errors.New("there is no stack: run it by make bench")
	}
	opts, err := redis.ParseURL(b.redisURL)
	if err != nil {
		return nil, err
	}
	b.redis = redis.NewClient(opts)
	b.cluster = tap.Cluster{NameServers: []string{b.nameServer}}
	if b.sender, err = tap.NewSender(b.cluster); err != nil {
		return nil, err
	}
	if b.folder, err = os.MkdirTemp("", "refundd-bench-"); err != nil {
		return nil, err
	}
	if b.keys, err = alipaytest.LoadOrCreateKeys(b.folder); err != nil {
		return nil, err
	}
	return b, nil
}

func (b *bench) close() {
	_ = b.sender.Close()
	_ = b.redis.Close()
	if b.keep {
		fmt.Fprintln(os.Stderr, "bench: logs are in", b.folder)
		return
	}
	_ = os.RemoveAll(b.folder)
}

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
		{name: "refundd", program: program, env: append([]string{"REFUNDD_ALIPAY_SIGNER=go"}, b.env...)},
		{name: "refundd-openssl", program: program, env: append([]string{"REFUNDD_ALIPAY_SIGNER=openssl"}, b.env...)},
		{name: "peer", program: self, args: []string{rolePeer}},
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

// all runs every contender under every load, in turns, and prints the tables. A
// run that was not correct is an error, after the tables.
func (b *bench) all(ctx context.Context, out io.Writer) error {
	contenders, err := b.contenders()
	if err != nil {
		return err
	}
	var wrong []error
	for _, l := range b.loads() {
		results := map[string][]result{}
		for round := range b.rounds {
			for i := range contenders {
				c := contenders[(round+i)%len(contenders)] // another one begins each time
				r, err := b.measure(ctx, c, l)
				if err != nil {
					return fmt.Errorf("%s, %s: %w", l.name, c.name, err)
				}
				if r.verdict != clean {
					wrong = append(wrong, fmt.Errorf("%s, %s: %s", l.name, c.name, r.verdict))
				}
				fmt.Fprintf(os.Stderr, "bench: %s, round %d: %s: %.2f signatures, %.0f/s, %s\n", l.name, round+1, c.name, r.signatures, r.perSecond, r.verdict)
				results[c.name] = append(results[c.name], r)
			}
		}
		printTable(out, l, contenders, results)
	}
	if b.eachStage {
		if err := b.stages(ctx, out); err != nil {
			wrong = append(wrong, fmt.Errorf("stages: %w", err))
		}
	}
	return errors.Join(wrong...)
}

// topics are those of one run; a run has none of another's messages.
type topics struct{ group, command, event, retry, parked string }

func (t topics) names() []string { return []string{t.command, t.event, t.retry, t.parked} }

const queues = 8

func (b *bench) createTopics(ctx context.Context, name string) (topics, error) {
	t := topics{name, name + "-command", name + "-event", name + "-retry", name + "-parked"}
	broker, err := remoting.WaitBroker(ctx, b.nameServer)
	if err != nil {
		return t, err
	}
	for _, topic := range t.names() {
		if err := remoting.CreateTopic(ctx, broker, topic, queues); err != nil {
			return t, err
		}
		if err := remoting.WaitRoute(ctx, b.nameServer, topic); err != nil {
			return t, err
		}
	}
	return t, remoting.CreateGroup(ctx, broker, t.group)
}

func (b *bench) deleteTopics(t topics) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	broker, err := remoting.WaitBroker(ctx, b.nameServer)
	if err != nil {
		return
	}
	for _, topic := range t.names() {
		_ = remoting.DeleteTopic(ctx, b.nameServer, broker, topic)
	}
	_ = remoting.DeleteGroup(ctx, broker, t.group)
}
