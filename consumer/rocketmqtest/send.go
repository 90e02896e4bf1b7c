package rocketmqtest

import (
	"bytes"
	"maps"
	"net/netip"
	"strconv"
	"strings"
)

// sent reads what the two header forms of a send have in common; the letters
// are the names of the second form.
func (b *Broker) sent(c *conn, f *frame) (*record, *frame) {
	r := &record{
		topic:      f.text("topic", "b"),
		queueID:    f.integer("queueId", "e"),
		sysFlag:    f.integer("sysFlag", "f"),
		born:       f.long("bornTimestamp", "g"),
		flag:       f.integer("flag", "h"),
		reconsumes: f.integer("reconsumeTimes", "j"),
		bornHost:   b.store.host,
	}
	if addr, err := netip.ParseAddrPort(c.net.RemoteAddr().String()); err == nil {
		r.bornHost = hostOf(addr)
	}
	if r.sysFlag&(sysFlagPrepared|sysFlagPrepared<<1) != 0 {
		return nil, refusal(NoPermission, "the broker does not take transactional messages")
	}
	if b.members.open && b.store.queueCount(r.topic) == 0 {
		queues := f.integer("defaultTopicQueueNums", "d")
		b.store.createTopic(r.topic, min(max(int(queues), 1), autoCreateQueues))
	}
	return r, nil
}

func (b *Broker) send(c *conn, f *frame) *frame {
	r, no := b.sent(c, f)
	if no != nil {
		return no
	}
	r.body = bytes.Clone(f.body)
	r.properties = withBrokerProperties(decodeProperties(f.text("properties", "i")))
	if no := b.store.putLater(r); no != nil {
		return no
	}
	return sendAnswer(r.offsetMsgID(), r)
}

// sendBatch stores each message of a batch in the same queue. If one of them
// is refused, the earlier ones stay.
func (b *Broker) sendBatch(c *conn, f *frame) *frame {
	items, err := decodeBatch(f.body)
	if err != nil || len(items) == 0 {
		return refusal(MessageIllegal, "the batch is illegal")
	}
	common, no := b.sent(c, f)
	if no != nil {
		return no
	}
	var ids []string
	var first *record
	for _, item := range items {
		r := *common
		r.flag = item.flag
		r.body = bytes.Clone(item.body)
		r.properties = withBrokerProperties(item.properties)
		if no := b.store.putLater(&r); no != nil {
			return no
		}
		if first == nil {
			first = &r
			common.queueID = r.queueID
		}
		ids = append(ids, r.offsetMsgID())
	}
	return sendAnswer(strings.Join(ids, ","), first)
}

func sendAnswer(id string, r *record) *frame {
	return answer(map[string]string{
		"msgId":         id,
		"queueId":       strconv.Itoa(int(r.queueID)),
		"queueOffset":   strconv.FormatInt(r.queueOffset, 10),
		"transactionId": r.properties[propUniqKey],
		"MSG_REGION":    "DefaultRegion",
		"TRACE_ON":      "true",
	}, nil)
}

// sendBack stores a delayed copy of a message whose consumption failed.
func (b *Broker) sendBack(f *frame) *frame {
	group := f.text("group")
	if !b.members.exists(group) {
		return refusal(SubscriptionGroupNone, "subscription group not exist, %s", group)
	}
	original := b.store.find(f.long("offset"))
	if original == nil {
		return refusal(SystemError, "look message by offset failed, %d", f.long("offset"))
	}
	again := *original
	again.properties = maps.Clone(original.properties)
	again.reconsumes++
	again.queueID = -1
	again.topic = retryTopic(group)
	if again.properties[propRetryTopic] == "" {
		again.properties[propRetryTopic] = original.topic
	}
	if again.properties[propOriginID] == "" {
		again.properties[propOriginID] = original.offsetMsgID()
	}
	level := f.integer("delayLevel")
	limit := int32(maxTries)
	if f.text("maxReconsumeTimes") != "" {
		limit = f.integer("maxReconsumeTimes")
	}
	if level < 0 || original.reconsumes >= limit {
		again.topic = deadLetterTopic(group)
		again.properties[propDelay] = "0"
	} else {
		if level == 0 {
			level = 3 + original.reconsumes
		}
		again.properties[propDelay] = strconv.Itoa(int(level))
	}
	b.store.createTopic(again.topic, 1)
	if no := b.store.putLater(&again); no != nil {
		return no
	}
	return answer(nil, nil)
}
