package service

import (
	"context"
	"os"
	"sync/atomic"
	"time"

	"github.com/sirupsen/logrus"

	"refundd/alipay"
	"refundd/cmd/internal/config"
	"refundd/consumer"
)

// lookEvery is how soon a changed file is noticed without a signal.
const lookEvery = 2 * time.Second

// changing is what may change while refundd runs, because the files behind it
// do. Whoever is using a part that is replaced goes on with the one it has. The
// zero value has nothing.
type changing struct {
	client    atomic.Pointer[alipay.Client]
	verifier  atomic.Pointer[alipay.Verifier]
	merchants atomic.Pointer[config.Merchants]
}

// loadKeys replaces the client and the verifier, or neither.
func (c *changing) loadKeys(cfg config.Config) error {
	cfg, err := cfg.ReloadKeys()
	if err != nil {
		return err
	}
	client, err := cfg.OpenAlipay()
	if err != nil {
		return &config.Error{Problems: []config.Problem{{Variable: "REFUNDD_ALIPAY_…", Text: err.Error()}}}
	}
	verifier, err := cfg.NewVerifier()
	if err != nil {
		return &config.Error{Problems: []config.Problem{{Variable: "REFUNDD_ALIPAY_…", Text: err.Error()}}}
	}
	c.verifier.Store(verifier)
	if former := c.client.Swap(client); former != nil {
		former.CloseIdleConnections() // calls that it has in hand go on
	}
	return nil
}

func (c *changing) loadMerchants(cfg config.Config) error {
	cfg, err := cfg.ReloadMerchants()
	if err != nil {
		return err
	}
	c.merchants.Store(cfg.Secrets.Merchants)
	return nil
}

// merchant is consumer.Config's: it is asked for each command.
func (c *changing) merchant(name string) (consumer.Merchant, bool) {
	merchants := c.merchants.Load()
	token, ok := merchants.Token(name)
	return consumer.Merchant{AppAuthToken: token, SellerID: merchants.Seller(name)}, ok
}

// seller is notifyhttp.Config's: it is asked for each notification.
func (c *changing) seller(id string) (merchant string, ok bool) {
	return c.merchants.Load().OfSeller(id)
}

func (c *changing) merchantNames() []string { return c.merchants.Load().Names() }

// Refund calls the present client, and so do the three below.
func (c *changing) Refund(ctx context.Context, req *alipay.RefundRequest) (*alipay.RefundResponse, error) {
	return c.client.Load().Refund(ctx, req)
}

func (c *changing) QueryRefund(ctx context.Context, req *alipay.RefundQueryRequest) (*alipay.RefundQueryResponse, error) {
	return c.client.Load().QueryRefund(ctx, req)
}

func (c *changing) RefundCoupon(ctx context.Context, req *alipay.CouponRefundRequest) (*alipay.CouponRefundResponse, error) {
	return c.client.Load().RefundCoupon(ctx, req)
}

func (c *changing) QueryCouponOperation(ctx context.Context, req *alipay.CouponOperationRequest) (*alipay.CouponOperationResponse, error) {
	return c.client.Load().QueryCouponOperation(ctx, req)
}

// followed is one thing that comes from files.
type followed struct {
	what  string
	paths []string
	load  func(config.Config) error // replaces the thing, or leaves it on an error
	stamp string                    // of what was loaded last, or tried
}

// loadAll loads what refundd cannot start without. It reads the files that
// config.Load has read already once more, so that a change in between is seen.
func (s *service) loadAll() error {
	s.followed = []*followed{
		{what: "keys of Alipay", paths: s.cfg.KeyFiles(), load: s.changing.loadKeys},
		{what: "merchants", paths: []string{s.cfg.MerchantsFile}, load: s.changing.loadMerchants},
	}
	for _, f := range s.followed {
		f.stamp = config.Stamp(f.paths...)
		if err := f.load(s.cfg); err != nil {
			return err
		}
	}
	return nil
}

// follow loads again what has changed, and everything when reload says so,
// until ctx ends. What cannot be used is logged, and the former stays.
func (s *service) follow(ctx context.Context, reload <-chan os.Signal) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		asked := false
		select {
		case <-ctx.Done():
			return
		case <-reload:
			asked = true
		case <-tick.C:
		}
		for _, f := range s.followed {
			s.loadAgain(f, asked)
		}
	}
}

func (s *service) loadAgain(f *followed, asked bool) {
	stamp := config.Stamp(f.paths...)
	if !asked && stamp == f.stamp {
		return
	}
	f.stamp = stamp
	log := s.log.WithField("what", f.what)
	if err := f.load(s.cfg); err != nil {
		log.WithError(err).Error("changed files cannot be used: what was read before stays in use")
		return
	}
	log.WithFields(logrus.Fields{"asked": asked, "merchants": s.changing.merchants.Load().Len()}).Info("files are read again")
}
