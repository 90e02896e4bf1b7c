package tape_test

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"refundd/cmd/internal/tape"
)

func messages() []tape.Message {
	at := time.Date(2026, 11, 22, 6, 2, 47, 61e6, time.UTC)
	return []tape.Message{
		{
			Topic: "refund-command", Queue: "broker-a/0", Offset: 7, ID: "AC11", Born: at, Stored: at.Add(time.Millisecond),
			Properties: map[string]string{"KEYS": "R-1", "traceparent": "00-…"}, Body: []byte(`{"refund_reason":"<损坏>\n"}`),
		},
		{Topic: "refund-command", Queue: "broker-a/1", ID: "AC12", Born: at, Stored: at, Body: []byte{0xff, 0, '\n'}},
		{Topic: "refund-command", Queue: "broker-a/1", Offset: 1, ID: "AC13", Born: at, Stored: at, Body: []byte{}},
		{Topic: "refund-command", Queue: "broker-a/1", Offset: 2, ID: "AC14", Born: at, Stored: at, Body: []byte(strings.Repeat("長", 400_000))},
	}
}

func write(t *testing.T, name string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	w, err := tape.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range messages() {
		if err := w.Write(m); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestWhatIsWrittenIsRead(t *testing.T) {
	for _, name := range []string{"plain.jsonl", "small.jsonl.gz"} {
		path := write(t, name)
		r, err := tape.Open(path, nil)
		if err != nil {
			t.Fatal(err)
		}
		for i, want := range messages() {
			got, err := r.Next()
			if err != nil || !reflect.DeepEqual(got, want) {
				t.Errorf("%s message %d: %.200v, %v; want %.200v", name, i, got, err, want)
			}
		}
		if _, err := r.Next(); !errors.Is(err, io.EOF) {
			t.Errorf("%s: %v after the last message", name, err)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
		if _, err := tape.Create(path); !errors.Is(err, os.ErrExist) {
			t.Errorf("written over: %v", err)
		}
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("mode %v, %v", info.Mode(), err)
		}
	}
}

func TestAFileThatWasCutOff(t *testing.T) {
	path := write(t, "cut.jsonl.gz")
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, whole[:len(whole)-6], 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := tape.Open(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Close() }()
	for err == nil {
		_, err = r.Next()
	}
	if errors.Is(err, io.EOF) || !strings.Contains(err.Error(), "cut") {
		t.Errorf("%v", err)
	}
}

func TestWhatIsNoTape(t *testing.T) {
	for text, want := range map[string]string{
		"secret":               "- line 1: not a recorded message",
		`{"topic":"secret"}`:   "- line 1: not a recorded message: no topic or no body",
		"\n\n{\"body\":\"x\"}": "- line 3: not a recorded message: no topic or no body",
		"[1]":                  "- line 1: not a recorded message",
	} {
		r, err := tape.Open("-", strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.Next(); err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
}

func BenchmarkWrite(b *testing.B) {
	w, err := tape.Create(filepath.Join(b.TempDir(), "bench.jsonl.gz"))
	if err != nil {
		b.Fatal(err)
	}
	m := messages()[0]
	for i := 0; b.Loop(); i++ {
		m.ID = fmt.Sprint(i)
		if err := w.Write(m); err != nil {
			b.Fatal(err)
		}
	}
}
