package consumer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sirupsen/logrus"

	"refundd/dedupe"
	"refundd/producer"
)

// Republish publishes what an overdue record keeps, made from the record alone (R10):
// for dedupe's sweeper. The command of an undecided one goes to the retry topic again.
// What was decided or parked is told, since its worker may have died before that (R6).
func (h *Handler) Republish(ctx context.Context, key string, r dedupe.Record) error {
	if err := h.fromRecord(ctx, key, r); err != nil {
		return fmt.Errorf("republish %s: %w", key, err)
	}
	return nil
}

func (h *Handler) fromRecord(ctx context.Context, key string, r dedupe.Record) error {
	if r.Decided {
		return h.republishStored(ctx, key, r)
	}
	n, err := decodeNote(r.Note)
	switch {
	case err != nil:
		return err
	case r.Parked:
		return h.parkAgain(ctx, n, r.Generation)
	}
	err = h.republish(ctx, n, r.Generation)
	if !errors.Is(err, producer.ErrContent) {
		return err
	}
	// An error even so: the sweeper then leaves the entry as it was left here.
	if !h.stay(ctx, h.inHand(n, r.Generation), 0) {
		err = errors.Join(err, errStops)
	}
	return fmt.Errorf("it was worked on in place, since its copy cannot be published: %w", err)
}

// inHand is what a delivery of the copy would have in hand.
func (h *Handler) inHand(n note, generation int64) *delivery {
	d := &delivery{Delivery: Delivery{Body: n.Origin.Body, MsgID: n.Origin.MsgID}, retryCopy: h.copyOf(n, generation), log: h.log}
	if cmd, ok := h.commandOf(n); ok {
		d.kind, d.cmd = cmd.Kind, cmd
	}
	d.log = d.named()
	return d
}

// retell publishes the stored event, the same bytes. Nothing is left of a
// contradiction's command that could be parked, so this is how its person is called.
func (h *Handler) republishStored(ctx context.Context, key string, r dedupe.Record) error {
	e, err := producer.DecodeEncoded(r.Event)
	if err != nil {
		return err
	}
	about := &delivery{retryCopy: producer.Copy{Keys: e.Subject}, log: h.log.WithField("key", key)}
	if err := h.tryPublish(ctx, about, e); err != nil {
		return err
	}
	if r.Contradiction {
		h.metrics.Contradiction()
		h.log.WithFields(logrus.Fields{"key": key, "event_id": e.ID}).Error(alarmContradiction)
	}
	return nil
}

// parkAgain parks the copy that the record was parked with, and tells of it under the
// same id: nothing is called by this, since only a person may send it again.
func (h *Handler) parkAgain(ctx context.Context, n note, generation int64) error {
	d := h.inHand(n, generation)
	c := parkedCopy(d, max(n.Park, 1), cmp.Or(n.Reason, producer.ReasonUnknownOutcome))
	err := h.publish.Park(ctx, c)
	if errors.Is(err, producer.ErrContent) {
		err = h.parkStubOnce(ctx, h.stub(d, c, producer.StubOfCommand, c.Body))
	}
	if err != nil {
		h.metrics.PublishFailed(h.cfg.ParkedTopic)
		return err
	}
	h.metrics.Parked(c.Reason)
	if d.kind == "" {
		return nil // as in parkCopy
	}
	e, err := h.unresolvedEvent(d.cmd, c, &n, d.cmd.Metadata).Encode()
	if err != nil {
		return err
	}
	return h.tryPublish(ctx, d, e)
}

// tellOnce is tell with a single attempt: the sweeper comes again.
func (h *Handler) tryPublish(ctx context.Context, d *delivery, e producer.Encoded) error {
	err := h.publish.Publish(ctx, e)
	if errors.Is(err, producer.ErrContent) {
		if err = h.parkStubOnce(ctx, h.stubOfEvent(d, e)); err == nil {
			h.metrics.Parked(string(producer.ReasonTooLarge))
			return nil
		}
	}
	if err != nil {
		h.metrics.PublishFailed(h.cfg.EventTopic)
		return err
	}
	h.metrics.Published(string(e.Type))
	return nil
}

// republish makes a copy of the record's generation. The copy that the broker
// has, or has lost, is of the same: the two merge by R7, the second to be
// claimed is superseded by what the first one left.
func (h *Handler) republish(ctx context.Context, n note, generation int64) error {
	c := h.copyOf(n, generation)
	if err := h.publish.Retry(ctx, c, 0); err != nil {
		h.metrics.PublishFailed(h.cfg.RetryTopic)
		return err
	}
	h.metrics.Retried(string(producer.ReasonHeld))
	return nil
}

func (h *Handler) copyOf(n note, generation int64) producer.Copy {
	c := producer.Copy{
		Body: n.Origin.Body, Topic: n.Origin.Topic, MsgID: n.Origin.MsgID, Traceparent: n.Origin.Traceparent,
		Born: time.UnixMilli(n.Origin.Born), First: time.UnixMilli(n.Origin.First),
		Reason: string(producer.ReasonHeld), Try: n.Try, Park: n.Park, Generation: generation, Claimed: true,
	}
	if cmd, ok := h.commandOf(n); ok {
		c.Keys = cmd.OutRequestNo
	}
	return c
}

// commandOf reads the command that a note keeps.
func (h *Handler) commandOf(n note) (Command, bool) {
	kind, ok := h.kindOf(n.Origin.Topic)
	if !ok {
		return Command{}, false
	}
	cmd, err := DecodeCommand(kind, n.Origin.Body)
	return cmd, err == nil
}

// Notified is what a verified notification says about a refund. It proves
// nothing here: it only makes the refund be asked for earlier.
type Notified struct {
	Kind         Kind
	OutRequestNo string
	// Merchants may be whose refund it is, "" the app's own: a notification does
	// not always name its seller.
	Merchants []string
	// What the notification names, as far as it does.
	TradeNo, OutTradeNo, AuthNo string
}

// Nudge makes a refund that is undecided here be queried at once instead of at
// its next try: its command is published again from its record, at most once for
// each record (R7), parked ones included. Nothing happens if the refund is not
// known here, is decided, or is being worked on. An error means that it will be
// queried at its next try, as without a notification.
func (h *Handler) Nudge(ctx context.Context, about Notified) error {
	for _, merchant := range about.Merchants {
		for _, id := range h.identitiesOf(about, merchant) {
			done, err := h.nudge(ctx, about, id)
			if err != nil {
				return fmt.Errorf("nudge %s: %w", id.OutRequestNo, err)
			}
			if done {
				return nil
			}
		}
	}
	return nil
}

// identitiesOf are the records that a notification may be about: under scope
// trade a command names its trade in one of two ways.
func (h *Handler) identitiesOf(about Notified, merchant string) []dedupe.Identity {
	id := dedupe.Identity{AppID: h.cfg.AppID, Merchant: merchant, Kind: string(about.Kind), OutRequestNo: about.OutRequestNo}
	if !h.cfg.ScopeTrade {
		return []dedupe.Identity{id}
	}
	var ids []dedupe.Identity
	for _, trade := range []string{about.TradeNo, about.OutTradeNo, about.AuthNo} {
		if trade != "" {
			id.Trade = trade
			ids = append(ids, id)
		}
	}
	return ids
}

// nudge takes what the last query showed out of the note, so that the copy asks
// anew. The note is replaced only if nobody else did anything in between.
func (h *Handler) nudge(ctx context.Context, about Notified, id dedupe.Identity) (done bool, err error) {
	rec, err := h.records.Read(ctx, id)
	if err != nil || !rec.Exists || rec.Decided || rec.HeldFor > 0 {
		return false, err
	}
	n, err := decodeNote(rec.Note)
	if err != nil || n.Nudged {
		return false, err
	}
	cmd, ok := h.commandOf(n)
	if !ok || !cmd.sameTrade(about.TradeNo, about.OutTradeNo) || differs(cmd.AuthNo, about.AuthNo) {
		return false, nil
	}
	n.Nudged = true
	n.LastQuery, n.Found = 0, foundNothing
	b, err := n.encode()
	if err != nil {
		return false, err
	}
	rec, amended, err := h.records.Amend(ctx, id, rec, b)
	if err != nil || !amended {
		return false, err
	}
	if err := h.republish(ctx, n, rec.Generation); err != nil {
		return false, err
	}
	h.log.WithField("out_request_no", id.OutRequestNo).Info("a notification makes an undecided refund be queried at once")
	return true, nil
}
