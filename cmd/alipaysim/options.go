package main

import (
	"flag"
	"fmt"
	"io"
	"net/url"
	"strings"
	"time"

	"refundd/alipay/alipaytest"
)

// options are the flags of the contract.
type options struct {
	listen     string
	keys       string
	appID      string
	tradeTotal string
	latency    time.Duration
	seed       uint64
	faults     string
	limit      int
	notifyURL  string
	version    bool
}

// readOptions takes each option from its flag, else from its variable, else its
// default. A message names the flag or the variable that is wrong.
func readOptions(args []string, getenv func(string) string, stderr io.Writer) (options, error) {
	var o options
	flags := flag.NewFlagSet("alipaysim", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&o.listen, "listen", "127.0.0.1:9800", "`address` to listen on; port 0 takes a free one")
	flags.StringVar(&o.keys, "keys", "keys", "`directory` of the key files; made with fresh keys on first use")
	flags.StringVar(&o.appID, "app-id", "2021000000000001", "the `app` id that is known")
	flags.StringVar(&o.tradeTotal, "trade-total", "1000.00", "paid amount in `yuan` of a trade or red packet first named in a call")
	flags.DurationVar(&o.latency, "latency", 0, "how long a call takes besides its own work")
	flags.Uint64Var(&o.seed, "seed", 1, "`number` that decides every draw")
	flags.StringVar(&o.faults, "faults", "", "`name=probability,…`; help lists the names")
	flags.IntVar(&o.limit, "limit", 0, "how many `calls` a second are let through, the rest being refused as Alipay does; 0: all")
	flags.StringVar(&o.notifyURL, "notify-url", "", "`URL` where payment notifications go; empty: none")
	flags.BoolVar(&o.version, "version", false, "print the version")
	if err := flags.Parse(args); err != nil {
		return o, err //nolint:wrapcheck // names the flag; flag has printed the usage
	}
	if flags.NArg() > 0 {
		return o, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	given := map[string]bool{}
	flags.Visit(func(f *flag.Flag) { given[f.Name] = true })
	var wrong error
	flags.VisitAll(func(f *flag.Flag) {
		name := "ALIPAYSIM_" + strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_"))
		value := getenv(name)
		if given[f.Name] || f.Name == "version" || value == "" || wrong != nil {
			return
		}
		if err := f.Value.Set(value); err != nil {
			wrong = fmt.Errorf("%s: %q: %w", name, value, err)
		}
	})
	return o, wrong
}

// config turns options into the simulator's. It makes the key files.
func (o options) config() (alipaytest.Config, error) {
	total, err := alipaytest.ParseYuan(o.tradeTotal)
	if err != nil {
		return alipaytest.Config{}, fmt.Errorf("-trade-total: %w", err)
	}
	faults, err := alipaytest.ParseFaults(o.faults)
	if err != nil {
		return alipaytest.Config{}, fmt.Errorf("-faults: %w", err)
	}
	if o.latency < 0 {
		return alipaytest.Config{}, fmt.Errorf("-latency: %s is below zero", o.latency)
	}
	if o.limit < 0 {
		return alipaytest.Config{}, fmt.Errorf("-limit: %d is below zero", o.limit)
	}
	if u, err := url.Parse(o.notifyURL); o.notifyURL != "" && (err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https") {
		return alipaytest.Config{}, fmt.Errorf("-notify-url: %q is not an http or https URL", o.notifyURL)
	}
	keys, err := alipaytest.LoadOrCreateKeys(o.keys)
	if err != nil {
		return alipaytest.Config{}, fmt.Errorf("-keys: %w", err)
	}
	return alipaytest.Config{
		AppID: o.appID, Keys: keys, TradeTotal: total, Latency: o.latency, Seed: o.seed, Faults: faults,
		Limit: o.limit, NotifyURL: o.notifyURL,
	}, nil
}
