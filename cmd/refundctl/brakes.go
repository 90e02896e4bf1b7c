package main

import (
	"cmp"
	"context"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"refundd/cmd/internal/cli"
	"refundd/cmd/internal/desk"
	"refundd/cmd/internal/flags"
	"refundd/dedupe"
)

const brakesLong = `pause stops new refund calls within a second on all instances; resume lets them
go again; brakes lists what is paused. Queries and notifications go on. Paused
commands wait without spending tries, and flow again within two minutes.

Redis is found as refundd finds it: REFUNDD_REDIS_URL, REFUNDD_REDIS_MODE,
REFUNDD_REDIS_PASSWORD_FILE, REFUNDD_REDIS_PREFIX; the app by REFUNDD_ALIPAY_APP_ID.`

// brake holds the flags of pause, resume and brakes.
type brake struct {
	desk.Brake
	flags.Output
}

func pauseCommand(env cli.Env) *cobra.Command {
	b := &brake{}
	cmd := b.command(env, "pause", "stop new refund calls on all instances; queries go on", b.Pause)
	b.which(cmd)
	cmd.Flags().StringVarP(&b.Reason, "reason", "r", "", "`why`, for whoever finds it paused; required")
	cmd.Flags().StringVar(&b.By, "by", env.Getenv("USER"), "`who` pauses")
	cmd.Example = `  refundctl pause -r "wrong price list" -k refund -m shop-a`
	return cmd
}

func resumeCommand(env cli.Env) *cobra.Command {
	b := &brake{}
	cmd := b.command(env, "resume", "let them go again", b.Resume)
	b.which(cmd)
	cmd.Example = "  refundctl resume -k refund -m shop-a"
	return cmd
}

func brakesCommand(env cli.Env) *cobra.Command {
	b := &brake{}
	cmd := b.command(env, "brakes", "list what is paused", b.List)
	cmd.Example = "  refundctl brakes -o json"
	return cmd
}

func (b *brake) which(cmd *cobra.Command) {
	flags.Choice{Value: &b.Kind, Of: kinds()}.Register(cmd, "kind", "k", "refund or coupon_refund; default both")
	cmd.Flags().StringVarP(&b.Merchant, "merchant", "m", "", "`name` of one merchant; default all")
}

// command is what the three have in common.
func (b *brake) command(env cli.Env, name, says string, do func(context.Context, *dedupe.Store, cli.Env) error) *cobra.Command {
	cmd := &cobra.Command{
		Use: name, Short: says, Long: brakesLong,
		RunE: func(cmd *cobra.Command, _ []string) error {
			b.AppID = cmp.Or(b.AppID, env.Getenv("REFUNDD_ALIPAY_APP_ID"))
			b.Brake.Format = b.Output.Format
			switch {
			case b.AppID == "":
				return cli.WrongUsage("--app-id or REFUNDD_ALIPAY_APP_ID is required")
			case name == "pause" && strings.TrimSpace(b.Reason) == "":
				return cli.WrongUsage("--reason is required")
			}
			store, done, err := desk.OpenStore(env)
			if err != nil {
				return err
			}
			defer done()
			ctx, cancel := context.WithTimeout(cmd.Context(), 10*time.Second)
			defer cancel()
			return do(ctx, store, env)
		},
	}
	b.Register(cmd)
	cmd.Flags().StringVar(&b.AppID, "app-id", "", "`id` of the app at Alipay; default REFUNDD_ALIPAY_APP_ID")
	return cmd
}
