package rocketmqtest

import (
	"encoding/binary"
	"slices"
	"strconv"
	"time"
)

// maxSuspend bounds a long poll, whatever the client asks for.
const maxSuspend = 30 * time.Second

// pull answers with messages, or returns a function that waits for one.
func (b *Broker) pull(c *conn, f *frame) (*frame, func() *frame) {
	group, topic, queueID := f.text("consumerGroup"), f.text("topic"), f.integer("queueId")
	flags := f.integer("sysFlag")
	queues := b.store.queueCount(topic)
	switch {
	case !b.members.exists(group):
		return refusal(SubscriptionGroupNone, "subscription group [%s] does not exist", group), nil
	case queues == 0:
		return refusal(TopicNotExist, "topic[%s] not exist", topic), nil
	case queueID < 0 || int(queueID) >= queues:
		return refusal(SystemError, "queueId[%d] is illegal, topic:[%s]", queueID, topic), nil
	case flags&pullSubscribes == 0 && !b.members.subscribed(group, topic):
		return refusal(SubscriptionNotExist, "the consumer's subscription not exist"), nil
	}
	if flags&pullCommits != 0 {
		b.store.commit(group, topic, queueID, f.long("commitOffset"))
	}
	reply, changed := b.readQueue(f)
	if reply.Code != PullNotFound || flags&pullSuspends == 0 {
		return reply, nil
	}
	suspend := min(time.Duration(f.long("suspendTimeoutMillis"))*time.Millisecond, maxSuspend)
	return nil, func() *frame {
		timeout := time.NewTimer(suspend)
		defer timeout.Stop()
		for {
			select {
			case <-c.done:
				return nil
			case <-timeout.C:
				return reply
			case <-changed:
			}
			reply, changed = b.readQueue(f)
			if reply.Code != PullNotFound {
				return reply
			}
		}
	}
}

// readQueue reads once, and returns what will be closed when reading again may
// find more.
func (b *Broker) readQueue(f *frame) (*frame, <-chan struct{}) {
	topic, offset := f.text("topic"), f.long("queueOffset")
	limit := min(max(f.integer("maxMsgNums"), 1), maxPullCount)
	found := b.store.read(topic, f.integer("queueId"), offset, int(limit))
	reply := &frame{Ext: map[string]string{
		"minOffset":            "0",
		"maxOffset":            strconv.FormatInt(found.maximum, 10),
		"suggestWhichBrokerId": "0",
	}}
	next := offset
	switch {
	case !found.exists:
		return refusal(TopicNotExist, "topic[%s] not exist", topic), nil
	case len(found.records) > 0:
		next = found.records[len(found.records)-1].queueOffset + 1
		for _, r := range found.records {
			body, err := r.appendTo(reply.body)
			if err != nil {
				return refusal(SystemError, "encode message: %v", err), nil
			}
			reply.body = body
		}
	case offset < 0:
		reply.Code, next = PullOffsetMoved, 0
	case offset > found.maximum:
		reply.Code, next = PullOffsetMoved, found.maximum
	default:
		reply.Code = PullNotFound
	}
	reply.Ext["nextBeginOffset"] = strconv.FormatInt(next, 10)
	return reply, found.changed
}

// reverse turns the order of a pull answer's messages around. It reports false
// if there are fewer than two.
func (f *frame) reverse() bool {
	var parts [][]byte
	for rest := f.body; len(rest) >= 4; {
		size := int(binary.BigEndian.Uint32(rest))
		if size < 4 || size > len(rest) {
			return false
		}
		parts = append(parts, rest[:size])
		rest = rest[size:]
	}
	if len(parts) < 2 {
		return false
	}
	slices.Reverse(parts)
	f.body = slices.Concat(parts...)
	return true
}
