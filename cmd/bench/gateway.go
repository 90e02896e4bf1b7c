package main

import (
	"encoding/pem"
	"io"
	"log"
	"net/http/httptest"
	"os"

	"refundd/alipay/alipaytest"
	"refundd/alipay/openssl"
)

// gateway is the local Alipay on loopback, which signs as fast as this machine can.
type gateway struct {
	*alipaytest.Server
	http *httptest.Server
}

// startGateway writes the certificate to a file if it serves over TLS.
func startGateway(keys *alipaytest.Keys, l load, certificate string) (*gateway, error) {
	cfg := alipaytest.Config{AppID: appID, Keys: keys, Latency: l.latency, Limit: l.limit, KeepCalls: 10_000_000}
	if fast, err := openssl.New(keys.AlipayPrivate); err == nil {
		cfg.Signer = fast
	}
	alipay, err := alipaytest.New(cfg)
	if err != nil {
		return nil, err
	}
	g := &gateway{alipay, httptest.NewUnstartedServer(alipay)}
	g.http.Config.ErrorLog = log.New(io.Discard, "", 0) // a contender that is stopped hangs up
	if !l.tls {
		g.http.Start()
		return g, nil
	}
	g.http.StartTLS()
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: g.http.Certificate().Raw})
	return g, os.WriteFile(certificate, text, 0o600)
}
