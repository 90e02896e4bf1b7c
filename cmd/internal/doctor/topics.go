package doctor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"refundd/cmd/internal/cli"
	"refundd/cmd/internal/tap"
	"refundd/consumer/remoting"
)

// Topic is one that the service uses.
type Topic struct{ Variable, Name string }

// Topics are those that are not off. A variable set to nothing turns a
// kind off; only the environment as a whole tells that from a missing one.
func Topics(env cli.Env) []Topic {
	var list []Topic
	for _, t := range []struct{ variable, standard string }{
		{"REFUNDD_TOPIC_REFUND", "refund-command"},
		{"REFUNDD_TOPIC_COUPON_REFUND", "coupon-refund-command"},
		{"REFUNDD_TOPIC_EVENT", "refund-event"},
		{"REFUNDD_TOPIC_RETRY", "refund-retry"},
		{"REFUNDD_TOPIC_PARKED", "refund-parked"},
	} {
		off := strings.HasSuffix(t.variable, "REFUND") && env.Getenv(t.variable) == "" && isSet(env, t.variable)
		if !off {
			list = append(list, Topic{t.variable, cmp.Or(env.Getenv(t.variable), t.standard)})
		}
	}
	return list
}

func isSet(env cli.Env, variable string) bool {
	for _, line := range env.Environ {
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

// Creation makes the topics and the group that are missing.
type Creation struct {
	Only   bool // only print what is missing
	Queues int  // of each topic on each broker
	Format cli.Format
}

// Create makes them on every broker that lacks them. With Only it returns
// cli.ErrFound where something is missing.
func (o *Creation) Create(ctx context.Context, env cli.Env, cluster tap.Cluster) error {
	ctx, cancel := context.WithTimeout(remoting.Signed(ctx, cluster.AccessKey, cluster.SecretKey), 2*time.Minute)
	defer cancel()
	server, brokers, err := aNameServer(ctx, cluster)
	if err != nil {
		return err
	}
	topics, group := Topics(env), cmp.Or(env.Getenv("REFUNDD_ROCKETMQ_GROUP"), "refundd")
	lacks, err := whatIsMissing(ctx, server, brokers, topics, group)
	switch {
	case err != nil:
		return err
	case len(lacks) == 0 && !o.Format.JSON():
		_, err = fmt.Fprintf(env.Stdout, "nothing is missing: %d topics and group %s on %d brokers\n", len(topics), group, len(brokers))
		return err
	case !o.Only:
		return o.create(ctx, env, server, lacks)
	}
	for _, m := range lacks {
		if err := o.tell(env, m, "missing", mqadmin(m, o.Queues)); err != nil {
			return err
		}
	}
	if len(lacks) > 0 {
		return cli.ErrFound
	}
	return nil
}

// tell prints one thing that was missing.
func (o *Creation) tell(env cli.Env, m missing, state, line string) error {
	kind := "topic"
	if m.group {
		kind = "group"
	}
	return o.Format.Print(env, map[string]string{"kind": kind, "name": m.name, "broker": m.broker, "state": state, "mqadmin": mqadmin(m, o.Queues)}, "%s\n", line)
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

func whatIsMissing(ctx context.Context, server string, brokers []string, topics []Topic, group string) ([]missing, error) {
	var lacks []missing
	for _, t := range topics {
		there, err := remoting.Route(ctx, server, t.Name)
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
				lacks = append(lacks, missing{broker: broker, name: t.Name})
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
func (o *Creation) create(ctx context.Context, env cli.Env, server string, lacks []missing) error {
	refused := 0
	made := map[string]bool{}
	for _, m := range lacks {
		var err error
		if m.group {
			err = remoting.CreateGroup(ctx, m.broker, m.name)
		} else {
			err = remoting.CreateTopic(ctx, m.broker, m.name, o.Queues)
		}
		if err != nil {
			refused++
			_, _ = fmt.Fprintf(env.Stderr, "broker %s: %v\n  somebody who may can do it by: %s\n", m.broker, err, mqadmin(m, o.Queues))
			continue
		}
		if err := o.tell(env, m, "created", fmt.Sprintf("created %s on broker %s", m.what(), m.broker)); err != nil {
			return err
		}
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
