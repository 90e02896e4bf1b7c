package openssl

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	mathrand "math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"testing"
)

// signerOf skips where the library is not installed: the rest of refundd does
// not need it.
func signerOf(tb testing.TB, key *rsa.PrivateKey) *Signer {
	tb.Helper()
	s, err := New(key)
	if err != nil {
		tb.Skipf("nothing to compare with: %v", err)
	}
	return s
}

func newKey(tb testing.TB, bits int) *rsa.PrivateKey {
	tb.Helper()
	key, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		tb.Fatal(err)
	}
	return key
}

// TestSameAsGo: for several keys and thousands of messages the bytes are those
// of crypto/rsa. What a signature verifies under, crypto/rsa would have made.
func TestSameAsGo(t *testing.T) {
	random := mathrand.NewChaCha8([32]byte{1})
	for _, k := range []struct{ bits, messages int }{{2048, 1500}, {2048, 1500}, {2049, 100}, {3072, 100}} {
		key, bits := newKey(t, k.bits), k.bits
		s := signerOf(t, key)
		if !key.PublicKey.Equal(s.Public()) {
			t.Fatal("another public key")
		}
		for i := range k.messages {
			message := make([]byte, i%1500)
			_, _ = random.Read(message)
			digest := sha256.Sum256(message)
			got, err := s.Sign(rand.Reader, digest[:], crypto.SHA256)
			if err != nil {
				t.Fatal(err)
			}
			// PKCS#1 v1.5 has one signature for a digest, and verifying is cheap: all
			// are verified, and some made again.
			if err := rsa.VerifyPKCS1v15(&key.PublicKey, crypto.SHA256, digest[:], got); err != nil {
				t.Fatalf("%d bits, message %d: %v", bits, i, err)
			}
			if i%10 != 0 {
				continue
			}
			if want, err := rsa.SignPKCS1v15(nil, key, crypto.SHA256, digest[:]); err != nil || !bytes.Equal(got, want) {
				t.Fatalf("%d bits, message %d: crypto/rsa makes another signature (%v)", bits, i, err)
			}
		}
	}
}

// TestManyAtOnce signs with two keys from many goroutines, while others come and
// go as in a reload.
func TestManyAtOnce(t *testing.T) {
	keys := []*rsa.PrivateKey{newKey(t, 2048), newKey(t, 2048)}
	var wg sync.WaitGroup
	for worker := range 16 {
		key := keys[worker%len(keys)]
		s := signerOf(t, key)
		wg.Go(func() {
			for i := range 50 {
				if worker < 4 && i%10 == 0 {
					s, _ = New(key)
					runtime.GC()
				}
				digest := sha256.Sum256([]byte{byte(worker), byte(i)})
				got, err := s.Sign(nil, digest[:], crypto.SHA256)
				if err != nil || rsa.VerifyPKCS1v15(&key.PublicKey, crypto.SHA256, digest[:], got) != nil {
					t.Errorf("worker %d, signature %d: %v", worker, i, err)
					return
				}
			}
		})
	}
	wg.Wait()
}

func TestOnlyRSA2(t *testing.T) {
	s := signerOf(t, newKey(t, 2048))
	digest := make([]byte, sha256.Size)
	for name, sign := range map[string]func() ([]byte, error){
		"another hash":  func() ([]byte, error) { return s.Sign(nil, digest, crypto.SHA384) },
		"short digest":  func() ([]byte, error) { return s.Sign(nil, digest[:20], crypto.SHA256) },
		"no digest":     func() ([]byte, error) { return s.Sign(nil, nil, crypto.SHA256) },
		"other padding": func() ([]byte, error) { return s.Sign(nil, digest, &rsa.PSSOptions{Hash: crypto.SHA256}) },
	} {
		if sig, err := sign(); err == nil || sig != nil {
			t.Errorf("%s is signed", name)
		}
	}
}

// TestSelfCheck: a library that signs with another key is found at once.
func TestSelfCheck(t *testing.T) {
	s := signerOf(t, newKey(t, 2048))
	if err := s.check(newKey(t, 2048)); err == nil || !strings.Contains(err.Error(), "differs") {
		t.Errorf("another key's signature: %v", err)
	}
	if !strings.Contains(s.String(), "SSL 3.") {
		t.Errorf("version %q", s)
	}
}

// BenchmarkSign compares the two signers.
func BenchmarkSign(b *testing.B) {
	key := newKey(b, 2048)
	digest := sha256.Sum256([]byte("refund"))
	for _, s := range []struct {
		name   string
		signer crypto.Signer
	}{{"go", key}, {"openssl", signerOf(b, key)}} {
		b.Run(s.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := s.signer.Sign(rand.Reader, digest[:], crypto.SHA256); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
