// Package service assembles refundd from its parts and runs it: the same code
// for cmd/refundd and for cmd/demo. Parts start in the order in which they are
// needed (admin page, Redis, broker, producer, receiver, consumer) and stop in the order
// of consumer/DESIGN.md's "a stop is not a failure" (R11).
package service

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	rmqproducer "github.com/apache/rocketmq-client-go/v2/producer"
	"github.com/redis/go-redis/v9"
	"github.com/sirupsen/logrus"

	"refundd/cmd/internal/admin"
	"refundd/cmd/internal/build"
	"refundd/cmd/internal/config"
	"refundd/cmd/internal/metrics"
	"refundd/cmd/internal/tracing"
	"refundd/consumer"
	"refundd/dedupe"
	"refundd/producer"
)

const (
	// startedStop is the budget of a stop before anything was consumed, or half of
	// the whole one.
	startedStop = 2 * time.Second
	// lastSpans is what a stop gives the last spans at most, of what the drain has left.
	lastSpans = 2 * time.Second
)

// Run starts refundd and serves until ctx ends, which is the signal to stop;
// then it drains, and returns within cfg.Drain whatever the clients of its parts
// do. While Redis or the broker are not there yet it waits, with readiness off. A
// *config.Error says that the surroundings do not fit the configuration (a topic
// is missing).
//
// Keys, certificates and merchants follow their files: they are read again when
// a file changes and whenever reload, which may be nil, has something.
func Run(ctx context.Context, cfg config.Config, reload <-chan os.Signal, log *logrus.Logger) error {
	s, err := newService(cfg, log)
	if err != nil {
		return err
	}
	return bounded(ctx, cfg.Drain, func() error { return s.run(ctx, reload) })
}

// bounded returns what serve does, or an error when serve goes on for longer than
// drain after ctx's end. Each step of a stop has a deadline of its own; this one is
// for what nobody thought of.
func bounded(ctx context.Context, drain time.Duration, serve func() error) error {
	ended := make(chan error, 1)
	go func() { ended <- serve() }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	overdue := time.NewTimer(drain)
	defer overdue.Stop()
	select {
	case err := <-ended:
		return err
	case <-overdue.C:
		return fmt.Errorf("stop: it did not end within %v, and what it waits for is left behind", drain)
	}
}

type service struct {
	cfg      config.Config
	log      *logrus.Logger
	metrics  *metrics.Metrics
	state    *state
	redis    redis.UniversalClient
	store    *dedupe.Store
	changing *changing
	followed []*followed
	health   *consumer.Health
	gate     *consumer.Gate
	brakes   *dedupe.BrakeWatch
	page     *page
	instance string
	trace    *tracing.Tracer // nil: off
	deadline time.Time       // of a stop that has begun
	acts     acts
}

func newService(cfg config.Config, log *logrus.Logger) (*service, error) {
	m, err := metrics.NewMetrics()
	if err != nil {
		return nil, fmt.Errorf("start metrics: %w", err)
	}
	m.KnowTopics(cfg.TopicEvent, cfg.TopicRetry, cfg.TopicParked)
	client, err := cfg.OpenRedis()
	if err != nil {
		return nil, fmt.Errorf("open redis: %w", err)
	}
	store, err := dedupe.New(client, dedupe.Config{
		Prefix: cfg.RedisPrefix, Lease: cfg.Lease, Keep: cfg.Keep, Observe: m.RedisCall,
	})
	if err != nil {
		return nil, err
	}
	brakes, err := dedupe.NewBrakeWatch(store, cfg.AlipayAppID)
	if err != nil {
		return nil, err
	}
	s := &service{
		brakes: brakes, cfg: cfg, log: log, metrics: m, redis: client, store: store, changing: &changing{},
		state: newState(), health: consumer.NewHealth(log), gate: consumer.NewGate(deliveries(cfg)), instance: instanceOf(cfg),
		page: newPage(),
	}
	log.AddHook(&s.page.lines)
	m.KnowReadiness(func() bool { return s.status().Ready() })
	if s.acts, err = openActs(cfg); err != nil {
		return nil, err
	}
	if err := s.loadAll(); err != nil {
		return nil, err
	}
	if cfg.Traces {
		if s.trace, err = startTracing(s.instance, cfg, log); err != nil {
			return nil, err
		}
	}
	return s, nil
}

func startTracing(instance string, cfg config.Config, log logrus.FieldLogger) (*tracing.Tracer, error) {
	c := tracing.Config{
		Version: build.Version(), Instance: instance, Group: cfg.RocketMQGroup,
		EventTopic: cfg.TopicEvent, RetryTopic: cfg.TopicRetry, ParkedTopic: cfg.TopicParked,
		TradeURL: cfg.AlipayGateway, CouponURL: cfg.AlipayGateway,
	}
	if cfg.AlipayProtocol == config.ProtocolV3 {
		c.TradeURL = cfg.AlipayV3URL
	}
	return tracing.Start(context.Background(), c, log)
}

// end waits for what runs in the background, which was asked to end, closes
// Redis, and sends the last spans: within what is left of the drain.
func (s *service) end(background *sync.WaitGroup) error {
	if s.deadline.IsZero() {
		s.deadline = time.Now().Add(s.startedStop())
	}
	if !within(time.Until(s.deadline)/2, background.Wait) {
		s.log.Warn("a part of the process does not end and is left behind")
	}
	s.changing.client.Load().CloseIdleConnections()
	err := s.redis.Close()
	ctx, cancel := context.WithTimeout(context.Background(), min(lastSpans, time.Until(s.deadline)*3/4))
	defer cancel()
	s.trace.Stop(ctx)
	if err != nil {
		return fmt.Errorf("close redis: %w", err)
	}
	return nil
}

// startedStop is the budget of a stop that finds nothing in hand.
func (s *service) startedStop() time.Duration { return min(startedStop, s.cfg.Drain/2) }

// within reports whether act ends in time; else it is left behind.
func within(limit time.Duration, act func()) bool {
	done := make(chan struct{})
	go func() {
		defer close(done)
		act()
	}()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-done:
		return true
	case <-timer.C:
		return false
	}
}

func (s *service) run(ctx context.Context, reload <-chan os.Signal) (err error) {
	background, stopBackground := context.WithCancel(context.WithoutCancel(ctx))
	var wg sync.WaitGroup
	defer func() {
		stopBackground()
		if endErr := s.end(&wg); err == nil {
			err = endErr
		}
	}()
	if err := s.serveAdmin(background, &wg); err != nil {
		return err
	}
	wg.Go(func() { s.follow(background, reload) })
	wg.Go(func() { s.brakes.Run(background) })
	if err := s.waitForRedis(ctx); err != nil {
		return stopped(ctx, err)
	}
	if err := s.waitForBroker(ctx); err != nil {
		return stopped(ctx, err)
	}
	sender, err := s.startProducer(ctx)
	if err != nil {
		return stopped(ctx, err)
	}
	tell := producer.New(s.acts.sender(sender), producer.Config{
		EventTopic: s.cfg.TopicEvent, RetryTopic: s.cfg.TopicRetry, ParkedTopic: s.cfg.TopicParked,
		MaxPending: 4 * s.cfg.Concurrency,
	})
	handler := s.handler(tell)
	receiver, err := s.startReceiver(ctx, &wg, tell, handler)
	if err != nil {
		closeProducer(s.log, tell, sender, time.Second)
		return err
	}
	intake := s.consumer(handler)
	if err := intake.Start(ctx); err != nil {
		s.deadline = time.Now().Add(s.startedStop())
		s.stopPublishing(receiver, tell, sender, s.deadline)
		return stopped(ctx, err)
	}
	wg.Go(func() { intake.Watch(background) })
	wg.Go(func() { s.sweep(background, handler) })
	wg.Go(func() { s.measure(background, intake) })
	wg.Go(func() { s.probeBrokers(background) })

	<-ctx.Done()
	return s.stop(intake, receiver, tell, sender)
}

// stopped turns an error that the stop signal caused into a clean end.
func stopped(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil //nolint:nilerr // asked to stop while waiting: nothing was begun
	}
	return err
}

// stop is R11's order: readiness off, intake drained, then the receiver, which
// goes on answering until then, then producer and Redis.
func (s *service) stop(intake *consumer.Consumer, receiver *http.Server, tell *producer.Producer, sender rocketmq.Producer) error {
	begin := time.Now()
	s.deadline = begin.Add(s.cfg.Drain)
	s.state.set(&s.state.draining, true)
	s.log.WithField("budget", s.cfg.Drain.String()).Info("stopping: readiness is off, deliveries in flight finish")
	reserve := min(2*time.Second, s.cfg.Drain/5)
	ctx, cancel := context.WithTimeout(context.Background(), s.cfg.Drain-reserve)
	defer cancel()
	// After the soft deadline what is cut still has to be released.
	err := intake.Stop(ctx, (s.cfg.Drain-reserve)*7/10)
	s.stopPublishing(receiver, tell, sender, s.deadline)
	if err != nil {
		s.log.WithError(err).Error("stopped with deliveries in flight: their leases run out and they are delivered again")
		return err
	}
	s.log.WithField("took", time.Since(begin).Round(time.Millisecond).String()).Info("stopped cleanly")
	return nil
}

// stopPublishing ends the receiver, then the producer, by the deadline. The
// producer has a second of it for itself, or half of what is left.
func (s *service) stopPublishing(receiver *http.Server, tell *producer.Producer, sender rocketmq.Producer, deadline time.Time) {
	own := min(time.Second, time.Until(deadline)/2)
	ctx, cancel := context.WithDeadline(context.Background(), deadline.Add(-own))
	defer cancel()
	s.stopReceiver(ctx, receiver)
	closeProducer(s.log, tell, sender, own*3/4)
}

func closeProducer(log logrus.FieldLogger, tell *producer.Producer, sender rocketmq.Producer, limit time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), limit/2)
	defer cancel()
	if err := tell.Close(ctx); err != nil {
		log.WithError(err).Warn("publishes were still pending at the stop")
	}
	ended := within(limit/2, func() {
		if err := sender.Shutdown(); err != nil {
			log.WithError(err).Warn("the producer's shutdown complained")
		}
	})
	if !ended {
		log.Warn("the producer does not shut down in time and is left behind")
	}
}

func (s *service) serveAdmin(ctx context.Context, wg *sync.WaitGroup) error {
	if s.cfg.AdminAddr == "" {
		return nil
	}
	server, err := admin.Listen(ctx, admin.Config{
		Addr: s.cfg.AdminAddr, Title: "refundd", Status: s.status, Metrics: s.metrics.Handler(),
		Page: s.show, LookUp: s.lookUp, ScopeTrade: s.cfg.DedupeScope == config.ScopeTrade,
	})
	if err != nil {
		return fmt.Errorf("REFUNDD_ADMIN_ADDR: %w", err)
	}
	wg.Go(func() {
		if err := server.Run(ctx); err != nil && !errors.Is(err, http.ErrServerClosed) {
			s.log.WithError(err).Error("the admin server ended")
		}
	})
	return nil
}

func (s *service) topics() map[consumer.Kind]string {
	return map[consumer.Kind]string{
		consumer.KindRefund:       s.cfg.TopicRefund,
		consumer.KindCouponRefund: s.cfg.TopicCouponRefund,
	}
}

func (s *service) handler(tell *producer.Producer) *consumer.Handler {
	return consumer.NewHandler(consumer.Config{
		AppID: s.cfg.AlipayAppID, SellerID: s.cfg.AlipaySellerID, ScopeTrade: s.cfg.DedupeScope == config.ScopeTrade, Topics: s.topics(),
		RetryTopic: s.cfg.TopicRetry, EventTopic: s.cfg.TopicEvent, ParkedTopic: s.cfg.TopicParked,
		Lease: s.cfg.Lease, Keep: s.cfg.Keep, MaxAge: s.cfg.MaxAge, QueryAfter: s.cfg.QueryAfter,
		AlipayTimeout: s.cfg.AlipayTimeout, RetryDelays: s.cfg.RetryDelays,
		Limits: consumer.Limits{
			Spacing: s.cfg.TradeSpacing, Rate: s.cfg.Rate, Allowed: s.metrics.SetAllowedRate,
			Paused: func(kind consumer.Kind, merchant string) bool {
				_, paused := s.brakes.Paused(string(kind), merchant)
				return paused
			},
		}, Additions: consumer.Additions{NotifyURL: s.cfg.AlipayNotifyURL, QueryOptions: s.cfg.AlipayQueryOptions},
		Merchant: s.changing.merchant, Workers: shared(s.cfg),
	}, consumer.Dependencies{
		Alipay: s.trace.Gateway(s.acts.gateway(s.changing)), Records: s.acts.records(s.store, s.redis), Publisher: s.trace.Publisher(tell),
		Gate: s.gate, Health: s.health, Metrics: observed{s.metrics, s.state, s.page}, Log: s.log,
	})
}

func (s *service) consumer(h *consumer.Handler) *consumer.Consumer {
	topics := []string{s.cfg.TopicRetry}
	for _, topic := range s.topics() {
		if topic != "" {
			topics = append(topics, topic)
		}
	}
	return consumer.NewConsumer(consumer.RocketMQ{
		NameServers: s.cfg.RocketMQNameservers, Group: s.cfg.RocketMQGroup, Instance: consumerPrefix + s.instance,
		AccessKey: s.cfg.RocketMQAccessKey, SecretKey: s.cfg.Secrets.RocketMQSecretKey,
		Topics: topics, Concurrency: deliveries(s.cfg), Probe: s.store.Probe,
	}, s.trace.Handler(s.acts.handler(h)), s.gate, s.health, s.log)
}

// shared is how many workers are divided between merchants; 0: there are none.
func shared(cfg config.Config) int {
	if cfg.Secrets.Merchants == nil {
		return 0
	}
	return cfg.Concurrency
}

// deliveries is how many messages are in hand at once. Where workers are divided
// between merchants, as many again may wait for one, so that a merchant with all
// of its share does not keep the others' commands from being seen.
func deliveries(cfg config.Config) int {
	if shared(cfg) > 0 {
		return 2 * cfg.Concurrency
	}
	return cfg.Concurrency
}

// instanceOf names one SDK client; two with the same name in the same group
// would both take the same queues, so it is never the same twice.
func instanceOf(cfg config.Config) string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	var b [6]byte
	_, _ = rand.Read(b[:])
	return fmt.Sprintf("%s-%s-%d-%s", cfg.RocketMQGroup, host, os.Getpid(), hex.EncodeToString(b[:]))
}

// startProducer makes the SDK's producer: one attempt per send, because we
// repeat ourselves and know what an unconfirmed send means. Its route cache is
// filled by the first send, so that one may take longer.
func (s *service) startProducer(ctx context.Context) (rocketmq.Producer, error) {
	opts := []rmqproducer.Option{
		rmqproducer.WithGroupName(s.cfg.RocketMQGroup + "-producer"),
		rmqproducer.WithInstanceName("producer-" + s.instance),
		rmqproducer.WithNsResolver(primitive.NewPassthroughResolver(consumer.NameServerURLs(s.cfg.RocketMQNameservers))),
		rmqproducer.WithRetry(0),
	}
	if s.cfg.RocketMQAccessKey != "" {
		opts = append(opts, rmqproducer.WithCredentials(primitive.Credentials{
			AccessKey: s.cfg.RocketMQAccessKey, SecretKey: s.cfg.Secrets.RocketMQSecretKey,
		}))
	}
	for {
		p, err := rocketmq.NewProducer(opts...)
		if err == nil {
			err = p.Start()
		}
		if err == nil {
			return p, nil
		}
		if err := s.waitLonger(ctx, "rocketmq", fmt.Errorf("start producer: %w", err)); err != nil {
			return nil, err
		}
	}
}
