package deploy_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"
)

// documents are those that a person reads, by their path in the repository.
func documents(t *testing.T) map[string]string {
	t.Helper()
	texts := map[string]string{}
	for _, pattern := range []string{"*.md", ".github/*.md", "consumer/*.md", "consumer/*/*.md", "deploy/*.md", "producer/*.md"} {
		files, err := filepath.Glob("../" + pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			texts[strings.TrimPrefix(file, "../")] = read(t, file)
		}
	}
	for _, file := range []string{"README.md", ".github/CONTRIBUTING.md", "consumer/DESIGN.md", "deploy/runbook.md", "producer/CONTRACT.md"} {
		if texts[file] == "" {
			t.Errorf("there is no %s", file)
		}
	}
	return texts
}

// TestLinksLeadSomewhere: every file and every heading that a document links to
// is there, those of DESIGN.md's map of the packages among them.
func TestLinksLeadSomewhere(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)\s]+)\)`)
	texts := documents(t)
	for name, text := range texts {
		for _, match := range link.FindAllStringSubmatch(text, -1) {
			file, heading, _ := strings.Cut(match[1], "#")
			if strings.Contains(file, "://") {
				continue
			}
			target := name
			if file != "" {
				target = filepath.Join(filepath.Dir(name), file)
			}
			if _, err := os.Stat("../" + target); err != nil {
				t.Errorf("%s: link to %s: %v", name, match[1], err)
			} else if heading != "" && !slices.Contains(anchors(texts[target]), heading) {
				t.Errorf("%s: %s has no heading for %s", name, target, match[1])
			}
		}
	}
}

// anchors are the names that GitHub gives to the headings of a document.
func anchors(text string) []string {
	dropped := regexp.MustCompile(`[^\p{L}\p{N} _-]`)
	var all []string
	for _, match := range regexp.MustCompile(`(?m)^#+ (.+)$`).FindAllStringSubmatch(text, -1) {
		all = append(all, strings.ReplaceAll(dropped.ReplaceAllString(strings.ToLower(match[1]), ""), " ", "-"))
	}
	return all
}

// TestRulesHaveAHeading: the rules that comments cite by number stand in DESIGN.md,
// R1 to R14, each once.
func TestRulesHaveAHeading(t *testing.T) {
	design := read(t, "../consumer/DESIGN.md")
	for n := range 14 {
		rule := "(R" + strconv.Itoa(n+1) + ")"
		if got := len(regexp.MustCompile(`(?m)^### .*`+regexp.QuoteMeta(rule)+`$`).FindAllString(design, -1)); got != 1 {
			t.Errorf("%d headings end with %s, want 1", got, rule)
		}
	}
}

// TestReadmeIsShort: whoever opens it first reads it to its end.
func TestReadmeIsShort(t *testing.T) {
	readme := read(t, "../README.md")
	if n := strings.Count(readme, "\n"); n > 110 {
		t.Errorf("%d lines, at most 110", n)
	}
	if n := len(strings.Fields(readme)); n > 900 {
		t.Errorf("%d words, at most 900", n)
	}
	for line := range strings.Lines(readme) {
		if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > 100 {
			t.Errorf("%d columns, at most 100: %s", n, line)
		}
	}
}
