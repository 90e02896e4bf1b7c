package main

import (
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// fakeDocker records its arguments, one call a line, and answers as a Docker
// does whose containers run. What it reads must be the embedded file.
const fakeDocker = `#!/bin/sh
case "$1 $2" in
"info "|"compose version") echo "$*" >>"$CALLS"; exit 0;;
esac
cmp -s - "$WANT" || { echo "not the file of the stack" >&2; exit 1; }
shift 5
echo "$*" >>"$CALLS"
[ "$1" != ps ] || echo "$RUNNING"
`

func TestComposeEngine(t *testing.T) {
	folder := t.TempDir()
	record := filepath.Join(folder, "calls")
	write(t, filepath.Join(folder, "want"), string(composeFile))
	if err := os.WriteFile(filepath.Join(folder, "docker"), []byte(fakeDocker), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", folder+string(os.PathListSeparator)+os.Getenv("PATH"))
	t.Setenv("CALLS", record)
	t.Setenv("WANT", filepath.Join(folder, "want"))
	t.Setenv("RUNNING", "0123456789ab")

	e, err := chooseEngine(t.Context(), "auto", folder, settings{}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{
		e.start(t.Context(), partBroker),
		e.stop(t.Context(), partBroker, syscall.SIGKILL),
		e.stop(t.Context(), partRedis, syscall.SIGTERM),
	} {
		if err != nil {
			t.Error(err)
		}
	}
	t.Setenv("RUNNING", "")
	if err := e.stop(t.Context(), partRedis, syscall.SIGKILL); err != nil {
		t.Errorf("stop what does not run: %v", err)
	}
	if err := e.close(); err != nil {
		t.Error(err)
	}

	want := []string{
		"info", "compose version", "create", "start broker",
		"ps --quiet --status running broker", "kill --signal SIGKILL broker",
		"ps --quiet --status running redis", "stop --timeout 30 redis",
		"ps --quiet --status running redis",
		"down --volumes --remove-orphans --timeout 0",
	}
	if got := strings.Split(strings.TrimSpace(read(t, record)), "\n"); !slices.Equal(got, want) {
		t.Errorf("calls\n%q\nwant\n%q", got, want)
	}
}

func TestDockerWantedButAbsent(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	if _, err := chooseEngine(t.Context(), "docker", t.TempDir(), settings{}, io.Discard); err == nil {
		t.Error("no error")
	}
}
