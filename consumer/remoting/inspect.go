package remoting

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Request codes that only look.
const (
	codeQueryOffset  = 14
	codeBrokerConfig = 26
	codeMaxOffset    = 30
	codeAllGroups    = 201
	codeConnections  = 203
	codeGroupConfig  = 352
)

// Codes of a RefusedError that say what is not there.
const (
	codeNotSupported  = 3
	codeQueryNotFound = 22
	codeGroupNotExist = 26
	codeNotOnline     = 206
)

// TopicQueues is what one broker has of a topic.
type TopicQueues struct {
	Broker      string // its name
	Address     string // of its master; empty if that is gone
	Read, Write int    // numbers of queues
	Perm        int    // 4 readable, 2 writable: 6 is both
}

// Queues asks the name server where the topic is, sorted by broker. A topic that
// it does not know is a RefusedError with CodeTopicNotExist.
func Queues(ctx context.Context, nameServer, topic string) ([]TopicQueues, error) {
	body, err := call(ctx, nameServer, codeRoute, map[string]string{"topic": topic}, nil)
	if err != nil {
		return nil, fmt.Errorf("queues of topic %s: %w", topic, err)
	}
	var route struct {
		Queues []struct {
			Broker string `json:"brokerName"`
			Read   int    `json:"readQueueNums"`
			Write  int    `json:"writeQueueNums"`
			Perm   int    `json:"perm"`
		} `json:"queueDatas"`
		Brokers []brokerData `json:"brokerDatas"`
	}
	if err := decode(body, &route); err != nil {
		return nil, fmt.Errorf("queues of topic %s: %w", topic, err)
	}
	var list []TopicQueues
	for _, q := range route.Queues {
		t := TopicQueues{Broker: q.Broker, Read: q.Read, Write: q.Write, Perm: q.Perm}
		for _, b := range route.Brokers {
			if b.Name == q.Broker {
				t.Address = b.Addresses["0"]
			}
		}
		list = append(list, t)
	}
	slices.SortFunc(list, func(a, b TopicQueues) int { return strings.Compare(a.Broker, b.Broker) })
	return list, nil
}

// Settings are a running broker's, by their names in broker.conf.
func Settings(ctx context.Context, broker string) (map[string]string, error) {
	body, err := call(ctx, broker, codeBrokerConfig, nil, nil)
	if err != nil {
		return nil, fmt.Errorf("settings of broker %s: %w", broker, err)
	}
	settings := map[string]string{}
	for line := range strings.Lines(string(body)) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok {
			settings[name] = value
		}
	}
	return settings, nil
}

// Group is a consumer group as a broker has it.
type Group struct {
	Exists  bool
	Consume bool // whether its members get messages
}

// GroupOf looks a consumer group up on this broker.
func GroupOf(ctx context.Context, broker, name string) (Group, error) {
	type config struct {
		Name    string `json:"groupName"`
		Consume bool   `json:"consumeEnable"`
	}
	body, err := call(ctx, broker, codeGroupConfig, map[string]string{"group": name}, nil)
	if refused, ok := errors.AsType[*RefusedError](err); ok {
		switch refused.Code {
		case codeGroupNotExist:
			return Group{}, nil
		case codeNotSupported: // a broker before 5.0
			var all struct {
				Table map[string]config `json:"subscriptionGroupTable"`
			}
			if body, err = call(ctx, broker, codeAllGroups, nil, nil); err == nil {
				err = decode(body, &all)
			}
			if err != nil {
				return Group{}, fmt.Errorf("group %s of broker %s: %w", name, broker, err)
			}
			one, ok := all.Table[name]
			return Group{Exists: ok, Consume: one.Consume}, nil
		}
	}
	var one config
	if err == nil {
		err = decode(body, &one)
	}
	if err != nil {
		return Group{}, fmt.Errorf("group %s of broker %s: %w", name, broker, err)
	}
	return Group{Exists: true, Consume: one.Consume}, nil
}

// Lag is how many messages of the broker's queues of a topic the group has not
// finished. Queues of which it never finished any count as a whole, from the
// oldest message there is, and known is false if there is no other.
func Lag(ctx context.Context, broker, group, topic string, queues int) (behind int64, known bool, err error) {
	for queue := range queues {
		at := map[string]string{"topic": topic, "queueId": strconv.Itoa(queue)}
		end, err := offset(ctx, broker, codeMaxOffset, at)
		if err != nil {
			return 0, false, fmt.Errorf("end of queue %d of %s: %w", queue, topic, err)
		}
		at["consumerGroup"] = group
		next, err := offset(ctx, broker, codeQueryOffset, at)
		refused, ok := errors.AsType[*RefusedError](err)
		switch {
		case ok && refused.Code == codeQueryNotFound:
			behind += end
			continue
		case err != nil:
			return 0, false, fmt.Errorf("position in queue %d of %s: %w", queue, topic, err)
		}
		known = true
		behind += max(0, end-next)
	}
	return behind, known, nil
}

func offset(ctx context.Context, broker string, code int, fields map[string]string) (int64, error) {
	h, _, err := exchange(ctx, broker, code, fields, nil)
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseInt(h.Fields["offset"], 10, 64)
	if err != nil {
		return 0, fmt.Errorf("answer: offset: %w", err)
	}
	return n, nil
}

// Membership is who is in a consumer group, as one broker knows it.
type Membership struct {
	Clients []string // their ids, sorted
	// Topics is what the group subscribes to, sorted, its own retry topic left
	// out. The broker believes whichever member was heard last: members with
	// unequal settings make it change with every heartbeat, every 30 seconds.
	Topics []string
}

// Members asks the broker for the live members of the group; none is no error.
// It does not ask the members themselves: this version of the SDK could die of it.
func Members(ctx context.Context, broker, group string) (Membership, error) {
	body, err := call(ctx, broker, codeConnections, map[string]string{"consumerGroup": group}, nil)
	if refused, ok := errors.AsType[*RefusedError](err); ok && refused.Code == codeNotOnline {
		return Membership{}, nil
	}
	var answer struct {
		Connections []struct {
			ClientID string `json:"clientId"`
		} `json:"connectionSet"`
		Subscriptions map[string]json.RawMessage `json:"subscriptionTable"`
	}
	if err == nil {
		err = decode(body, &answer)
	}
	if err != nil {
		return Membership{}, fmt.Errorf("members of %s at broker %s: %w", group, broker, err)
	}
	var m Membership
	for _, c := range answer.Connections {
		m.Clients = append(m.Clients, c.ClientID)
	}
	for topic := range answer.Subscriptions {
		if topic != "%RETRY%"+group {
			m.Topics = append(m.Topics, topic)
		}
	}
	slices.Sort(m.Clients)
	slices.Sort(m.Topics)
	return m, nil
}
