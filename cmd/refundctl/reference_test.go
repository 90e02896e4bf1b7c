package main

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

var update = flag.Bool("update", false, "write deploy/refundctl.md anew") //nolint:gochecknoglobals // a test flag

const referenceFile = "../../deploy/refundctl.md"

// TestReference: deploy/refundctl.md is what the commands say of themselves.
func TestReference(t *testing.T) {
	root := newRoot(nothingSet())
	var page strings.Builder
	fmt.Fprintf(&page, "# refundctl\n\nEvery command, as `refundctl help COMMAND` has it. Made by `go test ./cmd/refundctl -update`.\n\n```text\n%s\n```\n\n", root.Long)
	for _, group := range root.Groups() {
		fmt.Fprintf(&page, "%s\n\n", group.Title)
		for _, c := range root.Commands() {
			if c.GroupID == group.ID && c.Name() != "help" && c.Name() != "completion" {
				fmt.Fprintf(&page, "- [%s](#%s): %s\n", c.Name(), strings.ReplaceAll(c.CommandPath(), " ", "-"), c.Short)
			}
		}
		page.WriteString("\n")
	}
	page.WriteString("`refundctl completion bash|zsh|fish` prints a script that completes commands, flags and their values; each says how to load it.\n")
	eachCommand(root, func(c *cobra.Command) {
		c.InitDefaultHelpFlag()
		fmt.Fprintf(&page, "\n## %s\n\n%s.\n", c.CommandPath(), strings.ToUpper(c.Short[:1])+c.Short[1:])
		if c.HasSubCommands() {
			return
		}
		fmt.Fprintf(&page, "\n```sh\n%s\n```\n\n```text\n", strings.ReplaceAll(c.Example, "  refundctl", "refundctl"))
		if c.Long != "" {
			fmt.Fprintf(&page, "%s\n\n", c.Long)
		}
		fmt.Fprintf(&page, "usage: %s\n\n%s```\n", c.UseLine(), c.LocalFlags().FlagUsages())
	})
	if *update {
		if err := os.WriteFile(referenceFile, []byte(page.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(referenceFile)
	if err != nil {
		t.Fatal(err)
	}
	if string(text) != page.String() {
		t.Error("deploy/refundctl.md is not what the commands say: go test ./cmd/refundctl -update")
	}
}
