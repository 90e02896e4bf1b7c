package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/prometheus/procfs"
)

// contender is one of the programs that are measured.
type contender struct {
	name string
	args []string // the program and its own
	env  []string
}

func (c contender) isRefundd() bool { return c.name != rolePeer }

// process is a contender that runs.
type process struct {
	procfs.Proc
	stop   context.CancelFunc // asks it to end
	exited chan error
}

// processes are the instances of one contender.
type processes []*process

// start starts all instances. They end with ctx at the latest.
func (t *trial) start(ctx context.Context, name string) (all processes, err error) {
	for i := range max(t.l.instances, 1) {
		folder := filepath.Join(t.folder, fmt.Sprint(name, i))
		errFolder := os.Mkdir(folder, 0o700)
		log, err := os.Create(filepath.Join(folder, "log"))
		if err := errors.Join(errFolder, err); err != nil {
			return nil, err
		}
		ctx, stop := context.WithCancel(ctx)
		cmd := exec.CommandContext(ctx, t.c.args[0], t.c.args[1:]...)
		cmd.Env = append(append([]string{"HOME=" + folder, "PATH=" + os.Getenv("PATH")}, t.env...), t.c.env...)
		cmd.Stdout, cmd.Stderr = log, log
		cmd.Cancel, cmd.WaitDelay = func() error { return cmd.Process.Signal(syscall.SIGTERM) }, time.Minute
		if err := errors.Join(cmd.Start(), log.Close()); err != nil {
			stop()
			return nil, fmt.Errorf("start %s: %w", t.c.name, err)
		}
		p := &process{stop: stop, exited: make(chan error, 1)}
		go func() { p.exited <- cmd.Wait() }()
		if p.Proc, err = procfs.NewProc(cmd.Process.Pid); err != nil {
			return nil, err
		}
		all = append(all, p)
	}
	return all, nil
}

// usage is the CPU time of all together so far, and the most memory that one of
// them has had, in MiB.
func (all processes) usage() (cpu time.Duration, peak float64, err error) {
	for _, p := range all {
		stat, errStat := p.Stat()
		status, errStatus := p.NewStatus()
		err = errors.Join(err, errStat, errStatus)
		cpu += time.Duration(stat.CPUTime() * float64(time.Second))
		peak = max(peak, float64(status.VmHWM)/(1<<20))
	}
	return cpu, peak, err
}

// ended is an error if one of them has ended by itself.
func (all processes) ended() error {
	for _, p := range all {
		select {
		case err := <-p.exited:
			p.exited <- err
			return errors.Join(fmt.Errorf("process %d has ended", p.PID), err)
		default:
		}
	}
	return nil
}

// stop asks all to end, and returns how they did.
func (all processes) stop() (err error) {
	for _, p := range all {
		p.stop()
	}
	for _, p := range all {
		// It is Canceled that says: asked to, and it was well.
		if one := <-p.exited; !errors.Is(one, context.Canceled) {
			err = errors.Join(err, one)
		}
	}
	return err
}
