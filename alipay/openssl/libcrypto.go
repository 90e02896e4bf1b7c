//go:build openssl && linux && (amd64 || arm64)

package openssl

import (
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"fmt"
	"runtime"
	"unsafe"

	"github.com/ebitengine/purego"
)

// library is what every distribution calls the libcrypto of OpenSSL 3, whose
// functions keep their form through all of 3.
const library = "libcrypto.so.3"

const pkcs1Padding = 1 // RSA_PKCS1_PADDING

// libcrypto are the functions that are used. A pointer is a uintptr where only C
// looks behind it, and sizes are size_t.
type libcrypto struct {
	version      func(kind int32) string
	bioOver      func(bytes *byte, size int32) uintptr
	bioFree      func(bio uintptr) int32
	readKey      func(bio, into uintptr) uintptr
	freeKey      func(key uintptr)
	newContext   func(key, engine uintptr) uintptr
	freeContext  func(context uintptr)
	signInit     func(context uintptr) int32
	setPadding   func(context uintptr, padding int32) int32
	setHash      func(context, hash uintptr) int32
	sha256       func() uintptr
	sha256Handle uintptr
	sign         uintptr // EVP_PKEY_sign(context, signature, *signatureSize, digest, digestSize)
}

// open loads the library. It stays loaded: libcrypto is not made to be closed,
// and a second open finds the first.
func open(library string) (*libcrypto, error) {
	handle, err := purego.Dlopen(library, purego.RTLD_NOW|purego.RTLD_LOCAL)
	if err != nil {
		return nil, fmt.Errorf("%s cannot be loaded (it belongs to OpenSSL 3): %w", library, err)
	}
	c := &libcrypto{}
	for _, f := range []struct {
		into any
		name string
	}{
		{&c.version, "OpenSSL_version"},
		{&c.bioOver, "BIO_new_mem_buf"},
		{&c.bioFree, "BIO_free"},
		{&c.readKey, "d2i_PrivateKey_bio"},
		{&c.freeKey, "EVP_PKEY_free"},
		{&c.newContext, "EVP_PKEY_CTX_new"},
		{&c.freeContext, "EVP_PKEY_CTX_free"},
		{&c.signInit, "EVP_PKEY_sign_init"},
		{&c.setPadding, "EVP_PKEY_CTX_set_rsa_padding"},
		{&c.setHash, "EVP_PKEY_CTX_set_signature_md"},
		{&c.sha256, "EVP_sha256"},
	} {
		address, err := purego.Dlsym(handle, f.name)
		if err != nil {
			return nil, fmt.Errorf("%s has no %s: %w", library, f.name, err)
		}
		purego.RegisterFunc(f.into, address)
	}
	if c.sign, err = purego.Dlsym(handle, "EVP_PKEY_sign"); err != nil {
		return nil, fmt.Errorf("%s has no EVP_PKEY_sign: %w", library, err)
	}
	c.sha256Handle = c.sha256()
	return c, nil
}

// load makes a Signer that was not compared yet.
func load(key *rsa.PrivateKey) (*Signer, error) {
	c, err := open(library)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, errors.New("the key has no PKCS#8 form")
	}
	defer clear(der)
	bio := c.bioOver(&der[0], int32(len(der))) //nolint:gosec // a key has a few thousand bytes
	handle := c.readKey(bio, 0)
	c.bioFree(bio)
	runtime.KeepAlive(der)
	if handle == 0 {
		return nil, errors.New("the library does not take the key")
	}
	s := &Signer{public: &key.PublicKey, version: c.version(0), crypto: c, ready: make(chan uintptr, runtime.GOMAXPROCS(0))}
	held := &inLibrary{crypto: c, key: handle}
	runtime.AddCleanup(s, (*inLibrary).free, held)
	for range cap(s.ready) {
		context, err := c.setUp(handle)
		if err != nil {
			return nil, err
		}
		held.contexts = append(held.contexts, context)
		s.ready <- context
	}
	return s, nil
}

// inLibrary is what a Signer has in libcrypto's memory.
type inLibrary struct {
	crypto   *libcrypto
	key      uintptr // an EVP_PKEY
	contexts []uintptr
}

func (l *inLibrary) free() {
	for _, context := range l.contexts {
		l.crypto.freeContext(context)
	}
	l.crypto.freeKey(l.key)
}

// setUp makes a context for signatures with the key. libcrypto wants one for each
// thread, and allows many signatures with it, one after the other.
func (c *libcrypto) setUp(key uintptr) (uintptr, error) {
	context := c.newContext(key, 0)
	if context == 0 {
		return 0, errors.New("no context")
	}
	if c.signInit(context) != 1 || c.setPadding(context, pkcs1Padding) != 1 || c.setHash(context, c.sha256Handle) != 1 {
		c.freeContext(context)
		return 0, errors.New("the context cannot be set up")
	}
	return context, nil
}

// sign makes as many signatures at once as there are cores: each occupies a thread,
// and Go would start hundreds for a backlog, with a stack each, to no avail.
func (s *Signer) sign(digest []byte) ([]byte, error) {
	defer runtime.KeepAlive(s) // or what it has in the library could be freed in the middle
	context := <-s.ready
	defer func() { s.ready <- context }()
	signature := make([]byte, s.public.Size())
	size := uintptr(len(signature))
	// Called without the wrapper that the other functions have: that one looks at
	// its arguments by reflection, each time.
	//nolint:gosec // SyscallN keeps what such arguments point to where it is
	done, _, _ := purego.SyscallN(s.crypto.sign, context,
		uintptr(unsafe.Pointer(&signature[0])), uintptr(unsafe.Pointer(&size)), uintptr(unsafe.Pointer(&digest[0])), uintptr(len(digest)))
	if int32(done) != 1 || size != uintptr(len(signature)) { //nolint:gosec // it is an int in C
		return nil, errors.New("sign with libcrypto: no signature")
	}
	return signature, nil
}
