// Package desk is where an operator looks at refunds through records and topics,
// and works off those that wait for a person.
package desk

import (
	"cmp"
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"refundd/cmd/internal/cli"
	"refundd/cmd/internal/config"
	"refundd/cmd/internal/tap"
	"refundd/consumer"
	"refundd/dedupe"
)

// Desk is how one environment's refunds are looked at: its records, its topics,
// and how the service names them.
type Desk struct {
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

// Config says what a desk looks at.
type Config struct {
	Cluster tap.Cluster
	Group   string // to read topics as
	AppID   string // default REFUNDD_ALIPAY_APP_ID
}

// Open reads the variables that the service reads, and checks them. The caller
// calls done at the end.
func Open(env cli.Env, cfg Config) (d *Desk, done func(), err error) {
	d = &Desk{env: env, cluster: cfg.Cluster, group: cfg.Group, appID: cmp.Or(cfg.AppID, env.Getenv("REFUNDD_ALIPAY_APP_ID"))}
	if d.appID == "" {
		return nil, nil, cli.WrongUsage("--app-id or REFUNDD_ALIPAY_APP_ID is required")
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
	d.event = cmp.Or(env.Getenv("REFUNDD_TOPIC_EVENT"), "refund-event")
	d.retry = cmp.Or(env.Getenv("REFUNDD_TOPIC_RETRY"), "refund-retry")
	d.parked = cmp.Or(env.Getenv("REFUNDD_TOPIC_PARKED"), "refund-parked")
	d.kinds = map[string]consumer.Kind{
		cmp.Or(env.Getenv("REFUNDD_TOPIC_REFUND"), "refund-command"):               consumer.KindRefund,
		cmp.Or(env.Getenv("REFUNDD_TOPIC_COUPON_REFUND"), "coupon-refund-command"): consumer.KindCouponRefund,
	}
	d.store, done, err = OpenStore(env)
	return d, done, err
}

// identity is the service's for this command.
func (d *Desk) identity(cmd consumer.Command) dedupe.Identity {
	id := dedupe.Identity{AppID: d.appID, Merchant: cmd.Merchant, Kind: string(cmd.Kind), OutRequestNo: cmd.OutRequestNo}
	if d.scopeTrade {
		id.Trade = cmd.Trade()
	}
	return id
}

// read tells every message that is in the topic now and was stored since then;
// the zero time is from the beginning. Nobody's offsets are moved.
func (d *Desk) read(ctx context.Context, topic string, since time.Time, tell func(tap.Message)) error {
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

// OpenStore reaches Redis as the service does.
func OpenStore(env cli.Env) (*dedupe.Store, func(), error) {
	cfg := config.Config{
		RedisURL:    env.Getenv("REFUNDD_REDIS_URL"),
		RedisMode:   cmp.Or(env.Getenv("REFUNDD_REDIS_MODE"), config.ModeStandalone),
		RedisPrefix: cmp.Or(env.Getenv("REFUNDD_REDIS_PREFIX"), "refundd:"),
	}
	if cfg.RedisURL == "" {
		return nil, nil, cli.WrongUsage("REFUNDD_REDIS_URL is required")
	}
	if path := env.Getenv("REFUNDD_REDIS_PASSWORD_FILE"); path != "" {
		var err error
		if cfg.Secrets.RedisPassword, err = config.PasswordFile(path); err != nil {
			return nil, nil, cli.WrongUsage("REFUNDD_REDIS_PASSWORD_FILE: %s: %v", path, err)
		}
	}
	client, err := cfg.OpenRedis()
	if err != nil {
		return nil, nil, cli.WrongUsage("REFUNDD_REDIS_URL: %v", err)
	}
	// Brakes know neither leases nor expiry.
	store, err := dedupe.New(client, dedupe.Config{Prefix: cfg.RedisPrefix, Lease: time.Second, Keep: time.Second})
	if err != nil {
		return nil, nil, err
	}
	return store, func() { _ = client.Close() }, nil
}
