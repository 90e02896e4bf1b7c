package alipaytest

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// signingText is the text that a v2 request or a notification signs: every
// parameter that is not named in skip and not blank, sorted by name, as
// name=value joined by &, nothing encoded.
func signingText(params map[string]string, skip ...string) string {
	var text strings.Builder
	for _, name := range slices.Sorted(maps.Keys(params)) {
		if slices.Contains(skip, name) || strings.TrimSpace(params[name]) == "" {
			continue
		}
		if text.Len() > 0 {
			text.WriteByte('&')
		}
		text.WriteString(name)
		text.WriteByte('=')
		text.WriteString(params[name])
	}
	return text.String()
}

// sign returns the RSA2 signature (PKCS#1 v1.5 over SHA-256) in base64.
func sign(signer crypto.Signer, text string) (string, error) {
	digest := sha256.Sum256([]byte(text))
	signature, err := signer.Sign(rand.Reader, digest[:], crypto.SHA256)
	if err != nil {
		return "", fmt.Errorf("sign: %w", err)
	}
	return base64.StdEncoding.EncodeToString(signature), nil
}

// verify reports whether signature is the RSA2 signature of text.
func verify(key *rsa.PublicKey, text, signature string) bool {
	raw, err := base64.StdEncoding.Strict().DecodeString(signature)
	if err != nil {
		return false
	}
	digest := sha256.Sum256([]byte(text))
	return rsa.VerifyPKCS1v15(key, crypto.SHA256, digest[:], raw) == nil
}
