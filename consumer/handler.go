package consumer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
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
	Throttled(ctx context.Context, appID string, asked dedupe.Grant, rate int) error
	Settle(ctx context.Context, req dedupe.SettleRequest) (dedupe.Settlement, error)
	Told(ctx context.Context, id dedupe.Identity, fingerprint, entry string, event []byte) error
	Enter(ctx context.Context, appID, entry string, due time.Time) error
	Reschedule(ctx context.Context, appID, entry string, due time.Time) error
	Release(ctx context.Context, req dedupe.ReleaseRequest) (dedupe.Release, error)
	Confirm(ctx context.Context, id dedupe.Identity, generation int64) error
	Read(ctx context.Context, id dedupe.Identity) (dedupe.Record, error)
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
}

// Config of a Handler. Every duration is needed; CONTRACT §6 has the meanings.
type Config struct {
	AppID string
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
	// NotifyURL is sent with coupon refunds; "" is none.
	NotifyURL string
	// Merchant looks a name up; false if it is unknown. Nil: no merchants.
	Merchant func(name string) (Merchant, bool)
	// Workers are divided between the merchants, the app's own commands being
	// one of them; deliveries beyond a merchant's share wait for a moment and then
	// in the retry topic. 0: they are not divided.
	Workers int
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
	backoff backoff
	causes  causes
	line    *line
}

// NewHandler puts the flow together. Gate tells it to stop, Health learns
// which part fails.
func NewHandler(cfg Config, a gateway, r records, p publisher, gate *Gate, health *Health, m Metrics, log logrus.FieldLogger) *Handler {
	if cfg.Patience == 0 {
		cfg.Patience = 20 * time.Second
	}
	h := &Handler{cfg: cfg, alipay: a, records: r, publish: p, gate: gate, health: health, metrics: m, log: log, line: newLine()}
	h.backoff.shortest, h.backoff.longest = shortestPause, longestPause
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

// commandInHand is one delivery being worked on.
type commandInHand struct {
	Delivery
	copy  producer.Copy // what a retried or parked message would carry
	kind  Kind
	cmd   Command
	id    dedupe.Identity
	print string
	stays bool // the broker refuses its copies: it cannot come back
	log   logrus.FieldLogger
}

// Handle works on one delivery until it has ended in one of R4's ways, and
// then tells true: it may be acknowledged. False: the process is stopping, the
// message stays unacknowledged and will be delivered again. Alipay calls are
// cut short when ctx ends; final acts are not.
func (h *Handler) Handle(ctx context.Context, d Delivery) bool {
	h.metrics.Inflight(1)
	defer h.metrics.Inflight(-1)
	in := h.open(d)
	if in.kind == "" {
		in.log.Error("a retried message names no command topic of this service; it is parked")
		return h.parkUnread(ctx, in, producer.ReasonBlockedConfiguration)
	}
	cmd, err := decode(in)
	in.cmd = cmd
	if err != nil {
		return h.unreadable(ctx, in, err)
	}
	merchant, known := h.merchant(cmd.Merchant)
	if !known {
		return h.unknownMerchant(ctx, in)
	}
	if left, why := h.backoff.left(cmd.Merchant, cmd.OutRequestNo); left > 0 && !in.copy.Claimed {
		return h.aside(ctx, in, why, left)
	}
	// What was claimed is let in all the same: queries go on.
	paused := func() bool { return !in.copy.Claimed && h.paused(in) }
	if paused() {
		return h.aside(ctx, in, producer.ReasonPaused, freeDelay)
	}
	if !h.share.enter(ctx, cmd.Merchant, shareWait) {
		return h.aside(ctx, in, producer.ReasonHeld, h.shortest())
	}
	defer h.share.leave(cmd.Merchant)
	if !in.copy.Claimed { // else it may have to be asked for, which needs no turn of this line
		if left, ok := h.line.wait(h.gate, false, waitInLine); !ok {
			return h.aside(ctx, in, producer.ReasonRateLimited, min(freeDelay, max(h.shortest(), left)))
		}
	}
	if paused() { // waiting may have taken a while
		return h.aside(ctx, in, producer.ReasonPaused, freeDelay)
	}
	return h.claimed(ctx, in, merchant, "")
}

// shareWait is how long a delivery waits in place for a worker of its merchant's
// share. It bounds how fast a flood of one merchant's commands is moved aside.
const shareWait = time.Second

// aside moves a delivery out of the way that need not be claimed now: its
// merchant has its share of the workers already, or its calls wait. So others'
// commands behind it are reached. It spends no try (R12).
func (h *Handler) aside(ctx context.Context, in *commandInHand, why producer.Reason, delay time.Duration) bool {
	if ctx.Err() != nil || h.gate.Stopping() {
		return false
	}
	in.log = in.named()
	if h.aged(in) {
		return h.claimed(ctx, in, Merchant{}, why)
	}
	return h.again(ctx, in, why, delay)
}

// aged reports whether the command has been undecided for too long (R12).
func (h *Handler) aged(in *commandInHand) bool { return time.Since(in.copy.First) >= h.cfg.MaxAge }

// Postpone ends a delivery whose handling panicked: it spends a try and comes
// back later, or is parked when its tries are used up. It may have been
// claimed, so it counts as claimed.
func (h *Handler) Postpone(ctx context.Context, d Delivery) bool {
	in := h.open(d)
	in.copy.Claimed = true
	in.copy.Try++
	if in.kind == "" {
		return h.parkUnread(ctx, in, producer.ReasonUnknownOutcome)
	}
	in.cmd, _ = decode(in) // what of it can be read
	if _, _, end := h.recordOf(ctx, in); end == waitedStop {
		return false
	}
	if h.spent(in.copy.Try) {
		return h.parkUnread(ctx, in, producer.ReasonUnknownOutcome)
	}
	delay := max(h.cfg.Lease, h.cfg.RetryDelays[in.copy.Try-1])
	return h.enter(ctx, in, delay) && h.again(ctx, in, producer.ReasonUnknownOutcome, delay)
}

// open reads what the message carries besides the command. Only messages of
// the retry topic are ours; properties elsewhere are anybody's.
func (h *Handler) open(d Delivery) *commandInHand {
	in := &commandInHand{Delivery: d}
	if d.Topic != h.cfg.RetryTopic {
		in.copy = producer.Copy{
			Body: d.Body, Topic: d.Topic, MsgID: d.MsgID, Born: d.born(), First: time.Now(),
			Traceparent: d.Properties[producer.PropertyTraceparent],
		}
	} else {
		c, err := producer.CopyFromProperties(d.Properties, d.Body)
		if err != nil {
			// What cannot be read is taken in its most careful sense.
			h.log.WithError(err).WithField("message_id", d.MsgID).Error("a retried message carries a damaged property")
			c = producer.Copy{
				Body: d.Body, Topic: d.Properties[producer.PropertyTopic], MsgID: d.MsgID, Born: d.born(),
				First: time.Now(), Traceparent: d.Properties[producer.PropertyTraceparent], Claimed: true,
			}
		}
		in.copy = c
	}
	in.kind, _ = h.kindOf(in.copy.Topic)
	in.log = h.log.WithFields(logrus.Fields{"message_id": in.copy.MsgID, "kind": string(in.kind)})
	if producer.ValidTraceparent(in.copy.Traceparent) {
		in.log = in.log.WithField("traceparent", in.copy.Traceparent)
	}
	return in
}

// named is the log with the command's names, once they can be read.
func (in *commandInHand) named() logrus.FieldLogger {
	log := in.log.WithField("out_request_no", in.cmd.OutRequestNo)
	if in.cmd.Merchant != "" {
		log = log.WithField("merchant", in.cmd.Merchant)
	}
	return log
}

func decode(in *commandInHand) (Command, error) {
	if in.TooLarge {
		return Command{Kind: in.kind}, &BadCommand{producer.ReasonTooLarge, fmt.Sprintf("decompressed, the body has more than %d bytes", maxBody)}
	}
	cmd, err := DecodeCommand(in.kind, in.Body)
	bad, ok := errors.AsType[*BadCommand](err)
	if ok && in.Compressed && bad.Reason == producer.ReasonUnreadable {
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
func (h *Handler) unreadable(ctx context.Context, in *commandInHand, err error) bool {
	bad, ok := errors.AsType[*BadCommand](err)
	if !ok {
		bad = &BadCommand{Reason: producer.ReasonUnreadable, Detail: "the body cannot be read"}
	}
	rec, found, end := h.recordOf(ctx, in)
	switch {
	case end == waitedStop:
		return false
	case end == waitedLong:
		return h.again(ctx, in, producer.ReasonHeld, h.shortest())
	case found && rec.Decided:
		return h.stored(ctx, in, rec.Event, rec.Contradiction)
	case found && !h.aged(in):
		in.log.WithField("detail", bad.Detail).
			Error("a claimed command cannot be read by this version; it waits for another (blocked_configuration)")
		return h.enter(ctx, in, gonePause) && h.again(ctx, in, producer.ReasonBlockedConfiguration, gonePause)
	case found || in.copy.Claimed:
		in.log.WithField("detail", bad.Detail).Error("a claimed command can no longer be read; it is parked")
		return h.parkUnread(ctx, in, producer.ReasonUnknownOutcome)
	}
	if bad.Reason == producer.ReasonUnreadable || bad.Reason == producer.ReasonTooLarge {
		c := in.copy
		c.Reason = string(bad.Reason)
		if !h.parkOrStub(ctx, in, c) {
			return false
		}
		h.metrics.Parked(string(bad.Reason))
	}
	return h.reject(ctx, in, bad.Reason, bad.Detail)
}

// recordOf reads the record of a message that this process cannot work on, if its
// number can be read, and reports whether it may be this command's: another version,
// or another merchants file, may have claimed it (R9). Then the copy counts as claimed,
// also should Redis forget the record. Nothing is rejected without it: it is tried again later.
func (h *Handler) recordOf(ctx context.Context, in *commandInHand) (rec dedupe.Record, ours bool, end waited) {
	if in.cmd.OutRequestNo == "" {
		return rec, false, waitedDone
	}
	in.log, in.id = in.named(), h.identity(in.cmd)
	end = h.patiently(ctx, in, "read", func(ctx context.Context) (err error) {
		rec, err = h.records.Read(ctx, in.id)
		return err
	})
	switch {
	case end == waitedUnreadable:
		in.copy.Claimed = true
		return rec, true, waitedDone
	case end != waitedDone || !rec.Exists:
		return rec, false, end
	}
	first, born, err := recorded(in.kind, rec)
	switch {
	case in.print != "":
		ours = rec.Fingerprint == in.print
	case err != nil:
		in.copy.Claimed = true // it may be: a later version will know
		return rec, true, waitedDone
	default:
		ours = first.alike(in.cmd)
	}
	if ours {
		in.print, in.copy.Claimed = rec.Fingerprint, true
		if !born.IsZero() {
			in.copy.Born = born // as in the index
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
func (h *Handler) claimed(ctx context.Context, in *commandInHand, m Merchant, giveUp producer.Reason) bool {
	in.log = in.named()
	in.id, in.print = h.identity(in.cmd), in.cmd.Fingerprint()
	fresh := note{Origin: origin{
		Body: in.Body, Topic: in.copy.Topic, MsgID: in.copy.MsgID, Traceparent: in.copy.Traceparent,
		Born: in.copy.Born.UnixMilli(), First: in.copy.First.UnixMilli(),
	}, Park: in.copy.Park, QueryOnly: h.tooOld(in.copy.Born)}
	stored, err := fresh.encode()
	if err != nil {
		in.log.WithError(err).Error("the command is parked")
		return h.parkUnread(ctx, in, producer.ReasonUnknownOutcome)
	}
	req := dedupe.ClaimRequest{
		ID: in.id, Fingerprint: in.print, Token: dedupe.NewToken(), Generation: in.copy.Generation, Note: stored,
		Authorisation: authorisation(m),
	}
	if giveUp != "" {
		req.Authorisation = ""
	}
	var claim dedupe.Claim
	var grant dedupe.Grant
	switch h.patiently(ctx, in, "claim", func(ctx context.Context) error {
		claim, grant, err = h.records.ClaimWithSlot(ctx, req, h.slot(in.cmd, actCall))
		h.learn(grant)
		return err
	}) {
	case waitedStop:
		return false
	case waitedLong:
		return h.again(ctx, in, producer.ReasonHeld, h.shortest())
	case waitedUnreadable:
		return h.recordUnread(ctx, in, gonePause)
	case waitedDone:
	}
	switch claim.State {
	case dedupe.Won:
		h.health.Works(PartRedis)
		c := &claimedCommand{
			commandInHand: in, claim: claim, grant: grant, token: req.Token, learnt: time.Now(), first: in.cmd, note: fresh, giveUp: giveUp,
		}
		if !bytes.Equal(claim.Note, stored) {
			if c.note, err = decodeNote(claim.Note); err != nil {
				in.log.WithError(err).Error("the record's note cannot be read; the command waits")
				return h.recordUnread(ctx, in, time.Until(claim.Deadline))
			}
		}
		return h.work(ctx, c, m)
	case dedupe.Decided:
		return h.stored(ctx, in, claim.Event, claim.Contradiction)
	case dedupe.Superseded:
		h.metrics.Command(string(in.kind), outcomeDuplicate, time.Time{})
		in.log.WithFields(logrus.Fields{"outcome": outcomeDuplicate, "generation": in.copy.Generation}).Info("a newer copy lives, this one is dropped")
		return true
	case dedupe.Conflict:
		if in.copy.Claimed {
			return h.parkCopy(ctx, in, nil, in.outside(), in.cmd.Metadata, producer.ReasonUnknownOutcome,
				"the record of this number now belongs to a command with other content")
		}
		return h.reject(ctx, in, producer.ReasonConflict,
			"out_request_no was already used by a command with other content")
	case dedupe.Held:
		if n, err := decodeNote(claim.Note); err == nil {
			in.copy.Born = time.UnixMilli(n.Origin.Born) // as in the index
		}
		return h.held(ctx, in, claim.HeldFor)
	default:
		in.log.WithField("state", int(claim.State)).Error("the record gave an answer this program does not know")
		return h.held(ctx, in, h.cfg.Lease)
	}
}

const outcomeDuplicate = "duplicate"

// shortDelay is the retry delay of what only waits for a part of ours.
const shortDelay = 10 * time.Second

// held: another delivery works on this refund. The copy comes back after the lease;
// it spends no try (R7, R12). Should that delivery die and the broker lose the copy,
// the index knows the command (R10).
func (h *Handler) held(ctx context.Context, in *commandInHand, heldFor time.Duration) bool {
	in.copy.Claimed = true
	if !h.enter(ctx, in, heldFor) {
		return false
	}
	if h.aged(in) {
		return h.parkCopy(ctx, in, nil, in.outside(), in.cmd.Metadata, producer.ReasonHeld, "another delivery has held this refund for too long")
	}
	h.metrics.Command(string(in.kind), outcomeDuplicate, time.Time{})
	return h.again(ctx, in, producer.ReasonHeld, heldFor)
}

// enter puts the command into the index, due when its copy comes back, unless it is
// there. False: the process stops first.
func (h *Handler) enter(ctx context.Context, in *commandInHand, delay time.Duration) bool {
	if in.id.OutRequestNo == "" {
		return true // nobody could look for it
	}
	entry := h.records.Entry(in.copy.Born, int64(in.cmd.Amount), in.id)
	return h.untilDone(ctx, in, "enter it in the index", func(ctx context.Context) error {
		return h.records.Enter(ctx, in.id.AppID, entry, time.Now().Add(delay))
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
