package main

import (
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"refundd/cmd/internal/cli"
)

// eachCommand walks through all commands that do something of ours.
func eachCommand(c *cobra.Command, do func(*cobra.Command)) {
	for _, under := range c.Commands() {
		if under.Name() == "completion" || under.Name() == "help" {
			continue
		}
		do(under)
		eachCommand(under, do)
	}
}

func nothingSet() cli.Env { return cli.Env{Getenv: func(string) string { return "" }} }

// TestEveryCommandTeaches: the help of each has an example, both ways to it are no
// failure, and what has a result has it as JSON.
func TestEveryCommandTeaches(t *testing.T) {
	eachCommand(newRoot(nothingSet()), func(c *cobra.Command) {
		path := strings.Fields(c.CommandPath())[1:]
		for _, args := range [][]string{append(path, "-h"), append([]string{"help"}, path...)} {
			got := ctl(t.Context(), nil, "", args...)
			if got.code != exitDone || got.stderr != "" || !strings.Contains(got.stdout, "refundctl "+strings.Join(path, " ")) || c.Example == "" {
				t.Errorf("%v: %+v", args, got)
			}
		}
		above := ctl(t.Context(), nil, "", append([]string{"help"}, path[:len(path)-1]...)...)
		if !strings.Contains(above.stdout, "  "+c.Name()+" ") {
			t.Errorf("the help lacks %s", c.CommandPath())
		}
		if flag := c.Flags().ShorthandLookup("o"); !c.HasSubCommands() && (flag == nil || flag.Name != "output") {
			t.Errorf("%s has no -o", c.CommandPath())
		}
	})
}

func TestCompletion(t *testing.T) {
	for _, shell := range []string{"bash", "zsh", "fish"} {
		if got := ctl(t.Context(), nil, "", "completion", shell); got.code != exitDone || !strings.Contains(got.stdout, "refundctl") {
			t.Errorf("%s: %+v", shell, got)
		}
	}
	for _, args := range [][]string{{"completion"}, {"completion", "tcsh"}, {"completion", "bash", "zsh"}} {
		if got := ctl(t.Context(), nil, "", args...); got.code != exitUsage || got.stdout != "" {
			t.Errorf("%v: %+v", args, got)
		}
	}
}

// TestCompletionOfValues asks as a shell's script does.
func TestCompletionOfValues(t *testing.T) {
	vars := map[string]string{"REFUNDD_TOPIC_EVENT": "my-events"}
	for line, want := range map[string]string{
		"pa":                         "parked pause",
		"parked re":                  "requeue",
		"help parked re":             "requeue",
		"parked requeue --rea":       "--reason --reason-text",
		"explain R-1 --li":           "--live",
		"completion z":               "zsh",
		"send --kind ":               "refund coupon_refund",
		"pause -k c":                 "coupon_refund",
		"events --type fai":          "failed",
		"events -t coupon_refund.un": "coupon_refund.unresolved",
		"events -o ":                 "text json",
		"events --topic my":          "my-events",
		"record --topic refund-c":    "refund-command",
		"replay --pace ":             "even recorded",
		"check --only I1,I20":        "I1,I20",
		"parked list -r unknown_m":   "unknown_merchant",
		"parked list -r held,too_":   "held,too_large held,too_old",
		"parked list --number ":      "",
	} {
		words := strings.Split(line, " ")
		got := ctl(t.Context(), vars, "", append([]string{"__completeNoDesc"}, words...)...)
		lines := strings.Split(strings.TrimSpace(got.stdout), "\n")
		// A shell keeps what begins as it was begun.
		lines = slices.DeleteFunc(lines[:len(lines)-1], func(l string) bool { return !strings.HasPrefix(l, words[len(words)-1]) })
		if said := strings.Join(lines, " "); got.code != exitDone || said != want {
			t.Errorf("%s: %q, want %q", line, said, want)
		}
	}
}

// TestCompletionInBash: the script is one.
func TestCompletionInBash(t *testing.T) {
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("needs bash")
	}
	script := ctl(t.Context(), nil, "", "completion", "bash").stdout + "\ncomplete -p refundctl\n"
	out, err := exec.CommandContext(t.Context(), bash, "-c", script).CombinedOutput()
	if want := "complete -o default -F __start_refundctl refundctl\n"; err != nil || string(out) != want {
		t.Errorf("%v, %q, want %q", err, out, want)
	}
}
