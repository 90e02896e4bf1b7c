package main

import (
	"context"
	"crypto/rsa"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/sirupsen/logrus"

	"refundd/alipay/alipaytest"
	"refundd/cmd/internal/config"
	"refundd/cmd/internal/service"
	"refundd/cmd/internal/tap"
	"refundd/consumer/rocketmqtest"
	"refundd/notifyhttp"
)

const (
	appID = "2021000000000001"

	topicRefund = "refund-command"
	topicCoupon = "coupon-refund-command"
	topicEvent  = "refund-event"
	topicRetry  = "refund-retry"
	topicParked = "refund-parked"

	// delayScale makes the broker's delay levels this much shorter.
	delayScale = 4
	// shop is the merchant of the merchants file; shopToken is what it has
	// authorised the app with.
	shop      = "corner-shop"
	shopToken = "202601BBcornershop"

	// drain is the service's budget for a clean stop.
	drain = 10 * time.Second
)

// parts are the surroundings of the service: everything that is a cluster in
// production, each on a loopback port.
type parts struct {
	broker *rocketmqtest.Broker
	redis  *miniredis.Miniredis
	alipay *alipaytest.Server
	// alipayURL is Alipay's base URL, without a path.
	alipayURL string
	// notifyURL is the service's receiver, where Alipay notifies it.
	notifyURL string
	cfg       config.Config
}

// startParts starts all of them, or none.
func startParts(o options) (_ *parts, err error) {
	p := &parts{}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.close())
		}
	}()
	// Topics and groups are made beforehand and nothing else can be made by a
	// client, as on a production broker.
	p.broker, err = rocketmqtest.Start(rocketmqtest.Config{
		Addr:       o.broker,
		Topics:     map[string]int{topicRefund: 4, topicCoupon: 4, topicEvent: 4, topicRetry: 4, topicParked: 1},
		Groups:     []string{"refundd", tap.ToolsGroup},
		DelayScale: delayScale,
	})
	if err != nil {
		return nil, fmt.Errorf("-broker: %w", err)
	}
	p.redis = miniredis.NewMiniRedis()
	if err := p.redis.StartAddr("127.0.0.1:0"); err != nil {
		p.redis = nil
		return nil, fmt.Errorf("start redis: %w", err)
	}
	keys, err := alipaytest.NewKeys()
	if err != nil {
		return nil, fmt.Errorf("make keys: %w", err)
	}
	receiver, err := freeAddr(o.receiver)
	if err != nil {
		return nil, fmt.Errorf("-receiver: %w", err)
	}
	p.notifyURL = "http://" + receiver + notifyhttp.Path
	sim, err := alipaytest.New(alipaytest.Config{
		AppID: appID, Keys: keys, Latency: 40 * time.Millisecond, KeepCalls: 5000,
		NotifyURL: p.notifyURL, NotifyDelays: []time.Duration{time.Second, 2 * time.Second, 5 * time.Second, time.Minute},
	})
	if err != nil {
		return nil, fmt.Errorf("start alipay: %w", err)
	}
	if p.alipayURL, err = sim.Start(o.alipay); err != nil {
		return nil, fmt.Errorf("-alipay: %w", err)
	}
	p.alipay = sim
	admin, err := freeAddr(o.admin)
	if err != nil {
		return nil, fmt.Errorf("-admin: %w", err)
	}
	merchants, err := config.ParseMerchants(fmt.Appendf(nil, `{%q: {"app_auth_token": %q, "seller_id": %q}}`,
		shop, shopToken, alipaytest.SellerID(shopToken)))
	if err != nil {
		return nil, fmt.Errorf("make merchants: %w", err)
	}
	p.cfg = serviceConfig(p, admin, keys)
	p.cfg.HTTPAddr, p.cfg.Secrets.Merchants = receiver, merchants
	return p, nil
}

// serviceConfig is what the environment would say in production, with times
// that suit somebody who is watching.
func serviceConfig(p *parts, admin string, keys *alipaytest.Keys) config.Config {
	return config.Config{
		RocketMQNameservers: []string{p.broker.Addr()},
		RocketMQGroup:       "refundd",
		TopicRefund:         topicRefund,
		TopicCouponRefund:   topicCoupon,
		TopicEvent:          topicEvent,
		TopicRetry:          topicRetry,
		TopicParked:         topicParked,

		RedisURL:    "redis://" + p.redis.Addr() + "/0",
		RedisMode:   config.ModeStandalone,
		RedisPrefix: "refundd:",
		Keep:        168 * time.Hour,
		Lease:       5 * time.Second,
		DedupeScope: config.ScopeMerchant,

		AlipayGateway:  p.alipayURL + "/gateway.do",
		AlipayProtocol: config.ProtocolV2,
		AlipayAppID:    appID,
		AlipaySigner:   config.SignerGo,
		AlipayTimeout:  2 * time.Second,

		AlipaySellerID:  alipaytest.SellerID(""),
		AlipayNotifyURL: p.notifyURL,

		QueryAfter:  time.Second,
		RetryDelays: []time.Duration{time.Second, time.Second, 5 * time.Second, 5 * time.Second, 10 * time.Second, 10 * time.Second, 30 * time.Second, 30 * time.Second},
		MaxAge:      72 * time.Hour,
		Concurrency: 32,
		AdminAddr:   admin,
		Drain:       drain,
		Secrets:     config.Secrets{PrivateKey: keys.AppPrivate, PublicKeys: []*rsa.PublicKey{keys.AlipayPublic}},
	}
}

// freeAddr turns port 0 into a free port: the service does not say which one
// it got. Somebody else may take it in between; the start then fails and says so.
func freeAddr(addr string) (string, error) {
	var listen net.ListenConfig
	ln, err := listen.Listen(context.Background(), "tcp", addr)
	if err != nil {
		return "", fmt.Errorf("listen: %w", err)
	}
	addr = ln.Addr().String()
	if err := ln.Close(); err != nil {
		return "", fmt.Errorf("listen: %w", err)
	}
	return addr, nil
}

// serve runs the service until ctx ends; the channel then has its error, if any.
func (p *parts) serve(ctx context.Context, log *logrus.Logger) <-chan error {
	ended := make(chan error, 1)
	go func() { ended <- service.Run(ctx, p.cfg, nil, log) }()
	return ended
}

// waitReady returns when the service says that it is ready.
func (p *parts) waitReady(ctx context.Context, ended <-chan error) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for {
		if p.ready(ctx) {
			return nil
		}
		select {
		case err := <-ended:
			return errors.Join(errors.New("the service ended before it was ready"), err)
		case <-ctx.Done():
			return fmt.Errorf("wait for the service: %w", ctx.Err())
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func (p *parts) ready(ctx context.Context) bool {
	if len(p.broker.Members(p.cfg.RocketMQGroup)) == 0 {
		return false
	}
	//nolint:gosec // the person who starts the demo names the address
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.cfg.AdminAddr+"/readyz", nil)
	if err != nil {
		return false
	}
	client := &http.Client{Timeout: time.Second}
	defer client.CloseIdleConnections()
	resp, err := client.Do(req) //nolint:gosec // as above
	if err != nil {
		return false
	}
	_ = resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}

// close ends what was started. The service has to be stopped before.
func (p *parts) close() error {
	var errs []error
	if p.alipay != nil {
		errs = append(errs, p.alipay.Close())
	}
	if p.broker != nil {
		errs = append(errs, p.broker.Close())
	}
	if p.redis != nil {
		p.redis.Close()
	}
	return errors.Join(errs...)
}

// hints are command lines for a second terminal.
func (p *parts) hints() string {
	ns := p.broker.Addr()
	return strings.Join([]string{
		"everything stays up; from a second terminal:",
		"",
		"  go run ./cmd/refundctl send --nameserver " + ns + " --out-request-no my-1 --out-trade-no my-trade --amount 0.01",
		"  go run ./cmd/refundctl send --nameserver " + ns + " --out-request-no fault-answer-lost-after-my-2 --out-trade-no my-trade --amount 0.02",
		"  go run ./cmd/refundctl send --nameserver " + ns + " --kind coupon_refund --out-request-no my-3 --auth-no my-packet --amount 0.03",
		"  go run ./cmd/refundctl events --nameserver " + ns + " --from beginning",
		"  curl http://" + p.cfg.AdminAddr + "/          # status page; also /readyz and /metrics",
		"  curl " + p.alipayURL + "/sim/state   # Alipay's ledger; also /sim/calls",
		"  go run ./cmd/alipaysim -faults help        # every fault-NAME- that a request number may begin with",
		"",
		"what others send is printed here; Ctrl-C ends",
	}, "\n")
}
