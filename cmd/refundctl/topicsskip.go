package main

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"time"

	"refundd/cmd/internal/tap"
	"refundd/consumer/remoting"
)

const topicsSkipHelp = `refundctl topics skip passes over one message that refundd cannot even receive,
such as one that takes more memory than there is when the client inflates it.
Without -queue it tells where the group stands: the message is one of those.

usage: refundctl topics skip -topic TOPIC [-broker NAME -queue N -offset N] [flags]

  refundctl topics skip -topic refund-command
  refundctl topics skip -topic refund-command -broker broker-a -queue 3 -offset 8816

Every refundd of the group has to be stopped, since a running one writes its own
position over it, and the message has to be the next one of its queue. It stays
where it is until its topic's retention ends; nothing is published about it.

Exit codes: 0 done, 1 failed, 2 wrong usage.
`

func topicsSkip(ctx context.Context, args []string, env environment) error {
	var (
		c             connection
		topic, broker string
		queue         int
		offset        int64
	)
	flags := flag.NewFlagSet("topics skip", flag.ContinueOnError)
	c.register(flags)
	flags.StringVar(&topic, "topic", "", "`name` of the topic; required")
	flags.StringVar(&broker, "broker", "", "`name` of the broker")
	flags.IntVar(&queue, "queue", -1, "`number` of the queue")
	flags.Int64Var(&offset, "offset", -1, "`offset` of the message in its queue")
	if err := parse(flags, args, env, topicsSkipHelp); err != nil {
		return err
	}
	only := broker == "" && queue < 0 && offset < 0
	switch {
	case topic == "":
		return wrongUsage("topics skip: -topic is required")
	case !only && (broker == "" || queue < 0 || offset < 0):
		return wrongUsage("topics skip: -broker, -queue and -offset belong together")
	}
	cluster, err := c.cluster(env)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(remoting.Signed(ctx, cluster.AccessKey, cluster.SecretKey), time.Minute)
	defer cancel()
	return skip(ctx, env, cluster, topic, broker, queue, offset, only)
}

func skip(ctx context.Context, env environment, cluster tap.Cluster, topic, broker string, queue int, offset int64, only bool) error {
	server, _, err := aNameServer(ctx, cluster)
	if err != nil {
		return err
	}
	queues, err := remoting.Queues(ctx, server, topic)
	if err != nil {
		return err
	}
	group := cmp.Or(env.getenv("REFUNDD_ROCKETMQ_GROUP"), "refundd")
	for _, q := range queues {
		for n := range q.Read {
			if !only && (q.Broker != broker || n != queue) {
				continue
			}
			next, known, err := remoting.Position(ctx, q.Address, group, topic, n)
			if err != nil {
				return err
			}
			if !only {
				return skipNext(ctx, env, q.Address, group, topic, n, offset, next)
			}
			stands := "has finished nothing"
			if known {
				stands = fmt.Sprintf("next offset %d", next)
			}
			_, _ = fmt.Fprintf(env.stdout, "-broker %s -queue %d: %s\n", q.Broker, n, stands)
		}
	}
	if !only {
		return fmt.Errorf("%s has no queue %d at broker %s", topic, queue, broker)
	}
	return nil
}

func skipNext(ctx context.Context, env environment, address, group, topic string, queue int, offset, next int64) error {
	members, err := remoting.Members(ctx, address, group)
	switch {
	case err != nil:
		return err
	case len(members.Clients) > 0:
		return fmt.Errorf("%d members of %s run: stop them first, they would write their own position over it", len(members.Clients), group)
	case next != offset:
		return fmt.Errorf("the next message of the queue is at offset %d, not %d", next, offset)
	}
	if err := remoting.SetPosition(ctx, address, group, topic, queue, offset+1); err != nil {
		return err
	}
	_, _ = fmt.Fprintf(env.stdout, "%s begins at offset %d of queue %d of %s\n", group, offset+1, queue, topic)
	return nil
}
