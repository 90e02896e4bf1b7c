// Package openssl signs with the system's libcrypto, which makes an RSA
// signature in about a third of crypto/rsa's time. It is a crypto.Signer for
// package alipay and nothing else: verifying, TLS and everything that is not a
// signature stay with Go's own cryptography.
//
// It needs no C compiler: libcrypto.so.3 is loaded at run time (package purego).
// Only builds with the tag openssl have it, and they need glibc to start; without
// the tag New says so, and the program is static and pure Go.
package openssl
