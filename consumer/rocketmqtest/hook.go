package rocketmqtest

import (
	"sync"
	"time"
)

// Request is what a hook sees of a request before anything is done.
type Request struct {
	Code       int
	Topic      string // where the request has one; the original topic of a send-back
	Group      string // consumer group, or the producer group of a send
	ExtFields  map[string]string
	Properties map[string]string // of a send, else nil
	Body       []byte            // as received, perhaps compressed
	Remote     string            // address of the client's end
}

// Kind says what becomes of a request.
type Kind int

// The kinds of treatment.
const (
	Pass               Kind = iota // do it and answer
	Refuse                         // do nothing, answer Code and Remark
	Silent                         // do nothing, never answer
	StoreButStaySilent             // do it, never answer
	Reset                          // do nothing, close the connection with a TCP reset
	ResetAfter                     // do it, then close the connection with a TCP reset
	Duplicate                      // do it twice, answer once; for sends and send-backs
	Status                         // do it, but answer Code and Remark, such as FlushDiskTimeout
	Reorder                        // answer a pull with its messages in reverse order
)

// Action is a hook's decision. The zero value passes.
type Action struct {
	Kind   Kind
	Code   int           // for Refuse and Status
	Remark string        // for Refuse and Status
	Delay  time.Duration // the wait between doing and answering (or resetting), for each kind that does either
}

// hooks holds the hook and counts what was done.
type hooks struct {
	calling sync.Mutex // one hook call at a time

	mu      sync.Mutex
	hook    func(Request) Action
	counts  map[countKey]int
	delayed map[int]int
}

type countKey struct {
	code int
	kind Kind
}

func newHooks() *hooks {
	return &hooks{counts: make(map[countKey]int), delayed: make(map[int]int)}
}

func (h *hooks) set(hook func(Request) Action) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.hook = hook
}

// decide asks the hook.
func (h *hooks) decide(c *conn, f *frame) Action {
	h.mu.Lock()
	hook := h.hook
	h.mu.Unlock()
	if hook == nil {
		return Action{}
	}
	r := Request{
		Code:      f.Code,
		Topic:     f.text("topic", "originTopic"),
		Group:     f.text("consumerGroup", "group", "producerGroup"),
		ExtFields: f.Ext,
		Body:      f.body,
		Remote:    c.net.RemoteAddr().String(),
	}
	switch f.Code {
	case CodeSend:
		r.Properties = decodeProperties(f.text("properties"))
	case CodeSendV2, CodeSendBatch:
		r.Topic, r.Group = f.text("b"), f.text("a")
		r.Properties = decodeProperties(f.text("i"))
	}
	h.calling.Lock()
	defer h.calling.Unlock()
	return hook(r)
}

// count notes that a request was treated.
func (h *hooks) count(code int, kind Kind, delayed bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.counts[countKey{code, kind}]++
	if delayed {
		h.delayed[code]++
	}
}

// SetHook installs the function that decides the fate of every request, nil for
// none. It is called for one request at a time, in order of arrival per
// connection, before anything is done. It must return quickly and must not call
// Close or Restart.
func (b *Broker) SetHook(hook func(Request) Action) { b.hooks.set(hook) }

// Count is how many requests with this code were treated in this way, counted
// when it was done: a Duplicate only once both copies are stored, a Status only
// if the request itself succeeded, a Reorder only if there were two messages to
// exchange. What could not be treated so counts as Pass.
func (b *Broker) Count(code int, kind Kind) int {
	b.hooks.mu.Lock()
	defer b.hooks.mu.Unlock()
	return b.hooks.counts[countKey{code, kind}]
}

// Delayed is how many requests with this code had their answer delayed.
func (b *Broker) Delayed(code int) int {
	b.hooks.mu.Lock()
	defer b.hooks.mu.Unlock()
	return b.hooks.delayed[code]
}
