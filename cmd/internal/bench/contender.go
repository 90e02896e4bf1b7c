package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
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

// process is a contender that runs.
type process struct {
	cmd    *exec.Cmd
	log    *os.File
	admin  string
	exited chan error
	begun  time.Time
}

func (b *bench) start(ctx context.Context, c contender, t topics, gateway, folder string) (*process, error) {
	admin, err := freeAddress(ctx)
	if err != nil {
		return nil, err
	}
	log, err := os.Create(filepath.Join(folder, "log"))
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(c.program, c.args...)
	cmd.Env = append([]string{
		"HOME=" + folder, "PATH=" + os.Getenv("PATH"),
		"REFUNDD_ROCKETMQ_NAMESERVERS=" + b.nameServer, "REFUNDD_ROCKETMQ_GROUP=" + t.group, "REFUNDD_REDIS_URL=" + b.redisURL,
		"REFUNDD_TOPIC_REFUND=" + t.command, "REFUNDD_TOPIC_COUPON_REFUND=", "REFUNDD_TOPIC_EVENT=" + t.event,
		"REFUNDD_TOPIC_RETRY=" + t.retry, "REFUNDD_TOPIC_PARKED=" + t.parked,
		"REFUNDD_ALIPAY_APP_ID=" + appID, "REFUNDD_ALIPAY_GATEWAY=" + gateway,
		"REFUNDD_ALIPAY_PRIVATE_KEY_FILE=" + filepath.Join(b.folder, "app_private_key.pem"),
		"REFUNDD_ALIPAY_PUBLIC_KEY_FILE=" + filepath.Join(b.folder, "alipay_public_key.pem"),
		"REFUNDD_HTTP_ADDR=", "REFUNDD_ADMIN_ADDR=" + admin,
	}, c.env...)
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

func (b *bench) startAll(ctx context.Context, c contender, t topics, gateway, folder string) (processes, error) {
	var all processes
	for i := range b.instances {
		own := filepath.Join(folder, strconv.Itoa(i))
		if err := os.Mkdir(own, 0o700); err != nil {
			return all, err
		}
		p, err := b.start(ctx, c, t, gateway, own)
		if err != nil {
			_ = all.stop()
			return nil, err
		}
		all = append(all, p)
	}
	return all, nil
}

func (all processes) begun() time.Time { return all[0].begun }

func (all processes) cpu() (sum time.Duration, err error) {
	for _, p := range all {
		one, err := p.cpu()
		if err != nil {
			return 0, err
		}
		sum += one
	}
	return sum, nil
}

// rss is that of the largest.
func (all processes) rss() (most float64, err error) {
	for _, p := range all {
		one, err := p.rss()
		if err != nil {
			return 0, err
		}
		most = max(most, one)
	}
	return most, nil
}

func (all processes) memory(ctx context.Context) (objects, size float64, err error) {
	for _, p := range all {
		o, s, err := p.memory(ctx)
		if err != nil {
			return 0, 0, err
		}
		objects, size = objects+o, size+s
	}
	return objects, size, nil
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

// rss returns the most memory that was resident, in MiB.
func (p *process) rss() (float64, error) {
	f, err := os.Open(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	defer func() { _ = f.Close() }()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if rest, ok := strings.CutPrefix(lines.Text(), "VmHWM:"); ok {
			kib, err := strconv.Atoi(strings.Fields(rest)[0])
			return float64(kib) / 1024, err
		}
	}
	return 0, fmt.Errorf("no VmHWM of %d", p.cmd.Process.Pid)
}

// memory returns how many objects and bytes the process has allocated so far.
func (p *process) memory(ctx context.Context) (objects, size float64, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.admin+"/metrics", http.NoBody)
	if err != nil {
		return 0, 0, err
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 10 * time.Second}
	resp, err := client.Do(req)
	if err != nil {
		return 0, 0, err
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, 0, err
	}
	for name, into := range map[string]*float64{"go_memstats_mallocs_total": &objects, "go_memstats_alloc_bytes_total": &size} {
		match := regexp.MustCompile(`(?m)^` + name + ` (\S+)$`).FindSubmatch(text)
		if match == nil {
			return 0, 0, fmt.Errorf("%s is not told", name)
		}
		if *into, err = strconv.ParseFloat(string(match[1]), 64); err != nil {
			return 0, 0, err
		}
	}
	return objects, size, nil
}

func freeAddress(ctx context.Context) (string, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer func() { _ = listener.Close() }()
	return listener.Addr().String(), nil
}
