// Package tap is how programs other than the service touch its topics: it sends
// commands (Sender) and follows a topic from outside (Follow), over the real
// SDK, without ever joining the production group.
//
// Following works on any broker without preparation: it reads the queues by
// offset, in the name of a group that every broker has from birth
// (TOOLS_CONSUMER, the one that RocketMQ's own tools use). Nobody else's
// messages are taken away and no offset of anybody is moved.
//
// Call consumer.RedirectSDK once before anything here.
package tap

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/apache/rocketmq-client-go/v2/primitive"

	"refundd/consumer"
	"refundd/consumer/remoting"
)

// ToolsGroup is the consumer group that brokers have from birth for tools.
const ToolsGroup = "TOOLS_CONSUMER"

// Cluster says how to reach RocketMQ.
type Cluster struct {
	NameServers          []string // host:port; host names are allowed
	AccessKey, SecretKey string   // broker ACL; empty where it is off
}

// ErrNoTopic is wrapped by the error for a topic that the name server does not
// know.
var ErrNoTopic = errors.New("topic does not exist")

// CheckTopic asks the name servers for the topic, so that a wrong address or a
// missing topic is told at once; the SDK itself would take many seconds. A name
// server that answers only signed requests is taken to have it.
func (c Cluster) CheckTopic(ctx context.Context, topic string) error {
	var errs []error
	for _, server := range c.NameServers {
		ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
		_, err := remoting.Route(ctx, server, topic)
		cancel()
		refused, ok := errors.AsType[*remoting.RefusedError](err)
		switch {
		case err == nil, ok && refused.Code != remoting.CodeTopicNotExist:
			return nil
		case ok:
			return fmt.Errorf("%w: %s at name server %s", ErrNoTopic, topic, server)
		}
		errs = append(errs, fmt.Errorf("name server %s: %w", server, err))
	}
	return errors.Join(errs...)
}

// ByKey looks messages of the topic up that carry a key, stored since a time;
// the zero time is from the beginning. False: the brokers' index cannot tell all
// of them, so that the topic has to be followed instead.
func (c Cluster) ByKey(ctx context.Context, topic, key string, since time.Time) ([]Message, bool) {
	ctx, cancel := context.WithTimeout(remoting.Signed(ctx, c.AccessKey, c.SecretKey), 10*time.Second)
	defer cancel()
	var queues []remoting.TopicQueues
	for _, server := range c.NameServers {
		var err error
		if queues, err = remoting.Queues(ctx, server, topic); err == nil {
			break
		}
	}
	var all []Message
	for _, q := range queues {
		if q.Address == "" {
			return nil, false
		}
		found, err := remoting.ByKey(ctx, q.Address, topic, key, since)
		if err != nil || len(found) == remoting.MostFound {
			return nil, false
		}
		for _, m := range found {
			all = append(all, Message{
				ID: m.ID, Queue: fmt.Sprintf("%s/%d", q.Broker, m.Queue), Offset: m.Offset,
				Properties: m.Properties, Born: m.Born, Body: m.Body,
			})
		}
	}
	return all, len(queues) > 0
}

func (c Cluster) resolver() primitive.NsResolver {
	return primitive.NewPassthroughResolver(consumer.NameServerURLs(c.NameServers))
}

func (c Cluster) credentials() (primitive.Credentials, bool) {
	return primitive.Credentials{AccessKey: c.AccessKey, SecretKey: c.SecretKey}, c.AccessKey != ""
}

// instance names one SDK client; the same name twice would be one client.
func instance(role string) string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	var b [6]byte
	_, _ = rand.Read(b[:])
	return fmt.Sprintf("refundctl-%s-%s-%d-%s", role, host, os.Getpid(), hex.EncodeToString(b[:]))
}
