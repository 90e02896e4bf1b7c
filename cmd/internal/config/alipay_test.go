package config_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"math/big"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"refundd/alipay"
	"refundd/alipay/alipaytest"
	"refundd/cmd/internal/config"
)

// localAlipay answers as Alipay does, and remembers the last request.
type localAlipay struct {
	sim  *alipaytest.Server
	keys string // directory
	url  string

	mu   sync.Mutex
	last *http.Request
}

func startAlipay(t *testing.T) *localAlipay {
	t.Helper()
	a := &localAlipay{keys: t.TempDir()}
	keys, err := alipaytest.LoadOrCreateKeys(a.keys)
	if err != nil {
		t.Fatal(err)
	}
	if a.sim, err = alipaytest.New(alipaytest.Config{Keys: keys}); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a.mu.Lock()
		a.last = r
		a.mu.Unlock()
		a.sim.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	a.url = server.URL
	return a
}

// environment is that of key mode at this Alipay; later lines win.
func (a *localAlipay) environment(more ...string) []string {
	return append(environment(
		"REFUNDD_ALIPAY_GATEWAY="+a.url+"/gateway.do",
		"REFUNDD_ALIPAY_V3_URL="+a.url,
		"REFUNDD_ALIPAY_PRIVATE_KEY_FILE="+a.file("app_private_key.pem"),
		"REFUNDD_ALIPAY_PUBLIC_KEY_FILE="+a.file("alipay_public_key.pem"),
	), more...)
}

func (a *localAlipay) file(name string) string { return filepath.Join(a.keys, name) }

func (a *localAlipay) certificateMode() []string {
	return []string{
		"REFUNDD_ALIPAY_PUBLIC_KEY_FILE=",
		"REFUNDD_ALIPAY_APP_CERT_FILE=" + a.file("app_cert.pem"),
		"REFUNDD_ALIPAY_CERT_FILE=" + a.file("alipay_cert.pem"),
		"REFUNDD_ALIPAY_ROOT_CERT_FILE=" + a.file("root_cert.pem"),
	}
}

// sent tells how the last request looked.
func (a *localAlipay) sent() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	// v2 has its parameters in the form or in the query, V3 in headers.
	list := []string{a.last.URL.Path}
	if a.last.FormValue("app_cert_sn") != "" || strings.Contains(a.last.Header.Get("Authorization"), "app_cert_sn") {
		list = append(list, "certificates")
	}
	if a.last.FormValue("encrypt_type") != "" || a.last.Header.Get("alipay-encrypt-type") != "" {
		list = append(list, "AES")
	}
	return strings.Join(list, " ")
}

func TestOpenAlipaySpeaksAsConfigured(t *testing.T) {
	local := startAlipay(t)
	aes := "REFUNDD_ALIPAY_ENCRYPT_KEY_FILE=" + local.file("aes_key.txt")
	tests := map[string]struct {
		set  []string
		want string
	}{
		"key":                 {nil, "/gateway.do"},
		"key AES":             {[]string{aes}, "/gateway.do AES"},
		"key V3":              {[]string{"REFUNDD_ALIPAY_PROTOCOL=v3"}, "/v3/alipay/trade/refund"},
		"certificates":        {local.certificateMode(), "/gateway.do certificates"},
		"certificates AES":    {append(local.certificateMode(), aes), "/gateway.do certificates AES"},
		"certificates AES V3": {append(local.certificateMode(), aes, "REFUNDD_ALIPAY_PROTOCOL=v3"), "/v3/alipay/trade/refund certificates AES"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			cfg, err := config.Load(local.environment(tt.set...))
			if err != nil {
				t.Fatal(err)
			}
			client, err := cfg.OpenAlipay()
			if err != nil {
				t.Fatal(err)
			}
			defer client.CloseIdleConnections()
			number := strings.ReplaceAll(name, " ", "-")
			answer, err := client.Refund(t.Context(), &alipay.RefundRequest{OutTradeNo: "T1", OutRequestNo: number, RefundAmount: 100})
			if err != nil {
				t.Fatal(err)
			}
			if got := local.sent(); answer.FundChange != "Y" || got != tt.want {
				t.Errorf("fund_change %q, sent %q, want %q", answer.FundChange, got, tt.want)
			}
			if _, err := cfg.NewVerifier(); err != nil {
				t.Error(err)
			}
		})
	}
}

// issueFor returns the file of a certificate that signs itself, in force from an hour before now plus from to now plus until.
func issueFor(t *testing.T, key *rsa.PrivateKey, name string, from, until time.Duration) string {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(7), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(from), NotAfter: time.Now().Add(until),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return file(t, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
}

func TestLoadRefusesCertificates(t *testing.T) {
	local := startAlipay(t)
	keys, err := alipaytest.LoadOrCreateKeys(local.keys)
	if err != nil {
		t.Fatal(err)
	}
	const day = 24 * time.Hour
	tests := map[string]struct {
		set  string
		want []string
	}{
		"with a public key": {
			"REFUNDD_ALIPAY_PUBLIC_KEY_FILE=" + local.file("alipay_public_key.pem"),
			[]string{"REFUNDD_ALIPAY_PUBLIC_KEY_FILE: is key mode and ", "certificate mode"},
		},
		"private key instead": {
			"REFUNDD_ALIPAY_APP_CERT_FILE=" + local.file("app_private_key.pem"),
			[]string{"REFUNDD_ALIPAY_APP_CERT_FILE: ", "has a private key, want certificates"},
		},
		"no PEM": {
			"REFUNDD_ALIPAY_ROOT_CERT_FILE=" + local.file("aes_key.txt"),
			[]string{"REFUNDD_ALIPAY_ROOT_CERT_FILE: ", "has no PEM certificate"},
		},
		"of another key": {
			"REFUNDD_ALIPAY_PRIVATE_KEY_FILE=testdata/app_private_pkcs8.pem",
			[]string{"REFUNDD_ALIPAY_APP_CERT_FILE: ", "another key than that of REFUNDD_ALIPAY_PRIVATE_KEY_FILE"},
		},
		"the app's own for Alipay's": {
			"REFUNDD_ALIPAY_CERT_FILE=" + local.file("app_cert.pem"),
			[]string{"REFUNDD_ALIPAY_APP_CERT_FILE: ", "the app's own certificate"},
		},
		"app's expired": {
			"REFUNDD_ALIPAY_APP_CERT_FILE=" + issueFor(t, keys.AppPrivate, "App", -9*day, -day),
			[]string{"REFUNDD_ALIPAY_APP_CERT_FILE: ", "app certificate", "expired on"},
		},
		"Alipay's expired": {
			"REFUNDD_ALIPAY_CERT_FILE=" + issueFor(t, keys.AlipayPrivate, "Alipay", -9*day, -day),
			[]string{"certificate of Alipay", "expired on"},
		},
		"app's not valid yet": {
			"REFUNDD_ALIPAY_APP_CERT_FILE=" + issueFor(t, keys.AppPrivate, "App", day, 9*day),
			[]string{"REFUNDD_ALIPAY_APP_CERT_FILE: ", "not valid before"},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := config.Load(local.environment(append(local.certificateMode(), tt.set)...))
			if _, ok := errors.AsType[*config.Error](err); !ok {
				t.Fatalf("error is %v", err)
			}
			for _, want := range tt.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error is %q, want %q in it", err, want)
				}
			}
		})
	}
}

func TestCheckShowsCertificates(t *testing.T) {
	local := startAlipay(t)
	keys, err := alipaytest.LoadOrCreateKeys(local.keys)
	if err != nil {
		t.Fatal(err)
	}
	soon := time.Now().Add(48 * time.Hour)
	lone := issueFor(t, keys.AlipayPrivate, "Sandbox", -time.Hour, 48*time.Hour)
	cfg, err := config.Load(local.environment(append(local.certificateMode(),
		"REFUNDD_ALIPAY_CERT_FILE="+lone, "REFUNDD_ALIPAY_ENCRYPT_KEY_FILE="+local.file("aes_key.txt"))...))
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	if err := cfg.WriteCheck(&out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"sn " + keys.AppCertSN + "; CN=Local App", "sn " + keys.RootCertSN,
		"CN=Sandbox until " + soon.UTC().Format(time.DateOnly),
		"aes_key.txt (128 bits)",
		"the first of them runs out on " + soon.UTC().Format(time.DateOnly),
		"does not lead to a root of the root file; it is used all the same",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, &out)
		}
	}
	if strings.Contains(out.String(), keys.AESBase64) || strings.Contains(out.String(), base64.RawStdEncoding.EncodeToString(keys.AES)) {
		t.Error("the AES key is shown")
	}
}
