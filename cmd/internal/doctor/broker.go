package doctor

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"refundd/cmd/internal/cli"
	"refundd/consumer/remoting"
)

// largestMessage is what a broker need not take more than: twice a command.
const largestMessage = 128 << 10

// askTime bounds one question of the doctor's.
const askTime = 5 * time.Second

// delayLevels is RocketMQ's default, which producer.DelayLevel relies on.
const delayLevels = "1s 5s 10s 30s 1m 2m 3m 4m 5m 6m 7m 8m 9m 10m 20m 30m 1h 2h"

// rocketmq looks at name servers, brokers, topics and the group.
func (d *doctor) rocketmq(ctx context.Context) {
	ctx = remoting.Signed(ctx, d.cfg.RocketMQAccessKey, d.cfg.Secrets.RocketMQSecretKey)
	server, brokers := d.nameServers(ctx)
	if server == "" {
		return
	}
	if !d.brokers(ctx, brokers) {
		return
	}
	d.topics(ctx, server, len(brokers))
	d.group(ctx, server, brokers)
}

// nameServers returns one that knows brokers.
func (d *doctor) nameServers(ctx context.Context) (use string, brokers []string) {
	known := map[string]string{}
	for _, server := range d.cfg.RocketMQNameservers {
		short, cancel := context.WithTimeout(ctx, askTime)
		list, err := remoting.Brokers(short, server)
		cancel()
		switch {
		case err != nil:
			d.add("name server", Problem, "see that it runs and can be reached from here, or take it out of REFUNDD_ROCKETMQ_NAMESERVERS", "%s: %v", server, err)
		case len(list) == 0:
			d.add("name server", Problem, "start the brokers, or give them this name server (namesrvAddr)", "%s knows no broker", server)
		default:
			d.add("name server", OK, "", "%s knows %d brokers", server, len(list))
			known[strings.Join(list, " ")] = server
			if use == "" {
				use, brokers = server, list
			}
		}
	}
	if len(known) > 1 {
		d.add("name server", Problem, "give every broker all name servers (namesrvAddr=a;b)", "they know different brokers: %s",
			strings.Join(slices.Sorted(maps.Keys(known)), " | "))
	}
	return use, brokers
}

// brokers looks at what each promises. False: they cannot be asked.
func (d *doctor) brokers(ctx context.Context, brokers []string) bool {
	for _, broker := range brokers {
		short, cancel := context.WithTimeout(ctx, askTime)
		s, err := remoting.Settings(short, broker)
		cancel()
		if refused, ok := errors.AsType[*remoting.RefusedError](err); ok {
			d.add("broker", Warning, "run doctor with an access key that may read settings (REFUNDD_ROCKETMQ_ACCESS_KEY); what follows about RocketMQ was not looked at",
				"%s refuses: %s", broker, refused.Remark)
			return false
		}
		if err != nil {
			d.add("broker", Problem, "see that it runs and that its own address (brokerIP1) can be reached from here", "%v", err)
			return false
		}
		d.broker(broker, s)
	}
	return true
}

func (d *doctor) broker(broker string, s map[string]string) {
	flush, role := s["flushDiskType"], s["brokerRole"]
	safe := flush == "SYNC_FLUSH" || role == "SYNC_MASTER" || s["enableDLegerCommitLog"] == "true" || s["enableControllerMode"] == "true"
	d.add("durability", pick(safe, OK, Warning),
		"flushDiskType=SYNC_FLUSH, or brokerRole=SYNC_MASTER with a slave: a confirmation that a power cut takes back loses a refund (until the sweeper finds it)",
		"%s confirms with %s, %s", broker, flush, role)
	if perm := s["brokerPermission"]; perm != "" {
		d.add("broker permission", pick(perm == "6", OK, Problem), "brokerPermission=6", "%s has brokerPermission=%s (4 reads, 2 writes)", broker, perm)
	}
	levels := strings.TrimSpace(s["messageDelayLevel"])
	d.add("delay levels", pick(levels == "" || levels == delayLevels, OK, Problem), "messageDelayLevel="+delayLevels+", then restart the broker: REFUNDD_RETRY_DELAYS relies on their order",
		"%s has %q", broker, levels)
	auto := s["autoCreateTopicEnable"] == "true" || s["autoCreateSubscriptionGroup"] == "true"
	d.add("automatic creation", pick(auto, Warning, OK), "autoCreateTopicEnable=false, autoCreateSubscriptionGroup=false: a topic made by a misspelt name takes messages that nobody reads",
		"%s creates topics by itself: %s, groups: %s", broker, s["autoCreateTopicEnable"], s["autoCreateSubscriptionGroup"])
	if size, err := strconv.Atoi(s["maxMessageSize"]); err == nil {
		d.add("message size", pick(size <= largestMessage, OK, Warning),
			fmt.Sprintf("maxMessageSize=%d, if nobody else needs more: refundd's client inflates a message before refundd sees it, to a thousand times its size at worst", largestMessage),
			"%s takes messages of up to %d bytes", broker, size)
	}
	if hours, err := strconv.Atoi(s["fileReservedTime"]); err == nil {
		kept := time.Duration(hours) * time.Hour
		d.retention = max(d.retention, kept)
		d.add("retention", pick(kept >= 72*time.Hour, OK, Warning), "fileReservedTime=336 or so: a parked command has to outlive a long holiday",
			"%s keeps messages for %s", broker, cli.Ago(kept))
	}
}

func pick(first bool, a, b Severity) Severity {
	if first {
		return a
	}
	return b
}

// topics looks at what exists, and how.
func (d *doctor) topics(ctx context.Context, server string, brokers int) {
	for _, t := range d.wanted() {
		short, cancel := context.WithTimeout(ctx, askTime)
		queues, err := remoting.Queues(short, server, t.Name)
		cancel()
		if refused, ok := errors.AsType[*remoting.RefusedError](err); ok && refused.Code == remoting.CodeTopicNotExist {
			d.add("topic", Problem, "refundctl topics create; refundd does not start without it", "%s (%s) does not exist", t.Name, t.Variable)
			continue
		}
		if err != nil {
			d.add("topic", Problem, "see name server and network", "%v", err)
			continue
		}
		var saw, wrong []string
		for _, q := range queues {
			saw = append(saw, fmt.Sprintf("%s: %d", q.Broker, q.Write))
			switch {
			case q.Perm&6 != 6:
				wrong = append(wrong, fmt.Sprintf("%s has permission %d, want 6", q.Broker, q.Perm))
			case q.Read != q.Write:
				wrong = append(wrong, fmt.Sprintf("%s has %d queues to read and %d to write", q.Broker, q.Read, q.Write))
			case q.Write != queues[0].Write:
				wrong = append(wrong, fmt.Sprintf("%s has %d queues, %s has %d", q.Broker, q.Write, queues[0].Broker, queues[0].Write))
			}
		}
		switch {
		case len(wrong) > 0:
			d.add("topic", Problem, "mqadmin updateTopic, the same on every broker: -r N -w N -p 6", "%s: %s", t.Name, strings.Join(wrong, "; "))
		case len(queues) < brokers:
			d.add("topic", Warning, "refundctl topics create: with one broker down its share of a topic stands still", "%s is on %d of %d brokers", t.Name, len(queues), brokers)
		default:
			d.add("topic", OK, "", "%s has queues %s", t.Name, strings.Join(saw, ", "))
		}
	}
}

// wanted is Topics from the configuration that was loaded.
func (d *doctor) wanted() []Topic {
	all := []Topic{
		{"REFUNDD_TOPIC_REFUND", d.cfg.TopicRefund},
		{"REFUNDD_TOPIC_COUPON_REFUND", d.cfg.TopicCouponRefund},
		{"REFUNDD_TOPIC_EVENT", d.cfg.TopicEvent},
		{"REFUNDD_TOPIC_RETRY", d.cfg.TopicRetry},
		{"REFUNDD_TOPIC_PARKED", d.cfg.TopicParked},
	}
	return slices.DeleteFunc(all, func(t Topic) bool { return t.Name == "" })
}

// consumed are the topics that the group reads.
func (d *doctor) consumed() []string {
	names := slices.DeleteFunc([]string{d.cfg.TopicRefund, d.cfg.TopicCouponRefund, d.cfg.TopicRetry}, func(t string) bool { return t == "" })
	slices.Sort(names)
	return names
}

// group looks at its existence, its members, what they subscribe to, and lag.
func (d *doctor) group(ctx context.Context, server string, brokers []string) {
	name := d.cfg.RocketMQGroup
	members := 0
	for _, broker := range brokers {
		short, cancel := context.WithTimeout(ctx, askTime)
		g, err := remoting.GroupOf(short, broker, name)
		cancel()
		switch {
		case err != nil:
			d.add("group", Warning, "an access key that may look at groups", "%v", err)
			return
		case !g.Exists:
			d.add("group", Problem, "refundctl topics create: without the group refundd starts and receives nothing", "%s does not exist at broker %s", name, broker)
			continue
		case !g.Consume:
			d.add("group", Problem, "mqadmin updateSubGroup -s true: its members get no messages", "%s is switched off at broker %s", name, broker)
			continue
		}
		members = max(members, d.members(ctx, broker))
	}
	if members > 0 {
		d.add("group", OK, "", "%s has %d members", name, members)
	} else {
		d.add("group", Warning, "start refundd", "%s has no member: nothing is consumed", name)
	}
	d.lag(ctx, server, members)
}

// members compares what the group subscribes to with this configuration, once,
// or for as long as the doctor watches.
func (d *doctor) members(ctx context.Context, broker string) int {
	want := strings.Join(d.consumed(), " ")
	seen := map[string]bool{}
	count := 0
	for end := time.Now().Add(d.watch); ; {
		short, cancel := context.WithTimeout(ctx, askTime)
		m, err := remoting.Members(short, broker, d.cfg.RocketMQGroup)
		cancel()
		if err != nil {
			d.add("subscriptions", Warning, "an access key that may look at members", "%v", err)
			return count
		}
		count = max(count, len(m.Clients))
		if len(m.Clients) > 0 {
			seen[strings.Join(m.Topics, " ")] = true
		}
		if !time.Now().Before(end) {
			break
		}
		select {
		case <-ctx.Done():
			return count
		case <-time.After(time.Second):
		}
	}
	fix := "give every instance of the group the same REFUNDD_TOPIC_…: with unequal ones messages are taken by instances that do not want them, and lost to the others"
	for topics := range seen {
		d.add("subscriptions", pick(topics == want, OK, Problem), fix, "the group subscribes to %s; here it is %s", topics, want)
	}
	return count
}

// lag tells how far the group is behind.
func (d *doctor) lag(ctx context.Context, server string, members int) {
	for _, topic := range d.consumed() {
		short, cancel := context.WithTimeout(ctx, askTime)
		queues, err := remoting.Queues(short, server, topic)
		if err != nil { // told already
			cancel()
			continue
		}
		behind, readable, known := int64(0), 0, false
		for _, q := range queues {
			n, k, failed := remoting.Lag(short, q.Address, d.cfg.RocketMQGroup, topic, q.Read)
			behind, readable, known, err = behind+n, readable+q.Read, known || k, errors.Join(err, failed)
		}
		cancel()
		switch {
		case err != nil:
			d.add("lag", Warning, "an access key that may look at offsets", "%v", err)
			continue
		case !known && behind > 0:
			d.add("lag", Warning, "nothing, if refundd never ran here; it begins with the oldest message", "%s: the group has no position yet, %d messages are there", topic, behind)
		case behind > lagMuch:
			d.add("lag", Warning, "see whether intake is suspended (readiness), calls are limited (REFUNDD_RATE) or paused (refundctl brakes); more instances or REFUNDD_CONCURRENCY help if not",
				"%s: %d messages are not finished", topic, behind)
		default:
			d.add("lag", OK, "", "%s: %d messages are not finished", topic, behind)
		}
		if members > readable {
			d.add("queues", Warning, "more queues (mqadmin updateTopic), or fewer instances: a queue has one reader", "%s has %d queues for %d instances", topic, readable, members)
		}
	}
}

const lagMuch = 10_000
