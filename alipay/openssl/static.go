//go:build !linux || !(amd64 || arm64) || static

package openssl

import (
	"crypto/rsa"
	"errors"
)

type libcrypto struct{}

func load(*rsa.PrivateKey) (*Signer, error) {
	return nil, errors.New("this program was built without it; it is for Linux on amd64 and arm64, and left out by the tag static")
}

func (*Signer) sign([]byte) ([]byte, error) {
	return nil, errors.New("sign with libcrypto: not built in")
}
