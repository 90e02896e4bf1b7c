package rocketmqtest

import (
	"encoding/json"
	"maps"
	"slices"
	"strconv"
)

// stores reports whether a request puts messages.
func stores(code int) bool {
	return code == CodeSend || code == CodeSendV2 || code == CodeSendBatch || code == CodeSendBack
}

// do carries a request out. A pull that must wait returns a function that does
// the waiting, so that commits and sends of one connection stay in order.
func (b *Broker) do(c *conn, f *frame) (reply *frame, suspended func() *frame) {
	switch f.Code {
	case CodePull:
		return b.pull(c, f)
	case CodeSend, CodeSendV2:
		return b.send(c, f), nil
	case CodeSendBatch:
		return b.sendBatch(c, f), nil
	case CodeSendBack:
		return b.sendBack(f), nil
	case CodeHeartbeat:
		return b.heartbeat(c, f), nil
	case CodeUnregister:
		if group := f.text("consumerGroup"); group != "" {
			b.tell(b.members.leave(group, c))
		}
		return answer(nil, nil), nil
	case CodeConsumerList:
		return b.consumerList(f.text("consumerGroup")), nil
	case CodeQueryOffset, CodeUpdateOffset, CodeSearchOffset, CodeMaxOffset, CodeMinOffset:
		return b.offset(f), nil
	default:
		return b.administer(f), nil
	}
}

func (b *Broker) offset(f *frame) *frame {
	group, topic, queueID := f.text("consumerGroup"), f.text("topic"), f.integer("queueId")
	switch f.Code {
	case CodeUpdateOffset:
		b.store.commit(group, topic, queueID, f.long("commitOffset"))
		return answer(nil, nil)
	case CodeQueryOffset:
		offset, ok := b.store.committed(group, topic, queueID)
		if !ok {
			return refusal(QueryNotFound, "Not found, V3_0_6_SNAPSHOT maybe this group consumer boot first")
		}
		return offsetAnswer(offset)
	case CodeSearchOffset:
		return offsetAnswer(b.store.offsetAt(topic, queueID, f.long("timestamp")))
	case CodeMaxOffset:
		return offsetAnswer(b.store.maxOffset(topic, queueID))
	default: // nothing ever expires
		return offsetAnswer(0)
	}
}

func offsetAnswer(offset int64) *frame {
	return answer(map[string]string{"offset": strconv.FormatInt(offset, 10)}, nil)
}

// heartbeat registers the client's consumer groups.
func (b *Broker) heartbeat(c *conn, f *frame) *frame {
	var beat struct {
		ClientID  string `json:"clientID"`
		Consumers []struct {
			Group         string `json:"groupName"`
			Subscriptions []struct {
				Topic string `json:"topic"`
			} `json:"subscriptionDataSet"`
		} `json:"consumerDataSet"`
	}
	if err := json.Unmarshal(f.body, &beat); err != nil {
		return refusal(SystemError, "decode heartbeat: %v", err)
	}
	for _, consumer := range beat.Consumers {
		joining := member{clientID: beat.ClientID}
		for _, subscription := range consumer.Subscriptions {
			joining.topics = append(joining.topics, subscription.Topic)
		}
		slices.Sort(joining.topics)
		tell, ok := b.members.join(consumer.Group, c, joining)
		if !ok {
			continue
		}
		b.store.createTopic(retryTopic(consumer.Group), 1)
		b.tell(map[string][]*conn{consumer.Group: tell})
	}
	return answer(nil, nil)
}

func (b *Broker) consumerList(group string) *frame {
	ids := b.members.ids(group)
	if len(ids) == 0 {
		return refusal(SystemError, "no consumer for this group, %s", group)
	}
	return jsonAnswer(map[string]any{"consumerIdList": ids})
}

// administer serves the name server's and the tools' requests.
func (b *Broker) administer(f *frame) *frame {
	topic := f.text("topic")
	switch f.Code {
	case CodeRoute:
		return b.route(topic)
	case CodeCreateTopic:
		queues := max(f.integer("writeQueueNums"), f.integer("readQueueNums"))
		if topic == "" || queues <= 0 {
			return refusal(SystemError, "create topic: no name or no queues")
		}
		b.CreateTopic(topic, int(queues))
		return answer(nil, nil)
	case CodeDeleteTopic, CodeDeleteTopicInNamesv:
		b.DeleteTopic(topic)
		return answer(nil, nil)
	case CodeClusterInfo:
		return b.cluster()
	case CodeTopicList:
		return jsonAnswer(map[string]any{"topicList": b.store.topicNames()})
	case CodeCreateGroup:
		var group struct {
			Name string `json:"groupName"`
		}
		if err := json.Unmarshal(f.body, &group); err != nil || group.Name == "" {
			return refusal(SystemError, "create group: no name")
		}
		b.CreateGroup(group.Name)
		return answer(nil, nil)
	case CodeGroupList:
		table := make(map[string]any)
		for _, name := range b.members.names() {
			table[name] = map[string]any{
				"groupName": name, "consumeEnable": true, "retryQueueNums": 1, "retryMaxTimes": maxTries,
			}
		}
		return jsonAnswer(map[string]any{"subscriptionGroupTable": table})
	case CodeUpdateBrokerConfig:
		b.configure(string(f.body))
		return answer(nil, nil)
	case CodeBrokerConfig:
		return answer(nil, []byte(b.configuration()))
	case CodeQueryMessage:
		return b.lookup(f)
	case CodeConsumerConnections:
		return b.connections(f.text("consumerGroup"))
	default:
		return refusal(RequestNotSupported, "request type %d not supported", f.Code)
	}
}

func (b *Broker) route(topic string) *frame {
	queues := b.store.queueCount(topic)
	if queues == 0 {
		return refusal(TopicNotExist, "No topic route info in name server for the topic: %s", topic)
	}
	return jsonAnswer(map[string]any{
		"queueDatas": []any{map[string]any{
			"brokerName": BrokerName, "readQueueNums": queues, "writeQueueNums": queues, "perm": 6, "topicSysFlag": 0,
		}},
		"brokerDatas": []any{map[string]any{
			"cluster": clusterName, "brokerName": BrokerName, "brokerAddrs": map[string]string{"0": b.addr},
		}},
		"filterServerTable": map[string]any{},
	})
}

// cluster is what a name server answers tools about the brokers it knows.
func (b *Broker) cluster() *frame {
	return jsonAnswer(map[string]any{
		"brokerAddrTable": map[string]any{BrokerName: map[string]any{
			"cluster": clusterName, "brokerName": BrokerName, "brokerAddrs": map[string]string{"0": b.addr},
		}},
		"clusterAddrTable": map[string]any{clusterName: []string{BrokerName}},
	})
}

func jsonAnswer(v any) *frame {
	body, err := json.Marshal(v)
	if err != nil {
		return refusal(SystemError, "encode answer: %v", err)
	}
	return answer(nil, body)
}

// withBrokerProperties adds what the broker adds to every message sent to it.
func withBrokerProperties(properties map[string]string) map[string]string {
	all := maps.Clone(properties)
	all["CLUSTER"], all["MSG_REGION"], all["TRACE_ON"] = clusterName, "DefaultRegion", "true"
	if all["WAIT"] == "true" {
		delete(all, "WAIT")
	}
	return all
}
