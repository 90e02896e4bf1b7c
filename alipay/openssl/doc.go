// Package openssl signs with the system's libcrypto, which makes an RSA
// signature in about a third of crypto/rsa's time. It is a crypto.Signer for
// package alipay and nothing else: verifying, TLS and everything that is not a
// signature stay with Go's own cryptography.
//
// It needs no C compiler: libcrypto.so.3 is loaded at run time (package purego).
// Only builds with the tag openssl have it, and they need glibc to start; without
// the tag New says so, and the program is static and pure Go. In refundd,
// REFUNDD_ALIPAY_SIGNER=openssl chooses it: a start compares its signature with
// Go's, and a library that cannot be loaded is exit code 2. The image of deploy/
// carries the library and uses it.
//
// # What it costs
//
//   - Such a build needs a C library (glibc) to start, whichever signer is chosen.
//   - The library is the system's: update it as such, and rebuild the image then.
//     Its copy of the key lies outside of Go's memory; it is wiped when replaced.
//   - FIPS: neither signer is validated as used here. Go's FIPS mode does not reach
//     libcrypto, which has its own, set in its configuration file.
//   - Both work in constant time and blind or check each signature, but with
//     different code and history: OpenSSL's RSA has had more side-channel findings
//     than Go's. On hardware shared with strangers, prefer the default.
package openssl
