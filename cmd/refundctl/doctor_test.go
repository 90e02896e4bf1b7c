//go:build !race

package main

import (
	"encoding/json"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"refundd/alipay/alipaytest"
	"refundd/cmd/internal/doctor"
	"refundd/consumer/remoting"
	"refundd/dedupe/dedupetest"
)

type diagnosis struct {
	Findings []doctor.Finding        `json:"findings"`
	Counts   map[doctor.Severity]int `json:"counts"`
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
func (d diagnosis) has(check string, s doctor.Severity, saw string) bool {
	return slices.ContainsFunc(d.Findings, func(f doctor.Finding) bool {
		return f.Check == check && f.Severity == s && strings.Contains(f.Saw, saw) && (s == doctor.OK) == (f.Fix == "")
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
		if !healthy.has(check, doctor.OK, saw) {
			t.Errorf("%s %q is not ok: %+v", check, saw, healthy.Findings)
		}
	}
	for check, saw := range map[string]string{
		"durability": "ASYNC_FLUSH", "message size": "4194304 bytes", "redis info": "refuses", "REFUNDD_RETRY_DELAYS": "1 delays", "REFUNDD_QUERY_AFTER": "", "REFUNDD_TRADE_SPACING": "0s",
	} {
		if !healthy.has(check, doctor.Warning, saw) {
			t.Errorf("%s %q is no warning: %+v", check, saw, healthy.Findings)
		}
	}
	if !healthy.has("redis", doctor.OK, "answers in") && !healthy.has("redis", doctor.Warning, "answers in") { // the machine may be slow
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
			if d := w.doctor(exitFailed, row.change, row.args...); !d.has(row.check, doctor.Problem, row.saw) || d.Counts[doctor.Problem] == 0 {
				t.Errorf("no problem %s %q: %+v", row.check, row.saw, d.Findings)
			}
		})
	}

	must(t, remoting.Configure(t.Context(), w.broker.Addr(), map[string]string{
		"fileReservedTime": "336", "messageDelayLevel": "1s 2s", "brokerPermission": "4", "flushDiskType": "SYNC_FLUSH", "autoCreateTopicEnable": "true",
	}))
	d := w.doctor(exitFailed, nil)
	for check, saw := range map[string]string{"REFUNDD_KEEP": "retention 14d0h", "delay levels": "1s 2s", "broker permission": "=4"} {
		if !d.has(check, doctor.Problem, saw) {
			t.Errorf("%s %q is no problem: %+v", check, saw, d.Findings)
		}
	}
	if !d.has("durability", doctor.OK, "SYNC_FLUSH") || !d.has("automatic creation", doctor.Warning, "true") {
		t.Errorf("durability, automatic creation: %+v", d.Findings)
	}
}

// TestDoctorWritesToRedis: one without memory answers everything else.
func TestDoctorWritesToRedis(t *testing.T) {
	server := dedupetest.StartServer(t)
	must(t, server.Do.ConfigSet(t.Context(), "maxmemory", "1").Err())
	w := startWorld(t, nil)
	d := w.doctor(exitFailed, map[string]string{"REFUNDD_REDIS_URL": "redis://" + server.Addr})
	if !d.has("redis writes", doctor.Problem, "it refuses a write as a claim makes it: dedupe: write refundd:h:0: OOM") {
		t.Errorf("%+v", d.Findings)
	}
}
