package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"refundd/cmd/internal/cli"
	"refundd/dedupe"
)

// TestBrakes: pause, list and resume, and what the service sees of it.
func TestBrakes(t *testing.T) {
	server := miniredis.RunT(t)
	variables := map[string]string{
		"REFUNDD_REDIS_URL": "redis://" + server.Addr(), "REFUNDD_ALIPAY_APP_ID": "2021000000000001", "USER": "ann",
	}
	ctl := func(args ...string) (int, string) {
		var out bytes.Buffer
		code := run(t.Context(), args, cli.Env{
			Getenv: func(name string) string { return variables[name] }, Stdout: &out, Stderr: &out,
		})
		return code, out.String()
	}
	rows := []struct {
		name string
		args []string
		code int
		says string
	}{
		{"nothing yet", []string{"brakes"}, exitDone, "nothing is paused"},
		{"no reason", []string{"pause"}, exitUsage, "--reason is required"},
		{"no such kind", []string{"pause", "--kind", "gift", "--reason", "x"}, exitUsage, "--kind"},
		{"one merchant", []string{"pause", "--kind", "refund", "--merchant", "shop", "--reason", "price list"}, exitDone, "paused: refund of shop"},
		{"listed", []string{"brakes"}, exitDone, "ann  price list"},
		{"paused as JSON", []string{"pause", "-k", "refund", "-m", "shop", "-r", "price list", "-o", "json"}, exitDone, `"did":"paused"`},
		{"listed as JSON", []string{"brakes", "-o", "json"}, exitDone, `"merchant":"shop"`},
		{"another one is not on", []string{"resume"}, exitFailed, "was not paused"},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			if code, out := ctl(row.args...); code != row.code || !strings.Contains(out, row.says) {
				t.Errorf("code %d, says %q", code, out)
			}
		})
	}
	client := redis.NewClient(&redis.Options{Addr: server.Addr()})
	defer func() { _ = client.Close() }()
	store, err := dedupe.New(client, dedupe.Config{Prefix: "refundd:", Lease: time.Second, Keep: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	on, err := store.Brakes(t.Context(), "2021000000000001")
	if err != nil || len(on) != 1 || on[0].Merchant != "shop" {
		t.Errorf("the service sees %v, %v", on, err)
	}
	if code, out := ctl("resume", "--kind", "refund", "--merchant", "shop"); code != exitDone {
		t.Errorf("resume: code %d, %s", code, out)
	}
	if code, out := ctl("brakes"); code != exitDone || !strings.Contains(out, "nothing is paused") {
		t.Errorf("after the resume: code %d, %s", code, out)
	}
}
