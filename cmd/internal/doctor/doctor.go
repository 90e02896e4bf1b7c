// Package doctor checks a live environment as refundd would find it: what is wrong,
// what may become wrong, and how to mend each.
package doctor

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"refundd/cmd/internal/cli"
	"refundd/cmd/internal/config"
)

// Severity of a finding.
type Severity string

// The severities.
const (
	OK      Severity = "ok"
	Warning Severity = "warning"
	Problem Severity = "problem"
)

// Finding is one thing that was looked at.
type Finding struct {
	Check    string   `json:"check"`
	Severity Severity `json:"severity"`
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
	print func(Finding)

	mu       sync.Mutex // nodes of a Redis Cluster are asked at once
	findings []Finding

	// retention is the longest of the brokers'; 0 if unknown.
	retention time.Duration
}

func (d *doctor) add(check string, s Severity, fix, saw string, args ...any) {
	f := Finding{Check: check, Severity: s, Saw: fmt.Sprintf(saw, args...), Fix: fix}
	if s == OK {
		f.Fix = ""
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.findings = append(d.findings, f)
	d.print(f)
}

// Options say what is looked at, and how it is told.
type Options struct {
	Live   bool          // ask Alipay, too
	Watch  time.Duration // how long the group's subscriptions are watched
	Quiet  bool          // only what is not ok
	Format cli.Format
}

// Run looks at the environment, and prints what it finds. It returns cli.ErrFound
// where there are problems.
func Run(ctx context.Context, env cli.Env, o Options) error {
	d := &doctor{env: env, live: o.Live, watch: o.Watch, print: func(Finding) {}}
	if !o.Format.JSON() {
		d.print = func(f Finding) {
			if !o.Quiet || f.Severity != OK {
				printFinding(env, f)
			}
		}
	}
	d.examine(ctx)
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("interrupted: %w", err)
	}
	counts := map[Severity]int{}
	for _, f := range d.findings {
		counts[f.Severity]++
	}
	err := o.Format.Print(env, struct {
		Findings []Finding        `json:"findings"`
		Counts   map[Severity]int `json:"counts"`
	}{d.findings, counts}, "%d problems, %d warnings, %d ok\n", counts[Problem], counts[Warning], counts[OK])
	switch {
	case err != nil:
		return err
	case counts[Problem] > 0:
		return cli.ErrFound
	}
	return nil
}

func printFinding(env cli.Env, f Finding) {
	colour := map[Severity]int{OK: cli.Green, Warning: cli.Yellow, Problem: cli.Red}[f.Severity]
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
			d.add("configuration", Problem, "set it as it says; refundd -check prints what would be used", "%s: %s", p.Variable, p.Text)
		}
		d.add("the rest", Warning, "mend the configuration first", "not looked at")
		return false
	}
	d.add("configuration", OK, "", "refundd would start with it")
	for _, text := range d.cfg.Warnings() {
		if text, ok := strings.CutPrefix(text, "warning: "); ok {
			d.add("configuration", Warning, "as it says; refundd runs with it all the same", "%s", text)
		}
	}
	return true
}
