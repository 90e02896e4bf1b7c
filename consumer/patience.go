package consumer

import (
	"context"
	"errors"
	"math"
	"time"

	"refundd/dedupe"
	"refundd/producer"
)

// Acts that end a delivery are tried again, each attempt for a short time that
// outlives the stop signal (R11), until they work or nobody may wait any longer.

var (
	// errStopping: the process stops, and the message stays unacknowledged.
	errStopping = errors.New("the process stops")
	// errRedisAway: Redis did not answer for as long as a worker waits.
	errRedisAway = errors.New("redis is away")
)

// finalTime bounds one attempt.
const finalTime = 5 * time.Second

// retryUntilDone repeats an act on the record until it works or the process stops: a
// delivery that may have called Alipay is not acknowledged before its record says so.
func (h *Handler) retryUntilDone(ctx context.Context, d *delivery, op string, act func(context.Context) error) error {
	return h.retryFor(ctx, d, op, math.MaxInt64, act)
}

// retryRedis repeats an act on the record until it works, Patience is over
// (errRedisAway), or the process stops (errStopping).
func (h *Handler) retryRedis(ctx context.Context, d *delivery, op string, act func(context.Context) error) error {
	return h.retryFor(ctx, d, op, h.cfg.Patience, act)
}

// retryFor always makes the first attempt (R11, R12). A record that this version
// cannot read is dedupe.ErrUnreadable, at once.
func (h *Handler) retryFor(ctx context.Context, d *delivery, op string, patience time.Duration, act func(context.Context) error) error {
	begin := time.Now()
	for pause := 50 * time.Millisecond; ; pause = min(2*pause, 2*time.Second) {
		err := h.withFinalContext(ctx, act)
		if err == nil {
			if op == "settle" || op == "release" { // a claim may have written nothing, as a read does
				h.health.Works(PartRedis)
			}
			return nil
		}
		if errors.Is(err, dedupe.ErrUnreadable) { // no trouble of Redis
			d.log.WithError(err).Error("could not " + op)
			return err
		}
		h.health.Fails(PartRedis, err)
		d.log.WithError(err).Debug("waiting for redis to " + op)
		// While only some masters work, their commands need the worker.
		if time.Since(begin) >= patience || patience < math.MaxInt64 && h.health.Partly(PartRedis) {
			return errRedisAway
		}
		if !h.gate.Sleep(pause) {
			return errStopping
		}
	}
}

// publishUntilConfirmed repeats a publish with capped back-off while the process
// lives (R4). It ends early with producer.ErrContent, which says nothing about
// the broker.
func (h *Handler) publishUntilConfirmed(ctx context.Context, d *delivery, topic string, act func(context.Context) error) error {
	for pause := 100 * time.Millisecond; ; pause = min(2*pause, 10*time.Second) {
		err := h.withFinalContext(ctx, act)
		if errors.Is(err, producer.ErrContent) {
			h.metrics.PublishFailed(topic)
			return err
		}
		h.health.Published(topic, h.needs(topic), err)
		if err == nil {
			return nil
		}
		h.metrics.PublishFailed(topic)
		d.log.WithError(err).WithField("topic", topic).Debug("waiting to publish")
		if !h.gate.Sleep(pause) {
			return errStopping
		}
	}
}

// tryPublish makes one attempt, with the caller's time: the sweeper comes again.
func (h *Handler) tryPublish(ctx context.Context, topic string, act func(context.Context) error) error {
	err := act(ctx)
	if err != nil {
		h.metrics.PublishFailed(topic)
	}
	return err
}

// needs says what follows when a topic takes no publish: every command ends by an
// event or a retry; few are parked, and those can wait for it in hand.
func (h *Handler) needs(topic string) Grade {
	if topic == h.cfg.ParkedTopic {
		return Degraded
	}
	return Suspended
}

// withFinalContext makes one attempt of a final act on a fresh, short context (R11).
func (h *Handler) withFinalContext(ctx context.Context, act func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), finalTime)
	defer cancel()
	return act(ctx)
}

// bestEffort makes a single attempt of something that may fail without harm.
func (h *Handler) bestEffort(op string, d *delivery, act func(context.Context) error) {
	if err := h.withFinalContext(context.Background(), act); err != nil {
		d.log.WithError(err).Warn("could not " + op)
	}
}
