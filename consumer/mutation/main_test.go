package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The list must not rot: every mistake still fits the code that it spoils.
func TestEveryMistakeFitsTheCode(t *testing.T) {
	names := map[string]bool{}
	for _, m := range mistakes() {
		if names[m.name] {
			t.Errorf("%q is there twice", m.name)
		}
		names[m.name] = true
		changed, err := m.apply(filepath.Join("..", "..", m.file))
		if err != nil {
			t.Error(err)
			continue
		}
		if m.right == m.wrong || !strings.Contains(string(changed), m.wrong) {
			t.Errorf("%q changes nothing", m.name)
		}
		if len(m.asked) == 0 {
			t.Errorf("%q asks nobody", m.name)
		}
	}
	if len(names) < 25 {
		t.Errorf("%d mistakes, want at least 25", len(names))
	}
}

// The table in the repository is about the list as it is, and all were caught.
func TestTheTableIsComplete(t *testing.T) {
	text, err := os.ReadFile("TABLE.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range mistakes() {
		if !strings.Contains(string(text), m.head()) {
			t.Errorf("the table lacks %q: go run ./consumer/mutation -write", m.name)
		}
	}
	if strings.Contains(string(text), nothing) {
		t.Error("the table has a mistake that nothing caught")
	}
}
