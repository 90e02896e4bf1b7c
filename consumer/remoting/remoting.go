// Package remoting prepares and asks a RocketMQ cluster over its own wire
// protocol: topics, groups, routes and broker settings. A call takes
// milliseconds, where RocketMQ's admin tool starts a JVM for each.
//
// It serves the service's look at its topics and group before it starts, the
// tools, the local stack and the tests that run on it. It neither sends nor
// receives messages, and opens one connection per request. Brokers with access
// control refuse what is not signed: see Signed.
//
// Addresses are host:port. A broker address is a broker's own, not the name
// server's: ask Brokers for it. Every function needs a context that ends.
package remoting

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Request codes of org.apache.rocketmq.remoting.protocol.RequestCode.
const (
	codeUpdateTopic       = 17
	codeUpdateConfig      = 25
	codeRoute             = 105
	codeClusterInfo       = 106
	codeUpdateGroup       = 200
	codeDeleteGroup       = 207
	codeDeleteTopicBroker = 215
	codeDeleteTopicNamesv = 216
)

const (
	codeSuccess = 0
	// CodeTopicNotExist is the Code of a RefusedError for a topic that the
	// name server does not know.
	CodeTopicNotExist = 17
	// CodeNoPermission is the Code of a RefusedError for a request that access
	// control wants signed: it says nothing about what was asked.
	CodeNoPermission = 16
)

// pollEvery is the pause between two looks of the Wait functions.
const pollEvery = 50 * time.Millisecond

// RefusedError is an answer that says no.
type RefusedError struct {
	Code   int    // of org.apache.rocketmq.remoting.protocol.ResponseCode
	Remark string // the broker's own words, without its stack trace
}

// Error gives the code and the broker's words.
func (e *RefusedError) Error() string {
	return "refused with code " + strconv.Itoa(e.Code) + ": " + e.Remark
}

// CreateTopic makes the topic on this broker, or changes it to so many queues,
// readable and writable. The name server learns of it a moment later: use
// WaitRoute before the first client starts.
func CreateTopic(ctx context.Context, broker, name string, queues int) error {
	_, err := call(ctx, broker, codeUpdateTopic, map[string]string{
		"topic":           name,
		"defaultTopic":    "TBW102",
		"readQueueNums":   strconv.Itoa(queues),
		"writeQueueNums":  strconv.Itoa(queues),
		"perm":            "6",
		"topicFilterType": "SINGLE_TAG",
		"topicSysFlag":    "0",
		"order":           "false",
	}, nil)
	if err != nil {
		return fmt.Errorf("create topic %s: %w", name, err)
	}
	return nil
}

// DeleteTopic removes the topic from the broker and from the name server.
// A topic that is not there is no error.
func DeleteTopic(ctx context.Context, nameServer, broker, name string) error {
	topic := map[string]string{"topic": name}
	if _, err := call(ctx, broker, codeDeleteTopicBroker, topic, nil); err != nil {
		return fmt.Errorf("delete topic %s: %w", name, err)
	}
	if _, err := call(ctx, nameServer, codeDeleteTopicNamesv, topic, nil); err != nil {
		return fmt.Errorf("delete topic %s at name server: %w", name, err)
	}
	return nil
}

// CreateGroup makes the consumer group on this broker. Without it, where
// groups are not created automatically, a consumer starts and receives nothing.
func CreateGroup(ctx context.Context, broker, name string) error {
	body, err := json.Marshal(map[string]any{
		"groupName":                      name,
		"consumeEnable":                  true,
		"consumeFromMinEnable":           true,
		"consumeBroadcastEnable":         true,
		"retryQueueNums":                 1,
		"retryMaxTimes":                  16,
		"brokerId":                       0,
		"whichBrokerWhenConsumeSlowly":   1,
		"notifyConsumerIdsChangedEnable": true,
	})
	if err != nil {
		return fmt.Errorf("create group %s: %w", name, err)
	}
	if _, err := call(ctx, broker, codeUpdateGroup, nil, body); err != nil {
		return fmt.Errorf("create group %s: %w", name, err)
	}
	return nil
}

// DeleteGroup removes the consumer group and its offsets from this broker.
// Its retry and dead-letter topics stay: see DeleteTopic.
func DeleteGroup(ctx context.Context, broker, name string) error {
	_, err := call(ctx, broker, codeDeleteGroup, map[string]string{"groupName": name, "removeOffset": "true"}, nil)
	if err != nil {
		return fmt.Errorf("delete group %s: %w", name, err)
	}
	return nil
}

// Configure changes settings of a running broker, by their names in
// broker.conf. {"brokerPermission": "4"} makes it refuse new messages, "6"
// takes that back; naming brokerPermission also makes the broker register at
// its name server at once.
func Configure(ctx context.Context, broker string, settings map[string]string) error {
	var body strings.Builder
	for name, value := range settings {
		body.WriteString(name + "=" + value + "\n")
	}
	if _, err := call(ctx, broker, codeUpdateConfig, nil, []byte(body.String())); err != nil {
		return fmt.Errorf("configure broker %s: %w", broker, err)
	}
	return nil
}

// Brokers lists the addresses of the master brokers that the name server
// knows, sorted. Right after a start the list is empty.
func Brokers(ctx context.Context, nameServer string) ([]string, error) {
	body, err := call(ctx, nameServer, codeClusterInfo, nil, nil)
	if err != nil {
		return nil, fmt.Errorf("list brokers of %s: %w", nameServer, err)
	}
	var info struct {
		Brokers map[string]brokerData `json:"brokerAddrTable"`
	}
	if err := decode(body, &info); err != nil {
		return nil, fmt.Errorf("list brokers of %s: %w", nameServer, err)
	}
	var masters []string
	for _, b := range info.Brokers {
		if address := b.Addresses["0"]; address != "" {
			masters = append(masters, address)
		}
	}
	slices.Sort(masters)
	return masters, nil
}

// Route lists the addresses of the master brokers that hold the topic, sorted.
// A topic that the name server does not know is a RefusedError with
// CodeTopicNotExist.
func Route(ctx context.Context, nameServer, topic string) ([]string, error) {
	body, err := call(ctx, nameServer, codeRoute, map[string]string{"topic": topic}, nil)
	if err != nil {
		return nil, fmt.Errorf("route of topic %s: %w", topic, err)
	}
	var route struct {
		Brokers []brokerData `json:"brokerDatas"`
	}
	if err := decode(body, &route); err != nil {
		return nil, fmt.Errorf("route of topic %s: %w", topic, err)
	}
	var masters []string
	for _, b := range route.Brokers {
		if address := b.Addresses["0"]; address != "" {
			masters = append(masters, address)
		}
	}
	slices.Sort(masters)
	return masters, nil
}

// WaitRoute returns when the name server knows a master broker for the topic,
// or when ctx ends, with the last reason.
func WaitRoute(ctx context.Context, nameServer, topic string) error {
	return Wait(ctx, func(ctx context.Context) error {
		masters, err := Route(ctx, nameServer, topic)
		if err == nil && len(masters) == 0 {
			err = fmt.Errorf("route of topic %s: no master broker", topic)
		}
		return err
	})
}

// WaitBroker returns the address of the first master broker as soon as the
// name server knows one, or the last reason when ctx ends.
func WaitBroker(ctx context.Context, nameServer string) (string, error) {
	var broker string
	err := Wait(ctx, func(ctx context.Context) error {
		masters, err := Brokers(ctx, nameServer)
		if err == nil && len(masters) == 0 {
			err = errors.New("no broker has registered")
		}
		if err == nil {
			broker = masters[0]
		}
		return err
	})
	return broker, err
}

// Wait repeats try, 50 ms apart, until it returns nil or ctx ends. Its error
// then wraps both the context's and the last one of try.
func Wait(ctx context.Context, try func(context.Context) error) error {
	ticker := time.NewTicker(pollEvery)
	defer ticker.Stop()
	var last error
	for {
		err := try(ctx)
		if err == nil {
			return nil
		}
		// The try that the context cut short knows less than the one before. A
		// dial gives up at the deadline, a moment before the context says so.
		deadline, limited := ctx.Deadline()
		ended := ctx.Err() != nil || limited && !time.Now().Before(deadline)
		if last == nil || !ended {
			last = err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", context.Cause(ctx), last)
		case <-ticker.C:
		}
	}
}

type brokerData struct {
	Name      string            `json:"brokerName"`
	Addresses map[string]string `json:"brokerAddrs"` // broker id, "0" for a master, to host:port
}

// bareKey is a member name without quotes, as RocketMQ's JSON writer leaves
// numbers. No value that we decode holds a comma or brace before digits and a
// colon.
var bareKey = regexp.MustCompile(`([{,])(\d+):`)

func decode(body []byte, into any) error {
	if err := json.Unmarshal(bareKey.ReplaceAll(body, []byte(`$1"$2":`)), into); err != nil {
		return fmt.Errorf("answer: %w", err)
	}
	return nil
}
