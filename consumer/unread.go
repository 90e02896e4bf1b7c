package consumer

import (
	"context"
	"errors"
	"time"

	"refundd/alipay"
	"refundd/dedupe"
	"refundd/producer"
)

// unreadable ends a message whose command cannot be read. Once claimed it is
// never rejected (R9).
func (h *Handler) unreadable(ctx context.Context, d *delivery) Ending {
	rec, ours, err := h.recordOf(ctx, d, rejection(d.bad.Reason, d.bad.Detail))
	log := d.log.WithField("detail", d.bad.Detail)
	switch {
	case err != nil:
		return h.withoutRecord(d, err)
	case ours && rec.Decided:
		return h.republishDecided(d, rec.Event, rec.Contradiction)
	case ours && !h.aged(d):
		log.Error("a claimed command cannot be read by this version; it waits for another (blocked_configuration)")
		return retried(d, producer.ReasonBlockedConfiguration, gonePause).entered(gonePause)
	case ours || d.retryCopy.Claimed:
		log.Error("a claimed command can no longer be read; it is parked")
		return h.parkUnread(d, producer.ReasonUnknownOutcome)
	}
	e := h.rejected(d, d.bad.Reason, d.bad.Detail)
	if e.park == nil && (d.bad.Reason == producer.ReasonUnreadable || d.bad.Reason == producer.ReasonTooLarge) {
		c := d.retryCopy
		c.Reason = string(d.bad.Reason)
		e.park = &c
	}
	return e
}

// recordOf reads the record of a message that this process cannot work on, if its
// number can be read, and reports whether it may be this command's: another version,
// or another merchants file, may have claimed it (R9). Then the copy counts as claimed,
// also should Redis forget the record. Nothing is rejected without it: it is tried again later.
// Where there is none and the message is to be rejected, that is written down in the same
// act: nobody claims a copy of it any more, and its first rejection stands.
func (h *Handler) recordOf(ctx context.Context, d *delivery, rejection string) (rec dedupe.Record, ours bool, err error) {
	if d.cmd.OutRequestNo == "" {
		return rec, false, nil
	}
	err = h.retryRedis(ctx, d, "read", func(ctx context.Context) (err error) {
		if rejection == "" || d.retryCopy.Claimed {
			rec, err = h.records.Read(ctx, d.id)
			return err
		}
		rec, d.rejected, err = h.records.Reject(ctx, d.id, d.retryCopy.MsgID, rejection)
		return err
	})
	switch {
	case errors.Is(err, dedupe.ErrUnreadable):
		d.retryCopy.Claimed = true
		return rec, true, nil
	case err != nil || !rec.Exists:
		return rec, false, err
	}
	first, born, read := recorded(d.kind, rec)
	switch {
	case d.fingerprint != "":
		ours = rec.Fingerprint == d.fingerprint
	case !read:
		d.retryCopy.Claimed = true // it may be: a later version will know
		return rec, true, nil
	default:
		ours = first.alike(d.cmd)
	}
	if ours {
		d.fingerprint, d.retryCopy.Claimed = rec.Fingerprint, true
		if !born.IsZero() {
			d.retryCopy.Born = born // as in the index
		}
	}
	return rec, ours, nil
}

// recorded is the command that a record is about, as far as this version can read
// it, and when it was born, which a decided record does not say.
func recorded(kind Kind, rec dedupe.Record) (cmd Command, born time.Time, read bool) {
	if !rec.Decided {
		n, err := decodeNote(rec.Note)
		if err != nil {
			return Command{}, time.Time{}, false
		}
		cmd, _ = DecodeCommand(kind, n.Origin.Body) // what of it can be read
		return cmd, time.UnixMilli(n.Origin.Born), true
	}
	encoded, err := producer.DecodeEncoded(rec.Event)
	if err != nil {
		return Command{}, time.Time{}, false
	}
	e, err := producer.DecodeEvent(encoded.Body)
	return Command{OutTradeNo: e.OutTradeNo, TradeNo: e.TradeNo, AuthNo: e.AuthNo, Amount: alipay.Amount(e.AmountFen)}, time.Time{}, err == nil
}

// alike reports whether two commands of one number take the same amount from the
// same trade, though more of them may be unreadable to this version.
func (c Command) alike(other Command) bool {
	named := c.Trade() != "" || c.AuthNo != ""
	return named && c.sameTrade(other.TradeNo, other.OutTradeNo) && !differs(c.AuthNo, other.AuthNo) &&
		c.Amount == other.Amount && c.Amount != 0
}
