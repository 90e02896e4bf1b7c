package main

import (
	"context"
	"io"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"refundd/consumer/remoting"
)

func TestUsage(t *testing.T) {
	tests := []struct {
		name      string
		arguments []string
		code      int
	}{
		{"help", []string{"-h"}, 0},
		{"unknown flag", []string{"-topic", "a"}, 2},
		{"no queues", []string{"-queues", "0"}, 2},
		{"an argument", []string{"a"}, 2},
		// Port 1 is nobody's.
		{"nobody answers", []string{"-nameserver", "127.0.0.1:1", "-wait", "60ms"}, 1},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if code := run(t.Context(), test.arguments, io.Discard, io.Discard); code != test.code {
				t.Errorf("exit code %d, want %d", code, test.code)
			}
		})
	}
}

// TestReal runs inside a stack, as `make test` does.
func TestReal(t *testing.T) {
	nameServer := os.Getenv("REFUNDD_TEST_NAMESERVERS")
	if nameServer == "" {
		t.Skip("needs a stack: go run ./deploy/stack -- go test ./deploy/stack/topics")
	}
	name := "topics-test-" + strconv.FormatInt(time.Now().UnixNano(), 36)
	var output strings.Builder
	for range 2 { // the second time changes nothing
		output.Reset()
		arguments := []string{"-nameserver", nameServer, "-topics", name + "-a," + name + "-b", "-group", name, "-queues", "1"}
		if code := run(t.Context(), arguments, io.Discard, &output); code != 0 {
			t.Fatalf("exit code %d: %s", code, output.String())
		}
	}
	broker, err := remoting.WaitBroker(t.Context(), nameServer)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		for _, topic := range []string{name + "-a", name + "-b"} {
			if err := remoting.DeleteTopic(ctx, nameServer, broker, topic); err != nil {
				t.Error(err)
			}
		}
		if err := remoting.DeleteGroup(ctx, broker, name); err != nil {
			t.Error(err)
		}
	})
	for _, topic := range []string{name + "-a", name + "-b"} {
		if masters, err := remoting.Route(t.Context(), nameServer, topic); err != nil || len(masters) != 1 || masters[0] != broker {
			t.Errorf("route of %s: %v, %v", topic, masters, err)
		}
	}
}
