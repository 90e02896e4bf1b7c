// Command alipaysim is a local Alipay for tests, load tests and people who
// integrate: package alipaytest behind flags. Each flag can also be set in the
// environment, ALIPAYSIM_ and its name in capitals; the flag wins.
//
// On start it prints the variables that a refundd needs to talk to it, one
// NAME=value a line, so that a shell can read them; what a person should know
// stands in lines that begin with #.
//
// Exit codes: 0 stopped by SIGINT or SIGTERM (or -faults help), 1 failed while
// running, 2 wrong usage.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"refundd/alipay/alipaytest"
	"refundd/cmd/internal/build"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Getenv, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run is the program: it returns the exit code when ctx ends.
func run(ctx context.Context, args []string, getenv func(string) string, stdout, stderr io.Writer) int {
	o, err := readOptions(args, getenv, stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		complain(stderr, err)
		return 2
	case o.version:
		_, _ = fmt.Fprintln(stdout, "alipaysim", build.Version())
		return 0
	case o.faults == "help":
		printMenu(stdout)
		return 0
	}
	cfg, err := o.config()
	if err != nil {
		complain(stderr, err)
		return 2
	}
	if err := serve(ctx, o, cfg, stdout); err != nil {
		complain(stderr, err)
		return 1
	}
	return 0
}

func serve(ctx context.Context, o options, cfg alipaytest.Config, stdout io.Writer) error {
	sim, err := alipaytest.New(cfg)
	if err != nil {
		return fmt.Errorf("start: %w", err)
	}
	base, err := sim.Start(o.listen)
	if err != nil {
		return fmt.Errorf("start: %w", err)
	}
	if err := printEnvironment(stdout, base, o); err != nil {
		return errors.Join(err, sim.Close())
	}
	<-ctx.Done()
	if err := sim.Close(); err != nil {
		return fmt.Errorf("stop: %w", err)
	}
	return nil
}

// printEnvironment writes what refundd needs, with absolute paths: it may be
// started elsewhere.
func printEnvironment(w io.Writer, base string, o options) error {
	dir, err := filepath.Abs(o.keys)
	if err != nil {
		return fmt.Errorf("key directory: %w", err)
	}
	lines := []string{
		"# alipaysim listens on " + base + ", ledger: " + base + "/sim/state, calls: " + base + "/sim/calls",
		"# environment of a refundd that talks to it:",
		"REFUNDD_ALIPAY_GATEWAY=" + base + "/gateway.do",
		"REFUNDD_ALIPAY_APP_ID=" + o.appID,
		"REFUNDD_ALIPAY_PRIVATE_KEY_FILE=" + filepath.Join(dir, "app_private_key.pem"),
		"REFUNDD_ALIPAY_PUBLIC_KEY_FILE=" + filepath.Join(dir, "alipay_public_key.pem"),
		"# V3: REFUNDD_ALIPAY_V3_URL=" + base,
		"# certificate mode and AES: app_cert.pem, alipay_cert.pem, root_cert.pem, aes_key.txt in the same directory",
	}
	if _, err := fmt.Fprintln(w, strings.Join(lines, "\n")); err != nil {
		return fmt.Errorf("print environment: %w", err)
	}
	return nil
}

func printMenu(w io.Writer) {
	_, _ = fmt.Fprint(w, `-faults "name=probability,…": each call of a kind draws at most one of the faults below.
The name all gives every fault that is not named an equal share of its probability.
A request number that begins with fault-NAME- gets that fault whatever the probabilities say.
POST /sim/merchant?app_auth_token=TOKEN&fault=NAME gives it to every call for one merchant, until the same without NAME.
"For a while" is the first two calls of a number.

`)
	for _, f := range alipaytest.Menu() {
		_, _ = fmt.Fprintf(w, "%-46s %s\n", f.Name, f.Doc)
	}
}

func complain(w io.Writer, err error) { _, _ = fmt.Fprintln(w, "alipaysim:", err) }
