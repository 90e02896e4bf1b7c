//go:build !race

package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/sirupsen/logrus"

	"refundd/alipay/alipaytest"
	"refundd/cmd/internal/config"
	"refundd/cmd/internal/service"
	"refundd/consumer/rocketmqtest"
)

// world is a service that runs, and all that is around it.
type world struct {
	t      *testing.T
	broker *rocketmqtest.Broker
	redis  *miniredis.Miniredis
	alipay *alipaytest.Server
	vars   map[string]string
	stop   func()
}

const worldApp = "2021000000000001"

func startWorld(t *testing.T, more map[string]string) *world {
	t.Helper()
	w := &world{t: t, redis: miniredis.RunT(t)}
	var err error
	w.broker, err = rocketmqtest.Start(rocketmqtest.Config{
		Topics: map[string]int{
			"refund-command": 2, "coupon-refund-command": 1, "refund-event": 2, "refund-retry": 2, "refund-parked": 1,
		},
		Groups: []string{"refundd"}, DelayScale: 20,
	})
	must(t, err)
	t.Cleanup(func() { _ = w.broker.Close() })
	dir := t.TempDir()
	keys, err := alipaytest.LoadOrCreateKeys(dir)
	must(t, err)
	w.alipay, err = alipaytest.New(alipaytest.Config{AppID: worldApp, Keys: keys})
	must(t, err)
	url, err := w.alipay.Start("127.0.0.1:0")
	must(t, err)
	t.Cleanup(func() { _ = w.alipay.Close() })
	must(t, os.WriteFile(filepath.Join(dir, "merchants.json"),
		fmt.Appendf(nil, `{"shop": {"app_auth_token": "token-1", "seller_id": %q}}`, alipaytest.SellerID("token-1")), 0o600))
	w.vars = map[string]string{
		"REFUNDD_ROCKETMQ_NAMESERVERS":    w.broker.Addr(),
		"REFUNDD_REDIS_URL":               "redis://" + w.redis.Addr(),
		"REFUNDD_ALIPAY_APP_ID":           worldApp,
		"REFUNDD_ALIPAY_GATEWAY":          url + "/gateway.do",
		"REFUNDD_ALIPAY_PRIVATE_KEY_FILE": filepath.Join(dir, "app_private_key.pem"),
		"REFUNDD_ALIPAY_PUBLIC_KEY_FILE":  filepath.Join(dir, "alipay_public_key.pem"),
		"REFUNDD_MERCHANTS_FILE":          filepath.Join(dir, "merchants.json"),
		"REFUNDD_QUERY_AFTER":             "100ms",
		"REFUNDD_TRADE_SPACING":           "0",
		"REFUNDD_RETRY_DELAYS":            "1s",
		"REFUNDD_DRAIN":                   "5s",
		"REFUNDD_HTTP_ADDR":               "",
		"REFUNDD_ADMIN_ADDR":              "",
		"USER":                            "ann",
	}
	maps.Copy(w.vars, more)
	w.run()
	return w
}

// run starts the service; w.stop stops it, and so does the test's end.
func (w *world) run() {
	w.t.Helper()
	cfg, err := config.Load(environOf(w.vars))
	must(w.t, err)
	log := logrus.New()
	log.SetOutput(io.Discard)
	ctx, cancel := context.WithCancel(context.WithoutCancel(w.t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- service.Run(ctx, cfg, nil, log) }()
	stopped := false
	w.stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-ended; err != nil {
			w.t.Errorf("the service: %v", err)
		}
	}
	w.t.Cleanup(w.stop)
}

func environOf(vars map[string]string) []string {
	environ := make([]string, 0, len(vars))
	for name, value := range vars {
		environ = append(environ, name+"="+value)
	}
	return environ
}

// ctl runs a command line that must end with this code.
func (w *world) ctl(code int, args ...string) string {
	w.t.Helper()
	got := ctl(w.t.Context(), w.vars, "", args...)
	if got.code != code {
		w.t.Fatalf("refundctl %s: code %d, want %d\n%s%s", strings.Join(args, " "), got.code, code, got.stdout, got.stderr)
	}
	return got.stdout
}

// until waits for a condition.
func (w *world) until(what string, is func() bool) {
	w.t.Helper()
	for deadline := time.Now().Add(time.Minute); !is(); {
		if time.Now().After(deadline) {
			w.t.Fatalf("%s: not within a minute", what)
		}
		<-time.After(10 * time.Millisecond)
	}
}

// commands sends refunds of 1.00 yuan and waits until this many are parked and
// this many events are out.
func (w *world) commands(parked, events int, numbers ...string) {
	w.t.Helper()
	for _, number := range numbers {
		w.ctl(exitDone, "send", "--out-request-no", number, "--out-trade-no", "T-"+number, "--amount", "1.00")
	}
	w.until(fmt.Sprintf("%d parked and %d events", parked, events), func() bool {
		return len(w.broker.Messages("refund-parked")) >= parked && len(w.broker.Messages("refund-event")) >= events
	})
}
