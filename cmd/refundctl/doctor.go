package main

import (
	"time"

	"github.com/spf13/cobra"

	"refundd/cmd/internal/cli"
	"refundd/cmd/internal/doctor"
	"refundd/cmd/internal/flags"
)

const doctorLong = `Checks a live environment as refundd would find it, and tells what is wrong, what may
become wrong, and how to mend each. It changes nothing but one key in Redis, by
which it sees whether a claim could be written; a minute later that is gone.

It reads the service's whole environment (REFUNDD_…), with its files. What it looks at:
  configuration  everything that refundd -check looks at
  RocketMQ       name servers, topics, queues, permissions, group, members, lag; flushing,
                 replication, retention, delay levels of each broker
  Redis          whether it takes writes, mode, role, eviction, persistence, memory, clock
  Alipay         keys, certificates, notify URL; with --live a query for a trade that does
                 not exist, for the app and for each merchant, and the gateway's clock
  times          REFUNDD_KEEP against retention, delays against each other

--live sends read-only queries and nothing else. --watch takes a group's members at
their word: a broker believes the last of their heartbeats, which come every 30 seconds.

Exit codes: 0 no problem (there may be warnings), 1 problems, 2 wrong usage.`

const doctorExample = `  refundctl doctor                  with the service's environment
  refundctl doctor --live           asks Alipay as well: keys, permissions, clock
  refundctl doctor --watch 35s      also whether all instances subscribe to the same topics
  refundctl doctor -o json | jq '.findings[] | select(.severity == "problem")'`

func doctorCommand(env cli.Env) *cobra.Command {
	var (
		o     doctor.Options
		out   flags.Output
		watch flags.Period
	)
	cmd := &cobra.Command{
		Use: "doctor", Short: "check a live environment: RocketMQ, Redis, Alipay, configuration", Long: doctorLong, Example: doctorExample,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.Watch, o.Format = time.Duration(watch), out.Format
			return doctor.Run(cmd.Context(), env, o)
		},
	}
	out.Register(cmd)
	cmd.Flags().BoolVar(&o.Live, "live", false, "ask Alipay, too")
	cmd.Flags().Var(&watch, "watch", "watch the group's subscriptions for this `time`")
	cmd.Flags().BoolVarP(&o.Quiet, "quiet", "q", false, "only what is not ok")
	return cmd
}
