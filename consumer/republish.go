package consumer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"refundd/dedupe"
	"refundd/producer"
)

// Republish publishes what an overdue record keeps, made from the record alone (R10):
// for dedupe's sweeper. The command of an undecided one goes to the retry topic again.
// What was decided or parked is published, since its worker may have died before (R6).
func (h *Handler) Republish(ctx context.Context, key string, r dedupe.Record) error {
	if err := h.republish(ctx, key, r); err != nil {
		return fmt.Errorf("republish %s: %w", key, err)
	}
	return nil
}

func (h *Handler) republish(ctx context.Context, key string, r dedupe.Record) error {
	d, e, err := h.endingOf(key, r)
	if err != nil {
		return err
	}
	err = h.finish(ctx, d, e)
	if !errors.Is(err, producer.ErrContent) {
		return err
	}
	// An error even so: the sweeper then leaves the entry as it was left here.
	d.fromRecord = false
	inPlace := func(ctx context.Context, d *delivery) Ending { return h.workInPlace(ctx, d, 0) }
	if !h.carryOut(ctx, d, inPlace).Acknowledged() {
		err = errors.Join(err, errStopping)
	}
	return fmt.Errorf("it was worked on in place, since its copy cannot be published: %w", err)
}

// endingOf is how the delivery would have ended whose record this is.
func (h *Handler) endingOf(key string, r dedupe.Record) (*delivery, Ending, error) {
	if r.Decided {
		// Nothing is left of a contradiction's command that could be parked: its person
		// is called by the log.
		e, err := producer.DecodeEncoded(r.Event)
		d := &delivery{retryCopy: producer.Copy{Keys: e.Subject}, fromRecord: true, log: h.log.WithField("key", key)}
		return d, Ending{Outcome: outcomeDuplicate, event: &e, contradiction: r.Contradiction}, err
	}
	n, err := decodeNote(r.Note)
	if err != nil {
		return nil, Ending{}, err
	}
	d := h.deliveryOf(n, r.Generation)
	if !r.Parked {
		return d, retried(d, producer.ReasonHeld, 0), nil
	}
	// Nothing is called by this, since only a person may send it again.
	e, err := h.parkedFully(d, parking{
		note: &n, number: max(n.Park, 1), metadata: d.cmd.Metadata, reason: cmp.Or(n.Reason, producer.ReasonUnknownOutcome),
	})
	return d, e, err
}

// deliveryOf is what a delivery of the record's copy would be. The copy that the
// broker has, or has lost, is of the same generation: the two merge by R7, the second
// to be claimed is superseded by what the first one left.
func (h *Handler) deliveryOf(n note, generation int64) *delivery {
	d := &delivery{
		Delivery: Delivery{Body: n.Origin.Body, MsgID: n.Origin.MsgID}, retryCopy: copyOf(n, generation), fromRecord: true, log: h.log,
	}
	kind, ok := h.kindOf(n.Origin.Topic)
	cmd, err := DecodeCommand(kind, n.Origin.Body)
	if !ok || err != nil {
		return d // as one of an unknown kind
	}
	d.kind = kind
	h.nameDelivery(d, cmd, nil)
	d.retryCopy.Keys = cmd.OutRequestNo
	return d
}

func copyOf(n note, generation int64) producer.Copy {
	return producer.Copy{
		Body: n.Origin.Body, Topic: n.Origin.Topic, MsgID: n.Origin.MsgID, Traceparent: n.Origin.Traceparent,
		Born: time.UnixMilli(n.Origin.Born), First: time.UnixMilli(n.Origin.First),
		Reason: string(producer.ReasonHeld), Try: n.Try, Park: n.Park, Generation: generation, Claimed: true,
	}
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
	d := h.deliveryOf(n, rec.Generation)
	if !d.readable() || !d.cmd.sameTrade(about.TradeNo, about.OutTradeNo) || differs(d.cmd.AuthNo, about.AuthNo) {
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
	d.retryCopy.Generation = rec.Generation
	if err := h.finish(ctx, d, retried(d, producer.ReasonHeld, 0)); err != nil {
		return false, err
	}
	h.log.WithField("out_request_no", id.OutRequestNo).Info("a notification makes an undecided refund be queried at once")
	return true, nil
}
