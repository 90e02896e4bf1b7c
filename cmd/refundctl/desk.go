package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"strconv"
	"strings"
	"time"

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

func (f *deskFlags) register(flags *flag.FlagSet) {
	f.connection.register(flags)
	flags.StringVar(&f.appID, "app-id", "", "`id` of the app at Alipay; default REFUNDD_ALIPAY_APP_ID")
	flags.StringVar(&f.group, "group", tap.ToolsGroup, "consumer `group` to read topics as; brokers have the default one from birth")
}

// desk is how one environment's refunds are looked at: its records, its topics,
// and how the service names them.
type desk struct {
	store      *dedupe.Store
	cluster    tap.Cluster
	env        environment
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
func (f *deskFlags) open(command string, env environment) (d *desk, done func(), err error) {
	d = &desk{env: env, group: f.group, appID: cmp.Or(f.appID, env.getenv("REFUNDD_ALIPAY_APP_ID"))}
	if d.appID == "" {
		return nil, nil, wrongUsage("%s: -app-id or REFUNDD_ALIPAY_APP_ID is required", command)
	}
	if f.group == "" || f.group == cmp.Or(env.getenv("REFUNDD_ROCKETMQ_GROUP"), "refundd") {
		return nil, nil, wrongUsage("%s: -group: %q is the service's own group, or none; it would take messages from the service", command, f.group)
	}
	switch scope := env.getenv("REFUNDD_DEDUPE_SCOPE"); scope {
	case "", "merchant":
	case "trade":
		d.scopeTrade = true
	default:
		return nil, nil, wrongUsage("REFUNDD_DEDUPE_SCOPE: %q is not merchant or trade", scope)
	}
	for _, v := range []struct {
		name     string
		standard time.Duration
		into     *time.Duration
	}{{"REFUNDD_KEEP", 168 * time.Hour, &d.keep}, {"REFUNDD_QUERY_AFTER", 10 * time.Second, &d.queryAfter}} {
		*v.into = v.standard
		if text := env.getenv(v.name); text != "" {
			if *v.into, err = time.ParseDuration(text); err != nil || *v.into <= 0 {
				return nil, nil, wrongUsage("%s: %q is not a duration such as 168h", v.name, text)
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
	n := 0
	progress := time.Now().Add(progressEvery)
	err := tap.Follow(ctx, d.cluster, tap.Following{
		Topic: topic, Group: d.group, Beginning: since.IsZero(), Since: since, UntilNow: true,
		Trouble: func(err error) { _, _ = fmt.Fprintf(d.env.stderr, "refundctl: %v; trying again\n", err) },
	}, func(m tap.Message) {
		tell(m)
		if n++; time.Now().After(progress) {
			_, _ = fmt.Fprintf(d.env.stderr, "%s: %d messages read\n", topic, n)
			progress = time.Now().Add(progressEvery)
		}
	})
	switch {
	case err != nil:
		return err
	case ctx.Err() != nil:
		return fmt.Errorf("read %s: interrupted: %w", topic, ctx.Err())
	}
	return nil
}

// timeAgo is a flag for how long ago, with days.
type timeAgo time.Duration

func (s *timeAgo) String() string {
	if *s == 0 {
		return ""
	}
	return time.Duration(*s).String()
}

func (s *timeAgo) Set(text string) error {
	if days, ok := strings.CutSuffix(text, "d"); ok {
		n, err := strconv.ParseUint(days, 10, 16)
		if err != nil {
			return errors.New("not a duration such as 90m, 12h or 7d")
		}
		*s = timeAgo(time.Duration(n) * 24 * time.Hour)
		return nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 {
		return errors.New("not a duration such as 90m, 12h or 7d")
	}
	*s = timeAgo(d)
	return nil
}

// parseWithNumber is parse for commands that take one argument, before or
// behind the flags.
func parseWithNumber(flags *flag.FlagSet, args []string, env environment, help string) (number string, err error) {
	if err := parseFlags(flags, args, env, help); err != nil {
		return "", err
	}
	if flags.NArg() == 0 {
		return "", wrongUsage("%s: the out_request_no is missing", flags.Name())
	}
	number = flags.Arg(0)
	return number, parse(flags, flags.Args()[1:], env, help)
}

// checkKind accepts nothing, too.
func checkKind(command, kind string) error {
	if kind != "" && kind != string(consumer.KindRefund) && kind != string(consumer.KindCouponRefund) {
		return wrongUsage("%s: -kind: %q is not refund or coupon_refund", command, kind)
	}
	return nil
}

func clock(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// ago is a duration as a person reads it.
func ago(d time.Duration) string {
	switch {
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	case d < time.Minute:
		return d.Round(time.Second).String()
	case d < 48*time.Hour:
		return strings.TrimSuffix(d.Round(time.Minute).String(), "0s")
	default:
		return fmt.Sprintf("%dd%dh", int(d.Hours())/24, int(d.Hours())%24)
	}
}
