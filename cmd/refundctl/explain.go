package main

import (
	"github.com/spf13/cobra"

	"refundd/cmd/internal/cli"
	"refundd/cmd/internal/desk"
	"refundd/cmd/internal/flags"
)

const explainLong = `Tells everything about one refund: a timeline from its record in Redis and from the
event, retry and parked topics, then what is true, what happens next and when, and
what a person should do. With --live Alipay is asked as well, by one query, which
changes nothing.

NUMBER is the out_request_no, or the message id that stands in a rejected event's
subject. Where several refunds have the number (kinds, merchants, trades), each is told.
Topics are looked up by the brokers' index of keys; where that is off or full they
are read message by message (--scan), with a position of this command's own.
--live reads the service's whole configuration, with its keys, from the environment.

Exit codes: 0 told, 1 failed, or nothing is known of the number, 2 wrong usage.`

const explainExample = `  refundctl explain R-1
  refundctl explain R-1 --from 30d --live
  refundctl explain R-1 -k coupon_refund -m shop-a -o json`

func explainCommand(env cli.Env) *cobra.Command {
	var (
		at   deskFlags
		out  flags.Output
		q    desk.Question
		from = flags.NewWhen("7d")
	)
	cmd := &cobra.Command{
		Use: "explain NUMBER", Short: "everything about one refund: what is true, what happens next, what to do",
		Long: explainLong, Example: explainExample, Args: flags.OneNumber,
		RunE: func(cmd *cobra.Command, args []string) error {
			d, done, err := at.open(env)
			if err != nil {
				return err
			}
			defer done()
			q.Number, q.OfMerchant, q.Since, q.Format = args[0], cmd.Flags().Changed("merchant"), from.Time, out.Format
			return d.Explain(cmd.Context(), q)
		},
	}
	at.register(cmd)
	out.Register(cmd)
	flags.Choice{Value: &q.Kind, Of: kinds()}.Register(cmd, "kind", "k", "only refund or coupon_refund; default both")
	set := cmd.Flags()
	set.StringVarP(&q.Merchant, "merchant", "m", "", "only the refund of this `name`; empty: the app's own; default whatever is found")
	set.StringVar(&q.Trade, "trade", "", "trade `number` (or auth_no) as the command names it, where nothing found names it")
	set.BoolVar(&q.Live, "live", false, "ask Alipay, too, by a query")
	set.BoolVar(&q.Scan, "scan", false, "read the topics message by message, and not through the brokers' index")
	set.Var(&from, "from", "read topics from this `time` on, or from so long ago: 12h, 7d")
	return cmd
}
