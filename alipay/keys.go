package alipay

import (
	"bytes"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
)

// minKeyBits is the shortest RSA key that RSA2 signatures allow.
const minKeyBits = 2048

// ParsePrivateKey reads the app's RSA private key: PKCS#1 or PKCS#8, as one PEM
// block or as base64 without armour, as Alipay's key tool writes it. It refuses
// keys below 2048 bits and says so when it is given something else, such as the
// public key or a certificate. Errors never quote the file.
func ParsePrivateKey(file []byte) (*rsa.PrivateKey, error) {
	ders, err := derBlocks(file)
	if err != nil {
		return nil, fmt.Errorf("parse private key: %w", err)
	}
	if len(ders) > 1 {
		return nil, errors.New("parse private key: more than one key in the file")
	}
	der := ders[0]
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
// rotation: PEM blocks one after the other, or base64 without armour, one key a
// line. SubjectPublicKeyInfo and PKCS#1 are understood. It refuses keys below
// 2048 bits, private keys and certificates.
func ParsePublicKeys(file []byte) ([]*rsa.PublicKey, error) {
	ders, err := derBlocks(file)
	if err != nil {
		return nil, fmt.Errorf("parse public key: %w", err)
	}
	keys := make([]*rsa.PublicKey, 0, len(ders))
	for i, der := range ders {
		key, err := parsePublicDER(der)
		if err != nil {
			return nil, fmt.Errorf("parse public key %d: %w", i+1, err)
		}
		if err := checkPublic(key); err != nil {
			return nil, fmt.Errorf("parse public key %d: %w", i+1, err)
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

// derBlocks takes the armour off a key file: all PEM blocks, or else each line
// as base64, or else the whole text as the base64 of one key that was wrapped.
func derBlocks(file []byte) ([][]byte, error) {
	file = bytes.TrimPrefix(file, []byte("\xef\xbb\xbf"))
	if bytes.Contains(file, []byte("-----BEGIN")) {
		return pemBlocks(file)
	}
	lines := bytes.Fields(file)
	if len(lines) == 0 {
		return nil, errors.New("the file is empty")
	}
	ders := make([][]byte, 0, len(lines))
	for _, line := range lines {
		der, err := base64.StdEncoding.DecodeString(string(line))
		if err != nil || len(der) < 2 || !wholeDER(der) {
			break
		}
		ders = append(ders, der)
	}
	if len(ders) == len(lines) {
		return ders, nil
	}
	der, err := base64.StdEncoding.DecodeString(string(bytes.Join(lines, nil)))
	if err != nil {
		return nil, errors.New("neither PEM nor base64")
	}
	return [][]byte{der}, nil
}

// wholeDER says whether the length in the first DER header reaches exactly to
// the end: it tells a key on one line from the first line of a wrapped key.
func wholeDER(der []byte) bool {
	n, header := int(der[1]), 2
	if n >= 0x80 {
		size := n & 0x7f
		if size > 3 || len(der) < 2+size {
			return false
		}
		n = 0
		for _, b := range der[2 : 2+size] {
			n = n<<8 | int(b)
		}
		header += size
	}
	return der[0] == 0x30 && len(der) == header+n
}

func pemBlocks(file []byte) ([][]byte, error) {
	var ders [][]byte
	for {
		block, rest := pem.Decode(file)
		if block == nil {
			break
		}
		if block.Type == "ENCRYPTED PRIVATE KEY" || block.Headers["DEK-Info"] != "" {
			return nil, errors.New("the key is encrypted; give it without a passphrase")
		}
		ders = append(ders, block.Bytes)
		file = rest
	}
	if len(ders) == 0 || bytes.Contains(file, []byte("-----BEGIN")) {
		return nil, errors.New("a PEM block cannot be read")
	}
	return ders, nil
}
