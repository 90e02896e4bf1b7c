package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"
)

// asChild makes this test binary the process that TestTheSecondSignalKills sends signals to.
const asChild = "REFUNDD_TEST_SIGNALS"

// scratch is a folder for what several tests share; it goes when they have ended.
var scratch string //nolint:gochecknoglobals // set once, before the tests

func TestMain(m *testing.M) {
	if os.Getenv(asChild) == "" {
		os.Exit(inScratch(m.Run))
	}
	ctx := untilSignal(context.Background())
	fmt.Fprintln(os.Stdout, "waiting")
	<-ctx.Done()
	fmt.Fprintln(os.Stdout, "draining")
	select {} // a drain that never ends
}

func inScratch(run func() int) int {
	var err error
	if scratch, err = os.MkdirTemp("", "refundd-test-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(scratch) }()
	return run()
}

func TestTheSecondSignalKills(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		t.Run(sig.String(), func(t *testing.T) {
			child := exec.CommandContext(t.Context(), os.Args[0])
			child.Env = append(os.Environ(), asChild+"=1")
			out, err := child.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := child.Start(); err != nil {
				t.Fatal(err)
			}
			lines := bufio.NewScanner(out)
			for _, want := range []string{"waiting", "draining"} {
				if !lines.Scan() || lines.Text() != want {
					t.Fatalf("the child says %q, want %q", lines.Text(), want)
				}
				if want == "waiting" {
					send(t, child, sig)
				}
			}
			// The child goes back to the default on its own goroutine after the first signal: repeat until it dies.
			ended := make(chan struct{})
			go func() { defer close(ended); lines.Scan() }()
			for alive := true; alive; {
				send(t, child, sig)
				select {
				case <-ended:
					alive = false
				case <-time.After(10 * time.Millisecond):
				}
			}
			exit, ok := errors.AsType[*exec.ExitError](child.Wait())
			if !ok {
				t.Fatal("the child ended by itself")
			}
			if status, ok := exit.Sys().(syscall.WaitStatus); !ok || status.Signal() != sig {
				t.Errorf("the child ended with %v, want by %v", exit, sig)
			}
		})
	}
}

func send(t *testing.T, child *exec.Cmd, sig syscall.Signal) {
	t.Helper()
	if err := child.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Fatal(err)
	}
}
