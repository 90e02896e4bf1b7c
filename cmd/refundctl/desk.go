package main

import (
	"cmp"
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"

	"refundd/cmd/internal/cli"
	"refundd/cmd/internal/tap"
	"refundd/consumer"
	"refundd/dedupe"
)

// deskFlags are those of commands that look at refunds through the records and
// the topics.
type deskFlags struct {
	connection
	appID string
	group string
}

func (f *deskFlags) register(cmd *cobra.Command) {
	f.connection.register(cmd)
	cmd.Flags().StringVar(&f.appID, "app-id", "", "`id` of the app at Alipay; default REFUNDD_ALIPAY_APP_ID")
	groupFlag(cmd, &f.group)
}

// desk is how one environment's refunds are looked at: its records, its topics,
// and how the service names them.
type desk struct {
	store      *dedupe.Store
	cluster    tap.Cluster
	env        cli.Env
	group      string
	appID      string
	scopeTrade bool
	keep       time.Duration
	queryAfter time.Duration

	marks map[string]dedupe.Mark // see readMarks

	event, retry, parked string                   // topics
	kinds                map[string]consumer.Kind // by topic of commands
}

// open reads the variables that the service reads, and checks them. The caller
// calls done at the end.
func (f *deskFlags) open(env cli.Env) (d *desk, done func(), err error) {
	d = &desk{env: env, group: f.group, appID: cmp.Or(f.appID, env.Getenv("REFUNDD_ALIPAY_APP_ID"))}
	if d.appID == "" {
		return nil, nil, cli.WrongUsage("--app-id or REFUNDD_ALIPAY_APP_ID is required")
	}
	if err := notTheServices(f.group, env); err != nil {
		return nil, nil, err
	}
	switch scope := env.Getenv("REFUNDD_DEDUPE_SCOPE"); scope {
	case "", "merchant":
	case "trade":
		d.scopeTrade = true
	default:
		return nil, nil, cli.WrongUsage("REFUNDD_DEDUPE_SCOPE: %q is not merchant or trade", scope)
	}
	for _, v := range []struct {
		name     string
		standard time.Duration
		into     *time.Duration
	}{{"REFUNDD_KEEP", 168 * time.Hour, &d.keep}, {"REFUNDD_QUERY_AFTER", 10 * time.Second, &d.queryAfter}} {
		*v.into = v.standard
		if text := env.Getenv(v.name); text != "" {
			if *v.into, err = time.ParseDuration(text); err != nil || *v.into <= 0 {
				return nil, nil, cli.WrongUsage("%s: %q is not a duration such as 168h", v.name, text)
			}
		}
	}
	d.event = topic("", env, "REFUNDD_TOPIC_EVENT", "refund-event")
	d.retry = topic("", env, "REFUNDD_TOPIC_RETRY", "refund-retry")
	d.parked = topic("", env, "REFUNDD_TOPIC_PARKED", "refund-parked")
	d.kinds = map[string]consumer.Kind{
		topic("", env, "REFUNDD_TOPIC_REFUND", "refund-command"):               consumer.KindRefund,
		topic("", env, "REFUNDD_TOPIC_COUPON_REFUND", "coupon-refund-command"): consumer.KindCouponRefund,
	}
	if d.cluster, err = f.cluster(env); err != nil {
		return nil, nil, err
	}
	f.redirectLog(env)
	d.store, done, err = openStore(env)
	return d, done, err
}

// identity is the service's for this command.
func (d *desk) identity(cmd consumer.Command) dedupe.Identity {
	id := dedupe.Identity{AppID: d.appID, Merchant: cmd.Merchant, Kind: string(cmd.Kind), OutRequestNo: cmd.OutRequestNo}
	if d.scopeTrade {
		id.Trade = cmd.Trade()
	}
	return id
}

// read tells every message that is in the topic now and was stored since then;
// the zero time is from the beginning. Nobody's offsets are moved.
func (d *desk) read(ctx context.Context, topic string, since time.Time, tell func(tap.Message)) error {
	if err := d.cluster.CheckTopic(ctx, topic); err != nil {
		return fmt.Errorf("read %s: %w", topic, err)
	}
	var n atomic.Int64
	defer d.env.Progress(func() string { return fmt.Sprintf("%s: %d messages read", topic, n.Load()) })()
	err := tap.Follow(ctx, d.cluster, tap.Following{
		Topic: topic, Group: d.group, Beginning: since.IsZero(), Since: since, UntilNow: true,
		Trouble: d.env.Trouble,
	}, func(m tap.Message) {
		tell(m)
		n.Add(1)
	})
	switch {
	case err != nil:
		return err
	case ctx.Err() != nil:
		return fmt.Errorf("read %s: interrupted: %w", topic, ctx.Err())
	}
	return nil
}
