package alipay

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"encoding/base64"
	"errors"
	"fmt"
)

// ParseEncryptKey reads the key of content encryption as Alipay's console shows
// it: base64 of 16, 24 or 32 bytes, on one line. A byte order mark and blanks
// around it are ignored.
func ParseEncryptKey(file []byte) ([]byte, error) {
	var key []byte
	for i, line := range linesOf(file) {
		if line == "" {
			continue
		}
		more, err := base64.StdEncoding.DecodeString(line)
		switch {
		case err != nil:
			return nil, fmt.Errorf("parse encrypt key: line %d is not base64", i+1)
		case key != nil:
			return nil, fmt.Errorf("parse encrypt key: line %d is one too many", i+1)
		}
		key = more
	}
	if _, err := aes.NewCipher(key); err != nil {
		return nil, fmt.Errorf("parse encrypt key: %d bytes, want 16, 24 or 32", len(key))
	}
	return key, nil
}

// encrypt is Alipay's content encryption: AES-CBC, PKCS#5 padding, an
// initialisation vector of zeros, base64. The fixed vector is the protocol's;
// secrecy in transit is the work of TLS, proof is the work of the signature.
func encrypt(key, plain []byte) (string, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return "", fmt.Errorf("encrypt: %w", err)
	}
	pad := aes.BlockSize - len(plain)%aes.BlockSize
	out := append(bytes.Clone(plain), bytes.Repeat([]byte{byte(pad)}, pad)...)
	cipher.NewCBCEncrypter(block, make([]byte, aes.BlockSize)).CryptBlocks(out, out) //nolint:gosec // the protocol fixes the vector
	return base64.StdEncoding.EncodeToString(out), nil
}

// decrypt undoes encrypt. It is only given bytes whose signature was verified,
// so its errors are no padding oracle.
func decrypt(key []byte, cipherText string) ([]byte, error) {
	raw, err := base64.StdEncoding.DecodeString(cipherText)
	if err != nil {
		return nil, errors.New("decrypt: not base64")
	}
	if len(raw) == 0 || len(raw)%aes.BlockSize != 0 {
		return nil, errors.New("decrypt: not whole blocks")
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("decrypt: %w", err)
	}
	cipher.NewCBCDecrypter(block, make([]byte, aes.BlockSize)).CryptBlocks(raw, raw)
	pad := int(raw[len(raw)-1])
	if pad == 0 || pad > aes.BlockSize {
		return nil, errors.New("decrypt: wrong padding")
	}
	for _, b := range raw[len(raw)-pad:] {
		if int(b) != pad {
			return nil, errors.New("decrypt: wrong padding")
		}
	}
	return raw[:len(raw)-pad], nil
}
