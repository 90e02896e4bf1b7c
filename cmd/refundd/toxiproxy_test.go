//go:build !race

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"refundd/dedupe/dedupetest"
)

// toxiproxy is Shopify's, in a process of its own.
type toxiproxy struct {
	t     *testing.T
	api   string
	addrs map[string]string // by name
}

// startToxiproxy starts the program that REFUNDD_TEST_TOXIPROXY names.
func startToxiproxy(t *testing.T) *toxiproxy {
	t.Helper()
	path := os.Getenv("REFUNDD_TEST_TOXIPROXY")
	if path == "" {
		t.Fatal("REFUNDD_TEST_TOXIPROXY names no toxiproxy server: make chaos")
	}
	addr := dedupetest.FreeAddr(t)
	host, port, _ := strings.Cut(addr, ":")
	cmd := exec.Command(path, "-host", host, "-port", port) //nolint:noctx // ended below
	check(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	x := &toxiproxy{t: t, api: "http://" + addr, addrs: map[string]string{}}
	for deadline := time.Now().Add(20 * time.Second); x.call(http.MethodGet, "/version", nil) != nil; <-time.After(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("toxiproxy does not answer")
		}
	}
	return x
}

func (x *toxiproxy) call(method, path string, body any) error {
	b, err := json.Marshal(body)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(x.t.Context(), method, x.api+path, bytes.NewReader(b))
	if err != nil {
		return err
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode >= 300 {
		return fmt.Errorf("toxiproxy: %s %s: %s", method, path, resp.Status)
	}
	return nil
}

// proxy stands before an address and returns its own.
func (x *toxiproxy) proxy(name, upstream string) string {
	x.t.Helper()
	listen := dedupetest.FreeAddr(x.t)
	check(x.t, x.call(http.MethodPost, "/proxies", map[string]any{"name": name, "listen": listen, "upstream": upstream, "enabled": true}))
	x.addrs[name] = listen
	return listen
}

func (x *toxiproxy) addr(name string) string { return x.addrs[name] }

func (x *toxiproxy) add(proxy, kind string, attributes map[string]any) {
	x.t.Helper()
	check(x.t, x.call(http.MethodPost, "/proxies/"+proxy+"/toxics", map[string]any{"name": kind, "type": kind, "toxicity": 1.0, "attributes": attributes}))
}

// silence swallows what comes from either side, and closes nothing.
func (x *toxiproxy) silence(proxy string) {
	x.t.Helper()
	for _, stream := range []string{"upstream", "downstream"} {
		check(x.t, x.call(http.MethodPost, "/proxies/"+proxy+"/toxics", map[string]any{
			"name": "silence " + stream, "type": "timeout", "stream": stream, "toxicity": 1.0, "attributes": map[string]any{"timeout": 0},
		}))
	}
}

func (x *toxiproxy) reset() {
	x.t.Helper()
	check(x.t, x.call(http.MethodPost, "/reset", nil))
}
