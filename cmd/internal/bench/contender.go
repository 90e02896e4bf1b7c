package main

import (
	"bufio"
	"context"
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
