package alipay

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"io"
	"strings"
	"testing"
)

func TestParsePrivateKey(t *testing.T) {
	want := privateKey(t, "keys/app_private_pkcs8.pem")
	for _, name := range []string{"app_private_pkcs1.pem", "app_private_pkcs8.txt", "app_private_pkcs1.txt"} {
		t.Run(name, func(t *testing.T) {
			if got := privateKey(t, "keys/"+name); !got.Equal(want) {
				t.Error("another key")
			}
		})
	}
	t.Run("wrapped without armour", func(t *testing.T) {
		text := wrap(readVectorFile(t, "keys/app_private_pkcs8.txt"))
		if got, err := ParsePrivateKey(text); err != nil || !got.Equal(want) {
			t.Error(err)
		}
	})
	t.Run("byte order mark and CR LF", func(t *testing.T) {
		text := append([]byte("\xef\xbb\xbf"), bytes.ReplaceAll(readVectorFile(t, "keys/app_private_pkcs1.pem"), []byte("\n"), []byte("\r\n"))...)
		if got, err := ParsePrivateKey(text); err != nil || !got.Equal(want) {
			t.Error(err)
		}
	})
}

func TestParsePrivateKeyRefuses(t *testing.T) {
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	sec1, err := x509.MarshalECPrivateKey(ec)
	if err != nil {
		t.Fatal(err)
	}
	ecPKCS8, err := x509.MarshalPKCS8PrivateKey(ec)
	if err != nil {
		t.Fatal(err)
	}
	pemFile := readVectorFile(t, "keys/app_private_pkcs8.pem")
	for _, r := range []struct {
		name string
		file []byte
		want string
	}{
		{"empty", nil, "empty"},
		{"no key", []byte("hello there!"), "neither PEM nor base64"},
		{"base64 of nothing known", []byte("aGVsbG8gdGhlcmU="), "neither PKCS#1 nor PKCS#8"},
		{"broken PEM", pemFile[:len(pemFile)/2], "PEM block cannot be read"},
		{"public key", readVectorFile(t, "keys/app_public.pem"), "public key"},
		{"public key without armour", readVectorFile(t, "keys/app_public.txt"), "public key"},
		{"certificate", readVectorFile(t, "keys/app_leaf.pem"), "certificate"},
		{"two keys", append(bytes.Clone(pemFile), pemFile...), "more than one"},
		{"elliptic curve", pemOf("EC PRIVATE KEY", sec1), "elliptic"},
		{"elliptic curve in PKCS#8", pemOf("PRIVATE KEY", ecPKCS8), "want RSA"},
		{"encrypted", pemOf("ENCRYPTED PRIVATE KEY", []byte{1}), "encrypted"},
		{"1024 bits", pemOf("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(shortKey(t))), "1024 bits"},
	} {
		t.Run(r.name, func(t *testing.T) {
			key, err := ParsePrivateKey(r.file)
			if key != nil || err == nil || !strings.Contains(err.Error(), r.want) {
				t.Errorf("error %v, want one about %q", err, r.want)
			}
		})
	}
}

func TestParsePublicKeys(t *testing.T) {
	alipayTxt, strangerTxt := readVectorFile(t, "keys/alipay_public.txt"), readVectorFile(t, "keys/stranger_public.txt")
	alipayPEM, strangerPEM := readVectorFile(t, "keys/alipay_public.pem"), readVectorFile(t, "keys/stranger_public.pem")
	two := append(publicKeys(t, "keys/alipay_public.pem"), publicKeys(t, "keys/stranger_public.pem")...)
	for _, r := range []struct {
		name string
		file []byte
		want []*rsa.PublicKey
	}{
		{"one line", alipayTxt, two[:1]},
		{"one PEM block", alipayPEM, two[:1]},
		{"two lines", bytes.Join([][]byte{bytes.TrimSpace(alipayTxt), strangerTxt}, []byte("\r\n")), two},
		{"two PEM blocks", append(bytes.Clone(alipayPEM), strangerPEM...), two},
		{"wrapped without armour", wrap(alipayTxt), two[:1]},
		{"PKCS#1", pemOf("RSA PUBLIC KEY", x509.MarshalPKCS1PublicKey(two[0])), two[:1]},
	} {
		t.Run(r.name, func(t *testing.T) {
			got, err := ParsePublicKeys(r.file)
			if err != nil || len(got) != len(r.want) {
				t.Fatalf("%d keys, %v", len(got), err)
			}
			for i := range got {
				if !got[i].Equal(r.want[i]) {
					t.Errorf("key %d is another", i)
				}
			}
		})
	}
}

func TestParsePublicKeysRefuses(t *testing.T) {
	short, err := x509.MarshalPKIXPublicKey(&shortKey(t).PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ecDER, err := x509.MarshalPKIXPublicKey(&ec.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range []struct {
		name string
		file []byte
		want string
	}{
		{"empty", []byte(" \n"), "empty"},
		{"private key", readVectorFile(t, "keys/app_private_pkcs8.pem"), "private key"},
		{"private key without armour", readVectorFile(t, "keys/app_private_pkcs1.txt"), "private key"},
		{"certificate", readVectorFile(t, "keys/alipay_leaf.pem"), "certificate"},
		{"1024 bits", pemOf("PUBLIC KEY", short), "1024 bits"},
		{"elliptic curve", pemOf("PUBLIC KEY", ecDER), "want RSA"},
		{"second one broken", append(readVectorFile(t, "keys/alipay_public.pem"), pemOf("PUBLIC KEY", []byte("x"))...), "public key 2"},
	} {
		t.Run(r.name, func(t *testing.T) {
			keys, err := ParsePublicKeys(r.file)
			if keys != nil || err == nil || !strings.Contains(err.Error(), r.want) {
				t.Errorf("error %v, want one about %q", err, r.want)
			}
		})
	}
}

// TestSignerInterface: a key that never leaves its device signs as well.
func TestSignerInterface(t *testing.T) {
	s := served(t, 200, envelopeOf(t, refundRoot, success))
	cfg := testConfig(t, s.URL)
	cfg.Signer = device{cfg.Signer}
	if _, err := testClient(t, cfg).Refund(t.Context(), refundOf("R1")); err != nil {
		t.Error(err)
	}
	cfg.Signer = device{failing{cfg.Signer}}
	_, err := testClient(t, cfg).Refund(t.Context(), refundOf("R1"))
	if e := asError(t, err); e.Class != ClassNotSent {
		t.Errorf("a signer that fails gives %v", e.Class)
	}
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	cfg.Signer = ec
	if _, err := New(cfg); err == nil || !strings.Contains(err.Error(), "want RSA") {
		t.Errorf("an elliptic signer: %v", err)
	}
	cfg.Signer = shortKey(t)
	if _, err := New(cfg); err == nil || !strings.Contains(err.Error(), "1024 bits") {
		t.Errorf("a short signer: %v", err)
	}
}

type device struct{ crypto.Signer }

type failing struct{ crypto.Signer }

func (failing) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) {
	return nil, io.ErrClosedPipe
}

// shortKey is a fixed RSA-1024 key: Go no longer makes them.
func shortKey(t *testing.T) *rsa.PrivateKey {
	t.Helper()
	der, err := base64.StdEncoding.DecodeString(shortKeyDER)
	if err != nil {
		t.Fatal(err)
	}
	key, err := x509.ParsePKCS1PrivateKey(der)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func pemOf(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

// wrap breaks a line of base64 into lines of 64, as some tools do.
func wrap(line []byte) []byte {
	line = bytes.TrimSpace(line)
	var out []byte
	for len(line) > 64 {
		out = append(append(out, line[:64]...), '\n')
		line = line[64:]
	}
	return append(out, line...)
}

// shortKeyDER was made for this test and protects nothing.
const shortKeyDER = "MIICXQIBAAKBgQC8uKK0SsrWeRg8lail5H+iwTsK+IlTveMPA7MiNEyaGZHrbAjGl6Lj87c3gvLEl2bygwegPjbnZEMNP3YAT3lk" +
	"n0tD9jzzQ8ZBe2nBvuTOBAMI0q3E84CVYHKyAkfoWBvuCriWWOjAg+OJdMO+0C/WuRHLmjMvcu0R5BOPvg0M3QIDAQABAoGAOkWY" +
	"l6rwbsD9ZtefN3oSnyKjJIQRgzYCwkQWL92OOZbjo5m8K/Xuagx66j0Y0PMe6ori8+vB8DjZK2IJAZeIl616EjqoscHeMo8mgIyh" +
	"i9E9NeuhnEw4zLz1JpG3uKUYbfNDMDWqk5y6k3fie2AcNsBIH3jpcMgt74u9yKiw0tECQQDiujIHMqULOEJPZ4i+WvwRhI7Eaxul" +
	"AHMdz8o+lSJ2dzFXS2SLcWv39AlTK1UYjxwMDRszbenw8P3gUX+9EC4fAkEA1RZCtKh8IsvHCUgb6pnOEPGo2kwTCyJawvD913SA" +
	"ZLD+vdYZ20vLrLLTPZrM96VMQQvGzjD7zziNVtTH0BYtgwJBALg0yvyqGwm4lbdpyOHPjki1SEExPG6cpOqtrgWWqT9Sq9XevTvF" +
	"1RDJRuI5rJOdgg4Qf+8S+CT3x2x/CqeTA8UCQQDGmUW4jOONprEt5GgoYgsd3a2LL6X8FZvT3ronSey0bAYwtlBJBD6jCdQ5sYJh" +
	"OU11vl0fJaY7fzC0AgLs3Q6zAkBUeo30Ipi+2/wGZ0yhCr64tl7sE1zsdXSDFlBtZwJfk4UU2bVRE3BdeF6wMl+y2BtrmNoCT0JK" +
	"kvzaBiuWAd9v"
