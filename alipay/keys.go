package alipay

import (
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"fmt"
)

// minKeyBits is the shortest RSA key that RSA2 signatures allow.
const minKeyBits = 2048

// ParsePrivateKey reads the app's RSA private key: PKCS#1 or PKCS#8, as one PEM
// block or as base64 without armour, as Alipay's key tool writes it. It refuses
// keys below 2048 bits, and text that it cannot read as a key, and says so when
// it is given something else, such as the public key or a certificate. Errors
// name the line and never quote the file.
func ParsePrivateKey(file []byte) (*rsa.PrivateKey, error) {
	ders, err := derBlocks(file)
	if err != nil {
		return nil, fmt.Errorf("parse private key: %w", err)
	}
	if len(ders) > 1 {
		return nil, errors.New("parse private key: more than one key in the file")
	}
	der := ders[0].bytes
	if key, err := x509.ParsePKCS1PrivateKey(der); err == nil {
		return checkPrivate(key)
	}
	if key, err := x509.ParsePKCS8PrivateKey(der); err == nil {
		if k, ok := key.(*rsa.PrivateKey); ok {
			return checkPrivate(k)
		}
		return nil, fmt.Errorf("parse private key: want RSA, this is %T", key)
	}
	if _, err := x509.ParseECPrivateKey(der); err == nil {
		return nil, errors.New("parse private key: want RSA, this is an elliptic curve key")
	}
	if _, err := parsePublicDER(der); err == nil {
		return nil, errors.New("parse private key: this is a public key")
	}
	if _, err := x509.ParseCertificate(der); err == nil {
		return nil, errors.New("parse private key: this is a certificate")
	}
	return nil, errors.New("parse private key: neither PKCS#1 nor PKCS#8")
}

func checkPrivate(key *rsa.PrivateKey) (*rsa.PrivateKey, error) {
	if err := checkPublic(&key.PublicKey); err != nil {
		return nil, fmt.Errorf("parse private key: %w", err)
	}
	return key, nil
}

// ParsePublicKeys reads Alipay's RSA public keys, several for the days of a
// rotation: PEM blocks and keys in base64 without armour, each on a line of its
// own or wrapped, in any order. SubjectPublicKeyInfo and PKCS#1 are understood. It
// refuses keys below 2048 bits, private keys, certificates, and a file with
// anything in it that it cannot read: no key is lost in silence.
func ParsePublicKeys(file []byte) ([]*rsa.PublicKey, error) {
	ders, err := derBlocks(file)
	if err != nil {
		return nil, fmt.Errorf("parse public key: %w", err)
	}
	keys := make([]*rsa.PublicKey, 0, len(ders))
	for i, der := range ders {
		key, err := parsePublicDER(der.bytes)
		if err == nil {
			err = checkPublic(key)
		}
		if err != nil {
			return nil, fmt.Errorf("parse public key %d, line %d: %w", i+1, der.line, err)
		}
		keys = append(keys, key)
	}
	return keys, nil
}

func parsePublicDER(der []byte) (*rsa.PublicKey, error) {
	if key, err := x509.ParsePKIXPublicKey(der); err == nil {
		if k, ok := key.(*rsa.PublicKey); ok {
			return k, nil
		}
		return nil, fmt.Errorf("want RSA, this is %T", key)
	}
	if key, err := x509.ParsePKCS1PublicKey(der); err == nil {
		return key, nil
	}
	if _, err := x509.ParsePKCS1PrivateKey(der); err == nil {
		return nil, errors.New("this is a private key")
	}
	if _, err := x509.ParsePKCS8PrivateKey(der); err == nil {
		return nil, errors.New("this is a private key")
	}
	if _, err := x509.ParseCertificate(der); err == nil {
		return nil, errors.New("this is a certificate, which belongs to certificate mode")
	}
	return nil, errors.New("not a SubjectPublicKeyInfo")
}

func checkPublic(key *rsa.PublicKey) error {
	if key == nil || key.N == nil {
		return errors.New("no RSA key")
	}
	if n := key.N.BitLen(); n < minKeyBits {
		return fmt.Errorf("RSA key has %d bits, want at least %d", n, minKeyBits)
	}
	return nil
}
