package remoting

import (
	"context"
	"errors"
	"fmt"
	"strconv"
)

const codeUpdateOffset = 15

// Position is the offset of the next message that the group has not finished in
// a queue of the broker; false if it has never finished one.
func Position(ctx context.Context, broker, group, topic string, queue int) (next int64, known bool, err error) {
	next, err = offset(ctx, broker, codeQueryOffset, positionOf(group, topic, queue))
	if refused, ok := errors.AsType[*RefusedError](err); ok && refused.Code == codeQueryNotFound {
		return 0, false, nil
	}
	if err != nil {
		return 0, false, fmt.Errorf("position in queue %d of %s: %w", queue, topic, err)
	}
	return next, true, nil
}

// SetPosition makes the group begin at an offset of a queue. Members of the
// group that run write their own position over it.
func SetPosition(ctx context.Context, broker, group, topic string, queue int, next int64) error {
	fields := positionOf(group, topic, queue)
	fields["commitOffset"] = strconv.FormatInt(next, 10)
	if _, err := call(ctx, broker, codeUpdateOffset, fields, nil); err != nil {
		return fmt.Errorf("set position in queue %d of %s: %w", queue, topic, err)
	}
	return nil
}

func positionOf(group, topic string, queue int) map[string]string {
	return map[string]string{"consumerGroup": group, "topic": topic, "queueId": strconv.Itoa(queue)}
}
