package main

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"refundd/alipay/alipaytest"
)

func noEnv(string) string { return "" }

func TestUsage(t *testing.T) {
	dir := t.TempDir()
	tests := []struct {
		name string
		args []string
		env  map[string]string
		code int
		out  string
		err  string
	}{
		{"help", []string{"-h"}, nil, 0, "", "-trade-total"},
		{"version", []string{"--version"}, map[string]string{"ALIPAYSIM_VERSION": "x"}, 0, "alipaysim ", ""},
		{"menu", []string{"-faults", "help"}, nil, 0, "answer-lost-after", ""},
		{"menu from the environment", nil, map[string]string{"ALIPAYSIM_FAULTS": "help"}, 0, "refused-TRADE_STATUS_ERROR", ""},
		{"unknown flag", []string{"-nope"}, nil, 2, "", "-nope"},
		{"argument", []string{"nope"}, nil, 2, "", "nope"},
		{"total", []string{"-trade-total", "1.001"}, nil, 2, "", "-trade-total"},
		{"faults", []string{"-faults", "nope=1"}, nil, 2, "", "-faults"},
		{"notify URL", []string{"-notify-url", "localhost:8080"}, nil, 2, "", "-notify-url"},
		{"latency", []string{"-latency", "-1s"}, nil, 2, "", "-latency"},
		{"limit", []string{"-limit", "-1"}, nil, 2, "", "-limit"},
		{"seed variable", nil, map[string]string{"ALIPAYSIM_SEED": "x"}, 2, "", "ALIPAYSIM_SEED"},
		{"key directory", []string{"-keys", filepath.Join(dir, "file", "keys")}, nil, 2, "", "-keys"},
		{"address", []string{"-keys", filepath.Join(dir, "keys"), "-listen", "127.0.0.1:-1"}, nil, 1, "", "listen"},
	}
	if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var out, errs strings.Builder
			code := run(t.Context(), tt.args, func(name string) string { return tt.env[name] }, &out, &errs)
			if code != tt.code || !strings.Contains(out.String(), tt.out) || !strings.Contains(errs.String(), tt.err) {
				t.Fatalf("exit %d, want %d\nstdout: %s\nstderr: %s", code, tt.code, out.String(), errs.String())
			}
		})
	}
}

func TestMenuIsComplete(t *testing.T) {
	var out strings.Builder
	run(t.Context(), []string{"-faults=help"}, noEnv, &out, io.Discard)
	for _, f := range alipaytest.Menu() {
		if !strings.Contains(out.String(), "\n"+f.Name+" ") {
			t.Errorf("%s is missing", f.Name)
		}
	}
}

func TestRunUntilStopped(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "keys")
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	out, in := io.Pipe()
	exit := make(chan int, 1)
	go func() {
		env := map[string]string{"ALIPAYSIM_LISTEN": "127.0.0.1:1", "ALIPAYSIM_KEYS": dir, "ALIPAYSIM_APP_ID": "2021000000000009"}
		code := run(ctx, []string{"-listen", "127.0.0.1:0"}, func(name string) string { return env[name] }, in, os.Stderr)
		_ = in.Close()
		exit <- code
	}()

	values := map[string]string{}
	lines := bufio.NewScanner(out)
	for len(values) < 4 && lines.Scan() {
		if name, value, ok := strings.Cut(lines.Text(), "="); ok && !strings.HasPrefix(name, "#") {
			values[name] = value
		}
	}
	if values["REFUNDD_ALIPAY_APP_ID"] != "2021000000000009" {
		t.Errorf("environment = %v", values)
	}
	for _, name := range []string{"REFUNDD_ALIPAY_PRIVATE_KEY_FILE", "REFUNDD_ALIPAY_PUBLIC_KEY_FILE"} {
		if info, err := os.Stat(values[name]); err != nil || info.Mode() != 0o600 || !filepath.IsAbs(values[name]) {
			t.Errorf("%s=%s: %v", name, values[name], err)
		}
	}
	base, ok := strings.CutSuffix(values["REFUNDD_ALIPAY_GATEWAY"], "/gateway.do")
	if !ok {
		t.Fatalf("gateway = %q", values["REFUNDD_ALIPAY_GATEWAY"])
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, base+"/sim/state", nil)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil || strings.TrimSpace(string(body)) != `{"refunds":[]}` {
		t.Errorf("state = %s, %v", body, err)
	}
	_ = resp.Body.Close()
	stop()
	if code := <-exit; code != 0 {
		t.Fatalf("exit %d, want 0", code)
	}
}
