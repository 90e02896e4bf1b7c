//go:build !race

package main

import (
	"encoding/json"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"refundd/alipay/alipaytest"
	"refundd/cmd/internal/config"
	"refundd/consumer/remoting"
	"refundd/dedupe/dedupetest"
)

type diagnosis struct {
	Findings []finding        `json:"findings"`
	Counts   map[severity]int `json:"counts"`
}

func (w *world) doctor(code int, change map[string]string, args ...string) diagnosis {
	w.t.Helper()
	vars := maps.Clone(w.vars)
	maps.Copy(vars, change)
	got := ctl(w.t.Context(), vars, "", append([]string{"doctor", "-o", "json"}, args...)...)
	var d diagnosis
	if err := json.Unmarshal([]byte(got.stdout), &d); err != nil || got.code != code {
		w.t.Fatalf("doctor with %v: code %d, want %d, %v\n%s%s", change, got.code, code, err, got.stdout, got.stderr)
	}
	return d
}

// has tells whether there is such a finding, with a fix if it is not ok.
func (d diagnosis) has(check string, s severity, saw string) bool {
	return slices.ContainsFunc(d.Findings, func(f finding) bool {
		return f.Check == check && f.Severity == s && strings.Contains(f.Saw, saw) && (s == fine) == (f.Fix == "")
	})
}

// TestDoctor: a healthy environment, then one trouble after the other.
func TestDoctor(t *testing.T) {
	w := startWorld(t, nil)
	w.commands(0, 1, "R-1")
	w.until("the service is in its group", func() bool {
		m, err := remoting.Members(t.Context(), w.broker.Addr(), "refundd")
		return err == nil && len(m.Clients) == 1 && len(m.Topics) == 3
	})

	healthy := w.doctor(exitDone, nil, "--live")
	for check, saw := range map[string]string{
		"configuration": "refundd would start", "name server": "knows 1 brokers", "topic": "refund-parked has queues rocketmqtest: 1",
		"redis writes": "it takes a write", "group": "refundd has 1 members", "subscriptions": "", "lag": "refund-command: ", "delay levels": "", "retention": "3d0h",
		"redis clock": "", "app key": "2048 bits", "key pair": "key mode", "alipay clock": "",
		"alipay": "merchant shop: keys, permission and answers are in order", "REFUNDD_KEEP": "7d0h", "REFUNDD_LEASE": "1m",
	} {
		if !healthy.has(check, fine, saw) {
			t.Errorf("%s %q is not ok: %+v", check, saw, healthy.Findings)
		}
	}
	for check, saw := range map[string]string{
		"durability": "ASYNC_FLUSH", "message size": "4194304 bytes", "redis info": "refuses", "REFUNDD_RETRY_DELAYS": "1 delays", "REFUNDD_QUERY_AFTER": "", "REFUNDD_TRADE_SPACING": "0s",
	} {
		if !healthy.has(check, warning, saw) {
			t.Errorf("%s %q is no warning: %+v", check, saw, healthy.Findings)
		}
	}
	if !healthy.has("redis", fine, "answers in") && !healthy.has("redis", warning, "answers in") { // the machine may be slow
		t.Errorf("redis: %+v", healthy.Findings)
	}
	text := w.ctl(exitDone, "doctor", "-q")
	if !strings.Contains(text, "0 problems, ") || !strings.Contains(text, "fix: ") || strings.Contains(text, "ok       ") {
		t.Errorf("as text:\n%s", text)
	}

	other := t.TempDir()
	if _, err := alipaytest.LoadOrCreateKeys(other); err != nil {
		t.Fatal(err)
	}
	for name, row := range map[string]struct {
		change map[string]string
		check  string
		saw    string
		args   []string
	}{
		"a topic is missing":  {map[string]string{"REFUNDD_TOPIC_EVENT": "nothing"}, "topic", "nothing (REFUNDD_TOPIC_EVENT) does not exist", nil},
		"the group":           {map[string]string{"REFUNDD_ROCKETMQ_GROUP": "nobody"}, "group", "nobody does not exist", nil},
		"unequal topics":      {map[string]string{"REFUNDD_TOPIC_COUPON_REFUND": ""}, "subscriptions", "subscribes to coupon-refund-command refund-command refund-retry; here it is refund-command refund-retry", nil},
		"a dead name server":  {map[string]string{"REFUNDD_ROCKETMQ_NAMESERVERS": w.broker.Addr() + ",127.0.0.1:1"}, "name server", "127.0.0.1:1: ", nil},
		"no Redis":            {map[string]string{"REFUNDD_REDIS_URL": "redis://127.0.0.1:1?max_retries=-1"}, "redis", "refused", nil},
		"another private key": {map[string]string{"REFUNDD_ALIPAY_PRIVATE_KEY_FILE": filepath.Join(other, "app_private_key.pem")}, "alipay", "refuses our configuration", []string{"--live"}},
		"another Alipay":      {map[string]string{"REFUNDD_ALIPAY_PUBLIC_KEY_FILE": filepath.Join(other, "alipay_public_key.pem")}, "alipay", "no answer that can be believed", []string{"--live"}},
		"configuration":       {map[string]string{"REFUNDD_LEASE": "10s", "REFUNDD_KEEP": "1x"}, "configuration", "REFUNDD_KEEP: is not a duration", nil},
	} {
		t.Run(name, func(t *testing.T) {
			if d := w.doctor(exitFailed, row.change, row.args...); !d.has(row.check, problem, row.saw) || d.Counts[problem] == 0 {
				t.Errorf("no problem %s %q: %+v", row.check, row.saw, d.Findings)
			}
		})
	}

	must(t, remoting.Configure(t.Context(), w.broker.Addr(), map[string]string{
		"fileReservedTime": "336", "messageDelayLevel": "1s 2s", "brokerPermission": "4", "flushDiskType": "SYNC_FLUSH", "autoCreateTopicEnable": "true",
	}))
	d := w.doctor(exitFailed, nil)
	for check, saw := range map[string]string{"REFUNDD_KEEP": "retention 14d0h", "delay levels": "1s 2s", "broker permission": "=4"} {
		if !d.has(check, problem, saw) {
			t.Errorf("%s %q is no problem: %+v", check, saw, d.Findings)
		}
	}
	if !d.has("durability", fine, "SYNC_FLUSH") || !d.has("automatic creation", warning, "true") {
		t.Errorf("durability, automatic creation: %+v", d.Findings)
	}
}

// TestDoctorWritesToRedis: one without memory answers everything else.
func TestDoctorWritesToRedis(t *testing.T) {
	server := dedupetest.StartServer(t)
	must(t, server.Do.ConfigSet(t.Context(), "maxmemory", "1").Err())
	w := startWorld(t, nil)
	d := w.doctor(exitFailed, map[string]string{"REFUNDD_REDIS_URL": "redis://" + server.Addr})
	if !d.has("redis writes", problem, "it refuses a write as a claim makes it: dedupe: write refundd:h:0: OOM") {
		t.Errorf("%+v", d.Findings)
	}
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
		severity   severity
	}{
		{"good", "", "", "redis eviction", fine},
		{"evicts all", "maxmemory_policy", "allkeys-lru", "redis eviction", problem},
		{"evicts what expires", "maxmemory_policy", "volatile-ttl", "redis eviction", problem},
		{"no limit", "maxmemory", "0", "redis memory", warning},
		{"nearly full", "used_memory", "800000", "redis memory", warning},
		{"full", "used_memory", "990000", "redis memory", problem},
		{"a replica", "role", "slave", "redis role", problem},
		{"a cluster", "redis_mode", "cluster", "redis mode", problem},
		{"a sentinel", "redis_mode", "sentinel", "redis mode", problem},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			d := &doctor{print: func(finding) {}}
			info := maps.Clone(good)
			if row.key != "" {
				info[row.key] = row.value
			}
			d.redisMode("it", info)
			d.redisMemory("it", info)
			if !(diagnosis{Findings: d.findings}).has(row.check, row.severity, "") {
				t.Errorf("%+v", d.findings)
			}
		})
	}
}

func TestDoctorOnNotifyURL(t *testing.T) {
	rows := []struct {
		name, url, addr string
		severity        severity
	}{
		{"good", "https://refunds.example.com/alipay/notify", ":8080", fine},
		{"private", "https://10.0.0.7/alipay/notify", ":8080", problem},
		{"loopback", "https://localhost/alipay/notify", ":8080", problem},
		{"another path", "https://refunds.example.com/notify", ":8080", warning},
		{"plain", "http://refunds.example.com/alipay/notify", ":8080", warning},
		{"no receiver", "https://refunds.example.com/alipay/notify", "", warning},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			d := &doctor{print: func(finding) {}, cfg: config.Config{AlipayNotifyURL: row.url, HTTPAddr: row.addr, AlipayGateway: "https://a"}}
			d.notifyURL()
			if !(diagnosis{Findings: d.findings}).has("notify URL", row.severity, "") {
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
		severity  severity
	}{
		"good":             {func(*config.Config) {}, 72 * time.Hour, "REFUNDD_KEEP", fine},
		"longer retention": {func(*config.Config) {}, 94 * time.Hour, "REFUNDD_KEEP", problem},
		"no retention":     {func(*config.Config) {}, 0, "REFUNDD_KEEP", warning},
		"short age":        {func(c *config.Config) { c.MaxAge = 2 * time.Hour }, 72 * time.Hour, "REFUNDD_MAX_AGE", warning},
	} {
		t.Run(name, func(t *testing.T) {
			d := &doctor{print: func(finding) {}, cfg: good, retention: row.retention}
			row.change(&d.cfg)
			d.times()
			if !(diagnosis{Findings: d.findings}).has(row.check, row.severity, "") {
				t.Errorf("%+v", d.findings)
			}
		})
	}
}
