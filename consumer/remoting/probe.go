package remoting

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

const (
	codeSend           = 10
	codeMessageIllegal = 13
)

// MayConsume asks the broker for the group's position in the topic's first queue,
// as a consumer does before it pulls. An error means that the group gets nothing
// of the topic from this broker.
func MayConsume(ctx context.Context, broker, group, topic string) error {
	_, err := offset(ctx, broker, codeQueryOffset, map[string]string{"consumerGroup": group, "topic": topic, "queueId": "0"})
	if refused, ok := errors.AsType[*RefusedError](err); ok && refused.Code == codeQueryNotFound {
		return nil // no position yet
	}
	if err != nil {
		return fmt.Errorf("position of %s in %s: %w", group, topic, err)
	}
	return nil
}

// ErrStored is wrapped by MayPublish's error if the broker took the message
// against all expectation: do not ask it again.
var ErrStored = errors.New("the broker stored a message that it should have refused")

// tooLong is more than a message's properties may hold, on every version.
var tooLong = "refundd.probe\x01" + strings.Repeat("x", 1<<15) + "\x02" //nolint:gochecknoglobals // a constant

// MayPublish sends the broker a message that it looks at as at every other and
// then refuses for its properties, which are longer than may be: nothing is ever
// stored. An error means that a proper one would be refused, too: by access
// control, because the topic is not there, the broker shuts down, or its disk is
// full. It does not prove that a publish would be confirmed. The broker logs a line
// each time.
func MayPublish(ctx context.Context, broker, group, topic string) error {
	_, err := call(ctx, broker, codeSend, map[string]string{
		"producerGroup": group, "topic": topic, "queueId": "0",
		"defaultTopic": "TBW102", "defaultTopicQueueNums": "4",
		"sysFlag": "0", "flag": "0", "bornTimestamp": strconv.FormatInt(time.Now().UnixMilli(), 10),
		"properties": tooLong, "reconsumeTimes": "0", "unitMode": "false", "maxReconsumeTimes": "0", "batch": "false",
	}, []byte("refundd asks whether it may publish")) // without a body a broker stumbles before it answers
	if refused, ok := errors.AsType[*RefusedError](err); ok && refused.Code == codeMessageIllegal {
		return nil
	}
	if err == nil {
		err = ErrStored
	}
	return fmt.Errorf("publish to %s: %w", topic, err)
}
