package doctor

import (
	"cmp"
	"context"
	"fmt"
	"strconv"
	"time"

	"refundd/cmd/internal/cli"
	"refundd/cmd/internal/tap"
	"refundd/consumer/remoting"
)

// Skip passes over one message, or tells where the group stands.
type Skip struct {
	Topic, Broker string // Broker, Queue and Offset: none, or all
	Queue         int    // -1: none
	Offset        int64  // -1: none
	Format        cli.Format
}

// Check refuses half a message.
func (o *Skip) Check() error {
	switch {
	case o.Topic == "":
		return cli.WrongUsage("--topic is required")
	case !o.only() && (o.Broker == "" || o.Queue < 0 || o.Offset < 0):
		return cli.WrongUsage("--broker, --queue and --offset belong together")
	}
	return nil
}

// only: nothing is passed over, it is only told where the group stands.
func (o *Skip) only() bool { return o.Broker == "" && o.Queue < 0 && o.Offset < 0 }

// Run does it.
func (o *Skip) Run(ctx context.Context, env cli.Env, cluster tap.Cluster) error {
	ctx, cancel := context.WithTimeout(remoting.Signed(ctx, cluster.AccessKey, cluster.SecretKey), time.Minute)
	defer cancel()
	server, _, err := aNameServer(ctx, cluster)
	if err != nil {
		return err
	}
	queues, err := remoting.Queues(ctx, server, o.Topic)
	if err != nil {
		return err
	}
	group := cmp.Or(env.Getenv("REFUNDD_ROCKETMQ_GROUP"), "refundd")
	if o.only() {
		return o.positions(ctx, env, group, queues)
	}
	for _, q := range queues {
		if q.Broker == o.Broker && o.Queue < q.Read {
			return o.skip(ctx, env, q.Address, group)
		}
	}
	return fmt.Errorf("%s has no queue %d at broker %s", o.Topic, o.Queue, o.Broker)
}

// positionOf is where a group stands in a queue; Next is -1 where it has finished
// nothing.
type positionOf struct {
	Broker string `json:"broker"`
	Queue  int    `json:"queue"`
	Next   int64  `json:"next_offset"`
}

// positions tells where the group stands in each queue.
func (o *Skip) positions(ctx context.Context, env cli.Env, group string, queues []remoting.TopicQueues) error {
	t := cli.NewTable(env.Stdout, "broker", "queue", "next offset")
	for _, q := range queues {
		for n := range q.Read {
			next, known, err := remoting.Position(ctx, q.Address, group, o.Topic, n)
			if err != nil {
				return err
			}
			stands := strconv.FormatInt(next, 10)
			if !known {
				next, stands = -1, "has finished nothing"
			}
			if o.Format.JSON() {
				if err := cli.PrintJSON(env.Stdout, positionOf{q.Broker, n, next}); err != nil {
					return err
				}
				continue
			}
			t.Row(q.Broker, n, stands)
		}
	}
	if o.Format.JSON() {
		return nil
	}
	return t.Flush()
}

func (o *Skip) skip(ctx context.Context, env cli.Env, address, group string) error {
	next, _, err := remoting.Position(ctx, address, group, o.Topic, o.Queue)
	if err != nil {
		return err
	}
	members, err := remoting.Members(ctx, address, group)
	switch {
	case err != nil:
		return err
	case len(members.Clients) > 0:
		return fmt.Errorf("%d members of %s run: stop them first, they would write their own position over it", len(members.Clients), group)
	case next != o.Offset:
		return fmt.Errorf("the next message of the queue is at offset %d, not %d", next, o.Offset)
	}
	if err := remoting.SetPosition(ctx, address, group, o.Topic, o.Queue, o.Offset+1); err != nil {
		return err
	}
	return o.Format.Print(env, positionOf{o.Broker, o.Queue, o.Offset + 1}, "%s begins at offset %d of queue %d of %s\n", group, o.Offset+1, o.Queue, o.Topic)
}
