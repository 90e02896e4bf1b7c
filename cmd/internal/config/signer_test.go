package config_test

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"errors"
	"os"
	"strings"
	"testing"

	"refundd/cmd/internal/config"
)

// TestSigner: the key that the other signer has is the file's, also after the
// file has changed. Where libcrypto is not installed, or not built in, the error
// names the variable.
func TestSigner(t *testing.T) {
	path := file(t, read(t, "testdata/app_private_pkcs8.pem"))
	cfg, err := config.Load(environment("REFUNDD_ALIPAY_SIGNER=openssl", "REFUNDD_ALIPAY_PRIVATE_KEY_FILE="+path))
	if problem, ok := errors.AsType[*config.Error](err); ok {
		if len(problem.Problems) != 1 || problem.Problems[0].Variable != "REFUNDD_ALIPAY_SIGNER" {
			t.Fatalf("problems are %v", problem.Problems)
		}
		t.Skipf("nothing to sign with: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	signsWith(t, cfg)
	var out strings.Builder
	if err := cfg.WriteCheck(&out); err != nil || !strings.Contains(out.String(), "REFUNDD_ALIPAY_SIGNER  ") || !strings.Contains(out.String(), "openssl (OpenSSL 3.") {
		t.Errorf("-check does not show the library: %v", err)
	}
	former := cfg.Secrets.PrivateKey
	if err := os.WriteFile(path, []byte(read(t, "testdata/alipay_private_pkcs8.pem")), 0o600); err != nil {
		t.Fatal(err)
	}
	// Alipay's own key is refused as the app's only by its public half.
	cfg.Secrets.PublicKeys, cfg.AlipayPublicKeyFile = nil, "testdata/app_public.pem"
	if cfg, err = cfg.ReloadKeys(); err != nil {
		t.Fatal(err)
	}
	if cfg.Secrets.PrivateKey.Equal(former) {
		t.Error("the key is still the former")
	}
	signsWith(t, cfg)
	if _, err := cfg.OpenAlipay(); err != nil {
		t.Error(err)
	}
}

func signsWith(t *testing.T, cfg config.Config) {
	t.Helper()
	digest := sha256.Sum256([]byte("refund"))
	sig, err := cfg.Secrets.Signer.Sign(rand.Reader, digest[:], crypto.SHA256)
	if err != nil || rsa.VerifyPKCS1v15(&cfg.Secrets.PrivateKey.PublicKey, crypto.SHA256, digest[:], sig) != nil {
		t.Errorf("the signer does not have the key of the file: %v", err)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
