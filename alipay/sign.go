package alipay

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// param is one public parameter of a v2 request.
type param struct{ key, value string }

// signText returns what an RSA2 signature of v2 covers: parameters that are
// not empty or blank, sorted by key, joined with nothing encoded. The order of
// params is changed.
func signText(params []param) []byte {
	slices.SortFunc(params, func(a, b param) int { return strings.Compare(a.key, b.key) })
	size := 0
	for _, p := range params {
		size += len(p.key) + len(p.value) + 2
	}
	var b bytes.Buffer
	b.Grow(size)
	for _, p := range params {
		if strings.TrimSpace(p.value) == "" {
			continue
		}
		if b.Len() > 0 {
			b.WriteByte('&')
		}
		b.WriteString(p.key)
		b.WriteByte('=')
		b.WriteString(p.value)
	}
	return b.Bytes()
}

// sign makes an RSA2 signature (RSA PKCS#1 v1.5 over SHA-256) in base64.
func sign(signer crypto.Signer, text []byte) (string, error) {
	sum := sha256.Sum256(text)
	sig, err := signer.Sign(rand.Reader, sum[:], crypto.SHA256)
	if err != nil {
		return "", fmt.Errorf("sign: %w", err)
	}
	return base64.StdEncoding.EncodeToString(sig), nil
}

// verified says whether sig, base64, is an RSA2 signature of text by one of the
// keys. Which key is never chosen by what the other side says.
func verified(keys []*rsa.PublicKey, text []byte, sig string) bool {
	raw, err := base64.StdEncoding.DecodeString(sig)
	if err != nil || len(raw) == 0 {
		return false
	}
	sum := sha256.Sum256(text)
	for _, key := range keys {
		if rsa.VerifyPKCS1v15(key, crypto.SHA256, sum[:], raw) == nil {
			return true
		}
	}
	return false
}

// checkSigner accepts what can make RSA2 signatures.
func checkSigner(signer crypto.Signer) (*rsa.PublicKey, error) {
	if signer == nil {
		return nil, errors.New("no signer: the app's private key is missing")
	}
	key, ok := signer.Public().(*rsa.PublicKey)
	if !ok {
		return nil, fmt.Errorf("the app's key is %T, want RSA", signer.Public())
	}
	if err := checkPublic(key); err != nil {
		return nil, fmt.Errorf("the app's key: %w", err)
	}
	return key, nil
}

// isBase64 says whether a signature could be one at all.
func isBase64(sig string) bool {
	_, err := base64.StdEncoding.DecodeString(sig)
	return err == nil
}
