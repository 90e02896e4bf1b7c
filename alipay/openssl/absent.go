//go:build !openssl || !linux || !(amd64 || arm64)

package openssl

import (
	"crypto/rsa"
	"errors"
)

type libcrypto struct{}

func load(*rsa.PrivateKey) (*Signer, error) {
	return nil, errors.New("this program was built without it; `go build -tags openssl` on Linux, amd64 or arm64, has it")
}

func (*Signer) sign([]byte) ([]byte, error) {
	return nil, errors.New("sign with libcrypto: not built in")
}
