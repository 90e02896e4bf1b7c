package tap

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	rmqproducer "github.com/apache/rocketmq-client-go/v2/producer"
)

// sendTime bounds one Send; the SDK by itself may take minutes.
const sendTime = 15 * time.Second

// Outgoing is one message to send. Empty members are left out.
type Outgoing struct {
	Topic      string
	Keys       string // one key, 0x21 to 0x7E; anything else is left out, since the broker splits keys at spaces
	Properties map[string]string
	Body       []byte
}

// Sender sends messages. It is safe for concurrent use.
type Sender struct {
	sdk rocketmq.Producer
}

// NewSender starts a producer. It connects with the first message.
func NewSender(c Cluster) (*Sender, error) {
	opts := []rmqproducer.Option{
		rmqproducer.WithGroupName("refundctl-producer"),
		rmqproducer.WithInstanceName(instance("send")),
		rmqproducer.WithNsResolver(c.resolver()),
		rmqproducer.WithRetry(1),
	}
	if credentials, ok := c.credentials(); ok {
		opts = append(opts, rmqproducer.WithCredentials(credentials))
	}
	sdk, err := rocketmq.NewProducer(opts...)
	if err != nil {
		return nil, fmt.Errorf("new producer: %w", err)
	}
	if err := sdk.Start(); err != nil {
		return nil, fmt.Errorf("start producer: %w", err)
	}
	return &Sender{sdk: sdk}, nil
}

// Send returns the message's id when the broker has confirmed it. After an
// error the message may be there all the same; a command can always be sent
// again, since it is executed once.
func (s *Sender) Send(ctx context.Context, out Outgoing) (id string, err error) {
	m := primitive.NewMessage(out.Topic, out.Body)
	m.WithProperties(out.Properties)
	if out.Keys != "" && !strings.ContainsFunc(out.Keys, func(r rune) bool { return r < 0x21 || r > 0x7e }) {
		m.WithKeys([]string{out.Keys})
	}
	ctx, cancel := context.WithTimeout(ctx, sendTime)
	defer cancel()
	type sent struct {
		result *primitive.SendResult
		err    error
	}
	done := make(chan sent, 1)
	go func() { // the SDK heeds the context in places only
		result, err := s.sdk.SendSync(ctx, m)
		// A name server that fails to answer once looks to the SDK like a topic that
		// is not there. Nothing has been sent then.
		for tries := 1; tries < routeTries && noRoute(err) && pause(ctx); tries++ {
			result, err = s.sdk.SendSync(ctx, m)
		}
		done <- sent{result, err}
	}()
	select {
	case <-ctx.Done():
		return "", fmt.Errorf("send to %s: not confirmed in time, it may be there all the same: %w", out.Topic, ctx.Err())
	case d := <-done:
		switch {
		case d.err != nil:
			return "", fmt.Errorf("send to %s: %w", out.Topic, d.err)
		case d.result == nil || d.result.Status != primitive.SendOK:
			return "", fmt.Errorf("send to %s: %w", out.Topic, errNotSafe)
		}
		return d.result.MsgID, nil
	}
}

// routeTries is how often a message is tried that finds no route.
const routeTries = 4

// noRoute knows the error by its text, since the SDK gives it no type.
func noRoute(err error) bool {
	return err != nil && strings.HasSuffix(err.Error(), "route info not found")
}

// pause lets a moment pass, and reports whether ctx is still on.
func pause(ctx context.Context) bool {
	timer := time.NewTimer(250 * time.Millisecond)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

var errNotSafe = errors.New("the broker has it, but did not confirm that it is safe on disk and replicas")

// Close ends the producer.
func (s *Sender) Close() error {
	if err := s.sdk.Shutdown(); err != nil {
		return fmt.Errorf("close producer: %w", err)
	}
	return nil
}
