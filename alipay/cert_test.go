package alipay

import (
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func TestVectorsCertSN(t *testing.T) {
	type row struct {
		Name, Why, Kind, File string
		RootFile              string `json:"root_file"`
		Expected              struct {
			SN         *string
			IssuerText string `json:"issuer_text"`
			Serial     string
			PublicKey  string `json:"public_key"`
			Trusted    bool
		}
	}
	for _, r := range readVectors[row](t, "cert-sn.json") {
		t.Run(r.Name, func(t *testing.T) {
			file := readVectorFile(t, r.File)
			blocks, err := certBlocks(file, true)
			if err != nil {
				t.Fatal(err)
			}
			switch r.Kind {
			case "cert_sn":
				var cert outerCertificate
				if _, err := asn1.Unmarshal(blocks[0].bytes, &cert); err != nil {
					t.Fatal(err)
				}
				if got := issuerText(cert.TBS.Issuer); got != r.Expected.IssuerText || cert.TBS.Serial.String() != r.Expected.Serial {
					t.Errorf("%s: %s, %s", r.Why, got, cert.TBS.Serial)
				}
				if got, err := certSN(blocks[0].bytes); err != nil || got != *r.Expected.SN {
					t.Errorf("%s: %s, %v", r.Why, got, err)
				}
			case "root_sn":
				got, err := rootSN(file)
				if (err != nil) != (r.Expected.SN == nil) || (err == nil && got != *r.Expected.SN) {
					t.Errorf("%s: %q, %v", r.Why, got, err)
				}
			case "public_key":
				chain, err := parseChain(file)
				if err != nil {
					t.Fatal(err)
				}
				key, err := rsaKeyOf(chain[0])
				if err != nil {
					t.Fatal(err)
				}
				der, err := x509.MarshalPKIXPublicKey(key)
				if err != nil || base64.StdEncoding.EncodeToString(der) != r.Expected.PublicKey {
					t.Errorf("%s: another key, %v", r.Why, err)
				}
			case "trusted":
				c, err := ParseCertificates(readVectorFile(t, "keys/app_leaf.pem"), file, readVectorFile(t, r.RootFile))
				if err != nil {
					t.Fatal(err)
				}
				if err := c.Trusted(); (err == nil) != r.Expected.Trusted {
					t.Errorf("%s: %v", r.Why, err)
				}
			default:
				t.Errorf("kind %s", r.Kind)
			}
		})
	}
}

func testCertificates(t testing.TB) *Certificates {
	t.Helper()
	c, err := ParseCertificates(readVectorFile(t, "keys/app_chain.pem"), readVectorFile(t, "keys/alipay_chain.pem"), readVectorFile(t, "keys/root_bundle.pem"))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestParseCertificates(t *testing.T) {
	c := testCertificates(t)
	if len(c.Keys()) != 1 || !c.Keys()[0].Equal(publicKeys(t, "keys/alipay_public.pem")[0]) || len(c.AlipaySNs) != 1 {
		t.Errorf("%d keys", len(c.Keys()))
	}
	at := c.app.NotBefore.Add(time.Hour)
	if err := c.ValidAt(at); err != nil {
		t.Error(err)
	}
	for _, at := range []time.Time{c.app.NotBefore.Add(-time.Hour), c.NotAfter().Add(time.Hour)} {
		if err := c.ValidAt(at); err == nil {
			t.Errorf("valid at %v", at)
		}
	}
	both := append(readVectorFile(t, "keys/alipay_leaf.pem"), readVectorFile(t, "keys/stranger_leaf.pem")...)
	rotation, err := ParseCertificates(readVectorFile(t, "keys/app_leaf.pem"), both, readVectorFile(t, "keys/root_bundle_sm2_first.pem"))
	if err != nil || len(rotation.Keys()) != 2 {
		t.Errorf("%v, %v", rotation, err)
	}
}

func TestParseCertificatesRefuses(t *testing.T) {
	app, alipay, roots := "keys/app_leaf.pem", "keys/alipay_chain.pem", "keys/root_bundle.pem"
	for _, r := range []struct{ name, app, alipay, roots, want string }{
		{"app key for a certificate", "keys/app_public.pem", alipay, roots, "app certificate: the file holds a public key"},
		{"no certificate", "keys/app_public.txt", alipay, roots, "no PEM certificate"},
		{"elliptic key", "keys/ec_key_rsa_signed.pem", alipay, roots, "want RSA"},
		{"the app's certificate for Alipay's", app, app, roots, "the app's own"},
		{"only an authority", app, "keys/intermediate.pem", roots, "only authorities"},
		{"no RSA root", app, alipay, "keys/root_bundle_ec_only.pem", "no root with an RSA signature"},
		{"no root", app, alipay, "keys/app_public.pem", "root certificates"},
	} {
		t.Run(r.name, func(t *testing.T) {
			c, err := ParseCertificates(readVectorFile(t, r.app), readVectorFile(t, r.alipay), readVectorFile(t, r.roots))
			if c != nil || err == nil || !strings.Contains(err.Error(), r.want) {
				t.Errorf("%v, want %q", err, r.want)
			}
		})
	}
}

func certConfig(t testing.TB, gateway string) Config {
	t.Helper()
	cfg := testConfig(t, gateway)
	cfg.AlipayKeys = nil
	cfg.Certificates = testCertificates(t)
	return cfg
}

func TestCertificateMode(t *testing.T) {
	answer := envelopeOf(t, refundRoot, success)
	for _, r := range []struct {
		name, body string
		want       error
		text       string
	}{
		{"named certificate", strings.Replace(answer, `,"sign"`, `,"alipay_cert_sn":"92aabdb408d1ee203604df0ca7136152","sign"`, 1), nil, ""},
		{"unknown certificate, known key", strings.Replace(answer, `,"sign"`, `,"alipay_cert_sn":"ffffffffffffffffffffffffffffffff","sign"`, 1), nil, ""},
		{"unknown certificate, unknown key", `{"alipay_trade_refund_response":{"code":"10000"},"alipay_cert_sn":"ffffffffffffffffffffffffffffffff","sign":"AAAA"}`, ErrBadSignature, "ffffffffffffffffffffffffffffffff"},
		{"a number that is none", `{"alipay_trade_refund_response":{"code":"10000"},"alipay_cert_sn":"a b","sign":"AAAA"}`, ErrBadSignature, ""},
	} {
		t.Run(r.name, func(t *testing.T) {
			s := served(t, 200, r.body)
			_, err := testClient(t, certConfig(t, s.URL)).Refund(t.Context(), refundOf("R1"))
			if !errors.Is(err, r.want) {
				t.Fatalf("%v, want %v", err, r.want)
			}
			if err != nil && (asError(t, err).Class != ClassUnknown || !strings.Contains(err.Error(), r.text)) {
				t.Errorf("%v", err)
			}
		})
	}
	t.Run("refused", func(t *testing.T) {
		both := certConfig(t, "http://127.0.0.1/")
		both.AlipayKeys = both.Certificates.Keys()
		other := certConfig(t, "http://127.0.0.1/")
		other.Signer = privateKey(t, "keys/stranger_private_pkcs8.pem")
		for want, cfg := range map[string]Config{"both": both, "does not belong": other} {
			if _, err := New(cfg); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%v, want %q", err, want)
			}
		}
	})
}

// TestEncryption: content goes out and comes back as cipher text, and a plain
// signed refusal is understood, too.
func TestEncryption(t *testing.T) {
	key := aesKey(t, "keys/aes_key.txt")
	node := func(plain string) string {
		text, err := encrypt(key, []byte(plain))
		if err != nil {
			t.Fatal(err)
		}
		return `"` + text + `"`
	}
	refusal := `{"code":"40002","sub_code":"isv.invalid-app-id"}`
	for _, r := range []struct {
		name, body string
		want       Error
		cause      error
	}{
		{name: "success", body: envelopeOf(t, refundRoot, node(success))},
		{name: "encrypted refusal", body: envelopeOf(t, refundRoot, node(refusal)), want: Error{Class: ClassBlockedConfiguration, Signed: true}},
		{name: "plain refusal", body: envelopeOf(t, refundRoot, refusal), want: Error{Class: ClassBlockedConfiguration, Signed: true}},
		{name: "unsigned cipher text is not decrypted", body: unsignedOf(refundRoot, node(refusal)), cause: ErrUnsigned},
		{name: "not JSON inside", body: envelopeOf(t, refundRoot, node("hello")), cause: ErrMalformed},
		{name: "not UTF-8 inside", body: envelopeOf(t, refundRoot, node("\xff")), cause: ErrMalformed},
	} {
		t.Run(r.name, func(t *testing.T) {
			var sent string
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
				body, _ := io.ReadAll(req.Body)
				sent = string(body)
				_, _ = io.WriteString(w, r.body)
			}))
			defer s.Close()
			cfg := testConfig(t, s.URL)
			cfg.EncryptKey = key
			resp, err := testClient(t, cfg).Refund(t.Context(), refundOf("R1"))
			if strings.Contains(sent, "R1") {
				t.Error("the request is not encrypted")
			}
			if r.name == "success" {
				if err != nil || resp.FundChange != "Y" {
					t.Errorf("%v, %v", resp, err)
				}
				return
			}
			e := asError(t, err)
			if e.Class != r.want.Class || e.Signed != r.want.Signed || !errors.Is(err, r.cause) && r.cause != nil {
				t.Errorf("%+v", e)
			}
		})
	}
}

func TestParseEncryptKey(t *testing.T) {
	for _, s := range []string{"", "short", "!!!", "AAAA"} {
		if key, err := ParseEncryptKey([]byte(s)); err == nil {
			t.Errorf("%q gives %d bytes", s, len(key))
		}
	}
}

func TestIssuerText(t *testing.T) {
	utf8Of := func(oid asn1.ObjectIdentifier, s string) attribute {
		return attribute{oid, asn1.RawValue{Tag: asn1.TagUTF8String, Bytes: []byte(s), FullBytes: append([]byte{12, byte(len(s))}, s...)}}
	}
	cn, org := asn1.ObjectIdentifier{2, 5, 4, 3}, asn1.ObjectIdentifier{2, 5, 4, 10}
	for _, r := range []struct {
		want string
		name []relativeNameSET
	}{
		{`CN=b,O=a`, []relativeNameSET{{utf8Of(org, "a")}, {utf8Of(cn, "b")}}},
		{`CN=b+O=a`, []relativeNameSET{{utf8Of(cn, "b"), utf8Of(org, "a")}}},
		{`CN=\ a\=\#b\, \"\\\<\>\;\ \ `, []relativeNameSET{{utf8Of(cn, ` a=#b, "\<>;  `)}}},
		{`CN=a\00b`, []relativeNameSET{{utf8Of(cn, "a\x00b")}}},
		{`CN=\ \ `, []relativeNameSET{{utf8Of(cn, "  ")}}},
		{`2.5.4.5=#0c0131`, []relativeNameSET{{utf8Of(asn1.ObjectIdentifier{2, 5, 4, 5}, "1")}}},
		{`CN=#0301ff`, []relativeNameSET{{{cn, asn1.RawValue{Tag: 3, Bytes: []byte{255}, FullBytes: []byte{3, 1, 255}}}}}},
		{`CN=中`, []relativeNameSET{{{cn, asn1.RawValue{Tag: asn1.TagBMPString, Bytes: []byte{0x4e, 0x2d}}}}}},
		{`CN=é`, []relativeNameSET{{{cn, asn1.RawValue{Tag: asn1.TagT61String, Bytes: []byte{0xe9}}}}}},
	} {
		if got := issuerText(r.name); got != r.want {
			t.Errorf("%s, want %s", got, r.want)
		}
	}
}

// FuzzRootSN: no file of certificates panics or hangs.
func FuzzRootSN(f *testing.F) {
	for _, name := range []string{"root_bundle_sm2_first.pem", "root_bundle_crlf_comments.pem", "alipay_chain.pem", "app_public.pem"} {
		f.Add(readVectorFile(f, "keys/"+name))
	}
	f.Fuzz(func(t *testing.T, file []byte) {
		sn, err := rootSN(file)
		if err == nil && (len(sn)+1)%33 != 0 {
			t.Errorf("root number %q", sn)
		}
		if c, err := ParseCertificates(file, file, file); err == nil && c.AppSN == "" {
			t.Error("no number")
		}
	})
}
