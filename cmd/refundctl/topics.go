package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"strings"
	"time"

	"refundd/cmd/internal/tap"
	"refundd/consumer/remoting"
)

const topicsCreateHelp = `refundctl topics create makes the topics and the consumer group that refundd wants
to find, on every broker that lacks them. What is there is left as it is. Doing it
twice does no harm.

usage: refundctl topics create [flags]

  refundctl topics create -print         only print what is missing, as mqadmin commands
  refundctl topics create -queues 16
  REFUNDD_TOPIC_COUPON_REFUND= refundctl topics create       the kind is off

Names come from REFUNDD_TOPIC_… and REFUNDD_ROCKETMQ_GROUP. Queues bound how many
instances can share a topic's work, and the parked topic needs one only.
A broker with access control wants an access key with an administrator's rights
(REFUNDD_ROCKETMQ_ACCESS_KEY, REFUNDD_ROCKETMQ_SECRET_KEY_FILE); where it refuses,
the mqadmin command is printed for somebody who may.

Exit codes: 0 everything is there (with -print: nothing is missing), 1 something is
missing or was refused, 2 wrong usage.
`

// wantedTopic is one that the service uses.
type wantedTopic struct{ variable, name string }

// wantedTopics are those that are not off. A variable set to nothing turns a
// kind off; only the environment as a whole tells that from a missing one.
func wantedTopics(env environment) []wantedTopic {
	var list []wantedTopic
	for _, t := range []struct{ variable, standard string }{
		{"REFUNDD_TOPIC_REFUND", "refund-command"},
		{"REFUNDD_TOPIC_COUPON_REFUND", "coupon-refund-command"},
		{"REFUNDD_TOPIC_EVENT", "refund-event"},
		{"REFUNDD_TOPIC_RETRY", "refund-retry"},
		{"REFUNDD_TOPIC_PARKED", "refund-parked"},
	} {
		off := strings.HasSuffix(t.variable, "REFUND") && env.getenv(t.variable) == "" && isSet(env, t.variable)
		if !off {
			list = append(list, wantedTopic{t.variable, topic("", env, t.variable, t.standard)})
		}
	}
	return list
}

func isSet(env environment, variable string) bool {
	for _, line := range env.environ {
		if strings.HasPrefix(line, variable+"=") {
			return true
		}
	}
	return false
}

// missing is one thing that one broker lacks.
type missing struct {
	broker, name string
	group        bool
}

func (m missing) what() string {
	if m.group {
		return "consumer group " + m.name
	}
	return "topic " + m.name
}

func topicsCreate(ctx context.Context, args []string, env environment) error {
	var c connection
	var only bool
	var queues int
	flags := flag.NewFlagSet("topics create", flag.ContinueOnError)
	c.register(flags)
	flags.BoolVar(&only, "print", false, "only print what is missing")
	flags.IntVar(&queues, "queues", 8, "`number` of queues of each topic on each broker")
	if err := parse(flags, args, env, topicsCreateHelp); err != nil {
		return err
	}
	if queues < 1 || queues > 1024 {
		return wrongUsage("topics create: -queues: %d is not 1 to 1024", queues)
	}
	cluster, err := c.cluster(env)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(remoting.Signed(ctx, cluster.AccessKey, cluster.SecretKey), 2*time.Minute)
	defer cancel()
	server, brokers, err := aNameServer(ctx, cluster)
	if err != nil {
		return err
	}
	topics, group := wantedTopics(env), cmp.Or(env.getenv("REFUNDD_ROCKETMQ_GROUP"), "refundd")
	lacks, err := whatIsMissing(ctx, server, brokers, topics, group)
	if err != nil {
		return err
	}
	if only {
		for _, m := range lacks {
			_, _ = fmt.Fprintln(env.stdout, mqadmin(m, queues))
		}
	} else if err := create(ctx, env, server, lacks, queues); err != nil {
		return err
	}
	if len(lacks) == 0 {
		_, _ = fmt.Fprintf(env.stdout, "nothing is missing: %d topics and group %s on %d brokers\n", len(topics), group, len(brokers))
	}
	if only && len(lacks) > 0 {
		return errFound
	}
	return nil
}

// aNameServer is the first one that answers and knows brokers.
func aNameServer(ctx context.Context, cluster tap.Cluster) (server string, brokers []string, err error) {
	var errs []error
	for _, server := range cluster.NameServers {
		short, cancel := context.WithTimeout(ctx, 5*time.Second)
		brokers, err := remoting.Brokers(short, server)
		cancel()
		if err == nil && len(brokers) > 0 {
			return server, brokers, nil
		}
		if err == nil {
			err = errors.New("it knows no broker")
		}
		errs = append(errs, fmt.Errorf("name server %s: %w", server, err))
	}
	return "", nil, errors.Join(errs...)
}

func whatIsMissing(ctx context.Context, server string, brokers []string, topics []wantedTopic, group string) ([]missing, error) {
	var lacks []missing
	for _, t := range topics {
		there, err := remoting.Route(ctx, server, t.name)
		if refused, ok := errors.AsType[*remoting.RefusedError](err); ok && refused.Code == remoting.CodeTopicNotExist {
			err = nil
		}
		if err != nil {
			return nil, err
		}
		has := map[string]bool{}
		for _, broker := range there {
			has[broker] = true
		}
		for _, broker := range brokers {
			if !has[broker] {
				lacks = append(lacks, missing{broker: broker, name: t.name})
			}
		}
	}
	for _, broker := range brokers {
		g, err := remoting.GroupOf(ctx, broker, group)
		if err != nil {
			return nil, err
		}
		if !g.Exists {
			lacks = append(lacks, missing{broker: broker, name: group, group: true})
		}
	}
	return lacks, nil
}

// create makes what is missing, and goes on where a broker refuses, so that all
// refusals are told at once.
func create(ctx context.Context, env environment, server string, lacks []missing, queues int) error {
	refused := 0
	made := map[string]bool{}
	for _, m := range lacks {
		var err error
		if m.group {
			err = remoting.CreateGroup(ctx, m.broker, m.name)
		} else {
			err = remoting.CreateTopic(ctx, m.broker, m.name, queues)
		}
		if err != nil {
			refused++
			_, _ = fmt.Fprintf(env.stderr, "broker %s: %v\n  somebody who may can do it by: %s\n", m.broker, err, mqadmin(m, queues))
			continue
		}
		_, _ = fmt.Fprintf(env.stdout, "created %s on broker %s\n", m.what(), m.broker)
		made[m.name] = made[m.name] || !m.group
	}
	if refused > 0 {
		return fmt.Errorf("%d of %d could not be created", refused, len(lacks))
	}
	for topic, isTopic := range made {
		if !isTopic {
			continue
		}
		if err := remoting.WaitRoute(ctx, server, topic); err != nil {
			return fmt.Errorf("created, but the name server does not know it yet: %w", err)
		}
	}
	return nil
}

// mqadmin is RocketMQ's own command for it.
func mqadmin(m missing, queues int) string {
	if m.group {
		return fmt.Sprintf("mqadmin updateSubGroup -b %s -g %s", m.broker, m.name)
	}
	return fmt.Sprintf("mqadmin updateTopic -b %s -t %s -r %d -w %d -p 6", m.broker, m.name, queues, queues)
}
