package consumer

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sirupsen/logrus"

	"refundd/producer"
)

// Every ending is carried out here, and nothing else talks to the producer.

// finish publishes, parks or retries what the ending says, in this order: the index
// knows of it, a person has the copy, accounting the event, and then the record says
// so. An error means that the delivery is not to be acknowledged; it is
// producer.ErrContent where the broker refuses the copy that was to come back.
func (h *Handler) finish(ctx context.Context, d *delivery, e Ending) error {
	if e.enters {
		if err := h.enter(ctx, d, e.entry); err != nil {
			return err
		}
	}
	if err := h.publishAll(ctx, d, e); err != nil {
		return err
	}
	if !d.fromRecord && e.Acknowledged() {
		h.report(d, e)
	}
	if e.contradiction {
		h.metrics.Contradiction()
		d.log.WithField("event_id", e.event.ID).Error(alarmContradiction)
	}
	if e.also != nil {
		if err := h.finish(ctx, d, *e.also); err != nil {
			return err
		}
	}
	for _, write := range e.published {
		h.bestEffort("mark what is published", d, write)
	}
	return nil
}

// enter puts the command into the index, due when its copy comes back, unless it is
// there.
func (h *Handler) enter(ctx context.Context, d *delivery, delay time.Duration) error {
	if d.id.OutRequestNo == "" {
		return nil // nobody could look for it
	}
	err := h.retryUntilDone(ctx, d, "enter it in the index", func(ctx context.Context) error {
		return h.records.Enter(ctx, d.refund(), time.Now().Add(delay))
	})
	if errors.Is(err, errStopping) {
		return err
	}
	return nil
}

// report counts and logs how a delivery ended: each has one line with its outcome.
func (h *Handler) report(d *delivery, e Ending) {
	log := d.log.WithField("outcome", e.Outcome)
	if e.event != nil {
		log = log.WithField("event_id", e.event.ID)
	}
	if e.Outcome != outcomeDuplicate && e.Outcome != outcomeRetried {
		log = log.WithField("reason", string(e.reason))
	}
	switch e.Outcome {
	case outcomeRetried:
		if e.duplicate {
			h.metrics.Command(string(d.kind), outcomeDuplicate, time.Time{})
		}
		log.WithFields(logrus.Fields{
			"reason": string(e.reason), "try": e.retry.Try, "delay": e.delay.Round(time.Second).String(), "generation": e.retry.Generation,
		}).Info("command comes back later")
	case outcomeDuplicate:
		if e.event == nil {
			log.WithField("generation", d.retryCopy.Generation).Info("a newer copy lives, this one is dropped")
		} else {
			log.Info("decided before: its event is published again")
		}
	case string(producer.Unresolved):
		log = log.WithFields(logrus.Fields{"try": e.park.Try, "park": e.park.Park})
		if e.event == nil {
			log.Error("parked for a person, and too little of it can be read to publish an event")
			return
		}
		log.Error("refund unresolved: parked for a person")
	case string(producer.Rejected):
		log.WithField("detail", e.detail).Warn("command rejected")
	default:
		log.WithFields(logrus.Fields{"calls": e.calls, "sub_code": e.subCode}).Info("refund decided")
	}
	h.metrics.Command(string(d.kind), e.Outcome, e.born)
}

func (h *Handler) publishAll(ctx context.Context, d *delivery, e Ending) error {
	if e.park != nil {
		if err := h.parkCopy(ctx, d, *e.park); err != nil {
			return err
		}
	}
	if e.event != nil {
		if err := h.publishEvent(ctx, d, *e.event); err != nil {
			return err
		}
	}
	if e.retry != nil {
		return h.scheduleRetry(ctx, d, *e.retry, e.delay)
	}
	return nil
}

// What the broker refuses for its content (producer.ErrContent) it refuses for
// ever. That is no trouble of the broker: a stub is parked in its place, a
// person is called, and the others go on (R4). A copy that was to come back stays
// in hand; see workInPlace.

// publishEvent publishes one event, or parks its stub. What is decided stands in
// the record: the command sent once more publishes its event again.
func (h *Handler) publishEvent(ctx context.Context, d *delivery, e producer.Encoded) error {
	err := h.send(ctx, d, h.cfg.EventTopic, func(ctx context.Context) error { return h.publish.Publish(ctx, e) })
	if errors.Is(err, producer.ErrContent) {
		return h.parkStub(ctx, d, d.copyFor(producer.ReasonTooLarge), producer.StubOf(producer.StubOfEvent, e.Body, d.place()))
	}
	if err == nil {
		h.metrics.Published(string(e.Type))
	}
	return err
}

// parkCopy stores a copy for a person, or its stub.
func (h *Handler) parkCopy(ctx context.Context, d *delivery, c producer.Copy) error {
	err := h.send(ctx, d, h.cfg.ParkedTopic, func(ctx context.Context) error { return h.publish.Park(ctx, c) })
	if errors.Is(err, producer.ErrContent) {
		return h.parkStub(ctx, d, c, producer.StubOf(producer.StubOfCommand, c.Body, d.place()))
	}
	if err == nil {
		h.metrics.Parked(c.Reason)
	}
	return err
}

// scheduleRetry publishes a copy to the retry topic.
func (h *Handler) scheduleRetry(ctx context.Context, d *delivery, c producer.Copy, delay time.Duration) error {
	err := h.send(ctx, d, h.cfg.RetryTopic, func(ctx context.Context) error { return h.publish.Retry(ctx, c, delay) })
	if err == nil {
		h.metrics.Retried(c.Reason)
	}
	return err
}

// AlarmRefusedContent is logged for every stub.
const AlarmRefusedContent = "the broker refuses to store this for its content: a stub is parked in its place, a person must look"

// parkStub stores the copy with a stub for its body: a broker that refuses even
// that is in trouble.
func (h *Handler) parkStub(ctx context.Context, d *delivery, c producer.Copy, s producer.Stub) error {
	lies := "nowhere: it is made from the record"
	if s.Lies != nil {
		lies = fmt.Sprintf("%s at broker %s, queue %d, offset %d", s.Lies.Topic, s.Lies.Broker, s.Lies.Queue, s.Lies.Offset)
	}
	d.log.WithFields(logrus.Fields{"stub": s.Of, "size": s.Size, "digest": s.SHA256, "lies": lies}).Error(AlarmRefusedContent)
	encoded, err := s.Encode()
	if err != nil { // an object of numbers and text
		d.log.WithError(err).Error("the stub is empty")
	}
	c.Body = encoded
	err = h.send(ctx, d, h.cfg.ParkedTopic, func(ctx context.Context) error {
		err := h.publish.Park(ctx, c)
		if errors.Is(err, producer.ErrContent) {
			return fmt.Errorf("not even a stub is taken: %v", err) //nolint:errorlint // what is said of content is not so here
		}
		return err
	})
	if err == nil {
		h.metrics.Parked(c.Reason)
	}
	return err
}

// send publishes until the broker has confirmed it; what is made from a record,
// once, since the sweeper comes again.
func (h *Handler) send(ctx context.Context, d *delivery, topic string, act func(context.Context) error) error {
	if d.fromRecord {
		return h.tryPublish(ctx, topic, act)
	}
	return h.publishUntilConfirmed(ctx, d, topic, act)
}
