package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"refundd/cmd/internal/cli"
	"refundd/consumer/history"
)

// TestCheck: the verdict, its exit code, and what is said of files that are none.
func TestCheck(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	money := `{"at":1,"what":"money","kind":"refund","out_request_no":"R1","trade":"T1","amount":100}` + "\n"
	good := file("good.jsonl", money)
	twice := file("twice.jsonl", money+money)
	bad := file("bad.jsonl", money+"not json\n")
	rows := []struct {
		name string
		args []string
		code int
		says string
	}{
		{"good", []string{good}, exitDone, "I2 not checked: lacks facts of kind command"},
		{"broken", []string{twice}, exitFailed, "I1 is broken"},
		{"two parts of one history", []string{good, good}, exitFailed, "the story of refund R1"},
		{"standard input", []string{"-o", "json", "-"}, exitFailed, `"invariant":"I1"`},
		{"only another", []string{"--only", "I4", twice}, exitDone, "0 violations"},
		{"the same again", []string{"--only", "I19", "--repeat", good, good}, exitDone, "1 invariants hold"},
		{"not the same again", []string{"--only", "I19", "--repeat", twice, good}, exitFailed, "I19 is broken"},
		{"no file", nil, exitUsage, "no file is given"},
		{"no such file", []string{filepath.Join(dir, "none")}, exitUsage, "none"},
		{"no history", []string{bad}, exitUsage, "line 2: not a JSON object"},
		{"no such invariant", []string{"--only", "I99", good}, exitUsage, `"I99" for "--only" flag: want one of I1, I2`},
		{"no such output", []string{"-o", "xml", good}, exitUsage, `"xml" for "-o, --output" flag`},
		{"help", []string{"-h"}, exitDone, "I14  when faults stop"},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			var out bytes.Buffer
			code := run(t.Context(), append([]string{"check"}, row.args...), cli.Env{
				Getenv: func(string) string { return "" }, Stdin: strings.NewReader(money + money), Stdout: &out, Stderr: &out,
			})
			if code != row.code || !strings.Contains(out.String(), row.says) {
				t.Errorf("code %d, want %d; says %q", code, row.code, out.String())
			}
			if row.name == "standard input" {
				var report history.Report
				if err := json.Unmarshal(out.Bytes(), &report); err != nil || len(report.Violations) != 1 {
					t.Errorf("%v: %+v", err, report)
				}
			}
		})
	}
}
