package consumer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/sirupsen/logrus"

	"refundd/alipay"
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

// records is the fenced record (R5), as dedupe.Store keeps it.
type records interface {
	ClaimWithSlot(ctx context.Context, req dedupe.ClaimRequest, slot dedupe.Slot) (dedupe.Claim, dedupe.Grant, error)
	Reserve(ctx context.Context, appID string, slot dedupe.Slot, token dedupe.Token) (dedupe.Grant, error)
	Undo(ctx context.Context, appID string, slot dedupe.Slot, token dedupe.Token) error
	Throttled(ctx context.Context, appID, merchant string, asked dedupe.Grant, rate int) error
	Settle(ctx context.Context, req dedupe.SettleRequest) (dedupe.Settlement, error)
	MarkPublished(ctx context.Context, id dedupe.Identity, fingerprint, entry string, event []byte) error
	Enter(ctx context.Context, appID, entry string, due time.Time) error
	Reschedule(ctx context.Context, appID, entry string, due time.Time) error
	Release(ctx context.Context, req dedupe.ReleaseRequest) (dedupe.Release, error)
	Confirm(ctx context.Context, id dedupe.Identity, generation int64) error
	Read(ctx context.Context, id dedupe.Identity) (dedupe.Record, error)
	Reject(ctx context.Context, id dedupe.Identity, message, reason string) (dedupe.Record, string, error)
	Amend(ctx context.Context, id dedupe.Identity, read dedupe.Record, note []byte) (dedupe.Record, bool, error)
	Entry(firstBorn time.Time, fen int64, id dedupe.Identity) string
}

// publisher is what we tell, as producer.Producer does. Nil means that the
// broker confirmed.
type publisher interface {
	Publish(ctx context.Context, e producer.Encoded) error
	Retry(ctx context.Context, c producer.Copy, delay time.Duration) error
	Park(ctx context.Context, c producer.Copy) error
}

// Merchant is who a command's calls are made for.
type Merchant struct {
	AppAuthToken string
	SellerID     string // whose bill shows the refund; "" where it is not configured
}

// Metrics is told what happens; the methods are CONTRACT §8's series.
type Metrics interface {
	Command(kind, outcome string, born time.Time)
	Inflight(delta int)
	Call(method, class string, took time.Duration)
	Published(eventType string)
	PublishFailed(topic string)
	Retried(reason string)
	Parked(reason string)
	Contradiction()
	FundsCut()
}

// Config of a Handler. Every duration is needed; CONTRACT §6 has the meanings.
type Config struct {
	AppID string
	// SellerID is the app's own, told in events; "" where it is not configured.
	SellerID string
	// ScopeTrade adds the trade to the identity (REFUNDD_DEDUPE_SCOPE=trade).
	ScopeTrade bool
	// Topics of commands by kind; a kind whose topic is empty is off.
	Topics map[Kind]string
	// RetryTopic, EventTopic and ParkedTopic are named in metrics and logs;
	// messages that arrive on RetryTopic carry copies.
	RetryTopic, EventTopic, ParkedTopic string

	Lease, Keep, MaxAge, QueryAfter, AlipayTimeout time.Duration
	// RetryDelays: N delays are N+1 tries.
	RetryDelays []time.Duration
	// Patience is how long a command in hand waits for Redis before it moves
	// to the retry topic; 0 means 20 s, far below the 120 s after which the
	// SDK drops a blocked queue.
	Patience time.Duration
	Limits   Limits
	Additions
	// Merchant looks a name up; false if it is unknown. Nil: no merchants.
	Merchant func(name string) (Merchant, bool)
	// Workers are divided between the merchants, the app's own commands being
	// one of them; deliveries beyond a merchant's share wait for a moment and then
	// in the retry topic. 0: they are not divided.
	Workers int
	// Random is in [0,1), evenly, and safe for concurrent use; nil: rand.Float64.
	Random func() float64
}

// Handler carries one command at a time from its message to the end of its
// delivery (DESIGN, "The flow of one command"). It is safe for concurrent use.
type Handler struct {
	cfg     Config
	alipay  gateway
	records records
	publish publisher
	gate    *Gate
	health  *Health
	metrics Metrics
	log     logrus.FieldLogger
	share   *share // nil: workers are not divided
	causes  causes
	lines   *lines
	// unaccepted are merchants whose calls wait.
	unaccepted unaccepted
}

// NewHandler puts the flow together. Gate tells it to stop, Health learns
// which part fails.
func NewHandler(cfg Config, a gateway, r records, p publisher, gate *Gate, health *Health, m Metrics, log logrus.FieldLogger) *Handler {
	if cfg.Patience == 0 {
		cfg.Patience = 20 * time.Second
	}
	if cfg.Random == nil {
		cfg.Random = rand.Float64
	}
	h := &Handler{cfg: cfg, alipay: a, records: r, publish: p, gate: gate, health: health, metrics: m, log: log, lines: newLines()}
	h.unaccepted.pause, h.unaccepted.until = freeDelay, map[string]time.Time{}
	h.causes.every, h.causes.seen = time.Minute, map[string]time.Time{}
	if cfg.Workers > 0 {
		h.share = newShare(cfg.Workers)
	}
	return h
}

// finalTime bounds one attempt of a final act: settle, release, confirm,
// publish. Final acts outlive the stop signal (R11).
const finalTime = 5 * time.Second

// callMargin is what must be left of the lease besides the call's own time.
const callMargin = 500 * time.Millisecond

// delivery is one delivery being worked on.
type delivery struct {
	Delivery
	retryCopy   producer.Copy // what a retried or parked message would carry
	kind        Kind
	cmd         Command
	id          dedupe.Identity
	fingerprint string
	rejected    string // how its message was rejected, once that is written down
	stays       bool   // the broker refuses its copies: it cannot come back
	log         logrus.FieldLogger
}

// Handle works on one delivery until it has ended in one of R4's ways, and
// then tells true: it may be acknowledged. False: the process is stopping, the
// message stays unacknowledged and will be delivered again. Alipay calls are
// cut short when ctx ends; final acts are not.
func (h *Handler) Handle(ctx context.Context, msg Delivery) bool {
	h.metrics.Inflight(1)
	defer h.metrics.Inflight(-1)
	d := h.parseDelivery(msg)
	if d.kind == "" {
		d.log.Error("a retried message names no command topic of this service; it is parked")
		return h.parkUnread(ctx, d, producer.ReasonBlockedConfiguration)
	}
	cmd, err := decode(d)
	d.cmd = cmd
	if err != nil {
		return h.unreadable(ctx, d, err)
	}
	merchant, known := h.merchant(cmd.Merchant)
	if !known {
		return h.unknownMerchant(ctx, d)
	}
	if left := h.unaccepted.left(cmd.Merchant); left > 0 && !d.retryCopy.Claimed {
		return h.deferUnclaimed(ctx, d, producer.ReasonBlockedConfiguration, left)
	}
	// What was claimed is let in all the same: queries go on.
	paused := func() bool { return !d.retryCopy.Claimed && h.paused(d) }
	if paused() {
		return h.deferUnclaimed(ctx, d, producer.ReasonPaused, freeDelay)
	}
	wait, why, delay := shareWait, producer.ReasonHeld, h.shortest
	if !d.retryCopy.Claimed && h.lines.of(cmd.Merchant) != nil {
		wait, why, delay = crowdWait, producer.ReasonRateLimited, h.spread
	}
	if !h.share.enter(ctx, cmd.Merchant, wait) {
		return h.deferUnclaimed(ctx, d, why, delay())
	}
	defer h.share.leave(cmd.Merchant)
	if !d.retryCopy.Claimed { // else it may have to be asked for, which needs no turn of this line
		if left, ok := h.awaitTurn(cmd.Merchant, false, waitInLine); !ok {
			return h.deferUnclaimed(ctx, d, producer.ReasonRateLimited, min(freeDelay, max(delay(), left)))
		}
	}
	if paused() { // waiting may have taken a while
		return h.deferUnclaimed(ctx, d, producer.ReasonPaused, freeDelay)
	}
	return h.claim(ctx, d, merchant, "")
}

// shareWait is how long a delivery waits in place for a worker of its merchant's
// share. It bounds how fast a flood of one merchant's commands is moved aside.
const shareWait = time.Second

// aside moves a delivery out of the way that need not be claimed now: its
// merchant has its share of the workers already, or its calls wait. So others'
// commands behind it are reached. It spends no try (R12).
func (h *Handler) deferUnclaimed(ctx context.Context, d *delivery, why producer.Reason, delay time.Duration) bool {
	if ctx.Err() != nil || h.gate.Stopping() {
		return false
	}
	d.log = d.named()
	if h.aged(d) {
		return h.claim(ctx, d, Merchant{}, why)
	}
	return h.scheduleRetry(ctx, d, why, delay)
}

// aged reports whether the command has been undecided for too long (R12).
func (h *Handler) aged(d *delivery) bool { return time.Since(d.retryCopy.First) >= h.cfg.MaxAge }

// Postpone ends a delivery whose handling panicked: it spends a try and comes
// back later, or is parked when its tries are used up. It may have been
// claimed, so it counts as claimed.
func (h *Handler) Postpone(ctx context.Context, msg Delivery) bool {
	d := h.parseDelivery(msg)
	d.retryCopy.Claimed = true
	d.retryCopy.Try++
	if d.kind == "" {
		return h.parkUnread(ctx, d, producer.ReasonUnknownOutcome)
	}
	d.cmd, _ = decode(d) // what of it can be read
	if _, _, end := h.recordOf(ctx, d, ""); end == waitedStop {
		return false
	}
	if h.spent(d.retryCopy.Try) {
		return h.parkUnread(ctx, d, producer.ReasonUnknownOutcome)
	}
	delay := max(h.cfg.Lease, h.cfg.RetryDelays[d.retryCopy.Try-1])
	return h.enter(ctx, d, delay) && h.scheduleRetry(ctx, d, producer.ReasonUnknownOutcome, delay)
}

// open reads what the message carries besides the command. Only messages of
// the retry topic are ours; properties elsewhere are anybody's.
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
	return d
}

// named is the log with the command's names, once they can be read.
func (d *delivery) named() logrus.FieldLogger {
	log := d.log.WithField("out_request_no", d.cmd.OutRequestNo)
	if d.cmd.Merchant != "" {
		log = log.WithField("merchant", d.cmd.Merchant)
	}
	return log
}

func decode(d *delivery) (Command, error) {
	if d.TooLarge {
		return Command{Kind: d.kind}, &BadCommand{producer.ReasonTooLarge, fmt.Sprintf("decompressed, the body has more than %d bytes", maxBody)}
	}
	cmd, err := DecodeCommand(d.kind, d.Body)
	bad, ok := errors.AsType[*BadCommand](err)
	if ok && d.Compressed && bad.Reason == producer.ReasonUnreadable {
		bad.Detail = "the body is marked as compressed and cannot be decompressed; zlib, lz4 and zstd are taken"
	}
	return cmd, err
}

func (h *Handler) identity(cmd Command) dedupe.Identity {
	id := dedupe.Identity{AppID: h.cfg.AppID, Merchant: cmd.Merchant, Kind: string(cmd.Kind), OutRequestNo: cmd.OutRequestNo}
	if h.cfg.ScopeTrade {
		id.Trade = cmd.Trade()
	}
	return id
}

// unreadable ends a message whose command cannot be read. Once claimed it is
// never rejected (R9).
func (h *Handler) unreadable(ctx context.Context, d *delivery, err error) bool {
	bad, ok := errors.AsType[*BadCommand](err)
	if !ok {
		bad = &BadCommand{Reason: producer.ReasonUnreadable, Detail: "the body cannot be read"}
	}
	rec, found, end := h.recordOf(ctx, d, rejection(bad.Reason, bad.Detail))
	switch {
	case end == waitedStop:
		return false
	case end == waitedLong:
		return h.scheduleRetry(ctx, d, producer.ReasonHeld, h.shortest())
	case found && rec.Decided:
		return h.republishDecided(ctx, d, rec.Event, rec.Contradiction)
	case found && !h.aged(d):
		d.log.WithField("detail", bad.Detail).
			Error("a claimed command cannot be read by this version; it waits for another (blocked_configuration)")
		return h.enter(ctx, d, gonePause) && h.scheduleRetry(ctx, d, producer.ReasonBlockedConfiguration, gonePause)
	case found || d.retryCopy.Claimed:
		d.log.WithField("detail", bad.Detail).Error("a claimed command can no longer be read; it is parked")
		return h.parkUnread(ctx, d, producer.ReasonUnknownOutcome)
	}
	if bad.Reason == producer.ReasonUnreadable || bad.Reason == producer.ReasonTooLarge {
		c := d.retryCopy
		c.Reason = string(bad.Reason)
		if !h.parkOrStub(ctx, d, c) {
			return false
		}
		h.metrics.Parked(string(bad.Reason))
	}
	return h.reject(ctx, d, bad.Reason, bad.Detail)
}

// recordOf reads the record of a message that this process cannot work on, if its
// number can be read, and reports whether it may be this command's: another version,
// or another merchants file, may have claimed it (R9). Then the copy counts as claimed,
// also should Redis forget the record. Nothing is rejected without it: it is tried again later.
// Where there is none and the message is to be rejected, that is written down in the same
// act: nobody claims a copy of it any more, and its first rejection stands.
func (h *Handler) recordOf(ctx context.Context, d *delivery, rejection string) (rec dedupe.Record, ours bool, end waited) {
	if d.cmd.OutRequestNo == "" {
		return rec, false, waitedDone
	}
	d.log, d.id = d.named(), h.identity(d.cmd)
	end = h.retryRedisPatiently(ctx, d, "read", func(ctx context.Context) (err error) {
		if rejection == "" || d.retryCopy.Claimed {
			rec, err = h.records.Read(ctx, d.id)
			return err
		}
		rec, d.rejected, err = h.records.Reject(ctx, d.id, d.retryCopy.MsgID, rejection)
		return err
	})
	switch {
	case end == waitedUnreadable:
		d.retryCopy.Claimed = true
		return rec, true, waitedDone
	case end != waitedDone || !rec.Exists:
		return rec, false, end
	}
	first, born, err := recorded(d.kind, rec)
	switch {
	case d.fingerprint != "":
		ours = rec.Fingerprint == d.fingerprint
	case err != nil:
		d.retryCopy.Claimed = true // it may be: a later version will know
		return rec, true, waitedDone
	default:
		ours = first.alike(d.cmd)
	}
	if ours {
		d.fingerprint, d.retryCopy.Claimed = rec.Fingerprint, true
		if !born.IsZero() {
			d.retryCopy.Born = born // as in the index
		}
	}
	return rec, ours, waitedDone
}

// recorded is the command that a record is about, as far as this version can read
// it, and when it was born, which a decided record does not say.
func recorded(kind Kind, rec dedupe.Record) (cmd Command, born time.Time, err error) {
	if !rec.Decided {
		n, err := decodeNote(rec.Note)
		if err != nil {
			return Command{}, time.Time{}, err
		}
		cmd, _ = DecodeCommand(kind, n.Origin.Body) // what of it can be read
		return cmd, time.UnixMilli(n.Origin.Born), nil
	}
	encoded, err := producer.DecodeEncoded(rec.Event)
	if err != nil {
		return Command{}, time.Time{}, err
	}
	e, err := producer.DecodeEvent(encoded.Body)
	return Command{OutTradeNo: e.OutTradeNo, TradeNo: e.TradeNo, AuthNo: e.AuthNo, Amount: alipay.Amount(e.AmountFen)}, time.Time{}, err
}

// alike reports whether two commands of one number take the same amount from the
// same trade, though more of them may be unreadable to this version.
func (c Command) alike(other Command) bool {
	named := c.Trade() != "" || c.AuthNo != ""
	return named && c.sameTrade(other.TradeNo, other.OutTradeNo) && !differs(c.AuthNo, other.AuthNo) &&
		c.Amount == other.Amount && c.Amount != 0
}

// claimed takes the claim and goes where its answer leads (R5, R7). With a reason
// to give up nothing is asked of Alipay any more: the command is parked.
func (h *Handler) claim(ctx context.Context, d *delivery, m Merchant, giveUp producer.Reason) bool {
	d.log = d.named()
	d.id, d.fingerprint = h.identity(d.cmd), d.cmd.Fingerprint()
	fresh := note{Origin: origin{
		Body: d.Body, Topic: d.retryCopy.Topic, MsgID: d.retryCopy.MsgID, Traceparent: d.retryCopy.Traceparent,
		Born: d.retryCopy.Born.UnixMilli(), First: d.retryCopy.First.UnixMilli(),
	}, Park: d.retryCopy.Park, QueryOnly: h.tooOld(d.retryCopy.Born)}
	stored, err := fresh.encode()
	if err != nil {
		d.log.WithError(err).Error("the command is parked")
		return h.parkUnread(ctx, d, producer.ReasonUnknownOutcome)
	}
	req := dedupe.ClaimRequest{
		ID: d.id, Fingerprint: d.fingerprint, Token: dedupe.NewToken(), Generation: d.retryCopy.Generation, Note: stored,
		Authorisation: authorisation(m), Message: d.retryCopy.MsgID, Claimed: d.retryCopy.Claimed,
	}
	if giveUp != "" {
		req.Authorisation = ""
	}
	slot := h.slot(d.cmd, actCall)
	var claim dedupe.Claim
	var grant dedupe.Grant
	switch h.retryRedisPatiently(ctx, d, "claim", func(ctx context.Context) error {
		claim, grant, err = h.records.ClaimWithSlot(ctx, req, slot)
		h.learn(slot, grant)
		return err
	}) {
	case waitedStop:
		return false
	case waitedLong:
		return h.scheduleRetry(ctx, d, producer.ReasonHeld, h.shortest())
	case waitedUnreadable:
		return h.recordUnread(ctx, d, gonePause)
	case waitedDone:
	}
	switch claim.State {
	case dedupe.Won:
		h.health.Works(PartRedis)
		c := &claimedDelivery{
			delivery: d, claim: claim, grant: grant, token: req.Token, claimedAt: time.Now(), first: d.cmd, note: fresh, giveUp: giveUp,
		}
		if !bytes.Equal(claim.Note, stored) {
			if c.note, err = decodeNote(claim.Note); err != nil {
				d.log.WithError(err).Error("the record's note cannot be read; the command waits")
				return h.recordUnread(ctx, d, time.Until(claim.Deadline))
			}
		}
		return h.work(ctx, c, m)
	case dedupe.Decided:
		return h.republishDecided(ctx, d, claim.Event, claim.Contradiction)
	case dedupe.Superseded:
		h.metrics.Command(string(d.kind), outcomeDuplicate, time.Time{})
		d.log.WithFields(logrus.Fields{"outcome": outcomeDuplicate, "generation": d.retryCopy.Generation}).Info("a newer copy lives, this one is dropped")
		return true
	case dedupe.Rejected:
		d.rejected = claim.Reason
		return h.reject(ctx, d, "", "")
	case dedupe.Conflict:
		if d.retryCopy.Claimed {
			return h.parkCopy(ctx, d, nil, d.outside(), d.cmd.Metadata, producer.ReasonUnknownOutcome,
				"the record of this number now belongs to a command with other content")
		}
		return h.reject(ctx, d, producer.ReasonConflict,
			"out_request_no was already used by a command with other content")
	case dedupe.Held:
		if n, err := decodeNote(claim.Note); err == nil {
			d.retryCopy.Born = time.UnixMilli(n.Origin.Born) // as in the index
		}
		return h.retryWhenFree(ctx, d, claim.HeldFor)
	default:
		d.log.WithField("state", int(claim.State)).Error("the record gave an answer this program does not know")
		return h.retryWhenFree(ctx, d, h.cfg.Lease)
	}
}

const outcomeDuplicate = "duplicate"

// shortDelay is the retry delay of what only waits for a part of ours.
const shortDelay = 10 * time.Second

// held: another delivery works on this refund. The copy comes back after the lease;
// it spends no try (R7, R12). Should that delivery die and the broker lose the copy,
// the index knows the command (R10).
func (h *Handler) retryWhenFree(ctx context.Context, d *delivery, heldFor time.Duration) bool {
	d.retryCopy.Claimed = true
	if !h.enter(ctx, d, heldFor) {
		return false
	}
	if h.aged(d) {
		return h.parkCopy(ctx, d, nil, d.outside(), d.cmd.Metadata, producer.ReasonHeld, "another delivery has held this refund for too long")
	}
	h.metrics.Command(string(d.kind), outcomeDuplicate, time.Time{})
	return h.scheduleRetry(ctx, d, producer.ReasonHeld, heldFor)
}

// enter puts the command into the index, due when its copy comes back, unless it is
// there. False: the process stops first.
func (h *Handler) enter(ctx context.Context, d *delivery, delay time.Duration) bool {
	if d.id.OutRequestNo == "" {
		return true // nobody could look for it
	}
	entry := h.records.Entry(d.retryCopy.Born, int64(d.cmd.Amount), d.id)
	return h.untilDone(ctx, d, "enter it in the index", func(ctx context.Context) error {
		return h.records.Enter(ctx, d.id.AppID, entry, time.Now().Add(delay))
	}) != waitedStop
}

// tooOld reports whether a record of a message that was born then may have expired:
// if there is none, the refund is only asked for (R10).
func (h *Handler) tooOld(born time.Time) bool {
	return time.Since(born) > h.cfg.Keep-keepMargin(h.cfg.Keep)
}

// gonePause is between two tries of a claimed command that this process cannot work
// on, and another may.
const gonePause = time.Minute

// spent tells whether the tries are used up after the given number.
func (h *Handler) spent(tries int) bool { return tries > len(h.cfg.RetryDelays) }

// class gives the metric's word for how a call ended.
func classWord(c alipay.Class) string {
	switch c {
	case alipay.ClassOK:
		return "ok"
	case alipay.ClassNotSent:
		return "not_sent"
	case alipay.ClassLimited:
		return "limited"
	case alipay.ClassBlockedConfiguration, alipay.ClassBlockedMerchant:
		return "blocked"
	case alipay.ClassRefused, alipay.ClassNotFound, alipay.ClassConflict:
		return "refused"
	case alipay.ClassUnknown:
		return "unknown"
	}
	return "unknown"
}
