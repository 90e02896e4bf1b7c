package consumer

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sirupsen/logrus"

	"refundd/producer"
)

// What the broker refuses for its content (producer.ErrContent) it refuses for
// ever. That is no trouble of the broker: a stub is parked in its place, a
// person is called, and the others go on (R4).

// parkOrStub stores a parked copy, or its stub if the broker refuses the copy.
func (h *Handler) parkOrStub(ctx context.Context, d *delivery, c producer.Copy) bool {
	err := h.publishUntilConfirmed(ctx, d, h.cfg.ParkedTopic, func(ctx context.Context) error { return h.publish.Park(ctx, c) })
	if !errors.Is(err, producer.ErrContent) {
		return err == nil
	}
	return h.parkStub(ctx, d, h.stub(d, c, producer.StubOfCommand, c.Body))
}

// parkStub stores a stub for as long as it takes: a broker that refuses even
// that is in trouble.
func (h *Handler) parkStub(ctx context.Context, d *delivery, stub producer.Copy) bool {
	return h.publishUntilConfirmed(ctx, d, h.cfg.ParkedTopic, func(ctx context.Context) error { return h.parkStubOnce(ctx, stub) }) == nil
}

func (h *Handler) parkStubOnce(ctx context.Context, stub producer.Copy) error {
	err := h.publish.Park(ctx, stub)
	if errors.Is(err, producer.ErrContent) {
		return fmt.Errorf("not even a stub is taken: %v", err) //nolint:errorlint // what is said of content is not so here
	}
	return err
}

// stub is the copy with a stub for its body. It alarms.
func (h *Handler) stub(d *delivery, c producer.Copy, of string, body []byte) producer.Copy {
	s := producer.StubOf(of, body, d.place())
	lies := "nowhere: it is made from the record"
	if s.Lies != nil {
		lies = fmt.Sprintf("%s at broker %s, queue %d, offset %d", s.Lies.Topic, s.Lies.Broker, s.Lies.Queue, s.Lies.Offset)
	}
	d.log.WithFields(logrus.Fields{"stub": of, "size": s.Size, "digest": s.SHA256, "lies": lies}).Error(AlarmRefusedContent)
	encoded, err := s.Encode()
	if err != nil { // an object of numbers and text
		d.log.WithError(err).Error("the stub is empty")
	}
	c.Body = encoded
	return c
}

// AlarmRefusedContent is logged for every stub.
const AlarmRefusedContent = "the broker refuses to store this for its content: a stub is parked in its place, a person must look"

// stubOfEvent stands for an event that the broker refuses. What is decided
// stands in the record: the command sent once more publishes its event again.
func (h *Handler) stubOfEvent(d *delivery, e producer.Encoded) producer.Copy {
	c := d.retryCopy
	c.Reason, c.Keys = string(producer.ReasonTooLarge), keyOf(d)
	return h.stub(d, c, producer.StubOfEvent, e.Body)
}

// place is where the delivery's message lies; nil if there is none.
func (d Delivery) place() *producer.Place {
	if d.Topic == "" {
		return nil
	}
	return &producer.Place{Topic: d.Topic, Broker: d.Broker, Queue: d.Queue, Offset: d.Offset}
}

// longestStay bounds one wait in place.
const longestStay = 10 * time.Second

// stay goes on with a command that cannot come back, because the broker refuses
// its copy: after a wait it is worked on in place once more, and parked if that
// does not decide it.
func (h *Handler) stay(ctx context.Context, d *delivery, delay time.Duration) bool {
	if _, err := decode(d); err != nil || d.cmd.OutRequestNo == "" {
		return h.parkUnread(ctx, d, producer.ReasonUnknownOutcome)
	}
	d.stays = true
	if !h.gate.Sleep(min(delay, longestStay)) {
		return false
	}
	m, known := h.merchant(d.cmd.Merchant)
	switch {
	case known:
		return h.claim(ctx, d, m, "")
	case d.retryCopy.Claimed:
		return h.claim(ctx, d, Merchant{}, producer.ReasonBlockedConfiguration)
	}
	return h.unknownMerchant(ctx, d)
}
