package main

import (
	"cmp"
	"context"
	"fmt"
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
	flags.Output
	appID, kind, merchant, reason, by string
}

func pauseCommand(env cli.Env) *cobra.Command {
	b := &brake{}
	cmd := b.command(env, "pause", "stop new refund calls on all instances; queries go on", b.pause)
	b.which(cmd)
	cmd.Flags().StringVarP(&b.reason, "reason", "r", "", "`why`, for whoever finds it paused; required")
	cmd.Flags().StringVar(&b.by, "by", env.Getenv("USER"), "`who` pauses")
	cmd.Example = `  refundctl pause -r "wrong price list" -k refund -m shop-a`
	return cmd
}

func resumeCommand(env cli.Env) *cobra.Command {
	b := &brake{}
	cmd := b.command(env, "resume", "let them go again", b.resume)
	b.which(cmd)
	cmd.Example = "  refundctl resume -k refund -m shop-a"
	return cmd
}

func brakesCommand(env cli.Env) *cobra.Command {
	b := &brake{}
	cmd := b.command(env, "brakes", "list what is paused", b.list)
	cmd.Example = "  refundctl brakes -o json"
	return cmd
}

func (b *brake) which(cmd *cobra.Command) {
	flags.Choice{Value: &b.kind, Of: kinds()}.Register(cmd, "kind", "k", "refund or coupon_refund; default both")
	cmd.Flags().StringVarP(&b.merchant, "merchant", "m", "", "`name` of one merchant; default all")
}

// command is what the three have in common.
func (b *brake) command(env cli.Env, name, says string, do func(context.Context, *dedupe.Store, cli.Env) error) *cobra.Command {
	cmd := &cobra.Command{
		Use: name, Short: says, Long: brakesLong,
		RunE: func(cmd *cobra.Command, _ []string) error {
			b.appID = cmp.Or(b.appID, env.Getenv("REFUNDD_ALIPAY_APP_ID"))
			switch {
			case b.appID == "":
				return cli.WrongUsage("--app-id or REFUNDD_ALIPAY_APP_ID is required")
			case name == "pause" && strings.TrimSpace(b.reason) == "":
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
	cmd.Flags().StringVar(&b.appID, "app-id", "", "`id` of the app at Alipay; default REFUNDD_ALIPAY_APP_ID")
	return cmd
}

func (b *brake) what() string {
	return fmt.Sprintf("%s of %s", cmp.Or(b.kind, "every kind"), cmp.Or(b.merchant, "every merchant"))
}

func (b *brake) pause(ctx context.Context, store *dedupe.Store, env cli.Env) error {
	if err := store.Pause(ctx, b.appID, dedupe.Brake{Kind: b.kind, Merchant: b.merchant, Reason: b.reason, By: b.by}); err != nil {
		return err
	}
	return b.told(env, "paused")
}

func (b *brake) resume(ctx context.Context, store *dedupe.Store, env cli.Env) error {
	was, err := store.Resume(ctx, b.appID, b.kind, b.merchant)
	if err != nil {
		return err
	}
	if !was {
		return fmt.Errorf("%s was not paused; refundctl brakes lists what is", b.what())
	}
	return b.told(env, "resumed")
}

func (b *brake) list(ctx context.Context, store *dedupe.Store, env cli.Env) error {
	on, err := store.Brakes(ctx, b.appID)
	if err != nil {
		return err
	}
	if b.JSON() {
		for _, one := range on {
			if err := cli.PrintJSON(env.Stdout, map[string]string{
				"kind": one.Kind, "merchant": one.Merchant, "reason": one.Reason, "by": one.By, "since": cli.Clock(one.Since),
			}); err != nil {
				return err
			}
		}
		return nil
	}
	if len(on) == 0 {
		_, _ = fmt.Fprintln(env.Stdout, "nothing is paused")
		return nil
	}
	t := cli.NewTable(env.Stdout, "kind", "merchant", "since", "by", "reason")
	for _, one := range on {
		t.Row(cmp.Or(one.Kind, "every"), cmp.Or(one.Merchant, "every"), cli.Clock(one.Since), one.By, one.Reason)
	}
	return t.Flush()
}

// told is the result of pause and resume.
func (b *brake) told(env cli.Env, did string) error {
	return b.Print(env, map[string]string{"did": did, "kind": b.kind, "merchant": b.merchant}, "%s: %s\n", did, b.what())
}
