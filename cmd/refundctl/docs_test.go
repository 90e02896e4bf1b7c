package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"refundd/cmd/internal/flags"
)

// TestDocumentsNameCommandsThatExist: what the operators' documents tell a person
// to type, in the middle of the night, is a command with these flags.
func TestDocumentsNameCommandsThatExist(t *testing.T) {
	root := newRoot(nothingSet())
	// A call ends where its line, its code, a comment or the next program begins.
	call := regexp.MustCompile("refundctl ([a-z][^`\n#|)]*)")
	quoted := regexp.MustCompile(`"[^"]*"|'[^']*'`)
	for _, file := range []string{"../README.md", "README.md", "runbook.md", "refundctl.md", "rocketmq-acl.md", "compose.yaml", "refundd.service"} {
		text, err := os.ReadFile("../../deploy/" + file)
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for _, match := range call.FindAllStringSubmatch(onlyCode(file, string(text)), -1) {
			words := strings.Fields(quoted.ReplaceAllString(match[1], "TEXT"))
			c, rest, err := root.Find(words)
			if err == nil {
				err = flags.OneDash(root, words)
			}
			if err == nil && c.HasSubCommands() && len(rest) > 0 && !strings.Contains(rest[0], "|") {
				err = flags.Choose(c, rest)
			}
			if err != nil {
				t.Errorf("%s: refundctl %s: %v", file, match[1], err)
				continue
			}
			n++
			c.InitDefaultHelpFlag()
			for _, word := range rest {
				name, _, _ := strings.Cut(word, "=")
				long, isLong := strings.CutPrefix(name, "--")
				short, isShort := strings.CutPrefix(name, "-")
				if isLong && c.Flags().Lookup(long) == nil || !isLong && isShort && short != "" && c.Flags().ShorthandLookup(short[:1]) == nil {
					t.Errorf("%s: %s has no flag %s", file, c.CommandPath(), name)
				}
			}
		}
		if n == 0 && strings.HasSuffix(file, ".md") && file != "rocketmq-acl.md" {
			t.Errorf("%s names no command", file)
		}
	}
}

// onlyCode is what stands between backticks, and in blocks of code that are no text.
func onlyCode(file, text string) string {
	if !strings.HasSuffix(file, ".md") {
		return text
	}
	var code strings.Builder
	for i, part := range strings.Split(text, "```") {
		if i%2 == 1 {
			if !strings.HasPrefix(part, "text") {
				code.WriteString(part + "\n")
			}
			continue
		}
		for j, span := range strings.Split(part, "`") {
			if j%2 == 1 {
				code.WriteString(strings.ReplaceAll(span, "\n", " ") + "\n")
			}
		}
	}
	return code.String()
}

// TestHintsNameFlagsThatExist: so do the programs' own hints.
func TestHintsNameFlagsThatExist(t *testing.T) {
	known := map[string]bool{}
	eachCommand(newRoot(nothingSet()), func(c *cobra.Command) {
		c.Flags().VisitAll(func(f *pflag.Flag) { known[f.Name] = true })
	})
	one := regexp.MustCompile(`[^-\w]--?([a-z][a-z-]+[a-z])\b`)
	n := 0
	for _, pattern := range []string{"*.go", "../internal/*/*.go", "../internal/admin/page.html", "../demo/*.go"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for line := range strings.Lines(string(text)) {
				at := strings.Index(line, "refundctl ")
				if at < 0 || strings.HasSuffix(file, "_test.go") {
					continue
				}
				for _, flag := range one.FindAllStringSubmatch(line[at:], -1) {
					n++
					if !known[flag[1]] || !strings.Contains(flag[0], "--") {
						t.Errorf("%s: %s: %s", file, flag[0], strings.TrimSpace(line))
					}
				}
			}
		}
	}
	if n < 30 {
		t.Errorf("only %d hints were looked at", n)
	}
}
