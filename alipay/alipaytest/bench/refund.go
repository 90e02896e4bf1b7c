package main

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/go-pay/gopay"
	gopayalipay "github.com/go-pay/gopay/alipay"
	smartwalle "github.com/smartwalle/alipay/v3"

	"refundd/alipay"
	"refundd/alipay/alipaytest"
)

const (
	appID       = "2021000000000001"
	gatewayPath = "/gateway.do"
)

// errNoRefund is the failure of a contender that did not read the answer.
var errNoRefund = errors.New("the answer was not read as a refund")

// refunds are the contenders for one refund call to the gateway at baseURL. All
// keep one connection, sign the same refund and verify the answer.
func refunds(keys *alipaytest.Keys, baseURL string) ([]contender, error) {
	makers := []func(*alipaytest.Keys, string) (contender, error){bareRefund, ourRefund, smartwalleRefund, gopayRefund}
	contenders := make([]contender, 0, len(makers))
	for _, newContender := range makers {
		c, err := newContender(keys, baseURL)
		if err != nil {
			return nil, err
		}
		contenders = append(contenders, c)
	}
	return contenders, nil
}

// bareRefund is the cost that no client can do without: one RSA-2048 signature,
// one round trip with the bytes that ours sends, one verification. It has no
// time limit, builds no parameters and reads nothing in the answer but the
// signature, whose place it knows.
func bareRefund(keys *alipaytest.Keys, baseURL string) (contender, error) {
	sent, body, err := ourRequest(keys)
	if err != nil {
		return contender{}, err
	}
	target := baseURL + sent.URL.RequestURI()
	text := []byte(sent.URL.RawQuery + "&" + string(body))
	client := &http.Client{Transport: &http.Transport{DisableCompression: true}}
	nodeStart := len(`{"alipay_trade_refund_response":`)
	nodeEnd := nodeStart + len(answerNode)
	signStart := nodeEnd + len(`,"sign":"`)
	work := func(ctx context.Context) error {
		sum := sha256.Sum256(text)
		if _, err := rsa.SignPKCS1v15(nil, keys.AppPrivate, crypto.SHA256, sum[:]); err != nil {
			return err
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, target, bytes.NewReader(body))
		if err != nil {
			return err
		}
		req.Header = sent.Header
		resp, err := client.Do(req)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		answer, err := io.ReadAll(resp.Body)
		if err != nil {
			return err
		}
		sig, err := base64.StdEncoding.AppendDecode(nil, answer[signStart:len(answer)-len(`"}`)])
		if err != nil {
			return err
		}
		sum = sha256.Sum256(answer[nodeStart:nodeEnd])
		return rsa.VerifyPKCS1v15(keys.AlipayPublic, crypto.SHA256, sum[:], sig)
	}
	return contender{"bare: sign + round trip + verify", work}, nil
}

// ourRequest is a request as our client makes it.
func ourRequest(keys *alipaytest.Keys) (r *http.Request, body []byte, err error) {
	answer, err := signedAnswer(keys)
	if err != nil {
		return nil, nil, err
	}
	answers := answering(answer)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, got *http.Request) {
		r = got
		if body, err = io.ReadAll(got.Body); err == nil {
			answers.ServeHTTP(w, got)
		}
	}))
	defer s.Close()
	ours, errNew := ourRefund(keys, s.URL)
	if errNew != nil {
		return nil, nil, errNew
	}
	if errWork := ours.work(context.Background()); errWork != nil {
		return nil, nil, errWork
	}
	return r, body, err
}

func ourRefund(keys *alipaytest.Keys, baseURL string) (contender, error) {
	client, err := alipay.New(alipay.Config{
		Gateway:    baseURL + gatewayPath,
		AppID:      appID,
		Signer:     keys.AppPrivate,
		AlipayKeys: []*rsa.PublicKey{keys.AlipayPublic},
	})
	if err != nil {
		return contender{}, err
	}
	req := &alipay.RefundRequest{OutTradeNo: "T-1", OutRequestNo: "R-1", RefundAmount: 1250, RefundReason: "damaged"}
	work := func(ctx context.Context) error {
		resp, err := client.Refund(ctx, req)
		if err == nil && resp.FundChange != "Y" {
			err = errNoRefund
		}
		return err
	}
	return contender{"refundd/alipay", work}, nil
}

func smartwalleRefund(keys *alipaytest.Keys, baseURL string) (contender, error) {
	client, err := smartwalle.New(appID, keys.AppPrivatePEM, false,
		smartwalle.WithSandboxGateway(baseURL+gatewayPath), smartwalle.WithHTTPClient(&http.Client{Transport: &http.Transport{}}))
	if err != nil {
		return contender{}, fmt.Errorf("smartwalle: %w", err)
	}
	if err := client.LoadAliPayPublicKey(keys.AlipayPublicPEM); err != nil {
		return contender{}, fmt.Errorf("smartwalle: %w", err)
	}
	req := smartwalle.TradeRefund{OutTradeNo: "T-1", OutRequestNo: "R-1", RefundAmount: "12.50", RefundReason: "damaged"}
	work := func(ctx context.Context) error {
		resp, err := client.TradeRefund(ctx, req)
		if err == nil && resp.FundChange != "Y" {
			err = errNoRefund
		}
		return err
	}
	return contender{"smartwalle/alipay v3.2.28", work}, nil
}

// gopayRefund dials the local gateway where gopay asks for TLS, because gopay
// has Alipay's addresses built in; and it keeps the connection, which gopay by
// itself does not.
func gopayRefund(keys *alipaytest.Keys, baseURL string) (contender, error) {
	client, err := gopayalipay.NewClient(appID, keys.AppPrivatePEM, false)
	if err != nil {
		return contender{}, fmt.Errorf("gopay: %w", err)
	}
	client.AutoVerifySign([]byte(keys.AlipayPublicPEM))
	address := strings.TrimPrefix(baseURL, "http://")
	client.GetHttpClient().SetHttpTransport(&http.Transport{
		DialTLSContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, address)
		},
		TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12},
	})
	req := gopay.BodyMap{"out_trade_no": "T-1", "out_request_no": "R-1", "refund_amount": "12.50", "refund_reason": "damaged"}
	work := func(ctx context.Context) error {
		resp, err := client.TradeRefund(ctx, req)
		if err == nil && resp.Response.FundChange != "Y" {
			err = errNoRefund
		}
		return err
	}
	return contender{"go-pay/gopay v1.5.115", work}, nil
}
