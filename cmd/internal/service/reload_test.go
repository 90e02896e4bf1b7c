package service

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sirupsen/logrus"
	"github.com/sirupsen/logrus/hooks/test"

	"refundd/alipay"
	"refundd/alipay/alipaytest"
	"refundd/cmd/internal/config"
	"refundd/dedupe/dedupetest"
)

const appID = "2021000000000001"

// places is a directory with the keys of a local Alipay and a merchants file.
type places struct {
	t   *testing.T
	dir string
}

func newPlaces(t *testing.T) places {
	t.Helper()
	p := places{t, t.TempDir()}
	if _, err := alipaytest.LoadOrCreateKeys(p.dir); err != nil {
		t.Fatal(err)
	}
	p.write("merchants.json", `{"shop": {"app_auth_token": "token-1", "seller_id": "2088000000000002"}}`)
	return p
}

func (p places) path(name string) string { return filepath.Join(p.dir, name) }

// write replaces a file at once, as careful operators do.
func (p places) write(name, content string) {
	p.t.Helper()
	aside := p.path(name + ".new")
	if err := os.WriteFile(aside, []byte(content), 0o600); err != nil {
		p.t.Fatal(err)
	}
	if err := os.Rename(aside, p.path(name)); err != nil {
		p.t.Fatal(err)
	}
}

func (p places) read(name string) string {
	p.t.Helper()
	text, err := os.ReadFile(p.path(name))
	if err != nil {
		p.t.Fatal(err)
	}
	return string(text)
}

// config is what the environment would say, with later lines winning.
func (p places) config(more ...string) config.Config {
	p.t.Helper()
	cfg, err := config.Load(append([]string{
		"REFUNDD_ROCKETMQ_NAMESERVERS=127.0.0.1:1", "REFUNDD_REDIS_URL=redis://127.0.0.1:1/0",
		"REFUNDD_ALIPAY_APP_ID=" + appID,
		"REFUNDD_ALIPAY_PRIVATE_KEY_FILE=" + p.path("app_private_key.pem"),
		"REFUNDD_ALIPAY_PUBLIC_KEY_FILE=" + p.path("alipay_public_key.pem"),
		"REFUNDD_MERCHANTS_FILE=" + p.path("merchants.json"),
	}, more...))
	if err != nil {
		p.t.Fatal(err)
	}
	return cfg
}

// following starts a service that does nothing but follow its files.
func following(t *testing.T, cfg config.Config) (*service, chan<- os.Signal, *test.Hook) {
	t.Helper()
	log, hook := test.NewNullLogger()
	s := &service{cfg: cfg, log: log, changing: &changing{}}
	if err := s.loadAll(); err != nil {
		t.Fatal(err)
	}
	reload := make(chan os.Signal)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		s.follow(ctx, reload)
	}()
	t.Cleanup(func() { cancel(); <-ended })
	return s, reload, hook
}

func errorsIn(hook *test.Hook) (n int) {
	for _, e := range hook.AllEntries() {
		if e.Level == logrus.ErrorLevel {
			n++
		}
	}
	return n
}

func TestMerchantsFollowTheirFile(t *testing.T) {
	t.Parallel()
	p := newPlaces(t)
	s, reload, hook := following(t, p.config())
	token := func(name string) string { m, _ := s.changing.merchant(name); return m.AppAuthToken }
	if name, ok := s.changing.seller("2088000000000002"); token("shop") != "token-1" || name != "shop" || !ok {
		t.Fatalf("at the start the seller is %q, %v", name, ok)
	}

	p.write("merchants.json", `{"shop": {"app_auth_token": "token-2"}, "stall": {"app_auth_token": "token-3"}}`)
	dedupetest.Until(t, "the change", func() bool { return token("shop") == "token-2" && token("stall") == "token-3" })
	if _, ok := s.changing.seller("2088000000000002"); ok {
		t.Error("the seller is still known")
	}

	p.write("merchants.json", `{"shop": {"app_auth_token": "canary"`)
	dedupetest.Until(t, "the complaint", func() bool { return errorsIn(hook) > 0 })
	if token("shop") != "token-2" || token("stall") != "token-3" {
		t.Error("a bad file replaced the merchants")
	}
	for _, e := range hook.AllEntries() {
		if line, err := e.String(); err != nil || strings.Contains(line, "canary") || strings.Contains(line, "token-") {
			t.Errorf("log has %q, %v", line, err)
		}
	}
	// The same bad file is one complaint, until somebody asks for another look.
	before := errorsIn(hook)
	reload <- os.Interrupt
	dedupetest.Until(t, "the complaint on request", func() bool { return errorsIn(hook) == before+1 })

	p.write("merchants.json", `{}`)
	dedupetest.Until(t, "the last change", func() bool { _, ok := s.changing.merchant("shop"); return !ok })
}

func TestCallsAreMadeForTheMerchant(t *testing.T) {
	t.Parallel()
	p := newPlaces(t)
	sim, url := p.simulator()
	s, _, _ := following(t, p.config("REFUNDD_ALIPAY_GATEWAY="+url+"/gateway.do"))
	m, _ := s.changing.merchant("shop")
	answer, err := s.changing.Refund(t.Context(), &alipay.RefundRequest{
		OutTradeNo: "T1", OutRequestNo: "R1", RefundAmount: 1, AppAuthToken: m.AppAuthToken,
	})
	if err != nil || answer.FundChange != "Y" {
		t.Errorf("%v, %v", answer, err)
	}
	if refunds := sim.State().Refunds; len(refunds) != 1 || refunds[0].AppAuthToken != "token-1" {
		t.Errorf("%d refunds", len(refunds))
	}
}

// Both sides get new keys, and the service learns of it without a restart.
func TestKeysFollowTheirFiles(t *testing.T) {
	t.Parallel()
	p, renewed := newPlaces(t), newPlaces(t)
	_, url := renewed.simulator()
	s, _, hook := following(t, p.config("REFUNDD_ALIPAY_GATEWAY="+url+"/gateway.do"))
	former := s.changing.client.Load()
	p.write("alipay_public_key.pem", "no key")
	dedupetest.Until(t, "the complaint", func() bool { return errorsIn(hook) > 0 })
	if s.changing.client.Load() != former || s.changing.verifier.Load() == nil {
		t.Error("a bad file replaced the keys")
	}
	p.write("alipay_public_key.pem", renewed.read("alipay_public_key.pem"))
	p.write("app_private_key.pem", renewed.read("app_private_key.pem"))
	dedupetest.Until(t, "a refund under the new keys", func() bool {
		answer, err := s.changing.Refund(t.Context(), &alipay.RefundRequest{OutTradeNo: "T2", OutRequestNo: "R2", RefundAmount: 1})
		return err == nil && answer.FundChange != ""
	})
}

// simulator is a local Alipay with the keys of this place.
func (p places) simulator() (sim *alipaytest.Server, url string) {
	p.t.Helper()
	keys, err := alipaytest.LoadOrCreateKeys(p.dir)
	if err != nil {
		p.t.Fatal(err)
	}
	if sim, err = alipaytest.New(alipaytest.Config{AppID: appID, Keys: keys}); err != nil {
		p.t.Fatal(err)
	}
	if url, err = sim.Start("127.0.0.1:0"); err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { _ = sim.Close() })
	return sim, url
}
