package main

import (
	"io"
	"testing"
	"time"
)

// TestOptions are the contract's: every flag, its variable and its default, and the flag wins.
func TestOptions(t *testing.T) {
	defaults := options{listen: "127.0.0.1:9800", keys: "keys", appID: "2021000000000001", tradeTotal: "1000.00", seed: 1}
	for _, row := range []struct {
		flag, variable, value string
		want                  func(o *options)
	}{
		{"-listen", "ALIPAYSIM_LISTEN", "0.0.0.0:1", func(o *options) { o.listen = "0.0.0.0:1" }},
		{"-keys", "ALIPAYSIM_KEYS", "there", func(o *options) { o.keys = "there" }},
		{"-app-id", "ALIPAYSIM_APP_ID", "7", func(o *options) { o.appID = "7" }},
		{"-trade-total", "ALIPAYSIM_TRADE_TOTAL", "9.99", func(o *options) { o.tradeTotal = "9.99" }},
		{"-latency", "ALIPAYSIM_LATENCY", "5ms", func(o *options) { o.latency = 5 * time.Millisecond }},
		{"-seed", "ALIPAYSIM_SEED", "2", func(o *options) { o.seed = 2 }},
		{"-faults", "ALIPAYSIM_FAULTS", "late=0.5", func(o *options) { o.faults = "late=0.5" }},
		{"-limit", "ALIPAYSIM_LIMIT", "30", func(o *options) { o.limit = 30 }},
		{"-notify-url", "ALIPAYSIM_NOTIFY_URL", "http://h/", func(o *options) { o.notifyURL = "http://h/" }},
	} {
		t.Run(row.flag, func(t *testing.T) {
			want := defaults
			row.want(&want)
			variable := func(value string) func(string) string {
				return func(name string) string { return map[string]string{row.variable: value}[name] }
			}
			for name, c := range map[string]struct {
				args   []string
				getenv func(string) string
				want   options
			}{
				"default":   {nil, noEnv, defaults},
				"flag":      {[]string{row.flag, row.value}, noEnv, want},
				"variable":  {nil, variable(row.value), want},
				"flag wins": {[]string{row.flag, row.value}, variable("1"), want},
			} {
				if got, err := readOptions(c.args, c.getenv, io.Discard); err != nil || got != c.want {
					t.Errorf("%s: %+v, %v", name, got, err)
				}
			}
		})
	}
}
