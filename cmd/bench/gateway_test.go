package main

import (
	"context"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	smartwalle "github.com/smartwalle/alipay/v3"
	"refundd/alipay"
	"refundd/alipay/alipaytest"
)

// clients are refundd's and the peer's, on one gateway.
func clients(tb testing.TB, overTLS bool) (g *gateway, refund map[string]func(ctx context.Context, number string) error) {
	tb.Helper()
	keys, err := alipaytest.NewKeys()
	if err != nil {
		tb.Fatal(err)
	}
	certificate := filepath.Join(tb.TempDir(), "gateway.pem")
	g, err = startGateway(keys, load{tls: overTLS}, certificate)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(g.http.Close)
	roots := x509.NewCertPool()
	if overTLS {
		text, err := os.ReadFile(certificate)
		if err != nil || !roots.AppendCertsFromPEM(text) {
			tb.Fatalf("the certificate is %q, %v", text, err)
		}
	}
	url := g.http.URL + "/gateway.do"
	ours, err := alipay.New(alipay.Config{
		Gateway: url, AppID: appID, Signer: keys.AppPrivate, AlipayKeys: []*rsa.PublicKey{keys.AlipayPublic}, RootCAs: roots,
	})
	if err != nil {
		tb.Fatal(err)
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}}
	theirs, err := newClient(url, keys.AppPrivatePEM, keys.AlipayPublicPEM, transport)
	if err != nil {
		tb.Fatal(err)
	}
	moved := func(change string, err error) error {
		if err == nil && change != "Y" {
			err = fmt.Errorf("fund_change is %q", change)
		}
		return err
	}
	return g, map[string]func(context.Context, string) error{
		"refundd/alipay": func(ctx context.Context, number string) error {
			answer, err := ours.Refund(ctx, &alipay.RefundRequest{OutRequestNo: number, OutTradeNo: "T-" + number, RefundAmount: amountFen})
			if err != nil {
				return err
			}
			return moved(answer.FundChange, nil)
		},
		"smartwalle": func(ctx context.Context, number string) error {
			answer, err := theirs.TradeRefund(ctx, smartwalle.TradeRefund{OutRequestNo: number, OutTradeNo: "T-" + number, RefundAmount: amount})
			if err != nil {
				return err
			}
			return moved(answer.FundChange, nil)
		},
	}
}

func TestGateway(t *testing.T) {
	for _, overTLS := range []bool{false, true} {
		g, refund := clients(t, overTLS)
		for name, do := range refund {
			if err := do(t.Context(), name); err != nil {
				t.Errorf("TLS %v: %s: %v", overTLS, name, err)
			}
		}
		if moves := g.Movements(); len(moves) != len(refund) {
			t.Errorf("TLS %v: Alipay has moved %+v", overTLS, moves)
		}
	}
}

// What a call costs the client, its signature included.
func BenchmarkClient(b *testing.B) {
	_, refund := clients(b, false)
	for name, do := range refund {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if err := do(b.Context(), fmt.Sprint(b.Name(), b.N, "-", i)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
