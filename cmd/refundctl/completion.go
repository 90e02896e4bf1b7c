package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
)

const completionHelp = `refundctl completion prints a script that completes commands and flags in a shell.
It is made from the commands' own help, so it always fits this program.

usage: refundctl completion bash|zsh|fish

  source <(refundctl completion bash)                            # in ~/.bashrc
  source <(refundctl completion zsh)                             # in ~/.zshrc, after compinit
  refundctl completion fish > ~/.config/fish/completions/refundctl.fish
`

func completion(ctx context.Context, args []string, env environment) error {
	flags := flag.NewFlagSet("completion", flag.ContinueOnError)
	if err := parseFlags(flags, args, env, completionHelp); err != nil {
		return err
	}
	if flags.NArg() != 1 || !slices.Contains([]string{"bash", "zsh", "fish"}, flags.Arg(0)) {
		return wrongUsage("completion: want one of bash, zsh, fish")
	}
	words := completions(ctx, env)
	var script string
	switch flags.Arg(0) {
	case "fish":
		script = fishScript(words)
	case "zsh":
		script = "autoload -Uz bashcompinit && bashcompinit\n" + bashScript(words)
	default:
		script = bashScript(words)
	}
	if _, err := io.WriteString(env.stdout, script); err != nil {
		return fmt.Errorf("print: %w", err)
	}
	return nil
}

// completed is what may follow some words.
type completed struct {
	after string // "", "parked", "parked list"
	word  string // a command or -flag
	says  string
}

// completions asks every command for its flags, as a person would.
func completions(ctx context.Context, env environment) []completed {
	var list []completed
	for _, c := range commands() {
		first, rest, _ := strings.Cut(c.name, " ")
		if rest == "" {
			list = append(list, completed{"", first, c.says})
		} else {
			if !slices.ContainsFunc(list, func(d completed) bool { return d.after == "" && d.word == first }) {
				list = append(list, completed{"", first, "see refundctl help"})
			}
			list = append(list, completed{first, rest, c.says})
		}
		if c.name == "completion" { // it would ask itself
			for _, shell := range []string{"bash", "zsh", "fish"} {
				list = append(list, completed{c.name, shell, "script for " + shell})
			}
			continue
		}
		var help bytes.Buffer
		asking := env
		asking.stdout, asking.stderr = &help, io.Discard
		_ = c.run(ctx, []string{"-h"}, asking) // flag.ErrHelp
		list = append(list, flagsOf(c.name, help.String())...)
	}
	return list
}

// flagLine is one of flag.PrintDefaults' first lines of a flag; its text is on
// the same line or on the next.
var flagLine = regexp.MustCompile(`^  (-[a-z][a-z0-9-]*)(?: \S+)?(?:\t(.*))?$`)

func flagsOf(command, help string) []completed {
	_, help, _ = strings.Cut(help, "\nflags:\n")
	var list []completed
	for line := range strings.Lines(help) {
		line = strings.TrimRight(line, "\n")
		if found := flagLine.FindStringSubmatch(line); found != nil {
			list = append(list, completed{command, found[1], found[2]})
		} else if n := len(list); n > 0 && list[n-1].says == "" {
			list[n-1].says = strings.TrimSpace(line)
		}
	}
	return list
}

// bashScript completes by the longest known beginning of the words typed so far.
func bashScript(words []completed) string {
	var order []string
	after := map[string][]string{}
	for _, w := range words {
		if _, ok := after[w.after]; !ok {
			order = append(order, w.after)
		}
		after[w.after] = append(after[w.after], w.word)
	}
	var b strings.Builder
	b.WriteString(`_refundctl() {
  local current=${COMP_WORDS[COMP_CWORD]} choices=
  COMPREPLY=()
  local one=${COMP_WORDS[1]} two="${COMP_WORDS[1]} ${COMP_WORDS[2]}"
  ((COMP_CWORD < 2)) && one=
  ((COMP_CWORD < 3)) && two=
  case $two in
`)
	arms := func(two bool) {
		for _, words := range order {
			if words != "" && strings.Contains(words, " ") == two {
				fmt.Fprintf(&b, "    %q) choices=%q ;;\n", words, strings.Join(after[words], " "))
			}
		}
	}
	arms(true)
	b.WriteString("  esac\n  [[ -z $choices ]] && case $one in\n")
	fmt.Fprintf(&b, "    '') choices=%q ;;\n", strings.Join(after[""], " "))
	arms(false)
	b.WriteString(`  esac
  [[ -n $choices ]] && COMPREPLY=($(compgen -W "$choices" -- "$current"))
  [[ ${#COMPREPLY[@]} -eq 0 ]] && COMPREPLY=($(compgen -f -- "$current"))
  return 0
}
complete -F _refundctl refundctl
`)
	return b.String()
}

func fishScript(words []completed) string {
	var b strings.Builder
	quote := func(s string) string {
		return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(s) + "'"
	}
	for _, w := range words {
		condition := "__fish_use_subcommand"
		if w.after != "" {
			first, second, _ := strings.Cut(w.after, " ")
			condition = "__fish_seen_subcommand_from " + first
			if second != "" {
				condition += "; and __fish_seen_subcommand_from " + second
			}
		}
		fmt.Fprintf(&b, "complete -c refundctl -n %s", quote(condition))
		if name, ok := strings.CutPrefix(w.word, "-"); ok {
			fmt.Fprintf(&b, " -o %s", name)
		} else {
			fmt.Fprintf(&b, " -f -a %s", w.word)
		}
		fmt.Fprintf(&b, " -d %s\n", quote(w.says))
	}
	return b.String()
}
