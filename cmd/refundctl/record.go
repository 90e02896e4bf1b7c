package main

import (
	"github.com/spf13/cobra"

	"refundd/cmd/internal/cli"
	"refundd/cmd/internal/flags"
	"refundd/cmd/internal/replay"
)

const recordLong = `Writes a part of a topic to a file: JSON lines, one message a line with body, keys,
properties, born time, queue and offset, in the order in which they were stored;
compressed if the name ends in .gz. It reads from outside, so nobody misses a
message because of it. Bodies are payment data: the file is readable by its owner
alone. "refundctl replay --file" sends it again, "refundctl reconcile" reads it.

Ctrl-C ends it early and leaves a whole file of what was read until then.`

const recordExample = `  refundctl record --topic refund-command --from 24h -f commands.jsonl.gz
  refundctl record --topic refund-event --from 2026-01-31T00:00:00+08:00 --to 2026-02-01T00:00:00+08:00 -f events.jsonl.gz
  refundctl record --topic refund-command --queue broker-a/3 --from offset:120000 --to offset:130000 -f some.jsonl`

func recordCommand(env cli.Env) *cobra.Command {
	var (
		c     flags.Connection
		part  flags.Span
		out   flags.Output
		topic string
		r     replay.Recording
	)
	cmd := &cobra.Command{
		Use: "record --topic TOPIC --file FILE", Short: "write a part of a topic to a file", Long: recordLong, Example: recordExample,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			switch {
			case topic == "":
				return cli.WrongUsage("--topic is required")
			case r.File == "":
				return cli.WrongUsage("--file is required")
			case r.Count < 0:
				return cli.WrongUsage("--count: %d is below zero", r.Count)
			}
			if r.Part, err = part.Following(env, topic); err != nil {
				return err
			}
			cluster, err := c.Open(cmd.Context(), env, topic)
			if err != nil {
				return err
			}
			r.Format = out.Format
			return r.Record(cmd.Context(), env, cluster)
		},
	}
	c.Register(cmd)
	part.Register(cmd)
	out.Register(cmd)
	flags.Topic(cmd, env, &topic, "topic", "`topic` to read; required")
	flags.File(cmd, &r.File, "file", "f", "`file` to write, which must not exist; required")
	cmd.Flags().Int64VarP(&r.Count, "count", "n", 0, "end after so many messages; 0 = no limit")
	return cmd
}
