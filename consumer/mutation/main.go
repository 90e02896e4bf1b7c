// Command mutation plants one deliberate mistake after the other into a copy of
// the code, by way of -overlay, and reports what caught it: the simulation, or else
// the tests of the packages concerned. A mistake that nothing catches is a hole in
// the proof, and the program ends with exit code 1.
//
//	go run ./consumer/mutation                  all of them; prints the table
//	go run ./consumer/mutation -only lease      those whose name has "lease" in it
//	go run ./consumer/mutation -write           also writes TABLE.md beside this file;
//	                                            with -only, other rows stay as they are
//	go run ./consumer/mutation -random 200 -seed 1   changes without imagination: of
//	                                            operators, constants and statements, as
//	                                            the seed draws them; -only is a pattern of files
//
// A change at random that survives is a missing test, or stands in EQUIVALENT.md with
// the reason why it is none. Log lines are left alone, and what does not compile does
// not count.
//
// Nothing in the work tree is changed: the go command reads the changed file
// through -overlay. Exit codes: 0 all caught, 1 not all, or one
// caught that is listed as equivalent, 2 wrong usage or a mistake that no longer fits
// the code.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// table is where -write puts the result, from the module's root.
const table = "consumer/mutation/TABLE.md"

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("mutation", flag.ContinueOnError)
	flags.SetOutput(stderr)
	only := flags.String("only", "", "plant only mistakes with this `text` in their name")
	write := flags.Bool("write", false, "write the table to "+table)
	seeds := flags.Int("seeds", 300, "simulated `runs` for each mistake")
	random := flags.Int("random", 0, "instead, plant this `number` of changes drawn at random")
	seed := flags.Uint64("seed", 1, "draws them")
	hasty := flags.Bool("hasty", false, "of changes at random, ask only the quick tests and the simulation")
	atOnce := flags.Int("at-once", 3, "of them are tried at a time")
	if err := flags.Parse(args); err != nil {
		return 2
	}
	root, err := moduleRoot(ctx)
	if err != nil {
		_, _ = fmt.Fprintln(stderr, "mutation:", err)
		return 2
	}
	bench := bench{root: root, seeds: *seeds, hasty: *hasty}
	if *random > 0 {
		files, err := regexp.Compile(*only)
		if err != nil {
			_, _ = fmt.Fprintln(stderr, "mutation:", err)
			return 2
		}
		code, err := bench.random(ctx, *random, *seed, max(*atOnce, 1), files, stdout)
		if err != nil {
			_, _ = fmt.Fprintln(stderr, "mutation:", err)
		}
		return code
	}
	var results []result
	for _, m := range mistakes() {
		if !strings.Contains(m.name, *only) {
			continue
		}
		r, err := bench.try(ctx, m)
		if err != nil {
			_, _ = fmt.Fprintln(stderr, "mutation:", err)
			return 2
		}
		_, _ = fmt.Fprintln(stdout, r.row())
		results = append(results, r)
	}
	caught := 0
	for _, r := range results {
		if r.by != "" {
			caught++
		}
	}
	_, _ = fmt.Fprintf(stdout, "\n%d of %d caught\n", caught, len(results))
	if *write {
		if err := writeTable(filepath.Join(root, table), results, *seeds); err != nil {
			_, _ = fmt.Fprintln(stderr, "mutation:", err)
			return 2
		}
	}
	if caught < len(results) {
		return 1
	}
	return 0
}

func moduleRoot(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}").Output()
	if err != nil {
		return "", fmt.Errorf("find the module: %w", err)
	}
	return strings.TrimSpace(string(out)), nil
}

const nothing = "**NOTHING**"

// result is what became of one mistake.
type result struct {
	mistake
	by   string // what caught it; empty: nothing
	took time.Duration
}

func (r result) row() string {
	by := r.by
	if by == "" {
		by = nothing
	}
	return r.head() + fmt.Sprintf("%s | %.0f s |", by, r.took.Seconds())
}

// head is a row up to what caught the mistake.
func (m mistake) head() string { return fmt.Sprintf("| %s | `%s` | ", m.name, m.file) }

// writeTable puts the results into the table, and leaves the rows of other mistakes
// that are still on the list.
func writeTable(path string, results []result, seeds int) error {
	before, err := os.ReadFile(path) //nolint:gosec // the table's own path
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("write the table: %w", err)
	}
	rows := map[string]string{}
	for line := range strings.Lines(string(before)) {
		for _, m := range mistakes() {
			if strings.HasPrefix(line, m.head()) {
				rows[m.name] = line
			}
		}
	}
	for _, r := range results {
		rows[r.name] = r.row() + "\n"
	}
	var b strings.Builder
	_, _ = fmt.Fprintf(&b, `# Deliberate mistakes, and what caught them

Made by `+"`go run ./consumer/mutation -write`"+`. Each mistake is planted alone. Where the simulation runs the code in question it is asked first,
with %d runs; what it does not see is left to the tests of the packages named in `+"`mistakes.go`"+`. The time is from planting to the first
failure, compiling included, on two busy cores.

| mistake | file | caught by | after |
|---|---|---|---|
`, seeds)
	caught := 0
	for _, m := range mistakes() {
		b.WriteString(rows[m.name])
		if rows[m.name] != "" && !strings.Contains(rows[m.name], nothing) {
			caught++
		}
	}
	_, _ = fmt.Fprintf(&b, "\n%d of %d caught.\n", caught, len(mistakes()))
	if err := os.WriteFile(path, []byte(b.String()), 0o600); err != nil {
		return fmt.Errorf("write the table: %w", err)
	}
	return nil
}

// bench runs tests over changed code.
type bench struct {
	root  string
	seeds int
	hasty bool
}

// try plants one mistake and returns what caught it first.
func (b bench) try(ctx context.Context, m mistake) (result, error) {
	dir, err := os.MkdirTemp("", "mutation-")
	if err != nil {
		return result{}, fmt.Errorf("plant %q: %w", m.name, err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	overlay, err := m.plant(b.root, dir)
	if err != nil {
		return result{}, err
	}
	begin := time.Now()
	for _, s := range m.asked {
		by, err := b.fails(ctx, overlay, s)
		if err != nil {
			return result{}, fmt.Errorf("plant %q: %w", m.name, err)
		}
		if by != "" {
			return result{mistake: m, by: by, took: time.Since(begin)}, nil
		}
	}
	return result{mistake: m, took: time.Since(begin)}, nil
}

// fails runs one stage and returns the name of the first test that failed, or
// nothing if all passed.
func (b bench) fails(ctx context.Context, overlay string, s stage) (string, error) {
	args := []string{"test", "-overlay", overlay, "-count=1", "-failfast", "-timeout=10m", "-run", s.run, s.packages}
	if s.packages == simulation {
		args = append(args, "-args", fmt.Sprintf("-seeds=%d", b.seeds), "-shrink=false")
	}
	cmd := exec.CommandContext(ctx, "go", args...) //nolint:gosec // the arguments are of mistakes.go
	cmd.Dir = b.root
	out, err := cmd.CombinedOutput()
	if err == nil {
		return "", nil
	}
	if ctx.Err() != nil {
		return "", ctx.Err()
	}
	text := string(out)
	if strings.Contains(text, "[build failed]") || strings.Contains(text, "[setup failed]") {
		return "", fmt.Errorf("the code does not compile:\n%s", text)
	}
	return fmt.Sprintf("`%s` %s", strings.TrimPrefix(s.packages, "./"), failedTest(out)), nil
}

// failedTest names the innermost test that failed.
func failedTest(out []byte) string {
	found := regexp.MustCompile(`(?m)^\s*--- FAIL: (\S+)`).FindAllSubmatch(out, -1)
	if found == nil {
		return "the process ended"
	}
	return string(found[len(found)-1][1])
}

var errNotOnce = errors.New("is not exactly once in the file")

// plant writes the changed file and the overlay that puts it in its place.
func (m mistake) plant(root, dir string) (overlay string, err error) {
	path := filepath.Join(root, m.file)
	changed, err := m.apply(path)
	if err != nil {
		return "", err
	}
	return overlayOf(dir, path, changed)
}

// overlayOf writes what go's -overlay takes, into dir: changed in the place of path.
func overlayOf(dir, path string, changed []byte) (overlay string, err error) {
	copied := filepath.Join(dir, filepath.Base(path))
	if err := os.WriteFile(copied, changed, 0o600); err != nil {
		return "", fmt.Errorf("plant into %s: %w", path, err)
	}
	return writeOverlay(dir, map[string]string{path: copied})
}

func (m mistake) apply(path string) ([]byte, error) {
	text, err := os.ReadFile(path) //nolint:gosec // the path is of mistakes.go
	if err != nil {
		return nil, fmt.Errorf("plant %q: %w", m.name, err)
	}
	if strings.Count(string(text), m.right) != 1 {
		return nil, fmt.Errorf("plant %q: %q %w %s", m.name, m.right, errNotOnce, m.file)
	}
	return []byte(strings.Replace(string(text), m.right, m.wrong, 1)), nil
}
