package main

import (
	"os/exec"
	"strings"
	"testing"
)

// TestEveryCommandTeaches: the help of each has an example, and -h is no failure.
func TestEveryCommandTeaches(t *testing.T) {
	for _, c := range commands() {
		args := append(strings.Fields(c.name), "-h")
		got := ctl(t.Context(), nil, "", args...)
		if got.code != exitDone || got.stderr != "" || !strings.Contains(got.stdout, "  refundctl "+c.name) && !strings.Contains(got.stdout, "source <(refundctl "+c.name) {
			t.Errorf("%s: %+v", c.name, got)
		}
		if help := ctl(t.Context(), nil, "", "help"); !strings.Contains(help.stdout, "  "+c.name+" ") {
			t.Errorf("the help lacks %s", c.name)
		}
	}
}

func TestCompletion(t *testing.T) {
	for shell, want := range map[string]string{
		"bash": `"parked list") choices="-all `, "zsh": "bashcompinit\n", "fish": "seen_subcommand_from parked; and __fish_seen_subcommand_from drop' -o reason-text -d 'why, for",
	} {
		if got := ctl(t.Context(), nil, "", "completion", shell); got.code != exitDone || !strings.Contains(got.stdout, want) {
			t.Errorf("%s lacks %q: %+v", shell, want, got)
		}
	}
	for _, args := range [][]string{{"completion"}, {"completion", "tcsh"}, {"completion", "bash", "zsh"}} {
		if got := ctl(t.Context(), nil, "", args...); got.code != exitUsage || !strings.Contains(got.stderr, "one of bash, zsh, fish") {
			t.Errorf("%v: %+v", args, got)
		}
	}
}

// TestCompletionInBash asks a real shell.
func TestCompletionInBash(t *testing.T) {
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("needs bash")
	}
	script := ctl(t.Context(), nil, "", "completion", "bash").stdout + `
t() { COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _refundctl; echo "${COMPREPLY[*]}"; }
t refundctl pa
t refundctl parked re
t refundctl parked requeue -rea
t refundctl explain R-1 -li
t refundctl completion z
`
	out, err := exec.CommandContext(t.Context(), bash, "-c", script).CombinedOutput()
	if want := "pause parked\nrequeue\n-reason -reason-text\n-live\nzsh\n"; err != nil || string(out) != want {
		t.Errorf("%v, %q, want %q", err, out, want)
	}
}
