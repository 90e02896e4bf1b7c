//go:build !race

package main

import (
	"context"
	"slices"
	"sync"
	"testing"

	"refundd/cmd/internal/tap"
)

// topicReader collects everything that a topic ever holds.
type topicReader struct {
	mu   sync.Mutex
	seen map[string][]tap.Message
}

func newTopicReader(t *testing.T, nameServer string, topics ...string) *topicReader {
	t.Helper()
	r := &topicReader{seen: map[string][]tap.Message{}}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	t.Cleanup(func() {
		cancel()
		wg.Wait()
	})
	for _, topic := range topics {
		ready := make(chan struct{})
		failed := make(chan error, 1)
		wg.Go(func() {
			failed <- tap.Follow(ctx, tap.Cluster{NameServers: []string{nameServer}}, tap.Following{
				Topic: topic, Beginning: true, Ready: func() { close(ready) },
			}, func(m tap.Message) {
				r.mu.Lock()
				defer r.mu.Unlock()
				r.seen[topic] = append(r.seen[topic], m)
			})
		})
		select {
		case <-ready:
		case err := <-failed:
			t.Fatal(err)
		}
	}
	return r
}

func (r *topicReader) read(topic string) []tap.Message {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clip(r.seen[topic])
}
