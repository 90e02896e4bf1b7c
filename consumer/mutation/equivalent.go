package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// equivalents is the list of changes that are none: nothing that anybody may rely
// on differs. Each is one line, "- " and its name, then a colon and the reason.
const equivalents = "consumer/mutation/EQUIVALENT.md"

// readEquivalents returns the reasons by the names of the changes.
func readEquivalents(root string) (map[string]string, error) {
	text, err := os.ReadFile(filepath.Join(root, equivalents)) //nolint:gosec // the list's own path
	if err != nil {
		return nil, fmt.Errorf("read what is equivalent: %w", err)
	}
	reasons := map[string]string{}
	for line := range strings.Lines(string(text)) {
		entry, ok := strings.CutPrefix(strings.TrimSpace(line), "- ")
		if !ok {
			continue
		}
		end := strings.LastIndex(entry, "`: ")
		if end < 0 || entry[end+3:] == "" {
			return nil, fmt.Errorf("read what is equivalent: no reason in %q", entry)
		}
		reasons[entry[:end+1]] = entry[end+3:]
	}
	return reasons, nil
}
