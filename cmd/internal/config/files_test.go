package config_test

import (
	"errors"
	"os"
	"strings"
	"testing"

	"refundd/cmd/internal/config"
)

func content(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// tidyAndNot is a text as it should be and as editors leave it.
func tidyAndNot(text string) map[string]string {
	return map[string]string{
		"tidy":            text,
		"byte order mark": "\ufeff" + text,
		"CR LF":           strings.ReplaceAll(text, "\n", "\r\n"),
		"indented":        "\n  " + strings.ReplaceAll(text, "\n", "\n  ") + "\n\n",
		"no end of line":  strings.TrimSpace(text),
	}
}

// TestFilesAreReadAsEditorsLeaveThem is about each file that holds a secret.
func TestFilesAreReadAsEditorsLeaveThem(t *testing.T) {
	local := startAlipay(t)
	for how := range tidyAndNot("") {
		t.Run(how, func(t *testing.T) {
			left := func(text string) string { return file(t, tidyAndNot(text)[how]) }
			keys := []string{
				"REFUNDD_ALIPAY_PRIVATE_KEY_FILE=" + left(content(t, local.file("app_private_key.pem"))),
				"REFUNDD_ALIPAY_ENCRYPT_KEY_FILE=" + left(content(t, local.file("aes_key.txt"))),
				"REFUNDD_REDIS_PASSWORD_FILE=" + left("canary word\n"),
				"REFUNDD_ROCKETMQ_ACCESS_KEY=a",
				"REFUNDD_ROCKETMQ_SECRET_KEY_FILE=" + left("canary\n"),
				"REFUNDD_MERCHANTS_FILE=" + left("{\"a\":\n {\"app_auth_token\": \"canary-1\"}}\n"),
			}
			public := "REFUNDD_ALIPAY_PUBLIC_KEY_FILE=" + left(content(t, local.file("alipay_public_key.pem"))+content(t, "testdata/alipay_public.pem"))
			c, err := config.Load(local.environment(append(keys, public)...))
			if err != nil {
				t.Fatal(err)
			}
			token, _ := c.Secrets.Merchants.Token("a")
			if len(c.Secrets.PublicKeys) != 2 || len(c.Secrets.EncryptKey) != 16 || c.Secrets.RedisPassword != "canary word" ||
				c.Secrets.RocketMQSecretKey != "canary" || token != "canary-1" {
				t.Errorf("%d public keys, password %q, secret key %q, token %q",
					len(c.Secrets.PublicKeys), c.Secrets.RedisPassword, c.Secrets.RocketMQSecretKey, token)
			}
			c, err = config.Load(local.environment(append(keys, "REFUNDD_ALIPAY_PUBLIC_KEY_FILE=",
				"REFUNDD_ALIPAY_APP_CERT_FILE="+left(content(t, local.file("app_cert.pem"))),
				"REFUNDD_ALIPAY_CERT_FILE="+left(content(t, local.file("alipay_cert.pem"))),
				"REFUNDD_ALIPAY_ROOT_CERT_FILE="+left("# the roots\n"+content(t, local.file("root_cert.pem"))+"# the last\n"),
			)...))
			if err != nil || len(c.Secrets.Certificates.AlipaySNs) != 1 {
				t.Errorf("%v", err)
			}
		})
	}
}

// TestFilesWithMoreInThemAreRefused: what is not understood is named by variable,
// file and line, and nothing of it is quoted.
func TestFilesWithMoreInThemAreRefused(t *testing.T) {
	local := startAlipay(t)
	cert := func(name string) string { return content(t, local.file(name)) }
	short := func(pem string) string { return pem + strings.Replace(pem, "-----BEGIN", "----BEGIN", 1) }
	lines := func(pem string) string {
		ends := strings.Index(pem, "-----END")
		return pem[:ends-20] + "?" + pem[ends-19:]
	}
	certificates := local.certificateMode()
	for name, tt := range map[string]struct {
		variable, text, line string
		more                 []string
	}{
		"private key, text behind": {"REFUNDD_ALIPAY_PRIVATE_KEY_FILE", cert("app_private_key.pem") + "canary", "line", nil},
		"public key, text behind":  {"REFUNDD_ALIPAY_PUBLIC_KEY_FILE", cert("alipay_public_key.pem") + "canary", "line", nil},
		"public key, dashes":       {"REFUNDD_ALIPAY_PUBLIC_KEY_FILE", short(cert("alipay_public_key.pem")), "line", nil},
		"public key, two forms":    {"REFUNDD_ALIPAY_PUBLIC_KEY_FILE", cert("alipay_public_key.pem") + "MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8A", "line", nil},
		"encrypt key, comment":     {"REFUNDD_ALIPAY_ENCRYPT_KEY_FILE", "# canary\n" + cert("aes_key.txt"), "line 1", nil},
		"app certificate":          {"REFUNDD_ALIPAY_APP_CERT_FILE", short(cert("app_cert.pem")), "line", certificates},
		"certificate, dashes":      {"REFUNDD_ALIPAY_CERT_FILE", short(cert("alipay_cert.pem")), "line", certificates},
		"certificate, character":   {"REFUNDD_ALIPAY_CERT_FILE", lines(cert("alipay_cert.pem")), "line", certificates},
		"certificate, comment":     {"REFUNDD_ALIPAY_CERT_FILE", "# canary\n" + cert("alipay_cert.pem"), "line 1", certificates},
		"root, dashes":             {"REFUNDD_ALIPAY_ROOT_CERT_FILE", short(cert("root_cert.pem")), "line", certificates},
		"root, cut":                {"REFUNDD_ALIPAY_ROOT_CERT_FILE", cert("root_cert.pem") + cert("root_cert.pem")[:300], "line", certificates},
		"root, no armour": {
			"REFUNDD_ALIPAY_ROOT_CERT_FILE", cert("root_cert.pem") + strings.ReplaceAll(cert("root_cert.pem"), "-----", "\n#"), "line", certificates,
		},
		"password, two lines":     {"REFUNDD_REDIS_PASSWORD_FILE", "canary\n\ncanary\n", "line 3", nil},
		"password, UTF-16":        {"REFUNDD_REDIS_PASSWORD_FILE", "\xff\xfec\x00a\x00n\x00a\x00r\x00y\x00", "line 1", nil},
		"password, control":       {"REFUNDD_REDIS_PASSWORD_FILE", "can\x07ary", "line 1", nil},
		"password, a mark alone":  {"REFUNDD_REDIS_PASSWORD_FILE", "\ufeff\n", "it is empty", nil},
		"merchants, more behind":  {"REFUNDD_MERCHANTS_FILE", "{}\n\n{\"canary\": 1}", "line 3", nil},
		"merchants, unknown word": {"REFUNDD_MERCHANTS_FILE", "{\"a\": {\"app_auth_token\": \"x\",\n \"canary\": \"y\"}}", "line 2", nil},
	} {
		t.Run(name, func(t *testing.T) {
			path := file(t, tt.text)
			_, err := config.Load(local.environment(append(tt.more, tt.variable+"="+path)...))
			if _, ok := errors.AsType[*config.Error](err); !ok {
				t.Fatalf("error is %v", err)
			}
			for _, want := range []string{tt.variable + ": ", path, tt.line} {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error is %q, want %q in it", err, want)
				}
			}
			if strings.Contains(err.Error(), "canary") {
				t.Errorf("error quotes the file: %v", err)
			}
		})
	}
}
