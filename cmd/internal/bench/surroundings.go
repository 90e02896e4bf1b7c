package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"
	"refundd/cmd/internal/tap"
	"refundd/consumer/remoting"
)

// surroundings are a RocketMQ and a Redis that runs go on.
type surroundings struct {
	nameServer          string
	redisURL, redisMode string
	redis               redis.UniversalClient
	cluster             tap.Cluster
	sender              *tap.Sender
}

// standalone are surroundings that a stack has brought up.
func standalone(nameServer, redisURL string) (*surroundings, error) {
	opts, err := redis.ParseURL(redisURL)
	if err != nil {
		return nil, fmt.Errorf("redis of the stack: %w", err)
	}
	s := &surroundings{
		nameServer: nameServer, redisURL: redisURL, redisMode: "standalone", redis: redis.NewClient(opts),
		cluster: tap.Cluster{NameServers: []string{nameServer}},
	}
	s.sender, err = tap.NewSender(s.cluster)
	return s, err
}

// on are the same surroundings with another Redis.
func (s *surroundings) on(c *redisCluster) *surroundings {
	other := *s
	other.redisURL, other.redisMode, other.redis = c.url, "cluster", c.client
	return &other
}

func (s *surroundings) close() {
	_ = s.sender.Close()
	_ = s.redis.Close()
}

// topics are those of one run; a run has none of another's messages.
type topics struct{ group, command, event, retry, parked string }

func (t topics) names() []string { return []string{t.command, t.event, t.retry, t.parked} }

func (s *surroundings) createTopics(ctx context.Context, name string, queues int) (topics, error) {
	t := topics{name, name + "-command", name + "-event", name + "-retry", name + "-parked"}
	if err := s.create(ctx, queues, t.names()...); err != nil {
		return t, err
	}
	broker, err := remoting.WaitBroker(ctx, s.nameServer)
	if err != nil {
		return t, err
	}
	return t, remoting.CreateGroup(ctx, broker, t.group)
}

func (s *surroundings) create(ctx context.Context, queues int, names ...string) error {
	broker, err := remoting.WaitBroker(ctx, s.nameServer)
	if err != nil {
		return err
	}
	for _, topic := range names {
		if err := remoting.CreateTopic(ctx, broker, topic, queues); err != nil {
			return err
		}
		if err := remoting.WaitRoute(ctx, s.nameServer, topic); err != nil {
			return err
		}
	}
	return nil
}

func (s *surroundings) deleteTopics(t topics) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	s.remove(ctx, t.names()...)
	if broker, err := remoting.WaitBroker(ctx, s.nameServer); err == nil {
		_ = remoting.DeleteGroup(ctx, broker, t.group)
	}
}

func (s *surroundings) remove(ctx context.Context, names ...string) {
	broker, err := remoting.WaitBroker(ctx, s.nameServer)
	if err != nil {
		return
	}
	for _, topic := range names {
		_ = remoting.DeleteTopic(ctx, s.nameServer, broker, topic)
	}
}

// secondStack brings up a stack of its own beside the one that we run on, with
// these flags. The caller calls stop.
func secondStack(ctx context.Context, program string, flags ...string) (s *surroundings, stop func(), err error) {
	cmd := exec.Command(program, flags...) //nolint:noctx // ended by signal, so that it takes down what it has started
	cmd.Stderr = os.Stderr
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		return nil, nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, nil, fmt.Errorf("start a second stack: %w", err)
	}
	end := func() {
		_ = cmd.Process.Signal(syscall.SIGINT)
		_ = cmd.Wait()
	}
	giveUp := context.AfterFunc(ctx, func() { _ = cmd.Process.Signal(syscall.SIGINT) })
	variables, err := exported(pipe)
	giveUp()
	if err != nil {
		end()
		return nil, nil, fmt.Errorf("a second stack: %w", errors.Join(err, ctx.Err()))
	}
	s, err = standalone(variables["REFUNDD_TEST_NAMESERVERS"], variables["REFUNDD_TEST_REDIS"])
	if err != nil {
		end()
		return nil, nil, err
	}
	return s, func() {
		s.close()
		end()
	}, nil
}

// exported reads what a stack prints when it is up: lines of `export NAME=value`,
// of which the control address is the last.
func exported(from io.Reader) (map[string]string, error) {
	variables := map[string]string{}
	for lines := bufio.NewScanner(from); lines.Scan(); {
		name, value, _ := strings.Cut(strings.TrimPrefix(lines.Text(), "export "), "=")
		variables[name] = value
		if name == "REFUNDD_TEST_STACK" {
			return variables, nil
		}
	}
	return nil, errors.New("it did not come up")
}
