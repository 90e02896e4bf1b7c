package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sirupsen/logrus"

	"refundd/cmd/internal/config"
)

// environment returns a valid one, with keys made for this test.
func environment(t *testing.T) []string {
	t.Helper()
	write := func(name, kind string, der []byte, err error) string {
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	app, alipay := newKey(t), newKey(t)
	private, err := x509.MarshalPKCS8PrivateKey(app)
	privateFile := write("app.pem", "PRIVATE KEY", private, err)
	public, err := x509.MarshalPKIXPublicKey(&alipay.PublicKey)
	publicFile := write("alipay.pem", "PUBLIC KEY", public, err)
	return []string{
		"REFUNDD_ROCKETMQ_NAMESERVERS=127.0.0.1:9876",
		"REFUNDD_REDIS_URL=redis://127.0.0.1:6379/0",
		"REFUNDD_ALIPAY_APP_ID=2021000000000001",
		"REFUNDD_ALIPAY_PRIVATE_KEY_FILE=" + privateFile,
		"REFUNDD_ALIPAY_PUBLIC_KEY_FILE=" + publicFile,
	}
}

func newKey(t *testing.T) *rsa.PrivateKey {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func TestRun(t *testing.T) {
	valid := environment(t)
	unasked := func(context.Context, config.Config, *logrus.Logger) error {
		return errors.New("served without being asked to")
	}
	tests := map[string]struct {
		args    string
		environ []string
		serve   func(context.Context, config.Config, *logrus.Logger) error
		want    int
		stdout  string // has to be in it
		stderr  string // has to be in it; "" means that it is empty
	}{
		"help": {
			args: "-h", serve: unasked, want: 0, stdout: "REFUNDD_ALIPAY_TIMEOUT",
		},
		"version": {
			args: "-version", serve: unasked, want: 0, stdout: "refundd ",
		},
		"unknown flag": {
			args: "-chek", serve: unasked, want: 2, stderr: "-chek",
		},
		"argument": {
			args: "serve", environ: valid, serve: unasked, want: 2, stderr: `unexpected argument "serve"`,
		},
		"check of a valid configuration": {
			args: "-check", environ: valid, serve: unasked, want: 0, stdout: "REFUNDD_ALIPAY_APP_ID",
		},
		"check of nothing": {
			args: "-check", serve: unasked, want: 2, stderr: "refundd: REFUNDD_REDIS_URL: is required\n",
		},
		"check of a signer that does not exist": {
			args: "-check", environ: append(valid[:5:5], "REFUNDD_ALIPAY_SIGNER=hsm"), serve: unasked, want: 2, stderr: "refundd: REFUNDD_ALIPAY_SIGNER: \"hsm\" is not one of go, openssl",
		},
		"serve without configuration": {
			serve: unasked, want: 2, stderr: "refundd: REFUNDD_ALIPAY_PRIVATE_KEY_FILE: is required\n",
		},
		"serve and stop": {
			environ: valid, want: 0,
			serve: func(context.Context, config.Config, *logrus.Logger) error { return nil },
		},
		"serve and fail": {
			environ: valid, want: 1, stderr: "disk is full",
			serve: func(context.Context, config.Config, *logrus.Logger) error { return errors.New("disk is full") },
		},
		"serve and find the configuration wrong": {
			environ: valid, want: 2, stderr: "REFUNDD_TOPIC_EVENT",
			serve: func(context.Context, config.Config, *logrus.Logger) error {
				return fmt.Errorf("start: %w", &config.Error{Problems: []config.Problem{
					{Variable: "REFUNDD_TOPIC_EVENT", Text: `topic "refund-event" does not exist`},
				}})
			},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			p := program{environ: tt.environ, stdout: &stdout, stderr: &stderr, serve: tt.serve}
			if got := p.run(t.Context(), strings.Fields(tt.args)); got != tt.want {
				t.Errorf("exit code %d, want %d", got, tt.want)
			}
			if !strings.Contains(stdout.String(), tt.stdout) {
				t.Errorf("standard output is %q, want %q in it", &stdout, tt.stdout)
			}
			if !strings.Contains(stderr.String(), tt.stderr) || tt.stderr == "" && stderr.Len() > 0 {
				t.Errorf("standard error is %q, want %q in it", &stderr, tt.stderr)
			}
		})
	}
}

func TestServeGetsContextConfigurationAndLogger(t *testing.T) {
	type key struct{}
	ctx := context.WithValue(t.Context(), key{}, true)
	var stderr bytes.Buffer
	p := program{
		environ: append(environment(t), "REFUNDD_CONCURRENCY=7", "REFUNDD_LOG_LEVEL=debug"),
		stdout:  io.Discard,
		stderr:  &stderr,
		serve: func(ctx context.Context, cfg config.Config, log *logrus.Logger) error {
			if ctx.Value(key{}) == nil || cfg.Concurrency != 7 {
				t.Errorf("context %v, concurrency %d", ctx, cfg.Concurrency)
			}
			log.Debug("here")
			return nil
		},
	}
	if code := p.run(ctx, nil); code != exitOK {
		t.Errorf("exit code %d", code)
	}
	if !strings.Contains(stderr.String(), `"msg":"here"`) {
		t.Errorf("log is %q", &stderr)
	}
}
