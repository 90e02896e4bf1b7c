package flags

import (
	"strings"
	"testing"
	"time"

	"refundd/cmd/internal/cli"
)

// TestWhen: a moment is given in the same ways everywhere.
func TestWhen(t *testing.T) {
	for text, ago := range map[string]time.Duration{"10m": 10 * time.Minute, "7d": 168 * time.Hour, "1d12h": 36 * time.Hour, "0s": 0} {
		var w When
		if err := w.Set(text); err != nil || time.Since(w.Time)-ago > time.Minute || time.Since(w.Time) < ago {
			t.Errorf("%s: %s, %v", text, w.Time, err)
		}
	}
	for text, want := range map[string]string{
		"2026-11-27": "2026-11-27T00:00:00Z", "2026-11-27T08:00:00+08:00": "2026-11-27T00:00:00Z", "2026-11-27T08:00:00.5Z": "2026-11-27T08:00:00Z",
	} {
		var w When
		if err := w.Set(text); err != nil || cli.Clock(w.Time) != want {
			t.Errorf("%s: %s, %v", text, w.Time, err)
		}
	}
	for _, text := range []string{"", "now", "-1h", "3w", "d", "1d2d", "7days", "2026-13-01", "27.11.2026", "offset:1", "99999999d"} {
		var w When
		if err := w.Set(text); err == nil || !strings.Contains(err.Error(), "want how long ago (10m, 7d)") {
			t.Errorf("%s: %s, %v", text, w.Time, err)
		}
	}
	w := NewWhen("now", "now")
	w.Offsets = true
	if err := w.Set("offset:7"); err != nil || w.Offset == nil || *w.Offset != 7 {
		t.Errorf("offset:7: %v, %v", w.Offset, err)
	}
	if err := w.Set("now"); err != nil || w.Offset != nil || !w.IsZero() {
		t.Errorf("now after an offset: %+v, %v", w, err)
	}
}
