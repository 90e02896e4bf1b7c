package main

import (
	"github.com/spf13/cobra"

	"refundd/cmd/internal/cli"
	"refundd/cmd/internal/desk"
	"refundd/cmd/internal/flags"
)

const parkedListLong = `Tells which refunds wait for a person, why, and what has become of each since. The
parked topic keeps a message whatever is done with it (until its retention ends),
so what was done stands in Redis, in the refund's record: decided since, requeued
or dropped, by whom and why.

How a refund stands:
  open           undecided; the next step is a person's: mend the cause, then requeue
  forgotten      undecided, and Redis has no record of it any more
  foreign        its number's record is of a command with other content
  contradiction  succeeded after failed was published: tell accounting
  unreadable     was claimed, and cannot be read here: an older version, or another topic
  stub           stands for what the broker refuses to store; there is no body to send
  rejected       never sent to Alipay, as its event said
  requeued       sent again and not taken up yet; after 15 minutes it is listed again
  working, retrying, decided, dropped, newer (another parked copy of it is): with --all

Exit codes: 0 told, 1 failed, 2 wrong usage.`

const parkedListExample = `  refundctl parked list                              what waits for a person now
  refundctl parked list --all                        decided, requeued and dropped ones too
  refundctl parked list -r blocked_merchant -m shop-a --older 2h
  refundctl parked list -o json | jq -r '.refunds[].out_request_no'`

const parkedShowLong = `Prints everything about the parked messages of one refund: properties, record, deeds,
and the command's body, which is upstream's own data.`

const parkedShowExample = `  refundctl parked show R-1
  refundctl parked show R-1 -k coupon_refund -m shop-a -o json`

func parkedCommand(env cli.Env) *cobra.Command {
	cmd := &cobra.Command{
		Use: "parked", Short: "those that wait for a person: list, show, requeue, drop",
		Long: "Works off the refunds that wait for a person.", Example: "  refundctl parked list\n  refundctl help parked requeue",
	}
	cmd.AddCommand(parkedListCommand(env), parkedShowCommand(env), parkedRequeueCommand(env), parkedDropCommand(env))
	return cmd
}

// parkedFilter are the flags that say which parked refunds are meant.
type parkedFilter struct {
	desk.Filter
	older, newer flags.When
}

func (f *parkedFilter) register(cmd *cobra.Command) {
	flags.Choice{Value: &f.Reason, Of: reasons(), Many: true}.Register(cmd, "reason", "r", "only these `reasons`, with commas between them")
	f.registerOne(cmd)
	set := cmd.Flags()
	set.StringVar(&f.Number, "number", "", "only these out_request_no, with commas between `them`")
	set.Var(&f.older, "older", "only parked before this `time`, or longer ago than: 90m, 12h, 7d")
	set.Var(&f.newer, "newer", "only parked since this `time`, or within: 90m, 12h, 7d")
}

// registerOne is for the commands about one number.
func (f *parkedFilter) registerOne(cmd *cobra.Command) {
	flags.Choice{Value: &f.Kind, Of: kinds()}.Register(cmd, "kind", "k", "only refund or coupon_refund")
	cmd.Flags().StringVarP(&f.Merchant, "merchant", "m", "", "only refunds of this `name`; empty: the app's own")
}

// filter is what the flags say.
func (f *parkedFilter) filter(cmd *cobra.Command) desk.Filter {
	f.OfMerchant, f.Older, f.Newer = cmd.Flags().Changed("merchant"), f.older.Time, f.newer.Time
	return f.Filter
}

func parkedListCommand(env cli.Env) *cobra.Command {
	var (
		at  deskFlags
		f   parkedFilter
		out flags.Output
		all bool
	)
	cmd := &cobra.Command{
		Use: "list", Short: "the refunds that wait for a person, by reason, and what became of them", Long: parkedListLong, Example: parkedListExample,
		RunE: func(cmd *cobra.Command, _ []string) error {
			d, done, err := at.open(env)
			if err != nil {
				return err
			}
			defer done()
			return d.List(cmd.Context(), f.filter(cmd), all, out.Format)
		},
	}
	at.register(cmd)
	f.register(cmd)
	out.Register(cmd)
	cmd.Flags().BoolVarP(&all, "all", "a", false, "also those that wait for nobody")
	return cmd
}

func parkedShowCommand(env cli.Env) *cobra.Command {
	var (
		at  deskFlags
		f   parkedFilter
		out flags.Output
	)
	cmd := &cobra.Command{
		Use: "show NUMBER", Short: "one of them in full", Long: parkedShowLong, Example: parkedShowExample, Args: flags.OneNumber,
		RunE: func(cmd *cobra.Command, args []string) error {
			d, done, err := at.open(env)
			if err != nil {
				return err
			}
			defer done()
			f.Number = args[0]
			return d.Show(cmd.Context(), f.filter(cmd), out.Format)
		},
	}
	at.register(cmd)
	f.registerOne(cmd)
	out.Register(cmd)
	return cmd
}
