package main

import (
	"cmp"
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"refundd/cmd/internal/cli"
	"refundd/consumer/remoting"
)

const topicsSkipLong = `Passes over one message that refundd cannot even receive, such as one that takes more
memory than there is when the client inflates it. Without --queue it tells where
the group stands: the message is one of those.

Every refundd of the group has to be stopped, since a running one writes its own
position over it, and the message has to be the next one of its queue. It stays
where it is until its topic's retention ends; nothing is published about it.

Exit codes: 0 done, 1 failed, 2 wrong usage.`

const topicsSkipExample = `  refundctl topics skip --topic refund-command
  refundctl topics skip --topic refund-command --broker broker-a --queue 3 --offset 8816`

// topicsSkip holds the flags of topics skip.
type topicsSkip struct {
	connection
	output
	topic, broker string
	queue         int
	offset        int64
}

func topicsSkipCommand(env cli.Env) *cobra.Command {
	var o topicsSkip
	cmd := &cobra.Command{
		Use: "skip --topic TOPIC [--broker NAME --queue N --offset N]", Short: "pass over one message that refundd cannot receive",
		Long: topicsSkipLong, Example: topicsSkipExample,
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd.Context(), env) },
	}
	o.connection.register(cmd)
	o.output.register(cmd)
	topicFlag(cmd, env, &o.topic, "topic", "`name` of the topic; required")
	cmd.Flags().StringVar(&o.broker, "broker", "", "`name` of the broker")
	cmd.Flags().IntVar(&o.queue, "queue", -1, "`number` of the queue")
	cmd.Flags().Int64Var(&o.offset, "offset", -1, "`offset` of the message in its queue")
	return cmd
}

// only: nothing is passed over, it is only told where the group stands.
func (o *topicsSkip) only() bool { return o.broker == "" && o.queue < 0 && o.offset < 0 }

func (o *topicsSkip) run(ctx context.Context, env cli.Env) error {
	switch {
	case o.topic == "":
		return cli.WrongUsage("--topic is required")
	case !o.only() && (o.broker == "" || o.queue < 0 || o.offset < 0):
		return cli.WrongUsage("--broker, --queue and --offset belong together")
	}
	cluster, err := o.cluster(env)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(remoting.Signed(ctx, cluster.AccessKey, cluster.SecretKey), time.Minute)
	defer cancel()
	server, _, err := aNameServer(ctx, cluster)
	if err != nil {
		return err
	}
	queues, err := remoting.Queues(ctx, server, o.topic)
	if err != nil {
		return err
	}
	group := cmp.Or(env.Getenv("REFUNDD_ROCKETMQ_GROUP"), "refundd")
	if o.only() {
		return o.positions(ctx, env, group, queues)
	}
	for _, q := range queues {
		if q.Broker == o.broker && o.queue < q.Read {
			return o.skip(ctx, env, q.Address, group)
		}
	}
	return fmt.Errorf("%s has no queue %d at broker %s", o.topic, o.queue, o.broker)
}

// positionOf is where a group stands in a queue; Next is -1 where it has finished
// nothing.
type positionOf struct {
	Broker string `json:"broker"`
	Queue  int    `json:"queue"`
	Next   int64  `json:"next_offset"`
}

// positions tells where the group stands in each queue.
func (o *topicsSkip) positions(ctx context.Context, env cli.Env, group string, queues []remoting.TopicQueues) error {
	t := cli.NewTable(env.Stdout, "broker", "queue", "next offset")
	for _, q := range queues {
		for n := range q.Read {
			next, known, err := remoting.Position(ctx, q.Address, group, o.topic, n)
			if err != nil {
				return err
			}
			stands := strconv.FormatInt(next, 10)
			if !known {
				next, stands = -1, "has finished nothing"
			}
			if o.JSON() {
				if err := cli.PrintJSON(env.Stdout, positionOf{q.Broker, n, next}); err != nil {
					return err
				}
				continue
			}
			t.Row(q.Broker, n, stands)
		}
	}
	if o.JSON() {
		return nil
	}
	return t.Flush()
}

func (o *topicsSkip) skip(ctx context.Context, env cli.Env, address, group string) error {
	next, _, err := remoting.Position(ctx, address, group, o.topic, o.queue)
	if err != nil {
		return err
	}
	members, err := remoting.Members(ctx, address, group)
	switch {
	case err != nil:
		return err
	case len(members.Clients) > 0:
		return fmt.Errorf("%d members of %s run: stop them first, they would write their own position over it", len(members.Clients), group)
	case next != o.offset:
		return fmt.Errorf("the next message of the queue is at offset %d, not %d", next, o.offset)
	}
	if err := remoting.SetPosition(ctx, address, group, o.topic, o.queue, o.offset+1); err != nil {
		return err
	}
	return o.Print(env, positionOf{o.broker, o.queue, o.offset + 1}, "%s begins at offset %d of queue %d of %s\n", group, o.offset+1, o.queue, o.topic)
}
