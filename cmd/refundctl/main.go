// Command refundctl is the operator's tool beside refundd. It sends commands
// (send) and follows events (events) over RocketMQ, as any other system would,
// puts brakes on and off through Redis (pause, resume, brakes), tells one
// refund's story (explain), works off what waits for a person (parked), records,
// replays and reconciles (record, replay, reconcile, verify-notify), looks at
// an environment (doctor, topics create) and checks recorded histories (check).
// It never joins the service's consumer group. Only --live talks to Alipay, by
// queries.
//
// What a person does with a parked refund never says anything about the money.
// A requeue sends a copy of the record's generation, so that it merges with any
// other copy (DESIGN R7), with a new age and no try spent (R12); the service then
// judges by everything that was asked before. A drop only takes the refund off
// the list: its record stays, undecided and without expiry (R10), no event is
// published, so that accounting still has it as unresolved (R14), and a later
// copy or notification may still prove it. Both write who, when and why into the
// record's note, under compare, before anything is sent; where no undecided record
// can hold it, beside the records.
//
// Exit codes: 0 the job is done, or asked to stop; 1 it failed while running;
// 2 wrong usage. Results go to standard output, everything else to standard
// error.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"refundd/cmd/internal/build"
	"refundd/cmd/internal/cli"
	"refundd/cmd/internal/flags"
	"refundd/consumer"
)

const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2
)

const rootHelp = `refundctl works with refundd over its topics and its Redis.

Commands that read or write topics find RocketMQ by --nameserver or
REFUNDD_ROCKETMQ_NAMESERVERS. Brokers with access control want
REFUNDD_ROCKETMQ_ACCESS_KEY and REFUNDD_ROCKETMQ_SECRET_KEY_FILE.

Results are text, or JSON with -o json; progress and mistakes go to standard
error. What moves messages or money prints a plan and asks, unless --yes.
Times are how long ago (10m, 7d), a day (2026-11-27, from midnight UTC), or a time
(2026-11-27T08:00:00+08:00).

Exit codes: 0 done or stopped, 1 failed or found something wrong, 2 wrong usage.`

// The groups of the help.
const (
	groupFlow    = "flow"
	groupRefunds = "refunds"
	groupProof   = "proof"
	groupSystem  = "system"
)

// newRoot is the tool: every command with its flags.
func newRoot(env cli.Env) *cobra.Command {
	root := &cobra.Command{
		Use: "refundctl", Short: "The operator's tool beside refundd", Long: rootHelp,
		Version: build.Version(), SilenceErrors: true, SilenceUsage: true,
	}
	root.SetIn(env.Stdin)
	root.SetOut(env.Stdout)
	root.SetErr(env.Stderr)
	root.SetVersionTemplate("refundctl {{.Version}}\n")
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return &cli.UsageError{Text: err.Error()} })
	root.CompletionOptions.SetDefaultShellCompDirective(cobra.ShellCompDirectiveNoFileComp)
	root.Flags().Bool("version", false, "print the version") // without a short form: -v is --verbose
	root.AddGroup(
		&cobra.Group{ID: groupFlow, Title: "Commands and events:"},
		&cobra.Group{ID: groupRefunds, Title: "Refunds and those that wait for a person:"},
		&cobra.Group{ID: groupProof, Title: "Records and proofs:"},
		&cobra.Group{ID: groupSystem, Title: "Environment:"},
	)
	add := func(group string, commands ...*cobra.Command) {
		for _, c := range commands {
			c.GroupID = group
		}
		root.AddCommand(commands...)
	}
	add(groupFlow, sendCommand(env), eventsCommand(env), pauseCommand(env), resumeCommand(env), brakesCommand(env))
	add(groupRefunds, explainCommand(env), parkedCommand(env))
	add(groupProof, recordCommand(env), replayCommand(env), reconcileCommand(env), verifyNotifyCommand(env), checkCommand(env))
	add(groupSystem, doctorCommand(env), topicsCommand(env), versionCommand(env))
	// The usage of a group names its commands, and not itself.
	root.SetUsageTemplate(strings.Replace(root.UsageTemplate(), "{{if .Runnable}}", "{{if not .HasAvailableSubCommands}}", 1))
	root.SetHelpCommandGroupID(groupSystem)
	root.SetCompletionCommandGroupID(groupSystem)
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	flags.Finish(root)
	return root
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], cli.Env{
		Getenv: os.Getenv, Environ: os.Environ(), Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
		Colours:  os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb" && cli.IsTerminal(os.Stdout),
		Redirect: consumer.RedirectSDK, OpenTerminal: cli.OpenTerminal,
	})
	stop()
	os.Exit(code)
}

// run is the program; it returns the exit code.
func run(ctx context.Context, args []string, env cli.Env) int {
	root := newRoot(env)
	root.SetArgs(args)
	err := flags.OneDash(root, args)
	if err == nil {
		err = root.ExecuteContext(ctx)
	}
	wrong, isWrong := errors.AsType[*cli.UsageError](err)
	switch {
	case err == nil:
		return exitDone
	case errors.Is(err, cli.ErrFound):
		return exitFailed
	case isWrong && wrong.Text == "": // it was told
		return exitUsage
	case isWrong:
		_, _ = fmt.Fprintf(env.Stderr, "refundctl: %v (-h helps)\n", err)
		return exitUsage
	}
	_, _ = fmt.Fprintln(env.Stderr, "refundctl:", err)
	return exitFailed
}

func versionCommand(env cli.Env) *cobra.Command {
	var out flags.Output
	c := &cobra.Command{
		Use: "version", Short: "print the version", Example: "  refundctl version -o json",
		RunE: func(*cobra.Command, []string) error {
			return out.Print(env, map[string]string{"version": build.Version()}, "refundctl %s\n", build.Version())
		},
	}
	out.Register(c)
	return c
}
