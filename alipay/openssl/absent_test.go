//go:build !openssl

package openssl

import (
	"strings"
	"testing"
)

func TestNotBuiltIn(t *testing.T) {
	if s, err := New(newKey(t, 2048)); err == nil || !strings.Contains(err.Error(), "-tags openssl") {
		t.Errorf("signer %v, error %v", s, err)
	}
}
