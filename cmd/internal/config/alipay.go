package config

import (
	"crypto"
	"fmt"

	"refundd/alipay"
)

// OpenAlipay returns a client for the gateway, protocol, keys and times of c. It connects when it is first used.
func (c Config) OpenAlipay() (*alipay.Client, error) {
	a := alipay.Config{
		Gateway:      c.AlipayGateway,
		AppID:        c.AlipayAppID,
		Signer:       c.signer(),
		AlipayKeys:   c.Secrets.PublicKeys,
		Certificates: c.Secrets.Certificates,
		EncryptKey:   c.Secrets.EncryptKey,
		Timeout:      c.AlipayTimeout,
		MaxIdleConns: c.Concurrency,
	}
	if c.AlipayProtocol == ProtocolV3 {
		a.V3URL = c.AlipayV3URL
	}
	client, err := alipay.New(a)
	if err != nil {
		return nil, fmt.Errorf("open alipay: %w", err)
	}
	return client, nil
}

// signer is the private key, or what signs with it in its place.
func (c Config) signer() crypto.Signer {
	if c.Secrets.Signer != nil {
		return c.Secrets.Signer
	}
	return c.Secrets.PrivateKey
}

// NewVerifier returns what accepts genuine notifications and refuses forged ones, by the keys that verify answers, too. It leaves
// the sellers to whoever knows the merchants.
func (c Config) NewVerifier() (*alipay.Verifier, error) {
	keys := c.Secrets.PublicKeys
	if c.Secrets.Certificates != nil {
		keys = c.Secrets.Certificates.Keys()
	}
	return alipay.NewVerifier(alipay.VerifierConfig{Keys: keys, AppID: c.AlipayAppID, EncryptKey: c.Secrets.EncryptKey})
}
