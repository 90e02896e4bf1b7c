package consumer

import (
	"errors"
	"fmt"
	"time"

	"github.com/sirupsen/logrus"

	"refundd/dedupe"
	"refundd/producer"
)

// Delivery is one message as the broker delivered it.
type Delivery struct {
	Topic      string
	MsgID      string // UNIQ_KEY, or the broker's offset id where there is none
	Body       []byte
	Born       time.Time // by its producer's clock
	Stored     time.Time // by the broker's clock; zero if it does not say
	Properties map[string]string
	// Where the message lies; Broker may be empty.
	Broker string
	Queue  int
	Offset int64
	// Compressed: the body is marked as compressed by its sender. It is
	// decompressed, unless it cannot be, or would be TooLarge.
	Compressed, TooLarge bool
}

// born is when the message was born. A producer whose clock is ahead, or that
// says nothing, must not make it look younger than the broker knows it is (R10).
func (d Delivery) born() time.Time {
	if !d.Stored.IsZero() && (d.Born.UnixMilli() <= 0 || d.Born.After(d.Stored)) {
		return d.Stored
	}
	return d.Born
}

// place is where the delivery's message lies; nil if there is none.
func (d Delivery) place() *producer.Place {
	if d.Topic == "" {
		return nil
	}
	return &producer.Place{Topic: d.Topic, Broker: d.Broker, Queue: d.Queue, Offset: d.Offset}
}

// delivery is one delivery being worked on.
type delivery struct {
	Delivery
	retryCopy   producer.Copy // what a retried or parked message would carry
	kind        Kind
	cmd         Command     // what of it can be read
	bad         *BadCommand // why it cannot be read, nil if it can
	id          dedupe.Identity
	fingerprint string
	rejected    string // how its message was rejected, once that is written down
	stays       bool   // the broker refuses its copies: it cannot come back
	fromRecord  bool   // it is made from a record, and nobody's delivery
	worker      bool   // it has a worker of its merchant's share
	claimed     *claimedDelivery
	log         logrus.FieldLogger
}

// parseDelivery reads what the message carries. Only messages of the retry
// topic are ours; properties elsewhere are anybody's.
func (h *Handler) parseDelivery(msg Delivery) *delivery {
	d := &delivery{Delivery: msg}
	if msg.Topic != h.cfg.RetryTopic {
		d.retryCopy = producer.Copy{
			Body: msg.Body, Topic: msg.Topic, MsgID: msg.MsgID, Born: msg.born(), First: time.Now(),
			Traceparent: msg.Properties[producer.PropertyTraceparent],
		}
	} else {
		c, err := producer.CopyFromProperties(msg.Properties, msg.Body)
		if err != nil {
			// What cannot be read is taken in its most careful sense.
			h.log.WithError(err).WithField("message_id", msg.MsgID).Error("a retried message carries a damaged property")
			c = producer.Copy{
				Body: msg.Body, Topic: msg.Properties[producer.PropertyTopic], MsgID: msg.MsgID, Born: msg.born(),
				First: time.Now(), Traceparent: msg.Properties[producer.PropertyTraceparent], Claimed: true,
			}
		}
		d.retryCopy = c
	}
	d.kind, _ = h.kindOf(d.retryCopy.Topic)
	d.log = h.log.WithFields(logrus.Fields{"message_id": d.retryCopy.MsgID, "kind": string(d.kind)})
	if producer.ValidTraceparent(d.retryCopy.Traceparent) {
		d.log = d.log.WithField("traceparent", d.retryCopy.Traceparent)
	}
	if d.kind != "" {
		cmd, bad := decode(d.kind, msg)
		h.nameDelivery(d, cmd, bad)
	}
	return d
}

// nameDelivery gives a delivery its command, and the log the command's names.
func (h *Handler) nameDelivery(d *delivery, cmd Command, bad *BadCommand) {
	d.cmd, d.bad = cmd, bad
	if cmd.OutRequestNo == "" {
		return
	}
	d.id = h.identity(cmd)
	d.log = d.log.WithField("out_request_no", cmd.OutRequestNo)
	if cmd.Merchant != "" {
		d.log = d.log.WithField("merchant", cmd.Merchant)
	}
}

func decode(kind Kind, msg Delivery) (Command, *BadCommand) {
	if msg.TooLarge {
		return Command{Kind: kind}, &BadCommand{producer.ReasonTooLarge, fmt.Sprintf("decompressed, the body has more than %d bytes", maxBody)}
	}
	cmd, err := DecodeCommand(kind, msg.Body)
	if err == nil {
		return cmd, nil
	}
	bad, ok := errors.AsType[*BadCommand](err)
	switch {
	case !ok:
		bad = &BadCommand{Reason: producer.ReasonUnreadable, Detail: "the body cannot be read"}
	case msg.Compressed && bad.Reason == producer.ReasonUnreadable:
		bad.Detail = "the body is marked as compressed and cannot be decompressed; zlib, lz4 and zstd are taken"
	}
	return cmd, bad
}

func (h *Handler) identity(cmd Command) dedupe.Identity {
	id := dedupe.Identity{AppID: h.cfg.AppID, Merchant: cmd.Merchant, Kind: string(cmd.Kind), OutRequestNo: cmd.OutRequestNo}
	if h.cfg.ScopeTrade {
		id.Trade = cmd.Trade()
	}
	return id
}

// readable reports whether the whole command can be read.
func (d *delivery) readable() bool { return d.kind != "" && d.bad == nil }

// copyFor is the message's copy with the reason that it is published for.
func (d *delivery) copyFor(reason producer.Reason) producer.Copy {
	c := d.retryCopy
	c.Reason = string(reason)
	switch {
	case d.cmd.OutRequestNo != "":
		c.Keys = d.cmd.OutRequestNo
	case c.Keys == "":
		c.Keys = c.MsgID
	}
	return c
}

// aged reports whether the command has been undecided for too long (R12).
func (h *Handler) aged(d *delivery) bool { return time.Since(d.retryCopy.First) >= h.cfg.MaxAge }

// spent reports whether the tries are used up after the given number.
func (h *Handler) spent(tries int) bool { return tries > len(h.cfg.RetryDelays) }

// tooOld reports whether a record of a message that was born then may have expired:
// if there is none, the refund is only asked for (R10).
func (h *Handler) tooOld(born time.Time) bool {
	return time.Since(born) > h.cfg.Keep-keepMargin(h.cfg.Keep)
}

// keepMargin is how much earlier than KEEP a message without a record counts
// as too old: clocks differ, and a record's time begins at its settlement.
func keepMargin(keep time.Duration) time.Duration { return min(keep/10, time.Hour) }
