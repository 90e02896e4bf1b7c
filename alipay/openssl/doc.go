// Package openssl signs with the system's libcrypto, which makes an RSA
// signature in about a third of crypto/rsa's time. It is a crypto.Signer for
// package alipay and nothing else: verifying, TLS and everything that is not a
// signature stay with Go's own cryptography.
//
// It needs no C compiler: libcrypto.so.3 is loaded at run time (package purego).
// What that costs is in the README. The tag static leaves the package empty, so
// that the program needs no C library either; New then says so.
package openssl
