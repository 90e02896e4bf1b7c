package openssl

import (
	"bytes"
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
)

// Signer makes RSA PKCS#1 v1.5 signatures over SHA-256, the same bytes as
// crypto/rsa. It is safe for use by many goroutines. Its copy of the key lives in
// memory of libcrypto, and is wiped when nobody refers to the Signer any more.
type Signer struct {
	public  *rsa.PublicKey
	version string
	crypto  *libcrypto
	ready   chan uintptr // EVP_PKEY_CTXs that nobody signs with now
}

// New hands the key to libcrypto and compares a signature of it with one of
// crypto/rsa. Its errors are about the library or the key's form and quote
// nothing of the key.
func New(key *rsa.PrivateKey) (*Signer, error) {
	s, err := load(key)
	if err != nil {
		return nil, fmt.Errorf("sign with libcrypto: %w", err)
	}
	if err := s.check(key); err != nil {
		return nil, fmt.Errorf("sign with libcrypto: %s: %w", s.version, err)
	}
	return s, nil
}

// String returns the library's version, such as "OpenSSL 3.5.1 1 Jul 2025".
func (s *Signer) String() string { return s.version }

// Public returns the *rsa.PublicKey of the key.
func (s *Signer) Public() crypto.PublicKey { return s.public }

// Sign signs a SHA-256 digest. It takes its randomness, which the signature does
// not depend on, from the library and not from the reader.
func (s *Signer) Sign(_ io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	if _, pss := opts.(*rsa.PSSOptions); pss || opts.HashFunc() != crypto.SHA256 || len(digest) != sha256.Size {
		return nil, errors.New("sign with libcrypto: only PKCS#1 v1.5 over a SHA-256 digest is supported")
	}
	return s.sign(digest)
}

// check signs one digest with both.
func (s *Signer) check(key *rsa.PrivateKey) error {
	digest := sha256.Sum256([]byte("refundd"))
	want, err := rsa.SignPKCS1v15(nil, key, crypto.SHA256, digest[:])
	if err != nil {
		return fmt.Errorf("compare with crypto/rsa: %w", err)
	}
	got, err := s.sign(digest[:])
	if err != nil {
		return err
	}
	if !bytes.Equal(got, want) {
		return errors.New("its signature differs from crypto/rsa's")
	}
	return nil
}
