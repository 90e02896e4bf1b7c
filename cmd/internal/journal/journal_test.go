package journal

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"refundd/consumer/history"
)

// TestRead: what was answered counts once, at the time when it began; what was cut
// off by a kill is left out; and what was never answered stays unknown.
func TestRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "p7.jsonl")
	j, err := Open(path, "p7")
	if err != nil {
		t.Fatal(err)
	}
	began := time.UnixMilli(1_000)
	released := history.Fact{What: history.Release, Token: "t1", Result: history.Unknown, Number: "R1"}
	j.add(began, released)
	j.add(time.UnixMilli(1_500), history.Fact{What: history.Claim, Token: "t2", Result: history.Won, Number: "R1"})
	released.Result = history.Released
	j.add(began, released)
	released.Token, released.Result = "t3", history.Unknown
	j.add(time.UnixMilli(2_000), released)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	text = append(text, text[:len(text)/8]...)
	lines, err := Read(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, line := range lines {
		f := line.Fact
		if f.Process != "p7" || f.At != line.Nanos/1e6 {
			t.Errorf("%+v", line)
		}
		got = append(got, string(f.What)+" "+f.Token+" "+f.Result)
	}
	if want := "release t1 released, claim t2 won, release t3 unknown"; strings.Join(got, ", ") != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if _, err := Read(strings.NewReader("{\n")); err == nil || !strings.Contains(err.Error(), "line 1") {
		t.Errorf("a line that is none: %v", err)
	}
}
