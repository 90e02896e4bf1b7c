package main

import (
	"context"
	"errors"
	"flag"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

func TestParse(t *testing.T) {
	defaults := options{
		topics: []string{"refund-command", "coupon-refund-command", "refund-event", "refund-retry", "refund-parked"},
		group:  "refundd", queues: 8, brokers: 1, engine: "auto", command: []string{},
	}
	tests := []struct {
		name      string
		arguments []string
		change    func(*options)
		err       string
	}{
		{"nothing", []string{}, func(*options) {}, ""},
		{"a command", []string{"--", "sh", "-c", "env"}, func(o *options) { o.command = []string{"sh", "-c", "env"} }, ""},
		{"flags of the command stay its own", []string{"-queues", "2", "--", "sh", "-queues", "x"}, func(o *options) {
			o.queues, o.command = 2, []string{"sh", "-queues", "x"}
		}, ""},
		{"topics with spaces", []string{"-topics", "a, b,", "-group", ""}, func(o *options) {
			o.topics, o.group = []string{"a", "b"}, ""
		}, ""},
		{"sync flush", []string{"-sync-flush", "-engine", "jars"}, func(o *options) { o.syncFlush, o.engine = true, "jars" }, ""},
		{"two brokers", []string{"-brokers", "2", "-engine", "jars"}, func(o *options) { o.brokers, o.engine = 2, "jars" }, ""},
		{"two brokers of Docker", []string{"-brokers", "2"}, nil, "-engine jars"},
		{"three brokers", []string{"-brokers", "3"}, nil, "-brokers 3"},
		{"no queues", []string{"-queues", "0"}, nil, "-queues 0"},
		{"unknown engine", []string{"-engine", "podman"}, nil, `-engine "podman"`},
		{"unknown flag", []string{"-topic", "a"}, nil, "-topic"},
		{"unknown command", []string{"--", "no-such-command-here"}, nil, "no-such-command-here"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := parse(test.arguments, io.Discard)
			if test.err != "" {
				if err == nil || !strings.Contains(err.Error(), test.err) {
					t.Fatalf("error %v, want %q in it", err, test.err)
				}
				return
			}
			want := defaults
			test.change(&want)
			if err != nil || !reflect.DeepEqual(got, want) {
				t.Errorf("parse = %+v, %v\nwant    %+v", got, err, want)
			}
		})
	}
}

func TestHelp(t *testing.T) {
	var help strings.Builder
	if _, err := parse([]string{"-h"}, &help); !errors.Is(err, flag.ErrHelp) {
		t.Fatalf("error %v, want flag.ErrHelp", err)
	}
	for _, want := range []string{"REFUNDD_TEST_NAMESERVERS", "REFUNDD_TEST_STACK", "-sync-flush", "Kept between runs"} {
		if !strings.Contains(help.String(), want) {
			t.Errorf("the help does not mention %s", want)
		}
	}
}

func TestFlushInBackgroundByDefault(t *testing.T) {
	if got := assignments(brokerConf(settings{}, partBroker, "", ""), "=")["flushDiskType"]; got != "ASYNC_FLUSH" {
		t.Errorf("flushDiskType %q", got)
	}
	if got := assignments(redisConf(settings{}, "", 1, ""), " ")["appendfsync"]; got != "everysec" {
		t.Errorf("appendfsync %q", got)
	}
}

func TestComposeFileFindsItsVariables(t *testing.T) {
	e := newComposeProject("folder", settings{ports: ports{nameServer: 1, broker: 2, redis: 4}})
	given := map[string]bool{}
	for _, v := range e.environment {
		name, value, _ := strings.Cut(v, "=")
		given[name] = value != ""
	}
	used := map[string]bool{}
	for _, match := range regexp.MustCompile(`\$\{(\w+)\}`).FindAllStringSubmatch(string(composeFile), -1) {
		used[match[1]] = true
	}
	if !maps.Equal(given, used) {
		t.Errorf("given %v, used %v", given, used)
	}
}

func TestJavaMajor(t *testing.T) {
	tests := map[string]int{
		`openjdk version "17.0.15" 2025-04-15`:     17,
		`openjdk version "21" 2023-09-19`:          21,
		`java version "1.8.0_402"`:                 8,
		"Picked up X\nopenjdk version \"11.0.2\" ": 11,
		`openjdk version "22-ea"`:                  22,
		"no java":                                  0,
	}
	for output, want := range tests {
		if got := javaMajor(output); got != want {
			t.Errorf("javaMajor(%q) = %d, want %d", output, got, want)
		}
	}
}

func TestCheckJars(t *testing.T) {
	// The sums of "a\n" and of "b\n".
	const sums = "87428fc522803d31065e7bce3cf03fe475096631e5e07bbd7a0fde60c4cf25c7  a.jar\n" +
		"0263829989b6fd954f72baaf2fc64bc2e2f01d692d4de72986ea808f6e99813f  b.jar\n"
	tests := []struct {
		name  string
		files map[string]string
		want  string
	}{
		{"complete", map[string]string{"a.jar": "a\n", "b.jar": "b\n"}, ""},
		{"one missing", map[string]string{"a.jar": "a\n"}, "b.jar is missing"},
		{"one cut off", map[string]string{"a.jar": "a\n", "b.jar": ""}, "b.jar has checksum"},
		{"one too many", map[string]string{"a.jar": "a\n", "b.jar": "b\n", "c.jar": ""}, "c.jar is not in the list"},
		{"empty", nil, "is missing, with 2 in all"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			folder := t.TempDir()
			for name, text := range test.files {
				write(t, filepath.Join(folder, name), text)
			}
			err := checkJars(folder, []byte(sums))
			if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("error %v, want %q", err, test.want)
			}
		})
	}
	if err := checkJars(filepath.Join(t.TempDir(), "none"), []byte(sums)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("error %v for a folder that is not there", err)
	}
}

func TestListOfJars(t *testing.T) {
	list := string(jarSums)
	for _, part := range []string{"namesrv", "broker", "tools"} {
		if !strings.Contains(list, "  rocketmq-"+part+"-"+rocketmqVersion+".jar\n") || !strings.Contains(string(pom), "rocketmq-"+part+"<") {
			t.Errorf("rocketmq-%s %s is not in both the list and the project", part, rocketmqVersion)
		}
	}
}

func TestFolders(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	killed, err := newFolder()
	if err != nil {
		t.Fatal(err)
	}
	other, err := newFolder()
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(killed.path, "store"), "left over")
	if err := killed.lock.Close(); err != nil { // as a SIGKILL does
		t.Fatal(err)
	}
	mine, err := newFolder()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(killed.path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the folder of a killed run is still there: %v", err)
	}
	for _, f := range []*folder{other, mine} {
		if _, err := os.Stat(f.path); err != nil {
			t.Errorf("the folder of a live run: %v", err)
		}
		if err := f.remove(); err != nil {
			t.Error(err)
		}
	}
	if left, _ := os.ReadDir(os.TempDir()); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestRunCommand(t *testing.T) {
	tests := []struct {
		name   string
		script string
		code   int
		err    bool
		output string
	}{
		{"success", "echo $GREETING", 0, false, "hello\n"},
		{"its exit code", "exit 7", 7, false, ""},
		{"killed by a signal", "kill -9 $$", exitFailed, true, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var output strings.Builder
			code, err := runCommand(t.Context(), []string{"sh", "-c", test.script}, []string{"GREETING=hello"}, &output, io.Discard)
			if code != test.code || err != nil != test.err || output.String() != test.output {
				t.Errorf("code %d, error %v, output %q", code, err, output.String())
			}
		})
	}
}

// The end of the context reaches the command's own children, and one that
// ignores it does not stay.
func TestRunCommandEndsTheWholeGroup(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close() //nolint:errcheck // read only
	ended := make(chan int)
	go func() {
		code, _ := runCommand(ctx, []string{"sh", "-c", `(trap "" INT; echo ready; exec sleep 1000) & wait`}, nil, writer, writer)
		_ = writer.Close()
		ended <- code
	}()
	ready := make([]byte, len("ready\n"))
	if _, err := io.ReadFull(reader, ready); err != nil {
		t.Fatal(err)
	}
	cancel()
	if code := <-ended; code != 130 {
		t.Errorf("exit code %d, want 130", code)
	}
	// The pipe ends when its last writer, the sleep, is gone.
	if err := reader.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := reader.Read(ready); !errors.Is(err, io.EOF) {
		t.Errorf("read %v, want the end: a child of the command lives on", err)
	}
}

func TestProcess(t *testing.T) {
	folder := t.TempDir()
	t.Run("ends by itself", func(t *testing.T) {
		p, err := launch(folder, "short", nil, "sh", "-c", "echo why; exit 3")
		if err != nil {
			t.Fatal(err)
		}
		<-p.done
		if err := p.exited(); err == nil || !strings.Contains(err.Error(), "exit status 3") || !strings.Contains(err.Error(), "why") {
			t.Errorf("exited = %v", err)
		}
	})
	t.Run("stopped", func(t *testing.T) {
		p, err := launch(folder, "long", nil, "sleep", "1000")
		if err != nil {
			t.Fatal(err)
		}
		if err := p.exited(); err != nil {
			t.Errorf("exited = %v while it runs", err)
		}
		p.stop(syscall.SIGKILL)
		if p.exited() == nil {
			t.Error("it lives")
		}
	})
}

// calls records what the control address asks of a stack.
type calls struct {
	made []string
	fail error
}

func (c *calls) startPart(_ context.Context, part string) error {
	c.made = append(c.made, "start "+part)
	return c.fail
}

func (c *calls) stopPart(_ context.Context, part string, signal syscall.Signal) error {
	c.made = append(c.made, "stop "+part+" "+signal.String())
	return c.fail
}

func TestControl(t *testing.T) {
	tests := []struct {
		name, method, target string
		fail                 error
		status               int
		calls                []string
	}{
		{"stop", "POST", "/redis/stop", nil, 204, []string{"stop redis killed"}},
		{"start", "POST", "/redis/start", nil, 204, []string{"start redis"}},
		{"restart", "POST", "/broker/restart?signal=TERM", nil, 204, []string{"stop broker terminated", "start broker"}},
		{"failure", "POST", "/broker/restart", errors.New("no"), 500, []string{"stop broker killed"}},
		{"unknown part", "POST", "/proxy/stop", nil, 404, nil},
		{"unknown action", "POST", "/broker/pause", nil, 404, nil},
		{"unknown signal", "POST", "/broker/stop?signal=HUP", nil, 400, nil},
		{"a look", "GET", "/broker/stop", nil, 405, nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c := calls{fail: test.fail}
			w := httptest.NewRecorder()
			controlHandler(&c).ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), test.method, test.target, http.NoBody))
			if w.Code != test.status || !slices.Equal(c.made, test.calls) {
				t.Errorf("status %d, calls %q", w.Code, c.made)
			}
		})
	}
}

func TestFreePorts(t *testing.T) {
	p, err := freePorts(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	all := []int{p.broker - 2, p.broker, p.brokerHA, p.nameServer, p.redis, p.second - 2, p.second, p.secondHA}
	slices.Sort(all)
	if len(slices.Compact(slices.Clone(all))) != 8 || all[0] < 20000 || all[7] > 32767 {
		t.Errorf("ports %v: want eight different ones below the range for outgoing connections", all)
	}
}

func TestDenyServices(t *testing.T) {
	path := filepath.Join(t.TempDir(), "policy-rc.d")
	undo, err := denyServices(path)
	if err != nil {
		t.Fatal(err)
	}
	keep, err := denyServices(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := keep(); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm()&0o100 == 0 {
		t.Errorf("the switch that was there: %v, %v", info, err)
	}
	if err := undo(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("our switch is still there: %v", err)
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
