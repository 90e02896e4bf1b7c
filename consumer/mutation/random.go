package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// suspects are the files that are changed at random, and who is asked about them,
// the packages in that order.
func suspects() []struct {
	files []string
	asked []string
} {
	return []struct{ files, asked []string }{
		{[]string{"consumer/*.go"}, []string{"./consumer", simulation}},
		{[]string{"dedupe/*.go", "dedupe/*.lua"}, []string{"./dedupe", "./dedupe/dedupetest", simulation}},
		{[]string{"producer/copy.go"}, []string{"./producer", simulation, "./consumer"}},
	}
}

// parts are how long the tests of each round take at most. The simulation with few
// seeds is asked before the first of them, with all seeds in the last but one, and
// what takes longer at the end.
var parts = []time.Duration{50 * time.Millisecond, 400 * time.Millisecond, 4 * time.Second} //nolint:gochecknoglobals // a table

const fewSeeds = "-seeds=40"

const everything = "TestSimulation$"

// paces are what the simulation shows of Alipay's limits, which no seed asks for.
const paces = "^(TestPaceUsesTheLimit|TestOneMerchantsLimitIsUsed)$"

// suspect is a mutant and who is asked.
type suspect struct {
	mutant
	asked  []string
	number int  // in the common build; 0: it needs one of its own
	inside bool // of a function
}

// verdict is what became of one.
type verdict struct {
	suspect
	stillborn bool   // it does not compile
	by        string // what caught it; empty: nothing
	reason    string // why it is listed as equivalent
	err       error
}

// lottery draws changes and asks the tests about them.
type lottery struct {
	bench
	reasons map[string]string
	shared  map[string]string    // the common build's tests of each package
	rounds  [5]map[string]string // which tests of each package, as of -test.run
}

// random plants n changes that are drawn by the seed, some at once, and prints
// what survived. The code is that of files whose path matches only.
func (b bench) random(ctx context.Context, n int, seed uint64, atOnce int, only *regexp.Regexp, out io.Writer) (code int, err error) {
	l := lottery{bench: b, shared: map[string]string{}, rounds: [5]map[string]string{{simulation: everything}, {}, {simulation: paces}, {simulation: everything}, {}}}
	if l.reasons, err = readEquivalents(b.root); err != nil {
		return 2, err
	}
	drawn, err := draw(b.root, seed, only)
	if err != nil {
		return 2, err
	}
	dir, err := os.MkdirTemp("", "mutation-")
	if err != nil {
		return 2, fmt.Errorf("plant many: %w", err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	drawn, overlay, err := b.common(ctx, dir, drawn[:min(len(drawn), 2*n)]) // about one in four does not compile
	if err != nil {
		return 2, err
	}
	if err := l.measure(ctx, dir, overlay, drawn, out); err != nil {
		return 2, err
	}
	var survivors, wrong, caught, equivalent int
	for v := range l.tryAll(ctx, drawn, n, atOnce) {
		if v.err != nil {
			return 2, v.err
		}
		src, err := os.ReadFile(filepath.Join(b.root, v.file))
		if err != nil {
			return 2, fmt.Errorf("show a survivor: %w", err)
		}
		before, after := v.lines(src)
		fate := "caught by " + v.by
		switch {
		case v.reason != "" && v.by == "":
			equivalent++
			continue
		case v.reason != "":
			wrong++
			fate = "LISTED AS EQUIVALENT, but " + fate
		case v.by == "":
			survivors++
			fate = "SURVIVED"
		default:
			caught++
		}
		_, _ = fmt.Fprintf(out, "%s:%d %s\n", v.file, v.line, fate)
		if v.by == "" || v.reason != "" {
			_, _ = fmt.Fprintf(out, "-%s\n+%s\n  - %s: \n", before, after, v.name(src))
		}
	}
	all := caught + survivors + wrong
	_, _ = fmt.Fprintf(out, "\nseed %d: %d of %d caught (%.1f %%), %d more equivalent; %d survived, %d wrongly listed\n",
		seed, caught+wrong, all, 100*float64(caught+wrong)/float64(max(all, 1)), equivalent, survivors, wrong)
	if survivors+wrong > 0 {
		return 1, nil
	}
	return 0, ctx.Err()
}

// draw returns all changes of the files, in the order of the seed.
func draw(root string, seed uint64, only *regexp.Regexp) ([]suspect, error) {
	var all []suspect
	for _, s := range suspects() {
		for _, pattern := range s.files {
			paths, err := filepath.Glob(filepath.Join(root, pattern))
			if err != nil {
				return nil, fmt.Errorf("draw: %w", err)
			}
			for _, path := range paths {
				file, err := filepath.Rel(root, path)
				if err != nil {
					return nil, fmt.Errorf("draw: %w", err)
				}
				if strings.HasSuffix(file, "_test.go") || !only.MatchString(file) {
					continue
				}
				src, err := os.ReadFile(path) //nolint:gosec // the module's own code
				if err != nil {
					return nil, fmt.Errorf("draw: %w", err)
				}
				mutants, err := mutantsOf(filepath.ToSlash(file), src)
				if err != nil {
					return nil, fmt.Errorf("draw: %w", err)
				}
				for _, m := range mutants {
					all = append(all, suspect{mutant: m, asked: s.asked})
				}
			}
		}
	}
	rand.New(rand.NewPCG(seed, 0)).Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] }) //nolint:gosec // a draw that can be repeated
	return all, nil
}

// tryAll tries changes until n of them compiled.
func (l lottery) tryAll(ctx context.Context, drawn []suspect, n, atOnce int) func(yield func(verdict) bool) {
	return func(yield func(verdict) bool) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		next, verdicts := make(chan suspect), make(chan verdict)
		var workers sync.WaitGroup
		for range atOnce {
			workers.Go(func() {
				for s := range next {
					verdicts <- l.try(ctx, s)
				}
			})
		}
		waiting := 0
		for n > 0 {
			var offer chan suspect
			var s suspect
			if len(drawn) > 0 && waiting < n {
				offer, s = next, drawn[0]
			}
			if offer == nil && waiting == 0 {
				break
			}
			select {
			case offer <- s:
				drawn, waiting = drawn[1:], waiting+1
			case v := <-verdicts:
				waiting--
				if v.stillborn {
					continue
				}
				n--
				if !yield(v) {
					n = 0
				}
			}
		}
		cancel()
		close(next)
		go func() { workers.Wait(); close(verdicts) }()
		for range verdicts {
			// What was begun ends.
		}
	}
}

// try plants one change and asks until somebody notices. A time-out notices it.
func (l lottery) try(ctx context.Context, s suspect) verdict {
	v := verdict{suspect: s}
	dir, err := os.MkdirTemp("", "mutation-")
	if err != nil {
		v.err = fmt.Errorf("plant: %w", err)
		return v
	}
	defer func() { _ = os.RemoveAll(dir) }()
	path := filepath.Join(l.root, s.file)
	src, err := os.ReadFile(path) //nolint:gosec // the module's own code
	if err != nil {
		v.err = fmt.Errorf("plant: %w", err)
		return v
	}
	v.reason = l.reasons[s.name(src)]
	overlay, err := overlayOf(dir, path, s.apply(src))
	if err != nil {
		v.err = err
		return v
	}
	programs := map[string]string{}
	for round, tests := range l.rounds {
		for _, packages := range s.asked {
			var more []string
			if round == 0 && packages == simulation {
				more = []string{fewSeeds}
			}
			if tests[packages] == "" {
				continue
			}
			if s.number > 0 {
				programs[packages] = l.shared[packages]
			}
			if programs[packages] == "" {
				if programs[packages], err = l.build(ctx, dir, overlay, packages); err != nil {
					v.stillborn, v.err = ctx.Err() == nil, ctx.Err()
					return v
				}
			}
			if v.by = l.fails(ctx, s.number, programs[packages], packages, tests[packages], more...); v.by != "" {
				v.err = ctx.Err()
				return v
			}
		}
	}
	return v
}

// fails names the first test that fails, twice: that a busy machine fails once is no
// proof. It is empty if there is none.
func (l lottery) fails(ctx context.Context, number int, program, packages, tests string, more ...string) (by string) {
	for skip := []string{"^$"}; ; {
		out, err := l.test(ctx, number, program, packages, tests, append(more, "-test.skip="+strings.Join(skip, "|"))...)
		if err == nil {
			return ""
		}
		by := "`" + strings.TrimPrefix(packages, "./") + "` " + failedTest(out)
		top, _, _ := strings.Cut(failedTest(out), "/")
		if packages == simulation || !strings.HasPrefix(top, "Test") || ctx.Err() != nil {
			return by
		}
		if _, err := l.test(ctx, number, program, packages, "^"+top+"$"); err != nil {
			return by
		}
		skip = append(skip, "^"+top+"$")
	}
}

func (b bench) build(ctx context.Context, dir, overlay, packages string) (program string, err error) {
	program = filepath.Join(dir, strings.ReplaceAll(filepath.Base(packages), ".", "")+".test")
	cmd := exec.CommandContext(ctx, "go", "test", "-c", "-vet=off", "-ldflags=-s -w", "-overlay="+overlay, "-o", program, packages) //nolint:gosec // the arguments are our own
	cmd.Dir = b.root
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the tests of %s: %w:\n%s", packages, err, out)
	}
	return program, nil
}

// test runs some tests of a package until the first one fails.
func (b bench) test(ctx context.Context, number int, program, packages, tests string, more ...string) ([]byte, error) {
	args := []string{"-test.v", "-test.failfast", "-test.short", "-test.timeout=3m", "-test.parallel=8", "-test.run=" + tests}
	if packages == simulation {
		args = append(args, fmt.Sprintf("-seeds=%d", b.seeds), "-shrink=false")
	}
	cmd := exec.CommandContext(ctx, program, append(args, more...)...) //nolint:gosec // the program is the module's own
	cmd.Dir = filepath.Join(b.root, packages)
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%d", chosen, number))
	return cmd.CombinedOutput()
}

// measure runs the tests without a change. It notes which are quick, so that they
// are asked first, and leaves out what fails: it could show nothing.
func (l lottery) measure(ctx context.Context, dir, overlay string, drawn []suspect, out io.Writer) error {
	took := regexp.MustCompile(`(?m)^ *--- PASS: ([^/ ]+)\S* \(([0-9.]+)s\)`) // and each of its parts
	for _, s := range drawn {
		for _, packages := range s.asked {
			if l.shared[packages] != "" {
				continue
			}
			program, err := l.build(ctx, dir, overlay, packages)
			if err != nil {
				return fmt.Errorf("measure: %w", err)
			}
			l.shared[packages] = program
			if packages == simulation {
				continue
			}
			text, err := l.test(ctx, 0, program, packages, ".", "-test.failfast=false", "-test.timeout=20m") // also on a busy machine
			if err != nil && !bytes.Contains(text, []byte("--- FAIL")) {
				return fmt.Errorf("measure: %s without a change: %w\n%s", packages, err, text)
			}
			var broken []string
			for _, failed := range regexp.MustCompile(`(?m)^--- FAIL: (\S+)`).FindAllSubmatch(text, -1) {
				again, err := l.test(ctx, 0, program, packages, "^"+string(failed[1])+"$")
				if text = append(text, again...); err != nil {
					broken = append(broken, string(failed[1]))
					_, _ = fmt.Fprintf(out, "%s fails without a change, and is not asked\n", failed[1])
				}
			}
			longest := map[string]float64{}
			for _, m := range took.FindAllSubmatch(text, -1) {
				seconds, err := strconv.ParseFloat(string(m[2]), 64)
				if err != nil {
					return fmt.Errorf("measure: %w", err)
				}
				longest[string(m[1])] = max(longest[string(m[1])], seconds)
			}
			var names [len(l.rounds)][]string
			for name, seconds := range longest {
				if slices.Contains(broken, name) {
					continue // a part of it may have passed
				}
				n, _ := slices.BinarySearch(parts, time.Duration(seconds*float64(time.Second)))
				names[n+1] = append(names[n+1], name)
			}
			for n, names := range names {
				if len(names) > 0 && (n <= len(parts) || !l.hasty) {
					l.rounds[n][packages] = "^(" + strings.Join(names, "|") + ")$"
				}
			}
		}
	}
	return nil
}
