package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// process is one running server of the stack.
type process struct {
	name    string
	cmd     *exec.Cmd
	logPath string
	done    chan struct{} // closed when the process has ended
}

// launch starts a server in a process group of its own, so that a Ctrl-C in
// the terminal reaches us and not it. Its output goes to NAME.log in folder.
func launch(folder, name string, environment []string, program string, arguments ...string) (*process, error) {
	logPath := filepath.Join(folder, name+".log")
	log, err := os.OpenFile(logPath, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600) //nolint:gosec // a file in our own new folder
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	defer log.Close()                          //nolint:errcheck // the process has its own copy
	cmd := exec.Command(program, arguments...) //nolint:gosec,noctx // the program is ours to choose; stop ends it
	cmd.Dir = folder
	cmd.Env = append(os.Environ(), environment...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = ownGroup()
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	p := &process{name: name, cmd: cmd, logPath: logPath, done: make(chan struct{})}
	go func() {
		_ = cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

// stop ends the process by this signal and waits until it is gone. One that
// has not ended after 30 s is killed.
func (p *process) stop(signal syscall.Signal) {
	_ = signalGroup(p.cmd.Process.Pid, signal)
	select {
	case <-p.done:
	case <-time.After(30 * time.Second):
		_ = signalGroup(p.cmd.Process.Pid, syscall.SIGKILL)
		<-p.done
	}
}

// exited reports an end that nobody asked for, with the last lines of output.
func (p *process) exited() error {
	select {
	case <-p.done:
		return fmt.Errorf("%s ended by itself (%s):\n%s", p.name, p.cmd.ProcessState, tail(p.logPath, 20))
	default:
		return nil
	}
}

// tail gives the last lines of a log file, without what Java's logging library
// says of itself.
func tail(path string, lines int) string {
	text, err := os.ReadFile(path) //nolint:gosec // our own log file
	if err != nil {
		return err.Error()
	}
	all := slices.DeleteFunc(strings.Split(strings.TrimSpace(string(text)), "\n"), func(line string) bool {
		return strings.Contains(line, "|-INFO in ")
	})
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// runTool runs a short program to its end and returns its output; a failure
// carries the output's last lines.
func runTool(ctx context.Context, environment []string, program string, arguments ...string) (string, error) {
	return runToolInput(ctx, environment, nil, program, arguments...)
}

func runToolInput(ctx context.Context, environment []string, input io.Reader, program string, arguments ...string) (string, error) {
	cmd := exec.CommandContext(ctx, program, arguments...) //nolint:gosec // the callers name fixed programs
	cmd.Env = append(os.Environ(), environment...)
	cmd.Stdin = input
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	cmd.SysProcAttr = ownGroup()
	cmd.Cancel = func() error { return signalGroup(cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	err := cmd.Run()
	text := strings.TrimSpace(output.String())
	if err != nil {
		lines := strings.Split(text, "\n")
		return text, fmt.Errorf("%s %s: %w: %s", program, arguments[0], errors.Join(context.Cause(ctx), err), strings.Join(lines[max(0, len(lines)-15):], "\n"))
	}
	return text, nil
}

// endWithParent gives a context that also ends when the process that started
// us is gone: `go run` passes on neither a SIGTERM nor its own death.
func endWithParent(ctx context.Context) context.Context {
	ctx, cancel := context.WithCancelCause(ctx)
	parent := os.Getppid()
	go func() {
		ticker := time.NewTicker(250 * time.Millisecond)
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
				if os.Getppid() != parent {
					cancel(errors.New("the process that started the stack is gone"))
					return
				}
			}
		}
	}()
	return ctx
}

func signalGroup(pid int, signal syscall.Signal) error {
	return syscall.Kill(-pid, signal)
}
