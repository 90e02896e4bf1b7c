package alipaytest

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// File names in a key directory. They belong to the contract of alipaysim.
const (
	appPrivateFile    = "app_private_key.pem"
	appPublicFile     = "app_public_key.pem"
	alipayPrivateFile = "alipay_private_key.pem"
	alipayPublicFile  = "alipay_public_key.pem"
	aesFile           = "aes_key.txt"
	appCertFile       = "app_cert.pem"
	alipayCertFile    = "alipay_cert.pem"
	rootCertFile      = "root_cert.pem"
)

// Keys is everything both sides of one app need: the app signs with AppPrivate,
// Alipay with AlipayPrivate. The PEM fields hold the same keys as text, PKCS#8
// and SubjectPublicKeyInfo, as they stand in the files of [LoadOrCreateKeys].
type Keys struct {
	AppPrivate    *rsa.PrivateKey
	AppPublic     *rsa.PublicKey
	AlipayPrivate *rsa.PrivateKey
	AlipayPublic  *rsa.PublicKey

	AppPrivatePEM    string
	AppPublicPEM     string
	AlipayPrivatePEM string
	AlipayPublicPEM  string

	// AES is the content encryption key, 16 bytes; AESBase64 is its text.
	AES       []byte
	AESBase64 string

	// Certificate mode: the certificates of the two keys and the roots that
	// issued them, and their serial numbers as Alipay computes them.
	AppCertPEM    string
	AlipayCertPEM string
	RootCertPEM   string
	AppCertSN     string
	AlipayCertSN  string
	RootCertSN    string
}

// NewKeys makes fresh RSA-2048 keys, an AES key and certificates, in memory. It
// takes some tenths of a second: make them once for a package's tests.
func NewKeys() (*Keys, error) {
	app, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, fmt.Errorf("make app key: %w", err)
	}
	alipay, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, fmt.Errorf("make alipay key: %w", err)
	}
	aes := make([]byte, 16)
	if _, err := rand.Read(aes); err != nil {
		return nil, fmt.Errorf("make aes key: %w", err)
	}
	k := &Keys{AppPrivate: app, AlipayPrivate: alipay, AES: aes}
	if err := k.makeCertificates(time.Now()); err != nil {
		return nil, err
	}
	if err := k.complete(); err != nil {
		return nil, err
	}
	return k, nil
}

// LoadOrCreateKeys reads the keys in dir, or makes the directory (mode 0700)
// and the files (mode 0600) if none is there. A directory that holds only some
// of the files is an error and is left alone: half of a key set made anew would
// not fit what the caller was configured with.
func LoadOrCreateKeys(dir string) (*Keys, error) {
	names := []string{
		appPrivateFile, appPublicFile, alipayPrivateFile, alipayPublicFile,
		aesFile, appCertFile, alipayCertFile, rootCertFile,
	}
	var missing []string
	for _, name := range names {
		_, err := os.Stat(filepath.Join(dir, name))
		switch {
		case errors.Is(err, fs.ErrNotExist):
			missing = append(missing, name)
		case err != nil:
			return nil, fmt.Errorf("key directory: %w", err)
		}
	}
	switch len(missing) {
	case 0:
		return loadKeys(dir)
	case len(names):
		k, err := NewKeys()
		if err != nil {
			return nil, err
		}
		return k, k.save(dir)
	}
	return nil, fmt.Errorf("key directory %s: %s missing; put it back, or empty the directory", dir, strings.Join(missing, ", "))
}

// complete fills every field that follows from the private keys, the AES key
// and the certificates.
func (k *Keys) complete() error {
	k.AppPublic, k.AlipayPublic = &k.AppPrivate.PublicKey, &k.AlipayPrivate.PublicKey
	var err error
	if k.AppPrivatePEM, k.AppPublicPEM, err = keyPEM(k.AppPrivate); err != nil {
		return fmt.Errorf("app key: %w", err)
	}
	if k.AlipayPrivatePEM, k.AlipayPublicPEM, err = keyPEM(k.AlipayPrivate); err != nil {
		return fmt.Errorf("alipay key: %w", err)
	}
	k.AESBase64 = base64.StdEncoding.EncodeToString(k.AES)
	if k.AppCertSN, err = certSN([]byte(k.AppCertPEM)); err != nil {
		return fmt.Errorf("app certificate: %w", err)
	}
	if k.AlipayCertSN, err = certSN([]byte(k.AlipayCertPEM)); err != nil {
		return fmt.Errorf("alipay certificate: %w", err)
	}
	if k.RootCertSN, err = rootSN([]byte(k.RootCertPEM)); err != nil {
		return fmt.Errorf("root certificate: %w", err)
	}
	return nil
}

func (k *Keys) save(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("key directory: %w", err)
	}
	for _, file := range []struct{ name, text string }{
		{appPrivateFile, k.AppPrivatePEM},
		{appPublicFile, k.AppPublicPEM},
		{alipayPrivateFile, k.AlipayPrivatePEM},
		{alipayPublicFile, k.AlipayPublicPEM},
		{aesFile, k.AESBase64 + "\n"},
		{appCertFile, k.AppCertPEM},
		{alipayCertFile, k.AlipayCertPEM},
		{rootCertFile, k.RootCertPEM},
	} {
		if err := os.WriteFile(filepath.Join(dir, file.name), []byte(file.text), 0o600); err != nil {
			return fmt.Errorf("write key: %w", err)
		}
	}
	return nil
}

func loadKeys(dir string) (*Keys, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("key directory: %w", err)
	}
	defer func() { _ = root.Close() }()

	k := &Keys{}
	var aesText, appPublic, alipayPublic, appPrivate, alipayPrivate string
	for _, file := range []struct {
		name string
		text *string
	}{
		{appPrivateFile, &appPrivate},
		{appPublicFile, &appPublic},
		{alipayPrivateFile, &alipayPrivate},
		{alipayPublicFile, &alipayPublic},
		{aesFile, &aesText},
		{appCertFile, &k.AppCertPEM},
		{alipayCertFile, &k.AlipayCertPEM},
		{rootCertFile, &k.RootCertPEM},
	} {
		text, err := root.ReadFile(file.name)
		if err != nil {
			return nil, fmt.Errorf("read key: %w", err)
		}
		*file.text = string(text)
	}
	if k.AppPrivate, err = privateKey(appPrivate); err != nil {
		return nil, fmt.Errorf("%s: %w", appPrivateFile, err)
	}
	if k.AlipayPrivate, err = privateKey(alipayPrivate); err != nil {
		return nil, fmt.Errorf("%s: %w", alipayPrivateFile, err)
	}
	if k.AES, err = base64.StdEncoding.DecodeString(strings.TrimSpace(aesText)); err != nil || len(k.AES) != 16 {
		return nil, fmt.Errorf("%s: want 16 bytes in base64", aesFile)
	}
	if err := k.complete(); err != nil {
		return nil, err
	}
	if !samePEM(appPublic, k.AppPublicPEM) {
		return nil, fmt.Errorf("%s does not belong to %s", appPublicFile, appPrivateFile)
	}
	if !samePEM(alipayPublic, k.AlipayPublicPEM) {
		return nil, fmt.Errorf("%s does not belong to %s", alipayPublicFile, alipayPrivateFile)
	}
	return k, nil
}

func keyPEM(key *rsa.PrivateKey) (private, public string, err error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return "", "", fmt.Errorf("encode private key: %w", err)
	}
	spki, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		return "", "", fmt.Errorf("encode public key: %w", err)
	}
	private = string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	public = string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: spki}))
	return private, public, nil
}

func privateKey(text string) (*rsa.PrivateKey, error) {
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		return nil, errors.New("no PEM block")
	}
	if block.Type == "RSA PRIVATE KEY" {
		key, err := x509.ParsePKCS1PrivateKey(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("read PKCS#1 key: %w", err)
		}
		return key, nil
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("read PKCS#8 key: %w", err)
	}
	key, ok := parsed.(*rsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("want an RSA key, have %T", parsed)
	}
	return key, nil
}

func samePEM(a, b string) bool {
	first, _ := pem.Decode([]byte(a))
	second, _ := pem.Decode([]byte(b))
	return first != nil && second != nil && bytes.Equal(first.Bytes, second.Bytes)
}
