package main

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// TestDocumentsNameCommandsThatExist: what the operators' documents tell a person
// to type, in the middle of the night, is a command with these flags.
func TestDocumentsNameCommandsThatExist(t *testing.T) {
	flags := map[string]bool{} // "parked list -reason"
	for _, c := range completions(t.Context(), environment{getenv: func(string) string { return "" }}) {
		if strings.HasPrefix(c.word, "-") {
			flags[c.after+" "+c.word] = true
		}
	}
	// A call ends where its line, its code, a comment or the next program begins.
	call := regexp.MustCompile("refundctl ([a-z][^`\n#|)]*)")
	quoted := regexp.MustCompile(`"[^"]*"|'[^']*'`)
	for _, file := range []string{"README.md", "runbook.md", "rocketmq-acl.md", "compose.yaml", "refundd.service"} {
		text, err := os.ReadFile("../../deploy/" + file)
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for _, match := range call.FindAllStringSubmatch(onlyCode(file, string(text)), -1) {
			words := strings.Fields(quoted.ReplaceAllString(match[1], "TEXT"))
			c, rest, err := find(words)
			if err != nil {
				t.Errorf("%s: refundctl %s: %v", file, match[1], err)
				continue
			}
			n++
			for _, word := range rest {
				if strings.HasPrefix(word, "-") && word != "-h" && !flags[c.name+" "+word] {
					t.Errorf("%s: refundctl %s has no flag %s", file, c.name, word)
				}
			}
		}
		if n == 0 && strings.HasSuffix(file, ".md") && file != "rocketmq-acl.md" {
			t.Errorf("%s names no command", file)
		}
	}
}

// onlyCode is what stands between backticks, and in blocks of code.
func onlyCode(file, text string) string {
	if !strings.HasSuffix(file, ".md") {
		return text
	}
	var code strings.Builder
	for i, part := range strings.Split(text, "```") {
		if i%2 == 1 {
			code.WriteString(part + "\n")
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
