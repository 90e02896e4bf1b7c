package main

import (
	"github.com/spf13/cobra"

	"refundd/cmd/internal/cli"
	"refundd/cmd/internal/doctor"
	"refundd/cmd/internal/flags"
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

const topicsSkipLong = `Passes over one message that refundd cannot even receive, such as one that takes more
memory than there is when the client inflates it. Without --queue it tells where
the group stands: the message is one of those.

Every refundd of the group has to be stopped, since a running one writes its own
position over it, and the message has to be the next one of its queue. It stays
where it is until its topic's retention ends; nothing is published about it.

Exit codes: 0 done, 1 failed, 2 wrong usage.`

const topicsSkipExample = `  refundctl topics skip --topic refund-command
  refundctl topics skip --topic refund-command --broker broker-a --queue 3 --offset 8816`

func topicsCommand(env cli.Env) *cobra.Command {
	cmd := &cobra.Command{
		Use: "topics", Short: "create the service's topics, or skip one message", Long: "Works on the topics and the group of the service.",
		Example: "  refundctl topics create --print",
	}
	cmd.AddCommand(topicsCreateCommand(env), topicsSkipCommand(env))
	return cmd
}

func topicsCreateCommand(env cli.Env) *cobra.Command {
	var (
		c   flags.Connection
		o   doctor.Creation
		out flags.Output
	)
	cmd := &cobra.Command{
		Use: "create", Short: "make the topics and the group that are missing, or print them", Long: topicsCreateLong, Example: topicsCreateExample,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.Queues < 1 || o.Queues > 1024 {
				return cli.WrongUsage("--queues: %d is not 1 to 1024", o.Queues)
			}
			cluster, err := c.Cluster(env)
			if err != nil {
				return err
			}
			o.Format = out.Format
			return o.Create(cmd.Context(), env, cluster)
		},
	}
	c.Register(cmd)
	out.Register(cmd)
	cmd.Flags().BoolVar(&o.Only, "print", false, "only print what is missing")
	cmd.Flags().IntVar(&o.Queues, "queues", 8, "`number` of queues of each topic on each broker")
	return cmd
}

func topicsSkipCommand(env cli.Env) *cobra.Command {
	var (
		c   flags.Connection
		o   doctor.Skip
		out flags.Output
	)
	cmd := &cobra.Command{
		Use: "skip --topic TOPIC [--broker NAME --queue N --offset N]", Short: "pass over one message that refundd cannot receive",
		Long: topicsSkipLong, Example: topicsSkipExample,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.Check(); err != nil {
				return err
			}
			cluster, err := c.Cluster(env)
			if err != nil {
				return err
			}
			o.Format = out.Format
			return o.Run(cmd.Context(), env, cluster)
		},
	}
	c.Register(cmd)
	out.Register(cmd)
	flags.Topic(cmd, env, &o.Topic, "topic", "`name` of the topic; required")
	cmd.Flags().StringVar(&o.Broker, "broker", "", "`name` of the broker")
	cmd.Flags().IntVar(&o.Queue, "queue", -1, "`number` of the queue")
	cmd.Flags().Int64Var(&o.Offset, "offset", -1, "`offset` of the message in its queue")
	return cmd
}
