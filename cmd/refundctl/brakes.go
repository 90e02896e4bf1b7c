package main

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"strings"
	"time"

	"refundd/cmd/internal/config"
	"refundd/dedupe"
	"refundd/producer"
)

const brakesHelp = `pause stops new refund calls within a second on all instances; resume lets them
go again; brakes lists what is paused. Queries and notifications go on. Paused
commands wait without spending tries, and flow again within two minutes.

  refundctl pause -reason "wrong price list" -kind refund -merchant shop-a
  refundctl brakes
  refundctl resume -kind refund -merchant shop-a

Redis is found as refundd finds it: REFUNDD_REDIS_URL, REFUNDD_REDIS_MODE,
REFUNDD_REDIS_PASSWORD_FILE, REFUNDD_REDIS_PREFIX; the app by REFUNDD_ALIPAY_APP_ID.
`

// brake holds the flags of pause, resume and brakes.
type brake struct {
	out                               output
	appID, kind, merchant, reason, by string
}

// brakes carries out pause, resume and brakes.
func brakes(ctx context.Context, name string, args []string, env environment) error {
	var b brake
	flags := flag.NewFlagSet(name, flag.ContinueOnError)
	flags.StringVar(&b.appID, "app-id", "", "`id` of the app at Alipay; default REFUNDD_ALIPAY_APP_ID")
	if name == "brakes" {
		b.out.register(flags)
	} else {
		flags.StringVar(&b.kind, "kind", "", "`refund|coupon_refund`; default both")
		flags.StringVar(&b.merchant, "merchant", "", "`name` of one merchant; default all")
	}
	if name == "pause" {
		flags.StringVar(&b.reason, "reason", "", "`why`, for whoever finds it paused; required")
		flags.StringVar(&b.by, "by", env.getenv("USER"), "`who` pauses")
	}
	if err := parse(flags, args, env, brakesHelp); err != nil {
		return err
	}
	if err := b.check(name, env); err != nil {
		return err
	}
	store, done, err := openStore(env)
	if err != nil {
		return err
	}
	defer done()
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	switch name {
	case "pause":
		return b.pause(ctx, store, env)
	case "resume":
		return b.resume(ctx, store, env)
	default:
		return b.list(ctx, store, env)
	}
}

func (b *brake) check(name string, env environment) error {
	b.appID = cmp.Or(b.appID, env.getenv("REFUNDD_ALIPAY_APP_ID"))
	switch {
	case b.appID == "":
		return wrongUsage("-app-id or REFUNDD_ALIPAY_APP_ID is required")
	case b.kind != "" && b.kind != string(producer.KindRefund) && b.kind != string(producer.KindCouponRefund):
		return wrongUsage("-kind %q is not refund or coupon_refund", b.kind)
	case name == "pause" && strings.TrimSpace(b.reason) == "":
		return wrongUsage("-reason is required")
	case name == "brakes":
		return b.out.check(name)
	}
	return nil
}

func (b *brake) what() string {
	return fmt.Sprintf("%s of %s", cmp.Or(b.kind, "every kind"), cmp.Or(b.merchant, "every merchant"))
}

func (b *brake) pause(ctx context.Context, store *dedupe.Store, env environment) error {
	if err := store.Pause(ctx, b.appID, dedupe.Brake{Kind: b.kind, Merchant: b.merchant, Reason: b.reason, By: b.by}); err != nil {
		return err
	}
	_, _ = fmt.Fprintf(env.stdout, "paused: %s\n", b.what())
	return nil
}

func (b *brake) resume(ctx context.Context, store *dedupe.Store, env environment) error {
	was, err := store.Resume(ctx, b.appID, b.kind, b.merchant)
	if err != nil {
		return err
	}
	if !was {
		return fmt.Errorf("%s was not paused; refundctl brakes lists what is", b.what())
	}
	_, _ = fmt.Fprintf(env.stdout, "resumed: %s\n", b.what())
	return nil
}

func (b *brake) list(ctx context.Context, store *dedupe.Store, env environment) error {
	on, err := store.Brakes(ctx, b.appID)
	if err != nil {
		return err
	}
	if len(on) == 0 && !b.out.json() {
		_, _ = fmt.Fprintln(env.stdout, "nothing is paused")
	}
	for _, one := range on {
		if !b.out.json() {
			at := brake{kind: one.Kind, merchant: one.Merchant}
			_, _ = fmt.Fprintf(env.stdout, "%s: %s (by %s, since %s)\n", at.what(), one.Reason, one.By, one.Since.Format(time.RFC3339))
			continue
		}
		if err := printJSON(env.stdout, map[string]string{
			"kind": one.Kind, "merchant": one.Merchant, "reason": one.Reason, "by": one.By, "since": one.Since.UTC().Format(time.RFC3339),
		}); err != nil {
			return err
		}
	}
	return nil
}

// openStore reaches Redis as the service does.
func openStore(env environment) (*dedupe.Store, func(), error) {
	cfg := config.Config{
		RedisURL:    env.getenv("REFUNDD_REDIS_URL"),
		RedisMode:   cmp.Or(env.getenv("REFUNDD_REDIS_MODE"), config.ModeStandalone),
		RedisPrefix: cmp.Or(env.getenv("REFUNDD_REDIS_PREFIX"), "refundd:"),
	}
	if cfg.RedisURL == "" {
		return nil, nil, wrongUsage("REFUNDD_REDIS_URL is required")
	}
	if path := env.getenv("REFUNDD_REDIS_PASSWORD_FILE"); path != "" {
		var err error
		if cfg.Secrets.RedisPassword, err = config.PasswordFile(path); err != nil {
			return nil, nil, wrongUsage("REFUNDD_REDIS_PASSWORD_FILE: %s: %v", path, err)
		}
	}
	client, err := cfg.OpenRedis()
	if err != nil {
		return nil, nil, wrongUsage("REFUNDD_REDIS_URL: %v", err)
	}
	// Brakes know neither leases nor expiry.
	store, err := dedupe.New(client, dedupe.Config{Prefix: cfg.RedisPrefix, Lease: time.Second, Keep: time.Second})
	if err != nil {
		return nil, nil, err
	}
	return store, func() { _ = client.Close() }, nil
}
