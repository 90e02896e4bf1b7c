package doctor

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"refundd/cmd/internal/cli"
	"refundd/cmd/internal/config"
)

// has reports whether there is such a finding, with a fix if it is not ok.
func has(findings []Finding, check string, s Severity) bool {
	return slices.ContainsFunc(findings, func(f Finding) bool {
		return f.Check == check && f.Severity == s && (s == OK) == (f.Fix == "")
	})
}

// TestDoctorOnRedis: what a real Redis tells, which miniredis does not.
func TestDoctorOnRedis(t *testing.T) {
	good := map[string]string{
		"redis_mode": "standalone", "redis_version": "7.0.15", "role": "master", "maxmemory_policy": "noeviction",
		"maxmemory": "1000000", "used_memory": "10000",
	}
	rows := []struct {
		name       string
		key, value string
		check      string
		severity   Severity
	}{
		{"good", "", "", "redis eviction", OK},
		{"evicts all", "maxmemory_policy", "allkeys-lru", "redis eviction", Problem},
		{"evicts what expires", "maxmemory_policy", "volatile-ttl", "redis eviction", Problem},
		{"no limit", "maxmemory", "0", "redis memory", Warning},
		{"nearly full", "used_memory", "800000", "redis memory", Warning},
		{"full", "used_memory", "990000", "redis memory", Problem},
		{"a replica", "role", "slave", "redis role", Problem},
		{"a cluster", "redis_mode", "cluster", "redis mode", Problem},
		{"a sentinel", "redis_mode", "sentinel", "redis mode", Problem},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			d := &doctor{print: func(Finding) {}}
			info := maps.Clone(good)
			if row.key != "" {
				info[row.key] = row.value
			}
			d.redisMode("it", info)
			d.redisMemory("it", info)
			if !has(d.findings, row.check, row.severity) {
				t.Errorf("%+v", d.findings)
			}
		})
	}
}

func TestDoctorOnNotifyURL(t *testing.T) {
	rows := []struct {
		name, url, addr string
		severity        Severity
	}{
		{"good", "https://refunds.example.com/alipay/notify", ":8080", OK},
		{"private", "https://10.0.0.7/alipay/notify", ":8080", Problem},
		{"loopback", "https://localhost/alipay/notify", ":8080", Problem},
		{"another path", "https://refunds.example.com/notify", ":8080", Warning},
		{"plain", "http://refunds.example.com/alipay/notify", ":8080", Warning},
		{"no receiver", "https://refunds.example.com/alipay/notify", "", Warning},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			d := &doctor{print: func(Finding) {}, cfg: config.Config{AlipayNotifyURL: row.url, HTTPAddr: row.addr, AlipayGateway: "https://a"}}
			d.notifyURL()
			if !has(d.findings, "notify URL", row.severity) {
				t.Errorf("%+v", d.findings)
			}
		})
	}
}

func TestDoctorOnTimes(t *testing.T) {
	good := config.Config{
		Keep: 168 * time.Hour, MaxAge: 72 * time.Hour, Lease: time.Minute, QueryAfter: 10 * time.Second, TradeSpacing: 3 * time.Second,
		RetryDelays: []time.Duration{time.Minute, 2 * time.Hour},
	}
	for name, row := range map[string]struct {
		change    func(*config.Config)
		retention time.Duration
		check     string
		severity  Severity
	}{
		"good":             {func(*config.Config) {}, 72 * time.Hour, "REFUNDD_KEEP", OK},
		"longer retention": {func(*config.Config) {}, 94 * time.Hour, "REFUNDD_KEEP", Problem},
		"no retention":     {func(*config.Config) {}, 0, "REFUNDD_KEEP", Warning},
		"short age":        {func(c *config.Config) { c.MaxAge = 2 * time.Hour }, 72 * time.Hour, "REFUNDD_MAX_AGE", Warning},
	} {
		t.Run(name, func(t *testing.T) {
			d := &doctor{print: func(Finding) {}, cfg: good, retention: row.retention}
			row.change(&d.cfg)
			d.times()
			if !has(d.findings, row.check, row.severity) {
				t.Errorf("%+v", d.findings)
			}
		})
	}
}

// TestColours: only where a person looks.
func TestColours(t *testing.T) {
	for _, on := range []bool{false, true} {
		var out strings.Builder
		printFinding(cli.Env{Stdout: &out, Colours: on}, Finding{Check: "redis", Severity: Problem, Saw: "refused", Fix: "start it"})
		if got := out.String(); strings.Contains(got, "\x1b[31mproblem \x1b[0m redis") != on || strings.Contains(got, "\x1b") != on {
			t.Errorf("colours %t: %q", on, got)
		}
	}
}
