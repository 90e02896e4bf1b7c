package consumer

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/apache/rocketmq-client-go/v2"
	rmqconsumer "github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/rlog"
	"github.com/sirupsen/logrus"
)

// RocketMQ says what to consume and how much at once.
type RocketMQ struct {
	// NameServers are host:port; host names are allowed.
	NameServers []string
	Group       string
	// Instance must be unique among all clients of all processes: two with
	// the same id take the same queues.
	Instance             string
	AccessKey, SecretKey string
	// Topics are subscribed whole; tags are not looked at.
	Topics []string
	// Concurrency is how many deliveries are worked on at once, over all topics.
	Concurrency int
	// Settle is how long the SDK's bookkeeping gets after the last handler
	// returned, and again what it sends to the broker; 0 means 300 ms.
	Settle time.Duration
	// Probe writes to each master of Redis as a claim does, and says what came of
	// it, by their names (dedupe.Store.Probe). Watch calls it every two seconds, and
	// oftener while Redis fails.
	Probe func(ctx context.Context) map[string]error
}

// handler is the flow.
type handler interface {
	Handle(ctx context.Context, d Delivery) Ending
	Postpone(ctx context.Context, d Delivery) Ending
}

// Consumer feeds deliveries to the flow and drains it (R4, R11, R12). It is
// the only place of this package that knows the SDK.
//
// What the SDK does wrong, and what is done about it (its issues are in the
// comments at the options): it acknowledges a zero result, so results are
// explicit; its retry can lose the message, so a delivery that did not end is
// parked at the gate instead; it has no drain, so Stop is one; it runs a slow
// handler twice, so its consume time-out is set beyond any process life; what it
// asks of a broker that is silent takes as long as it likes, so nobody waits for it
// without a deadline or with a lock.
type Consumer struct {
	cfg     RocketMQ
	handler handler
	gate    *Gate
	health  *Health
	log     logrus.FieldLogger

	calls  context.Context //nolint:containedctx // the root of all deliveries: the SDK's own context never ends
	cancel context.CancelFunc

	stop    sync.Once
	stopErr error

	suspended atomic.Bool

	mu       sync.Mutex // never held while the SDK works
	started  bool       // Start was called
	starting bool       // an SDK object may yet begin to deliver
	stopped  bool       // Stop was called
	sdk      puller
}

var (
	errStarted = errors.New("it was started before")
	errStopped = errors.New("it was stopped")
)

// NewConsumer prepares a consumer; Start begins.
func NewConsumer(cfg RocketMQ, h handler, gate *Gate, health *Health, log logrus.FieldLogger) *Consumer {
	if cfg.Settle == 0 {
		cfg.Settle = 300 * time.Millisecond
	}
	c := &Consumer{cfg: cfg, handler: h, gate: gate, health: health, log: log}
	c.calls, c.cancel = context.WithCancel(context.Background())
	return c
}

// Start subscribes and begins to consume. It tries until it works, ctx ends or
// Stop is called; every try is a new SDK object, since one that failed to start
// is dead and must not be shut down (it would hurt its siblings). A Consumer is
// started once.
func (c *Consumer) Start(ctx context.Context) error {
	if err := c.mayStart(); err != nil {
		return fmt.Errorf("start consumer: %w", err)
	}
	var failed error // of the last try
	for pause := 500 * time.Millisecond; ; pause = min(2*pause, 10*time.Second) {
		began := make(chan try, 1)
		go func() {
			sdk, err := c.startOnce()
			began <- try{sdk, err}
		}()
		select {
		case t := <-began:
			if failed = t.err; failed == nil && c.keep(t.sdk) {
				return nil
			}
			if failed == nil {
				began <- t
				return c.abandon(began, errStopped)
			}
		case <-ctx.Done():
			return c.abandon(began, errors.Join(ctx.Err(), failed))
		case <-c.gate.stopping:
			return c.abandon(began, errors.Join(errStopped, failed))
		}
		c.log.WithError(failed).WithField("part", string(PartRocketMQ)).Warn("waiting to consume")
		select {
		case <-ctx.Done():
			failed = errors.Join(ctx.Err(), failed)
		case <-c.gate.stopping:
			failed = errors.Join(errStopped, failed)
		case <-time.After(pause):
			continue
		}
		c.mu.Lock()
		c.starting = false
		c.mu.Unlock()
		return fmt.Errorf("start consumer: %w", failed)
	}
}

// try is what became of one start of the SDK.
type try struct {
	sdk puller
	err error
}

func (c *Consumer) mayStart() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.stopped:
		return errStopped
	case c.started:
		return errStarted
	}
	c.started, c.starting = true, true
	return nil
}

// keep holds on to a started SDK object, unless Stop came first.
func (c *Consumer) keep(sdk puller) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stopped {
		return false
	}
	c.sdk, c.starting = sdk, false
	return true
}

// abandon leaves a start to itself. What it may yet deliver does not pass the
// gate, which opens when its SDK object was shut down.
func (c *Consumer) abandon(began <-chan try, why error) error {
	c.gate.Close()
	go func() {
		if t := <-began; t.err == nil {
			c.shutDown(t.sdk)
		}
		c.gate.Open()
	}()
	return fmt.Errorf("start consumer: %w", why)
}

func (c *Consumer) startOnce() (puller, error) {
	opts := []rmqconsumer.Option{
		rmqconsumer.WithGroupName(c.cfg.Group),
		rmqconsumer.WithInstance(c.cfg.Instance),
		rmqconsumer.WithNsResolver(primitive.NewPassthroughResolver(NameServerURLs(c.cfg.NameServers))),
		rmqconsumer.WithConsumerModel(rmqconsumer.Clustering),
		// LastOffset would skip messages between a crash and the first commit.
		rmqconsumer.WithConsumeFromWhere(rmqconsumer.ConsumeFromFirstOffset),
		rmqconsumer.WithConsumerOrder(false),
		rmqconsumer.WithConsumeMessageBatchMaxSize(1), // one result covers a batch
		rmqconsumer.WithConsumeGoroutineNums(c.cfg.Concurrency),
		// The sweep sends back what still runs; we hold instead.
		rmqconsumer.WithConsumeTimeout(100 * 365 * 24 * time.Hour),
		// Nothing is ever sent back; if the SDK did, no dead letter by count.
		rmqconsumer.WithMaxReconsumeTimes(1 << 30),
		// What is cached is at risk of a second run, and costs memory.
		rmqconsumer.WithPullThresholdForQueue(int64(max(16, c.cfg.Concurrency/2))),
		rmqconsumer.WithPullThresholdSizeForQueue(8),
	}
	if c.cfg.AccessKey != "" {
		opts = append(opts, rmqconsumer.WithCredentials(primitive.Credentials{AccessKey: c.cfg.AccessKey, SecretKey: c.cfg.SecretKey}))
	}
	sdk, err := rocketmq.NewPushConsumer(opts...)
	if err != nil {
		return nil, fmt.Errorf("new push consumer: %w", err)
	}
	// Everything is subscribed before Start: later would be a data race.
	for _, topic := range c.cfg.Topics {
		if err := sdk.Subscribe(topic, rmqconsumer.MessageSelector{}, c.deliver); err != nil {
			return nil, fmt.Errorf("subscribe %s: %w", topic, err)
		}
	}
	if err := sdk.Start(); err != nil {
		return nil, fmt.Errorf("start push consumer: %w", err)
	}
	return sdk, nil
}

// NameServerURLs spells name servers so that the SDK takes host names.
func NameServerURLs(servers []string) []string {
	urls := make([]string, len(servers))
	for i, s := range servers {
		urls[i] = "http://" + strings.TrimPrefix(s, "http://")
	}
	return urls
}

// deliver is the SDK's callback. It acknowledges what the flow ended; anything
// else never returns before the SDK was shut down, and then what it returns
// is ignored and the message is delivered again elsewhere. The error is
// always nil: the SDK would log the messages with their bodies.
func (c *Consumer) deliver(_ context.Context, messages ...*primitive.MessageExt) (rmqconsumer.ConsumeResult, error) {
	for _, m := range messages {
		if !c.process(deliveryOf(m)) {
			c.gate.Park()
			return rmqconsumer.ConsumeRetryLater, nil
		}
	}
	return rmqconsumer.ConsumeSuccess, nil
}

// panicsBeforeRetry is how often a delivery that panics is tried again in
// place before it moves to the retry topic, so that it cannot hold its queue.
const panicsBeforeRetry = 3

func (c *Consumer) process(d Delivery) bool {
	for panics := 0; ; {
		if c.trouble() { // nothing new is begun in trouble (R12)
			if !c.gate.Sleep(time.Second) {
				return false
			}
			continue
		}
		if !c.gate.Enter() {
			return false
		}
		act := c.handler.Handle
		if panics >= panicsBeforeRetry {
			act = c.handler.Postpone
		}
		done, panicked := c.handle(d, act)
		if !panicked {
			return done
		}
		panics++
		if !c.gate.Sleep(time.Duration(min(panics, 60)) * time.Second) {
			return false
		}
	}
}

func (c *Consumer) handle(d Delivery, act func(context.Context, Delivery) Ending) (done, panicked bool) {
	defer c.gate.Leave()
	defer func() {
		if r := recover(); r != nil {
			done, panicked = false, true
			c.log.WithFields(logrus.Fields{
				"message_id": d.MsgID, "topic": d.Topic, "panic": fmt.Sprintf("%T", r), "stack": string(debug.Stack()),
			}).Error("a delivery panicked; it is tried again")
		}
	}()
	return act(c.calls, d).Acknowledged(), false
}

func deliveryOf(m *primitive.MessageExt) Delivery {
	d := Delivery{
		Topic: m.Topic, Offset: m.QueueOffset, MsgID: m.MsgId, Born: time.UnixMilli(m.BornTimestamp), Stored: time.UnixMilli(m.StoreTimestamp),
		Properties: m.GetProperties(),
		Body:       append([]byte(nil), m.Body...), // the SDK's aliases the whole pull
		Compressed: m.SysFlag&primitive.FlagCompressed != 0,
	}
	body, err := Inflate(d.Body, m.SysFlag)
	switch {
	case errors.Is(err, errTooLarge):
		d.TooLarge = true
	case err == nil:
		d.Body = body
	}
	if m.Queue != nil {
		d.Broker, d.Queue = m.Queue.BrokerName, m.Queue.QueueId
	}
	return d
}

// RedirectSDK sends the SDK's log into log, without message bodies, and keeps
// its stray panics from ending the process. Both are the SDK's globals: call
// it once, before any client is made.
func RedirectSDK(log logrus.FieldLogger) {
	rlog.SetLogger(sdkLog{log: log.WithField("component", "rocketmq-client")})
	primitive.PanicHandler = func(r any) {
		log.WithFields(logrus.Fields{"component": "rocketmq-client", "panic": fmt.Sprint(r)}).Error("the RocketMQ client panicked")
	}
}
