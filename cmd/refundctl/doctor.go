package main

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"refundd/cmd/internal/cli"
	"refundd/cmd/internal/config"
)

const doctorLong = `Checks a live environment as refundd would find it, and tells what is wrong, what may
become wrong, and how to mend each. It changes nothing but one key in Redis, by
which it sees whether a claim could be written; a minute later that is gone.

It reads the service's whole environment (REFUNDD_…), with its files. What it looks at:
  configuration  everything that refundd -check looks at
  RocketMQ       name servers, topics, queues, permissions, group, members, lag; flushing,
                 replication, retention, delay levels of each broker
  Redis          whether it takes writes, mode, role, eviction, persistence, memory, clock
  Alipay         keys, certificates, notify URL; with --live a query for a trade that does
                 not exist, for the app and for each merchant, and the gateway's clock
  times          REFUNDD_KEEP against retention, delays against each other

--live sends read-only queries and nothing else. --watch takes a group's members at
their word: a broker believes the last of their heartbeats, which come every 30 seconds.

Exit codes: 0 no problem (there may be warnings), 1 problems, 2 wrong usage.`

const doctorExample = `  refundctl doctor                  with the service's environment
  refundctl doctor --live           asks Alipay as well: keys, permissions, clock
  refundctl doctor --watch 35s      also whether all instances subscribe to the same topics
  refundctl doctor -o json | jq '.findings[] | select(.severity == "problem")'`

// severity of a finding.
type severity string

const (
	fine    severity = "ok"
	warning severity = "warning"
	problem severity = "problem"
)

// finding is one thing that was looked at.
type finding struct {
	Check    string   `json:"check"`
	Severity severity `json:"severity"`
	Saw      string   `json:"saw"`
	Fix      string   `json:"fix,omitempty"`
}

// doctor looks at one environment.
type doctor struct {
	env   cli.Env
	cfg   config.Config
	live  bool
	watch time.Duration
	// print tells a finding as soon as it is known.
	print func(finding)

	mu       sync.Mutex // nodes of a Redis Cluster are asked at once
	findings []finding

	// retention is the longest of the brokers'; 0 if unknown.
	retention time.Duration
}

func (d *doctor) add(check string, s severity, fix, saw string, args ...any) {
	f := finding{Check: check, Severity: s, Saw: fmt.Sprintf(saw, args...), Fix: fix}
	if s == fine {
		f.Fix = ""
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.findings = append(d.findings, f)
	d.print(f)
}

func doctorCommand(env cli.Env) *cobra.Command {
	d := &doctor{env: env, print: func(finding) {}}
	var out output
	var quiet bool
	var watch period
	cmd := &cobra.Command{
		Use: "doctor", Short: "check a live environment: RocketMQ, Redis, Alipay, configuration", Long: doctorLong, Example: doctorExample,
		RunE: func(cmd *cobra.Command, _ []string) error {
			d.watch = time.Duration(watch)
			if !out.JSON() {
				d.print = func(f finding) {
					if !quiet || f.Severity != fine {
						printFinding(env, f)
					}
				}
			}
			return d.run(cmd.Context(), out)
		},
	}
	out.register(cmd)
	cmd.Flags().BoolVar(&d.live, "live", false, "ask Alipay, too")
	cmd.Flags().Var(&watch, "watch", "watch the group's subscriptions for this `time`")
	cmd.Flags().BoolVarP(&quiet, "quiet", "q", false, "only what is not ok")
	return cmd
}

func (d *doctor) run(ctx context.Context, out output) error {
	d.examine(ctx)
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("interrupted: %w", err)
	}
	counts := map[severity]int{}
	for _, f := range d.findings {
		counts[f.Severity]++
	}
	err := out.Print(d.env, struct {
		Findings []finding        `json:"findings"`
		Counts   map[severity]int `json:"counts"`
	}{d.findings, counts}, "%d problems, %d warnings, %d ok\n", counts[problem], counts[warning], counts[fine])
	switch {
	case err != nil:
		return err
	case counts[problem] > 0:
		return cli.ErrFound
	}
	return nil
}

func printFinding(env cli.Env, f finding) {
	colour := map[severity]int{fine: cli.Green, warning: cli.Yellow, problem: cli.Red}[f.Severity]
	_, _ = fmt.Fprintf(env.Stdout, "%s %-20s %s\n", env.Paint(colour, fmt.Sprintf("%-8s", f.Severity)), f.Check, f.Saw)
	if f.Fix != "" {
		_, _ = fmt.Fprintf(env.Stdout, "%30s%s\n", "", "fix: "+f.Fix)
	}
}

// examine looks at everything. A part that does not answer ends its own checks.
func (d *doctor) examine(ctx context.Context) {
	if !d.configuration() {
		return
	}
	d.rocketmq(ctx)
	d.redis(ctx)
	d.alipay(ctx)
	d.times()
}

func (d *doctor) configuration() bool {
	var err error
	if d.cfg, err = config.Load(d.env.Environ); err != nil {
		for _, p := range problemsOf(err) {
			d.add("configuration", problem, "set it as it says; refundd -check prints what would be used", "%s: %s", p.Variable, p.Text)
		}
		d.add("the rest", warning, "mend the configuration first", "not looked at")
		return false
	}
	d.add("configuration", fine, "", "refundd would start with it")
	for _, text := range d.cfg.Warnings() {
		if text, ok := strings.CutPrefix(text, "warning: "); ok {
			d.add("configuration", warning, "as it says; refundd runs with it all the same", "%s", text)
		}
	}
	return true
}
