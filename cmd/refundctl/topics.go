package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"refundd/cmd/internal/cli"
	"refundd/cmd/internal/tap"
	"refundd/consumer/remoting"
)

const topicsCreateLong = `Makes the topics and the consumer group that refundd wants to find, on every broker
that lacks them. What is there is left as it is. Doing it twice does no harm.

Names come from REFUNDD_TOPIC_… and REFUNDD_ROCKETMQ_GROUP. Queues bound how many
instances can share a topic's work, and the parked topic needs one only.
A broker with access control wants an access key with an administrator's rights
(REFUNDD_ROCKETMQ_ACCESS_KEY, REFUNDD_ROCKETMQ_SECRET_KEY_FILE); where it refuses,
the mqadmin command is printed for somebody who may.

Exit codes: 0 everything is there (with --print: nothing is missing), 1 something is
missing or was refused, 2 wrong usage.`

const topicsCreateExample = `  refundctl topics create --print        only print what is missing, as mqadmin commands
  refundctl topics create --queues 16
  REFUNDD_TOPIC_COUPON_REFUND= refundctl topics create       the kind is off`

func topicsCommand(env cli.Env) *cobra.Command {
	cmd := &cobra.Command{
		Use: "topics", Short: "create the service's topics, or skip one message", Long: "Works on the topics and the group of the service.",
		Example: "  refundctl topics create --print",
	}
	cmd.AddCommand(topicsCreateCommand(env), topicsSkipCommand(env))
	return cmd
}

// wantedTopic is one that the service uses.
type wantedTopic struct{ variable, name string }

// wantedTopics are those that are not off. A variable set to nothing turns a
// kind off; only the environment as a whole tells that from a missing one.
func wantedTopics(env cli.Env) []wantedTopic {
	var list []wantedTopic
	for _, t := range []struct{ variable, standard string }{
		{"REFUNDD_TOPIC_REFUND", "refund-command"},
		{"REFUNDD_TOPIC_COUPON_REFUND", "coupon-refund-command"},
		{"REFUNDD_TOPIC_EVENT", "refund-event"},
		{"REFUNDD_TOPIC_RETRY", "refund-retry"},
		{"REFUNDD_TOPIC_PARKED", "refund-parked"},
	} {
		off := strings.HasSuffix(t.variable, "REFUND") && env.Getenv(t.variable) == "" && isSet(env, t.variable)
		if !off {
			list = append(list, wantedTopic{t.variable, topic("", env, t.variable, t.standard)})
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

// topicsCreate holds the flags of topics create.
type topicsCreate struct {
	connection
	output
	only   bool
	queues int
}

func topicsCreateCommand(env cli.Env) *cobra.Command {
	var o topicsCreate
	cmd := &cobra.Command{
		Use: "create", Short: "make the topics and the group that are missing, or print them", Long: topicsCreateLong, Example: topicsCreateExample,
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd.Context(), env) },
	}
	o.connection.register(cmd)
	o.output.register(cmd)
	cmd.Flags().BoolVar(&o.only, "print", false, "only print what is missing")
	cmd.Flags().IntVar(&o.queues, "queues", 8, "`number` of queues of each topic on each broker")
	return cmd
}

func (o *topicsCreate) run(ctx context.Context, env cli.Env) error {
	if o.queues < 1 || o.queues > 1024 {
		return cli.WrongUsage("--queues: %d is not 1 to 1024", o.queues)
	}
	cluster, err := o.cluster(env)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(remoting.Signed(ctx, cluster.AccessKey, cluster.SecretKey), 2*time.Minute)
	defer cancel()
	server, brokers, err := aNameServer(ctx, cluster)
	if err != nil {
		return err
	}
	topics, group := wantedTopics(env), cmp.Or(env.Getenv("REFUNDD_ROCKETMQ_GROUP"), "refundd")
	lacks, err := whatIsMissing(ctx, server, brokers, topics, group)
	switch {
	case err != nil:
		return err
	case len(lacks) == 0 && !o.JSON():
		_, err = fmt.Fprintf(env.Stdout, "nothing is missing: %d topics and group %s on %d brokers\n", len(topics), group, len(brokers))
		return err
	case !o.only:
		return o.create(ctx, env, server, lacks)
	}
	for _, m := range lacks {
		if err := o.tell(env, m, "missing", mqadmin(m, o.queues)); err != nil {
			return err
		}
	}
	if len(lacks) > 0 {
		return cli.ErrFound
	}
	return nil
}

// tell prints one thing that was missing.
func (o *topicsCreate) tell(env cli.Env, m missing, state, line string) error {
	kind := "topic"
	if m.group {
		kind = "group"
	}
	return o.Print(env, map[string]string{"kind": kind, "name": m.name, "broker": m.broker, "state": state, "mqadmin": mqadmin(m, o.queues)}, "%s\n", line)
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
func (o *topicsCreate) create(ctx context.Context, env cli.Env, server string, lacks []missing) error {
	refused := 0
	made := map[string]bool{}
	for _, m := range lacks {
		var err error
		if m.group {
			err = remoting.CreateGroup(ctx, m.broker, m.name)
		} else {
			err = remoting.CreateTopic(ctx, m.broker, m.name, o.queues)
		}
		if err != nil {
			refused++
			_, _ = fmt.Fprintf(env.Stderr, "broker %s: %v\n  somebody who may can do it by: %s\n", m.broker, err, mqadmin(m, o.queues))
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
