package rocketmqtest

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// What tools ask of a broker to judge it.

// defaultSettings are the Java broker's that decide what it promises.
func defaultSettings(autoCreate bool) map[string]string {
	auto := strconv.FormatBool(autoCreate)
	return map[string]string{
		"brokerRole":                  "ASYNC_MASTER",
		"flushDiskType":               "ASYNC_FLUSH",
		"fileReservedTime":            "72",
		"maxMessageSize":              strconv.Itoa(maxBody),
		"deleteWhen":                  "04",
		"brokerPermission":            "6",
		"autoCreateTopicEnable":       auto,
		"autoCreateSubscriptionGroup": auto,
		"messageDelayLevel":           "1s 5s 10s 30s 1m 2m 3m 4m 5m 6m 7m 8m 9m 10m 20m 30m 1h 2h",
	}
}

func (b *Broker) configure(lines string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for line := range strings.Lines(lines) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok {
			b.settings[name] = value
		}
	}
}

func (b *Broker) configuration() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	var text strings.Builder
	for _, name := range slices.Sorted(maps.Keys(b.settings)) {
		_, _ = fmt.Fprintf(&text, "%s=%s\n", name, b.settings[name])
	}
	return text.String()
}

func (b *Broker) connections(group string) *frame {
	ids := b.members.ids(group)
	if len(ids) == 0 {
		return refusal(ConsumerNotOnline, "the consumer group[%s] not online", group)
	}
	connections := make([]any, len(ids))
	for i, id := range ids {
		connections[i] = map[string]any{"clientId": id, "clientAddr": "127.0.0.1:0", "language": "GO", "version": 317}
	}
	subscriptions := map[string]any{}
	for _, topic := range b.members.topics(group) {
		subscriptions[topic] = map[string]any{"topic": topic, "subString": "*"}
	}
	return jsonAnswer(map[string]any{"connectionSet": connections, "subscriptionTable": subscriptions})
}

// lookup finds messages by key, as the index of a real broker does, which knows
// the unique key of a message, too.
func (b *Broker) lookup(f *frame) *frame {
	topic, key, most := f.text("topic"), f.text("key"), int(f.integer("maxNum"))
	from, to := f.long("beginTimestamp"), f.long("endTimestamp")
	var body []byte
	found := 0
	for _, r := range b.store.records(topic) {
		keys := append(strings.Split(r.properties["KEYS"], " "), r.properties[propUniqKey])
		if r.stored < from || r.stored > to || found == most || !slices.Contains(keys, key) {
			continue
		}
		var err error
		if body, err = r.appendTo(body); err != nil {
			return refusal(SystemError, "encode message: %v", err)
		}
		found++
	}
	if found == 0 {
		return refusal(QueryNotFound, "can not find message, maybe time range not correct")
	}
	return answer(nil, body)
}
