// Package producer publishes: events for whoever wants to know, and commands to the retry and the parked topic.
//
// It speaks two wire formats of CONTRACT.md, the event (CloudEvents, §4) and the properties of copied commands (§5), and it
// publishes. What it promises, and where the rules of consumer/DESIGN.md are kept:
//
//   - Published means that the broker answered SendOK (R4). Everything else is an error, and a publish ends within Config.Timeout
//     whatever the RocketMQ client does (producer.go). What the broker refuses for its content has an error of its own, and a stub
//     that is parked in its place (stub.go).
//   - An event's id is a function of its fact alone, and an event has one encoding, so that any instance after any crash
//     repeats the same bytes (R6; id.go, encode.go; stored.go for what is kept of it).
//   - Copies carry a closed set of properties, each made safe, so that a command can always be moved (R4; copy.go).
//   - Amounts are int64 fen and never a float, and no error holds a body or a value of one (R13).
//
// It never tries twice, logs, or remembers anything: whoever calls decides what an unconfirmed publish means.
package producer

import (
	"bytes"
	"compress/zlib"
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/apache/rocketmq-client-go/v2/primitive"
)

var (
	// ErrUnconfirmed is wrapped where the message may have been stored or not: no answer in time, a broken connection, or an
	// answer that is less than SendOK. Publishing the same again is right; readers drop repeats.
	ErrUnconfirmed = errors.New("not confirmed by the broker")

	// ErrRefused is wrapped where the message was not stored, as far as anybody says: the broker refused it, no broker is known
	// for the topic, or it was never handed to the client because the context had ended, too many publishes hang, or Close was
	// called.
	ErrRefused = errors.New("refused")

	// ErrContent is wrapped, with ErrRefused, where the broker will not store this very message however often it is asked: it is
	// larger than the broker takes, or illegal otherwise. It says nothing about the broker's health or about other messages.
	ErrContent = errors.New("for its content")
)

// maxStored is RocketMQ's own limit of a body (maxMessageSize), before compression: what is larger is not offered. Compressing it
// could take longer than a publish may, and would hand it to every reader to inflate.
const maxStored = 4 << 20

const (
	defaultTimeout    = 5 * time.Second
	defaultMaxPending = 1024
)

// Config says where to publish and within which limits.
type Config struct {
	EventTopic  string
	RetryTopic  string
	ParkedTopic string
	Timeout     time.Duration // of one publish in all; 0 stands for 5s
	MaxPending  int           // publishes in the client's hands at once, those given up included; 0 stands for 1024
}

// sender is the part of the RocketMQ client that is used: one attempt each (its own retries are to be set to 0). It may ignore its
// context for a while, as v2.1.2 does while it looks for a broker, dials and writes.
type sender interface {
	SendSync(ctx context.Context, messages ...*primitive.Message) (*primitive.SendResult, error)
}

// Producer publishes. It is safe for concurrent use. Close it before the sender is shut down.
type Producer struct {
	sender sender
	cfg    Config
	slots  chan struct{} // one for each send in the client's hands

	mu      sync.RWMutex // guards closed, so that no send begins after Close looked
	closed  bool
	pending sync.WaitGroup
}

// New makes a Producer over a started RocketMQ producer.
func New(s sender, cfg Config) *Producer {
	if cfg.Timeout <= 0 {
		cfg.Timeout = defaultTimeout
	}
	if cfg.MaxPending <= 0 {
		cfg.MaxPending = defaultMaxPending
	}
	return &Producer{sender: s, cfg: cfg, slots: make(chan struct{}, cfg.MaxPending)}
}

// Publish stores the event on the event topic. It returns nil only if the broker confirmed that; otherwise the error wraps
// ErrUnconfirmed or ErrRefused.
func (p *Producer) Publish(ctx context.Context, event Encoded) error {
	msg := primitive.NewMessage(p.cfg.EventTopic, event.Body)
	msg.WithProperties(map[string]string{
		primitive.PropertyKeys: safeKey(event.Subject),
		primitive.PropertyTags: strings.TrimSuffix(string(event.Type), ".v1"),
		"ce_id":                event.ID,
		"ce_type":              string(event.Type),
	})
	if err := p.send(ctx, msg); err != nil {
		return fmt.Errorf("publish event %s %s: %w", event.Type, event.ID, err)
	}
	return nil
}

// Retry stores the command on the retry topic, to be delivered after the delay: rounded up to a RocketMQ delay level, at most two
// hours, see DelayAtLeast. Errors are as of Publish.
func (p *Producer) Retry(ctx context.Context, c Copy, delay time.Duration) error {
	msg := copyMessage(p.cfg.RetryTopic, c)
	if level, _ := DelayAtLeast(delay); level > 0 {
		msg.WithDelayTimeLevel(level)
	}
	if err := p.send(ctx, msg); err != nil {
		return fmt.Errorf("publish retry of message %q: %w", safeText(c.MsgID, maxMsgID), err)
	}
	return nil
}

// Park stores the command on the parked topic. Errors are as of Publish.
func (p *Producer) Park(ctx context.Context, c Copy) error {
	if err := p.send(ctx, copyMessage(p.cfg.ParkedTopic, c)); err != nil {
		return fmt.Errorf("park message %q: %w", safeText(c.MsgID, maxMsgID), err)
	}
	return nil
}

func copyMessage(topic string, c Copy) *primitive.Message {
	msg := primitive.NewMessage(topic, c.Body)
	msg.WithProperties(c.Properties())
	if len(c.Body) == 0 {
		msg.Compress, msg.CompressedBody = true, compressedNothing()
	}
	return msg
}

// compressedNothing is an empty body in the form that a broker takes: 5.x refuses a message without one, yet such a message can come
// in, and must be moved, in just this form. Readers see an empty body.
func compressedNothing() []byte {
	var body bytes.Buffer
	_ = zlib.NewWriter(&body).Close() // a bytes.Buffer takes everything
	return body.Bytes()
}

// Close makes every later publish an ErrRefused and waits until the client has let go of all messages, or until ctx ends: then it
// says so, and the sends that hang end on their own when the client gives up. It can be called again.
func (p *Producer) Close(ctx context.Context) error {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()

	idle := make(chan struct{})
	go func() {
		p.pending.Wait()
		close(idle)
	}()
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("close producer: %d publishes still pending: %w", len(p.slots), ctx.Err())
	}
}

// send hands the message, which must be new, to the client once. The client does not return in time in every case, so it runs in
// a goroutine of its own that keeps its slot until it does.
func (p *Producer) send(ctx context.Context, msg *primitive.Message) error {
	if err := ctx.Err(); err != nil { // the client would send even so
		return fmt.Errorf("%w: not sent: %w", ErrRefused, err)
	}
	if len(msg.Body) > maxStored {
		return fmt.Errorf("%w %w: not sent: %d bytes, the limit is %d", ErrRefused, ErrContent, len(msg.Body), maxStored)
	}
	ctx, cancel := context.WithTimeout(ctx, p.cfg.Timeout)
	if err := p.begin(ctx); err != nil {
		cancel()
		return err
	}
	done := make(chan error, 1)
	go func() {
		defer p.end()
		defer cancel()
		done <- p.sendOnce(ctx, msg)
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	select {
	case err := <-done: // both were ready: the answer counts
		return err
	default:
		return fmt.Errorf("%w: %w", ErrUnconfirmed, ctx.Err())
	}
}

// begin takes a slot, and waits for one until ctx ends.
func (p *Producer) begin(ctx context.Context) error {
	select {
	case p.slots <- struct{}{}:
	default:
		select {
		case p.slots <- struct{}{}:
		case <-ctx.Done():
			return fmt.Errorf("%w: not sent: %d publishes pending: %w", ErrRefused, cap(p.slots), ctx.Err())
		}
	}
	p.mu.RLock()
	defer p.mu.RUnlock()
	if p.closed {
		<-p.slots
		return fmt.Errorf("%w: not sent: the producer is closed", ErrRefused)
	}
	p.pending.Add(1)
	return nil
}

func (p *Producer) end() {
	<-p.slots
	p.pending.Done()
}

// sendOnce judges what the client says. A panic of the client is an unknown outcome, not the end of the process.
func (p *Producer) sendOnce(ctx context.Context, msg *primitive.Message) (err error) {
	defer func() {
		if r := recover(); r != nil {
			cause, ok := r.(runtime.Error)
			if !ok {
				err = fmt.Errorf("%w: the client panicked with a %T", ErrUnconfirmed, r)
				return
			}
			err = fmt.Errorf("%w: the client panicked: %w", ErrUnconfirmed, cause)
		}
	}()
	result, err := p.sender.SendSync(ctx, msg)
	switch {
	case err != nil && illegalMessage(err):
		return fmt.Errorf("%w %w: %w", ErrRefused, ErrContent, err)
	case err != nil && brokerSaidNo(err):
		return fmt.Errorf("%w: %w", ErrRefused, err)
	case err != nil:
		return fmt.Errorf("%w: %w", ErrUnconfirmed, err)
	case result == nil:
		return fmt.Errorf("%w: no result", ErrUnconfirmed)
	case result.Status != primitive.SendOK:
		return fmt.Errorf("%w: %s", ErrUnconfirmed, statusText(result.Status))
	}
	return nil
}

// brokerSaidNo reads the client's error text, the only place where v2.1.2 says it: "CODE: 14, DESC: ..." is an answer of the broker
// other than the four statuses, and without a route nothing is sent.
func brokerSaidNo(err error) bool {
	text := err.Error()
	return strings.HasPrefix(text, "CODE: ") || strings.HasSuffix(text, "route info not found")
}

// illegalMessage reads MESSAGE_ILLEGAL (13), the one code that speaks of the message: body, properties or topic name longer than the
// broker takes, or a delay beyond its limit. Every other code speaks of the broker, the topic, permissions or load, and passes.
func illegalMessage(err error) bool { return strings.HasPrefix(err.Error(), "CODE: 13,") }

func statusText(status primitive.SendStatus) string {
	switch status {
	case primitive.SendOK:
		return "stored"
	case primitive.SendFlushDiskTimeout:
		return "stored, but not flushed to disk in time"
	case primitive.SendFlushSlaveTimeout:
		return "stored, but not replicated in time"
	case primitive.SendSlaveNotAvailable:
		return "stored, but no replica is there"
	case primitive.SendUnknownError:
		return "unknown status"
	}
	return fmt.Sprintf("status %d", status)
}
