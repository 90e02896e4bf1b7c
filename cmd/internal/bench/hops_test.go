//go:build !race

// The RocketMQ SDK's pull consumer has data races of its own.

package main

import (
	"io"
	"os"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	"refundd/cmd/internal/tap"
	"refundd/consumer"
	"refundd/consumer/rocketmqtest"
)

// TestMain silences the SDK's log, once: it is a global of the SDK's.
func TestMain(m *testing.M) {
	log := logrus.New()
	log.SetOutput(io.Discard)
	consumer.RedirectSDK(log)
	os.Exit(m.Run())
}

func TestHops(t *testing.T) {
	broker, err := rocketmqtest.Start(rocketmqtest.Config{Groups: []string{tap.ToolsGroup}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = broker.Close() }()
	in := &surroundings{nameServer: broker.Addr(), cluster: tap.Cluster{NameServers: []string{broker.Addr()}}}
	if in.sender, err = tap.NewSender(in.cluster); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = in.sender.Close() }()
	h, err := startHops(t.Context(), in, 1, 2)
	if err != nil {
		t.Fatal(err)
	}
	enough := func() bool {
		h.mu.Lock()
		defer h.mu.Unlock()
		return len(h.two) >= 3 || h.err != nil
	}
	for deadline := time.Now().Add(time.Minute); !enough() && time.Now().Before(deadline); {
		<-time.After(20 * time.Millisecond)
	}
	one, two, err := h.end()
	if err != nil {
		t.Fatal(err)
	}
	if len(two) < 3 || len(one) < len(two) {
		t.Fatalf("%d first hops and %d second ones, want three or more", len(one), len(two))
	}
	if one[0] <= 0 || two[0] < one[0] {
		t.Errorf("the fastest hop took %v, the fastest two %v", one[0], two[0])
	}
}
