package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// contender is one of the programs that are measured.
type contender struct {
	name    string
	program string
	args    []string
	env     []string
}

func (c contender) isRefundd() bool { return strings.HasPrefix(c.name, contenderGo) }

// process is a contender that runs.
type process struct {
	cmd    *exec.Cmd
	log    *os.File
	admin  string
	exited chan error
	begun  time.Time
}

func (b *bench) start(ctx context.Context, c contender, l load, t topics, gateway, folder string) (*process, error) {
	admin, err := freeAddress(ctx)
	if err != nil {
		return nil, err
	}
	log, err := os.Create(filepath.Join(folder, "log"))
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(c.program, c.args...) //nolint:noctx // ended by signal, so that it can stop as it should
	cmd.Env = append([]string{
		"HOME=" + folder, "PATH=" + os.Getenv("PATH"),
		"REFUNDD_ROCKETMQ_NAMESERVERS=" + l.in.nameServer, "REFUNDD_ROCKETMQ_GROUP=" + t.group,
		"REFUNDD_REDIS_URL=" + l.in.redisURL, "REFUNDD_REDIS_MODE=" + l.in.redisMode,
		"REFUNDD_TOPIC_REFUND=" + t.command, "REFUNDD_TOPIC_COUPON_REFUND=", "REFUNDD_TOPIC_EVENT=" + t.event,
		"REFUNDD_TOPIC_RETRY=" + t.retry, "REFUNDD_TOPIC_PARKED=" + t.parked,
		"REFUNDD_ALIPAY_APP_ID=" + appID, "REFUNDD_ALIPAY_GATEWAY=" + gateway,
		"REFUNDD_ALIPAY_PRIVATE_KEY_FILE=" + filepath.Join(b.folder, "app_private_key.pem"),
		"REFUNDD_ALIPAY_PUBLIC_KEY_FILE=" + filepath.Join(b.folder, "alipay_public_key.pem"),
		"REFUNDD_HTTP_ADDR=", "REFUNDD_ADMIN_ADDR=" + admin,
	}, c.env...)
	if l.workers > 0 {
		cmd.Env = append(cmd.Env, "REFUNDD_CONCURRENCY="+strconv.Itoa(l.workers))
	}
	cmd.Stdout, cmd.Stderr = log, log
	p := &process{cmd: cmd, log: log, admin: admin, exited: make(chan error, 1), begun: time.Now()}
	if err := cmd.Start(); err != nil {
		_ = log.Close()
		return nil, fmt.Errorf("start %s: %w", c.name, err)
	}
	go func() { p.exited <- cmd.Wait() }()
	return p, nil
}

// processes are the instances of one contender.
type processes []*process

func (b *bench) startAll(ctx context.Context, c contender, l load, t topics, gateway, folder string) (processes, error) {
	var all processes
	for i := range l.instances {
		own := filepath.Join(folder, strconv.Itoa(i))
		if err := os.Mkdir(own, 0o700); err != nil {
			return all, err
		}
		p, err := b.start(ctx, c, l, t, gateway, own)
		if err != nil {
			_ = all.stop()
			return nil, err
		}
		all = append(all, p)
	}
	return all, nil
}

func (all processes) begun() time.Time { return all[0].begun }

// cpu is the time of each.
func (all processes) cpu() ([]time.Duration, error) {
	each := make([]time.Duration, len(all))
	for i, p := range all {
		var err error
		if each[i], err = p.cpu(); err != nil {
			return nil, err
		}
	}
	return each, nil
}

// rss is that of the largest: VmHWM is the most so far, VmRSS that of now.
func (all processes) rss(which string) (most float64, err error) {
	for _, p := range all {
		one, err := p.rss(which)
		if err != nil {
			return 0, err
		}
		most = max(most, one)
	}
	return most, nil
}

// counted returns what all have counted together.
func (all processes) counted(ctx context.Context) (counted, error) {
	var sum counted
	for _, p := range all {
		m, err := p.metrics(ctx)
		if err != nil {
			return sum, err
		}
		if !m.has("go_memstats_mallocs_total", "go_memstats_alloc_bytes_total") {
			return sum, fmt.Errorf("%s does not tell its allocations", p.cmd.Path)
		}
		sum.objects += m["go_memstats_mallocs_total"]
		sum.size += m["go_memstats_alloc_bytes_total"]
		sum.exchanges += m.exchanges()
	}
	return sum, nil
}

// gauges returns how many goroutines the process has that has most, and how many
// commands all work on. Who does not answer now is not counted.
func (all processes) gauges(ctx context.Context) (goroutines, inFlight float64) {
	for _, p := range all {
		if m, err := p.metrics(ctx); err == nil {
			goroutines = max(goroutines, m["go_goroutines"])
			inFlight += m["refundd_inflight"]
		}
	}
	return goroutines, inFlight
}

func (all processes) stop() error {
	errs := make([]error, len(all))
	var wg sync.WaitGroup
	for i, p := range all {
		wg.Go(func() { errs[i] = p.stop() })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// ended says whether one of them has ended by itself.
func (all processes) ended() error {
	for _, p := range all {
		select {
		case err := <-p.exited:
			p.exited <- err
			return fmt.Errorf("%s ended: %w", p.cmd.Path, err)
		default:
		}
	}
	return nil
}

// stop asks the process to end, and returns how it did.
func (p *process) stop() error {
	defer func() { _ = p.log.Close() }()
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case err := <-p.exited:
		return err
	case <-time.After(time.Minute):
		_ = p.cmd.Process.Kill()
		return fmt.Errorf("%s did not stop within a minute", p.cmd.Path)
	}
}

// cpu is the user and system time so far. The kernel counts it in hundredths of a
// second, which is little of the seconds that a run takes.
func (p *process) cpu() (time.Duration, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	user, err := strconv.Atoi(fields[11])
	if err != nil {
		return 0, err
	}
	system, err := strconv.Atoi(fields[12])
	return time.Duration(user+system) * 10 * time.Millisecond, err
}

// rss returns a size of the resident memory, in MiB.
func (p *process) rss(which string) (float64, error) {
	f, err := os.Open(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	defer func() { _ = f.Close() }()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if rest, ok := strings.CutPrefix(lines.Text(), which+":"); ok {
			kib, err := strconv.Atoi(strings.Fields(rest)[0])
			return float64(kib) / 1024, err
		}
	}
	return 0, fmt.Errorf("no %s of %d", which, p.cmd.Process.Pid)
}

func freeAddress(ctx context.Context) (string, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer func() { _ = listener.Close() }()
	return listener.Addr().String(), nil
}
