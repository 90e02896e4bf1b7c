package main

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestMutants: what is changed, and that log lines are not.
func TestMutants(t *testing.T) {
	code := `package p

func (h *handler) f(a, b int) int {
	if a < b && !h.on {
		h.log.WithField("n", a+1).Warn("x")
		h.count++
	}
	if a == 7 {
		h.log.Error("y")
	}
	switch {
	case a > 1:
		b = min(a, 2)
	}
	return b
}
`
	mutants, err := mutantsOf("p.go", []byte(code))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, m := range mutants {
		if m.where != "f" {
			t.Errorf("%+v is of %q", m, m.where)
		}
		_, name, _ := strings.Cut(m.name([]byte(code)), ": ")
		got = append(got, name)
	}
	for _, want := range []string{
		"`if a < b && !h.on {` → `if a <= b && !h.on {`",
		"`if a < b && !h.on {` → `if a < b || !h.on {`",
		"`if a < b && !h.on {` → `if a < b && h.on {`",
		"`if a < b && !h.on {` → `if !(a < b && !h.on) {`",
		"`h.count++` → ``",
		"`case a > 1:` → `case a >= 1:`",
		"`case a > 1:` → `case a > 0:`",
		"`case a > 1:` → `case a > 2:`",
		"`case a > 1:` → `case !(a > 1):`",
		"`b = min(a, 2)` → `b = max(a, 2)`",
		"`b = min(a, 2)` → `b = min(a, 4)`",
		"`b = min(a, 2)` → ``",
		"`return b` → ``",
	} {
		if !slices.Contains(got, want) {
			t.Errorf("lacks %s", want)
		}
	}
	for _, name := range got {
		if strings.Contains(name, "a+1") && !strings.Contains(name, "h.count++") || strings.Contains(name, "a == 7") || strings.Contains(name, `"y"`) {
			t.Errorf("changes what only logs: %s", name)
		}
	}
}

func TestLuaMutants(t *testing.T) {
	code := "-- a == b\nif a == b and not c then\n  redis.call('DEL', key)\n  x = math.max(x, n + 1)\nend\n"
	mutants, err := mutantsOf("x.lua", []byte(code))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, m := range mutants {
		_, after := m.lines([]byte(code))
		got = append(got, strings.TrimSpace(after))
		if strings.HasPrefix(after, "--") {
			t.Errorf("changes a comment: %s", after)
		}
	}
	for _, want := range []string{
		"if a ~= b and not c then", "if a == b or not c then", "if a == b and c then", "if not (a == b and not c) then", "",
		"x = math.min(x, n + 1)", "x = math.max(x, n - 1)", "x = math.max(x, n + 0)", "x = math.max(x, n + (1 + 1))",
	} {
		if !slices.Contains(got, want) {
			t.Errorf("lacks %q among %q", want, got)
		}
	}
}

// TestEveryEquivalentFitsTheCode: the list does not rot either.
func TestEveryEquivalentFitsTheCode(t *testing.T) {
	root := filepath.Join("..", "..")
	reasons, err := readEquivalents(root)
	if err != nil {
		t.Fatal(err)
	}
	all, err := draw(root, 1, regexp.MustCompile(""))
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range all {
		src, err := os.ReadFile(filepath.Join(root, s.file))
		if err != nil {
			t.Fatal(err)
		}
		delete(reasons, s.name(src))
	}
	for name := range reasons {
		t.Errorf("no such change: %s", name)
	}
}
