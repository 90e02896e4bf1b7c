package main

import (
	"net"
	"strings"
	"testing"

	"github.com/sirupsen/logrus"
)

// TestABusyAddressIsAFailure: exit code 1 is for what goes wrong while running.
func TestABusyAddressIsAFailure(t *testing.T) {
	busy, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = busy.Close() }()
	var out strings.Builder
	code := run(t.Context(), []string{"-once", "-alipay", busy.Addr().String()}, console{stdout: &out, stderr: &out, redirect: func(logrus.FieldLogger) {}})
	if code != 1 || !strings.Contains(out.String(), busy.Addr().String()) {
		t.Errorf("exit code %d, output %q", code, &out)
	}
}
