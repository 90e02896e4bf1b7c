package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"refundd/cmd/internal/tap"
)

// hops measures what the broker alone costs while a run is on: a message is sent,
// and whoever waits for it by long polling, as a consumer does, has it: that is a
// hop. The reader sends it on at once to another topic, which is the second hop,
// as a command is followed by its event.
type hops struct {
	in     *surroundings
	topics [2]string
	stop   context.CancelFunc
	done   sync.WaitGroup

	mu   sync.Mutex
	sent []time.Time
	one  []time.Duration
	two  []time.Duration
	err  error
}

// hopEvery is how often a message begins. It is a fifth of what refunds send at
// 100 a second.
const hopEvery = 50 * time.Millisecond

func startHops(ctx context.Context, in *surroundings, run, queues int) (*hops, error) {
	name := fmt.Sprintf("bench-%d-%d-hop", os.Getpid(), run)
	h := &hops{in: in, topics: [2]string{name + "-1", name + "-2"}}
	if err := in.create(ctx, queues, h.topics[:]...); err != nil {
		return nil, err
	}
	ctx, h.stop = context.WithCancel(ctx)
	ready := make(chan struct{}, 2)
	for i, tell := range []func(tap.Message){
		func(m tap.Message) { h.first(ctx, m) },
		func(m tap.Message) { h.arrived(&h.two, m) },
	} {
		h.done.Go(func() {
			h.failed(ctx, tap.Follow(ctx, in.cluster, tap.Following{
				Topic: h.topics[i], Beginning: true, Ready: func() { ready <- struct{}{} },
			}, tell))
		})
	}
	for range 2 {
		select {
		case <-ready:
		case <-ctx.Done():
			_, _, _ = h.end()
			return nil, ctx.Err()
		}
	}
	// The first message of a topic waits for the producer's route.
	h.send(ctx)
	h.mu.Lock()
	h.sent[0] = time.Time{} // does not count
	h.mu.Unlock()
	h.done.Go(func() {
		ticker := time.NewTicker(hopEvery)
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
				h.done.Go(func() { h.send(ctx) })
			}
		}
	})
	return h, nil
}

func (h *hops) send(ctx context.Context) {
	h.mu.Lock()
	body := binary.BigEndian.AppendUint64(nil, uint64(len(h.sent)))
	h.sent = append(h.sent, time.Now())
	h.mu.Unlock()
	_, err := h.in.sender.Send(ctx, tap.Outgoing{Topic: h.topics[0], Body: body})
	h.failed(ctx, err)
}

func (h *hops) first(ctx context.Context, m tap.Message) {
	h.arrived(&h.one, m)
	h.done.Go(func() {
		_, err := h.in.sender.Send(ctx, tap.Outgoing{Topic: h.topics[1], Body: m.Body})
		h.failed(ctx, err)
	})
}

func (h *hops) arrived(into *[]time.Duration, m tap.Message) {
	now := time.Now()
	h.mu.Lock()
	defer h.mu.Unlock()
	if i := binary.BigEndian.Uint64(m.Body); !h.sent[i].IsZero() {
		*into = append(*into, now.Sub(h.sent[i]))
	}
}

// failed remembers an error that is none of the end.
func (h *hops) failed(ctx context.Context, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.err == nil && ctx.Err() == nil {
		h.err = err
	}
}

// end returns how long one hop took and how long two, sorted.
func (h *hops) end() (one, two []time.Duration, err error) {
	h.stop()
	h.done.Wait()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	h.in.remove(ctx, h.topics[:]...)
	slices.Sort(h.one)
	slices.Sort(h.two)
	return h.one, h.two, h.err
}
