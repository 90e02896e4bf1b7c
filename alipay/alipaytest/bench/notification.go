package main

import (
	"context"
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"

	gopayalipay "github.com/go-pay/gopay/alipay"
	smartwalle "github.com/smartwalle/alipay/v3"

	"refundd/alipay"
	"refundd/alipay/alipaytest"
)

// notifications are the contenders for one refund notification, from the posted
// body to verified values. Bare is the verification of the signed text alone.
func notifications(keys *alipaytest.Keys, text, body string) ([]contender, error) {
	makers := []func() (contender, error){
		func() (contender, error) { return bareVerify(keys, text, body) },
		func() (contender, error) { return ourNotification(keys, body) },
		func() (contender, error) { return smartwalleNotification(keys, body) },
		func() (contender, error) { return gopayNotification(keys, body) },
	}
	contenders := make([]contender, 0, len(makers))
	for _, newContender := range makers {
		c, err := newContender()
		if err != nil {
			return nil, err
		}
		contenders = append(contenders, c)
	}
	return contenders, nil
}

// signedNotification is what the merchant's notify_url gets after a refund, and
// the text that its signature covers.
func signedNotification(keys *alipaytest.Keys) (text, body string, err error) {
	params := map[string]string{
		"app_id": appID, "auth_app_id": appID, "buyer_id": "2088101117955611", "buyer_logon_id": "159****5620",
		"charset": "utf-8", "fund_bill_list": `[{"amount":"12.50","fundChannel":"ALIPAYACCOUNT"}]`,
		"gmt_create": "2026-11-27 15:45:20", "gmt_payment": "2026-11-27 15:45:31", "gmt_refund": "2026-11-27 15:45:57.320",
		"notify_id": "ac05099524730693a8b330c5ecf72da9786", "notify_time": "2026-11-27 15:45:58", "notify_type": "trade_status_sync",
		"out_biz_no": "R-1", "out_trade_no": "T-1", "receipt_amount": "50.00", "refund_fee": "12.50", "seller_email": "seller@example.com",
		"seller_id": "2088102122524333", "subject": "测试 100% a+b", "total_amount": "50.00",
		"trade_no": "2026010107139631834483767358", "trade_status": "TRADE_SUCCESS", "version": "1.0",
	}
	pairs := make([]string, 0, len(params))
	for _, key := range slices.Sorted(maps.Keys(params)) {
		pairs = append(pairs, key+"="+params[key])
	}
	text = strings.Join(pairs, "&")
	sig, err := signText(keys.AlipayPrivate, text)
	if err != nil {
		return "", "", err
	}
	form := url.Values{"sign": {sig}, "sign_type": {"RSA2"}}
	for key, value := range params {
		form.Set(key, value)
	}
	return text, form.Encode(), nil
}

func bareVerify(keys *alipaytest.Keys, text, body string) (contender, error) {
	form, err := url.ParseQuery(body)
	if err != nil {
		return contender{}, err
	}
	sig, err := base64.StdEncoding.DecodeString(form.Get("sign"))
	if err != nil {
		return contender{}, err
	}
	signed := []byte(text)
	work := func(context.Context) error {
		sum := sha256.Sum256(signed)
		return rsa.VerifyPKCS1v15(keys.AlipayPublic, crypto.SHA256, sum[:], sig)
	}
	return contender{"bare: RSA verify", work}, nil
}

func ourNotification(keys *alipaytest.Keys, body string) (contender, error) {
	verifier, err := alipay.NewVerifier(alipay.VerifierConfig{Keys: []*rsa.PublicKey{keys.AlipayPublic}, AppID: appID})
	if err != nil {
		return contender{}, err
	}
	posted := []byte(body)
	work := func(context.Context) error {
		n, err := verifier.ParseNotification(posted)
		if err == nil && n.OutRequestNo != "R-1" {
			err = errNoRefund
		}
		return err
	}
	return contender{"refundd/alipay", work}, nil
}

func smartwalleNotification(keys *alipaytest.Keys, body string) (contender, error) {
	client, err := smartwalle.New(appID, keys.AppPrivatePEM, false)
	if err != nil {
		return contender{}, fmt.Errorf("smartwalle: %w", err)
	}
	if err := client.LoadAliPayPublicKey(keys.AlipayPublicPEM); err != nil {
		return contender{}, fmt.Errorf("smartwalle: %w", err)
	}
	work := func(context.Context) error {
		form, err := url.ParseQuery(body)
		if err != nil {
			return err
		}
		n, err := client.DecodeNotification(form)
		if err == nil && n.OutBizNo != "R-1" {
			err = errNoRefund
		}
		return err
	}
	return contender{"smartwalle/alipay v3.2.28", work}, nil
}

// gopayNotification gives gopay the public key with each notification, which is
// how its function takes it.
func gopayNotification(keys *alipaytest.Keys, body string) (contender, error) {
	var key strings.Builder
	for line := range strings.Lines(keys.AlipayPublicPEM) {
		if !strings.HasPrefix(line, "-----") {
			key.WriteString(strings.TrimSpace(line))
		}
	}
	work := func(context.Context) error {
		form, err := url.ParseQuery(body)
		if err != nil {
			return err
		}
		values, err := gopayalipay.ParseNotifyByURLValues(form)
		if err != nil {
			return err
		}
		ok, err := gopayalipay.VerifySign(key.String(), values)
		if err == nil && (!ok || values.GetString("out_biz_no") != "R-1") {
			err = errNoRefund
		}
		return err
	}
	return contender{"go-pay/gopay v1.5.115", work}, nil
}
