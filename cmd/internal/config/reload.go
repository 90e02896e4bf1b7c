package config

import (
	"fmt"
	"os"
	"slices"
	"strings"
)

// KeyFiles are the files that ReloadKeys reads, none if c was not made by Load.
func (c Config) KeyFiles() []string {
	return slices.DeleteFunc([]string{
		c.AlipayPrivateKeyFile, c.AlipayPublicKeyFile, c.AlipayAppCertFile, c.AlipayCertFile, c.AlipayRootCertFile,
		c.AlipayEncryptKeyFile,
	}, func(path string) bool { return path == "" })
}

// ReloadKeys returns c with Alipay's and the app's keys and certificates as their files have them now. Its error is an
// *Error with everything that is wrong; c is as good as before.
func (c Config) ReloadKeys() (Config, error) {
	if len(c.KeyFiles()) == 0 {
		return c, nil
	}
	var p problems
	c.contents = map[string]string{}
	c.Secrets.PrivateKey, c.Secrets.Signer, c.Secrets.PublicKeys, c.Secrets.Certificates, c.Secrets.EncryptKey = nil, nil, nil, nil, nil
	c.readKeys(&p)
	return c, p.err()
}

// ReloadMerchants returns c with the merchants as their file has them now. Its error is an *Error.
func (c Config) ReloadMerchants() (Config, error) {
	var p problems
	c.contents = map[string]string{}
	c.readMerchants(&p)
	return c, p.err()
}

// Stamp changes when one of the files does, by its time or its size.
func Stamp(paths ...string) string {
	var b strings.Builder
	for _, path := range paths {
		if info, err := os.Stat(path); err == nil {
			fmt.Fprintf(&b, "%d %d\n", info.ModTime().UnixNano(), info.Size())
		} else {
			b.WriteString("none\n")
		}
	}
	return b.String()
}
