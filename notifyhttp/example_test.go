package notifyhttp_test

import (
	"context"
	"crypto/rsa"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"time"

	"github.com/sirupsen/logrus"

	"refundd/alipay"
	"refundd/alipay/alipaytest"
	"refundd/notifyhttp"
	"refundd/producer"
)

// A whole receiver. A local Alipay carries out a refund and notifies the receiver,
// which verifies that and publishes its event. In production events go through a
// producer.Producer, and TLS ends in front of the server.
func Example() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	keys, err := alipaytest.NewKeys()
	must(err)
	verifier, err := alipay.NewVerifier(alipay.VerifierConfig{Keys: []*rsa.PublicKey{keys.AlipayPublic}, AppID: "2021000000000001"})
	must(err)

	var current atomic.Pointer[alipay.Verifier] // Store another when a key file has changed
	current.Store(verifier)
	events := make(printed, 1)
	log := logrus.New()
	log.SetOutput(io.Discard)
	receiver := notifyhttp.New(notifyhttp.Config{
		AppID: "2021000000000001",
		Verified: func(_ context.Context, n notifyhttp.Notice) {
			// If this refund is undecided here, query it now.
		},
	}, current.Load, events, func(notifyhttp.Result) { /* count it */ }, log)

	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	must(err)
	server := notifyhttp.Server(listener.Addr().String(), receiver)
	go func() { _ = server.Serve(listener) }()
	defer func() { _ = server.Shutdown(ctx) }()

	refundAndNotify(ctx, keys, "http://"+listener.Addr().String()+notifyhttp.Path, func() {
		e := <-events
		fmt.Println(e.Type, "about", e.Subject)
	})
	// Output: refund.notified.v1 about R-1
}

// printed takes an event as a broker does.
type printed chan producer.Encoded

func (p printed) Publish(_ context.Context, e producer.Encoded) error {
	p <- e
	return nil
}

// refundAndNotify refunds R-1 at a local Alipay, which ends when notified returns.
func refundAndNotify(ctx context.Context, keys *alipaytest.Keys, notifyURL string, notified func()) {
	local, err := alipaytest.New(alipaytest.Config{Keys: keys, NotifyURL: notifyURL})
	must(err)
	url, err := local.Start("127.0.0.1:0")
	must(err)
	defer func() { _ = local.Close() }()
	client, err := alipay.New(alipay.Config{
		Gateway: url + "/gateway.do", AppID: "2021000000000001",
		Signer: keys.AppPrivate, AlipayKeys: []*rsa.PublicKey{keys.AlipayPublic},
	})
	must(err)
	defer client.CloseIdleConnections()
	amount, err := alipay.ParseAmount("12.30")
	must(err)
	_, err = client.Refund(ctx, &alipay.RefundRequest{OutTradeNo: "T-1", OutRequestNo: "R-1", RefundAmount: amount})
	must(err)
	notified()
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}
