package producer_test

import (
	"bytes"
	"compress/zlib"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/apache/rocketmq-client-go/v2/primitive"
	"go.uber.org/goleak"

	"refundd/producer"
)

// TestMain leaves out what the RocketMQ client of the example leaves behind: timers
// that look up to 10 s after its shutdown whether it was shut down, and a cache's.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		goleak.IgnoreAnyFunction("github.com/apache/rocketmq-client-go/v2/primitive.WithRecover"),
		goleak.IgnoreAnyFunction("github.com/patrickmn/go-cache.(*janitor).Run"))
}

// patience is how long a test waits for what must happen; it is never waited out when all is well.
const patience = 10 * time.Second

// client is the RocketMQ client as seen from here: it keeps what it is given, and answers as it is told.
type client struct {
	mu     sync.Mutex
	sent   []*primitive.Message
	answer func(ctx context.Context) (*primitive.SendResult, error)
}

func (c *client) SendSync(ctx context.Context, messages ...*primitive.Message) (*primitive.SendResult, error) {
	c.mu.Lock()
	c.sent = append(c.sent, messages...)
	answer := c.answer
	c.mu.Unlock()
	return answer(ctx)
}

func (c *client) messages() []*primitive.Message {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]*primitive.Message(nil), c.sent...)
}

func status(s primitive.SendStatus) func(context.Context) (*primitive.SendResult, error) {
	return func(context.Context) (*primitive.SendResult, error) { return &primitive.SendResult{Status: s}, nil }
}

func failure(text string) func(context.Context) (*primitive.SendResult, error) {
	return func(context.Context) (*primitive.SendResult, error) {
		return primitive.NewSendResult(), errors.New(text)
	}
}

func topics() producer.Config {
	return producer.Config{EventTopic: "refund-event", RetryTopic: "refund-retry", ParkedTopic: "refund-parked", Timeout: patience}
}

func encoded() producer.Encoded {
	return producer.Encoded{ID: "0123456789abcdef0123456789abcdef", Type: producer.TypeCouponRefundFailed, Subject: "R1", Body: []byte("{}")}
}

// publishes are the three ways to publish.
func publishes(p *producer.Producer) map[string]func(context.Context) error {
	return map[string]func(context.Context) error{
		"Publish": func(ctx context.Context) error { return p.Publish(ctx, encoded()) },
		"Retry":   func(ctx context.Context) error { return p.Retry(ctx, fullCopy(), time.Minute) },
		"Park":    func(ctx context.Context) error { return p.Park(ctx, fullCopy()) },
	}
}

func TestAnswers(t *testing.T) {
	for _, row := range []struct {
		name   string
		answer func(context.Context) (*primitive.SendResult, error)
		want   error // wrapped; nil: published
	}{
		{"stored", status(primitive.SendOK), nil},
		{"not flushed", status(primitive.SendFlushDiskTimeout), producer.ErrUnconfirmed},
		{"not replicated", status(primitive.SendFlushSlaveTimeout), producer.ErrUnconfirmed},
		{"no replica", status(primitive.SendSlaveNotAvailable), producer.ErrUnconfirmed},
		{"unknown status", status(primitive.SendUnknownError), producer.ErrUnconfirmed},
		{"a status of another version", status(99), producer.ErrUnconfirmed},
		{"nothing", func(context.Context) (*primitive.SendResult, error) { return nil, nil }, producer.ErrUnconfirmed},
		{"an error with a good status", func(context.Context) (*primitive.SendResult, error) {
			return &primitive.SendResult{Status: primitive.SendOK}, errors.New("request timeout")
		}, producer.ErrUnconfirmed},
		{"time-out", failure("request timeout"), producer.ErrUnconfirmed},
		{"broken connection", failure("write tcp 127.0.0.1:1->127.0.0.1:2: broken pipe"), producer.ErrUnconfirmed},
		{"the broker says no", failure("CODE: 2, DESC: [TIMEOUT_CLEAN_QUEUE]broker busy"), producer.ErrRefused},
		{"too large", failure("CODE: 13, DESC: the message is illegal, maybe msg body or properties length not matched."), producer.ErrContent},
		{"no route", failure("the topic=refund-event route info not found"), producer.ErrRefused},
		{"no broker", failure("topic=refund-event route info not found"), producer.ErrRefused},
		{"panic", func(context.Context) (*primitive.SendResult, error) { panic("secret") }, producer.ErrUnconfirmed},
		{"nil dereference", func(context.Context) (*primitive.SendResult, error) {
			var nothing *primitive.SendResult
			return nil, errors.New(nothing.MsgID)
		}, producer.ErrUnconfirmed},
	} {
		t.Run(row.name, func(t *testing.T) {
			c := &client{answer: row.answer}
			for name, publish := range publishes(producer.New(c, topics())) {
				err := publish(t.Context())
				if !errors.Is(err, row.want) {
					t.Errorf("%s: %v, want %v", name, err, row.want)
				}
				if errors.Is(err, producer.ErrContent) != errors.Is(row.want, producer.ErrContent) {
					t.Errorf("%s: %v speaks of the content", name, err)
				}
				if err != nil && (strings.Contains(err.Error(), "secret") || errors.Is(err, producer.ErrRefused) == errors.Is(err, producer.ErrUnconfirmed)) {
					t.Errorf("%s: %v", name, err)
				}
			}
			if sent := len(c.messages()); sent != 3 {
				t.Errorf("%d messages sent, want one for each", sent)
			}
		})
	}
}

func TestMessages(t *testing.T) {
	retried := func(delay string) map[string]string {
		all := fullProperties()
		if delay != "" {
			all["DELAY"] = delay
		}
		return all
	}
	for _, row := range []struct {
		name    string
		publish func(ctx context.Context, p *producer.Producer) error
		topic   string
		want    map[string]string
	}{
		{"event", func(ctx context.Context, p *producer.Producer) error { return p.Publish(ctx, encoded()) }, "refund-event", map[string]string{
			"KEYS": "R1", "TAGS": "coupon_refund.failed", "ce_id": "0123456789abcdef0123456789abcdef", "ce_type": "coupon_refund.failed.v1",
		}},
		{"event of a strange message", func(ctx context.Context, p *producer.Producer) error {
			e := encoded()
			e.Subject = "a b\x01"
			return p.Publish(ctx, e)
		}, "refund-event", map[string]string{
			"KEYS": "a_b_", "TAGS": "coupon_refund.failed", "ce_id": "0123456789abcdef0123456789abcdef", "ce_type": "coupon_refund.failed.v1",
		}},
		{"retry at once", func(ctx context.Context, p *producer.Producer) error { return p.Retry(ctx, fullCopy(), 0) }, "refund-retry", retried("")},
		{"retry in a minute", func(ctx context.Context, p *producer.Producer) error { return p.Retry(ctx, fullCopy(), time.Minute) }, "refund-retry", retried("5")},
		{"retry in more than an hour", func(ctx context.Context, p *producer.Producer) error {
			return p.Retry(ctx, fullCopy(), time.Hour+1)
		}, "refund-retry", retried("18")},
		{"park", func(ctx context.Context, p *producer.Producer) error { return p.Park(ctx, fullCopy()) }, "refund-parked", fullProperties()},
	} {
		t.Run(row.name, func(t *testing.T) {
			c := &client{answer: status(primitive.SendOK)}
			p := producer.New(c, topics())
			for range 2 {
				if err := row.publish(t.Context(), p); err != nil {
					t.Fatal(err)
				}
			}
			sent := c.messages()
			if len(sent) != 2 || sent[0] == sent[1] {
				t.Fatal("want a new message for each attempt")
			}
			for _, msg := range sent {
				if msg.Topic != row.topic || string(msg.Body) != "{}" || msg.Compress || !maps.Equal(msg.GetProperties(), row.want) {
					t.Errorf("%s %q %v\nwant %s %v", msg.Topic, msg.Body, msg.GetProperties(), row.topic, row.want)
				}
			}
		})
	}
}

// A 5.x broker refuses a message without a body, so an empty one goes as a compressed one.
func TestEmptyBodyCanBeParked(t *testing.T) {
	c := &client{answer: status(primitive.SendOK)}
	parked := fullCopy()
	parked.Body = nil
	if err := producer.New(c, topics()).Park(t.Context(), parked); err != nil {
		t.Fatal(err)
	}
	msg := c.messages()[0]
	if !msg.Compress {
		t.Fatal("not compressed")
	}
	reader, err := zlib.NewReader(bytes.NewReader(msg.CompressedBody))
	if err != nil {
		t.Fatal(err)
	}
	if body, err := io.ReadAll(reader); err != nil || len(body) != 0 {
		t.Errorf("%q, %v", body, err)
	}
}

func TestContextThatEndedSendsNothing(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	c := &client{answer: status(primitive.SendOK)}
	for name, publish := range publishes(producer.New(c, topics())) {
		if err := publish(ctx); !errors.Is(err, producer.ErrRefused) || !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if sent := c.messages(); len(sent) != 0 {
		t.Errorf("%d messages sent", len(sent))
	}
}

// hanging answers nobody until it is released, whatever the context says.
func hanging(t *testing.T) (c *client, entered chan context.Context, release func()) {
	t.Helper()
	entered, released := make(chan context.Context, 100), make(chan struct{})
	release = sync.OnceFunc(func() { close(released) })
	t.Cleanup(release)
	return &client{answer: func(ctx context.Context) (*primitive.SendResult, error) {
		entered <- ctx
		<-released
		return &primitive.SendResult{Status: primitive.SendOK}, nil
	}}, entered, release
}

func TestClientThatIgnoresItsContext(t *testing.T) {
	for _, row := range []struct {
		name    string
		timeout time.Duration
		cancel  bool
		want    error
	}{
		{"own deadline", time.Millisecond, false, context.DeadlineExceeded},
		{"caller gives up", patience, true, context.Canceled},
	} {
		t.Run(row.name, func(t *testing.T) {
			c, entered, release := hanging(t)
			cfg := topics()
			cfg.Timeout = row.timeout
			p := producer.New(c, cfg)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			result := make(chan error, 1)
			go func() { result <- p.Publish(ctx, encoded()) }()
			inside := receive(t, entered)
			if row.cancel {
				cancel()
			}
			if err := receive(t, result); !errors.Is(err, producer.ErrUnconfirmed) || !errors.Is(err, row.want) {
				t.Errorf("%v", err)
			}
			if inside.Err() == nil {
				t.Error("the client was not told to give up")
			}
			release()
			if err := p.Close(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestPendingIsBounded(t *testing.T) {
	c, entered, release := hanging(t)
	cfg := topics()
	cfg.Timeout, cfg.MaxPending = time.Millisecond, 3
	p := producer.New(c, cfg)
	for range 3 {
		if err := p.Publish(t.Context(), encoded()); !errors.Is(err, producer.ErrUnconfirmed) {
			t.Fatal(err)
		}
		receive(t, entered)
	}
	if err := p.Publish(t.Context(), encoded()); !errors.Is(err, producer.ErrRefused) || !strings.Contains(err.Error(), "3 publishes pending") {
		t.Errorf("%v", err)
	}
	if sent := len(c.messages()); sent != 3 {
		t.Errorf("%d messages sent", sent)
	}

	c.mu.Lock()
	c.answer = status(primitive.SendOK)
	c.mu.Unlock()
	release()
	deadline := time.Now().Add(patience)
	for p.Publish(t.Context(), encoded()) != nil {
		if time.Now().After(deadline) {
			t.Fatal("no place became free")
		}
	}
}

func TestClose(t *testing.T) {
	c, entered, release := hanging(t)
	p := producer.New(c, topics())
	result := make(chan error, 1)
	go func() { result <- p.Publish(t.Context(), encoded()) }()
	receive(t, entered)

	short, cancel := context.WithCancel(t.Context())
	cancel()
	if err := p.Close(short); !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "1 publishes still pending") {
		t.Errorf("Close while a send hangs: %v", err)
	}
	if err := p.Publish(t.Context(), encoded()); !errors.Is(err, producer.ErrRefused) {
		t.Errorf("publish after Close: %v", err)
	}
	release()
	if err := receive(t, result); err != nil {
		t.Errorf("the pending publish: %v", err)
	}
	for range 2 {
		if err := p.Close(t.Context()); err != nil {
			t.Errorf("Close: %v", err)
		}
	}
	if sent := len(c.messages()); sent != 1 {
		t.Errorf("%d messages sent", sent)
	}
}

func TestManyAtOnce(t *testing.T) {
	c := &client{answer: status(primitive.SendOK)}
	cfg := topics()
	cfg.MaxPending = 2
	p := producer.New(c, cfg)
	var all sync.WaitGroup
	for i := range 200 {
		all.Go(func() {
			e := encoded()
			e.Subject = fmt.Sprintf("R%d", i)
			if err := p.Publish(t.Context(), e); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if err := p.Close(t.Context()); err != nil {
		t.Error(err)
	}
	keys := map[string]bool{}
	for _, msg := range c.messages() {
		keys[msg.GetKeys()] = true
	}
	if len(keys) != 200 {
		t.Errorf("%d events arrived", len(keys))
	}
}

func receive[T any](t *testing.T, from <-chan T) T {
	t.Helper()
	select {
	case value := <-from:
		return value
	case <-time.After(patience):
		t.Fatal("nothing came")
		panic("unreachable")
	}
}
