package main

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// What the stack and the example for production both set is the same, but for
// what belongs to one machine or to speed.
func TestExamplesAgreeWithStack(t *testing.T) {
	set := settings{ports: ports{nameServer: 1, broker: 2, brokerHA: 3, redis: 4}, syncFlush: true}
	tests := []struct {
		example, separator, stack string
		differ                    []string
		must                      map[string]string
	}{
		{
			"../broker.conf", "=", brokerConf(set, partBroker, "namesrv:1", "/store"),
			[]string{"namesrvAddr", "listenPort"},
			map[string]string{"flushDiskType": "SYNC_FLUSH", "autoCreateTopicEnable": "false", "autoCreateSubscriptionGroup": "false"},
		},
		{
			"../redis.conf", " ", redisConf(set, "127.0.0.1", 4, "/data"),
			[]string{"port", "protected-mode"},
			map[string]string{"maxmemory-policy": "noeviction", "appendonly": "yes", "appendfsync": "always"},
		},
	}
	for _, test := range tests {
		t.Run(filepath.Base(test.example), func(t *testing.T) {
			text, err := os.ReadFile(test.example)
			if err != nil {
				t.Fatal(err)
			}
			example, stack := assignments(string(text), test.separator), assignments(test.stack, test.separator)
			for name, want := range test.must {
				if example[name] != want || stack[name] != want {
					t.Errorf("%s is %q in the example and %q in the stack, want %q", name, example[name], stack[name], want)
				}
			}
			for name, value := range stack {
				if other, ok := example[name]; ok && other != value && !slices.Contains(test.differ, name) {
					t.Errorf("%s is %q in the stack and %q in the example", name, value, other)
				}
			}
		})
	}
}

func assignments(text, separator string) map[string]string {
	found := map[string]string{}
	for line := range strings.Lines(text) {
		name, value, ok := strings.Cut(strings.TrimSpace(line), separator)
		if ok && !strings.HasPrefix(name, "#") {
			found[name] = value
		}
	}
	return found
}

// refundd refuses to start with a variable that it does not know.
func TestExamplesNameKnownVariables(t *testing.T) {
	config, err := os.ReadFile("../../cmd/internal/config/config.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, example := range []string{"../compose.yaml", "../kubernetes.yaml", "../refundd.service", "../broker.conf", "../redis.conf"} {
		for _, name := range regexp.MustCompile(`REFUNDD_[A-Z0-9_]+`).FindAllString(read(t, example), -1) {
			if !strings.Contains(string(config), `"`+name+`"`) {
				t.Errorf("%s names %s, which refundd does not know", example, name)
			}
		}
	}
}

// A process killed before its drain is over leaves refunds to wait for their lease.
func TestGraceExceedsDrain(t *testing.T) {
	const drain = 25 // seconds, REFUNDD_DRAIN's default
	for example, pattern := range map[string]string{
		"../kubernetes.yaml": `terminationGracePeriodSeconds: (\d+)`,
		"../compose.yaml":    `stop_grace_period: (\d+)s # more than REFUNDD_DRAIN`,
		"../refundd.service": `TimeoutStopSec=(\d+)`,
	} {
		match := regexp.MustCompile(pattern).FindStringSubmatch(read(t, example))
		if match == nil {
			t.Errorf("%s: no %s", example, pattern)
			continue
		}
		if grace, err := strconv.Atoi(match[1]); err != nil || grace <= drain {
			t.Errorf("%s: %s, want more than %d s", example, match[0], drain)
		}
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
