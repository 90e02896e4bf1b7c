//go:build openssl && linux && (amd64 || arm64)

package openssl

import (
	"strings"
	"testing"
)

func TestLibraryAbsent(t *testing.T) {
	for name, want := range map[string]string{
		"libnothing.so.3": "libnothing.so.3 cannot be loaded",
		"libc.so.6":       "libc.so.6 has no OpenSSL_version",
	} {
		if _, err := open(name); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want %q in it", name, err, want)
		}
	}
}
