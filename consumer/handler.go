package consumer

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/sirupsen/logrus"

	"refundd/producer"
)

// publisher is the broker's side, as producer.Producer is. Nil means that the
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

// Metrics counts what happens; the methods are CONTRACT §8's series.
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

// Dependencies are what a Handler works with.
type Dependencies struct {
	Alipay    gateway
	Records   records
	Publisher publisher
	Gate      *Gate   // closed at a stop
	Health    *Health // learns which part fails
	Metrics   Metrics
	Log       logrus.FieldLogger
}

// NewHandler puts the flow together.
func NewHandler(cfg Config, with Dependencies) *Handler {
	if cfg.Patience == 0 {
		cfg.Patience = 20 * time.Second
	}
	if cfg.Random == nil {
		cfg.Random = rand.Float64
	}
	h := &Handler{
		cfg: cfg, alipay: with.Alipay, records: with.Records, publish: with.Publisher, gate: with.Gate, health: with.Health,
		metrics: with.Metrics, log: with.Log, lines: newLines(),
	}
	h.unaccepted.pause, h.unaccepted.until = freeDelay, map[string]time.Time{}
	h.causes.every, h.causes.seen = time.Minute, map[string]time.Time{}
	if cfg.Workers > 0 {
		h.share = newShare(cfg.Workers)
	}
	return h
}

// Handle works on one delivery and returns how it ended. Alipay calls are cut short
// when ctx ends; what ends a delivery is not.
func (h *Handler) Handle(ctx context.Context, msg Delivery) Ending {
	h.metrics.Inflight(1)
	defer h.metrics.Inflight(-1)
	return h.carryOut(ctx, h.parseDelivery(msg), h.begin)
}

// Postpone ends a delivery whose handling panicked: it spends a try and comes
// back later, or is parked when its tries are used up. It may have been
// claimed, so it counts as claimed.
func (h *Handler) Postpone(ctx context.Context, msg Delivery) Ending {
	return h.carryOut(ctx, h.parseDelivery(msg), h.postpone)
}

func (h *Handler) postpone(ctx context.Context, d *delivery) Ending {
	d.retryCopy.Claimed = true
	d.retryCopy.Try++
	if d.kind != "" {
		if _, _, err := h.recordOf(ctx, d, ""); errors.Is(err, errStopping) {
			return Ending{}
		}
	}
	if d.kind == "" || h.spent(d.retryCopy.Try) {
		return h.parkUnread(d, producer.ReasonUnknownOutcome)
	}
	delay := max(h.cfg.Lease, h.cfg.RetryDelays[d.retryCopy.Try-1])
	return retried(d, producer.ReasonUnknownOutcome, delay).entered(delay)
}

// carryOut finds a delivery's ending and finishes it. A command whose copy the
// broker refuses cannot come back, so it is worked on in place, and parked if that
// does not decide it.
func (h *Handler) carryOut(ctx context.Context, d *delivery, find func(context.Context, *delivery) Ending) Ending {
	defer h.leave(d)
	for e := find(ctx, d); ; e = h.workInPlace(ctx, d, e.delay) {
		err := h.finish(ctx, d, e)
		switch {
		case err == nil:
			return e
		case !errors.Is(err, producer.ErrContent):
			return Ending{}
		}
	}
}

// longestStay bounds one wait in place.
const longestStay = 10 * time.Second

// workInPlace goes on with a command that cannot come back.
func (h *Handler) workInPlace(ctx context.Context, d *delivery, delay time.Duration) Ending {
	if !d.readable() {
		return h.parkUnread(d, producer.ReasonUnknownOutcome)
	}
	d.stays = true
	h.giveBackUnused(d)
	if !h.gate.Sleep(min(delay, longestStay)) {
		return Ending{}
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

// begin sorts out what cannot be worked on, or not now, and claims the rest.
func (h *Handler) begin(ctx context.Context, d *delivery) Ending {
	switch {
	case d.kind == "":
		d.log.Error("a retried message names no command topic of this service; it is parked")
		return h.parkUnread(d, producer.ReasonBlockedConfiguration)
	case d.bad != nil:
		return h.unreadable(ctx, d)
	}
	merchant, known := h.merchant(d.cmd.Merchant)
	if !known {
		return h.unknownMerchant(ctx, d)
	}
	if why, delay := h.mayBegin(ctx, d); why != "" {
		return h.deferUnclaimed(ctx, d, why, delay)
	}
	return h.claim(ctx, d, merchant, "")
}

// mayBegin waits until the command may be claimed, or says why it has to wait for
// longer. What was claimed is let in all the same: queries go on.
func (h *Handler) mayBegin(ctx context.Context, d *delivery) (why producer.Reason, delay time.Duration) {
	claimed := d.retryCopy.Claimed
	paused := func() bool { return !claimed && h.paused(d) }
	if left := h.unaccepted.left(d.cmd.Merchant); left > 0 && !claimed {
		return producer.ReasonBlockedConfiguration, left
	}
	if paused() {
		return producer.ReasonPaused, freeDelay
	}
	limited := h.lines.of(d.cmd.Merchant) != nil
	wait, crowded, later := shareWait, producer.ReasonHeld, h.shortest
	if limited {
		wait, crowded, later = 0, producer.ReasonRateLimited, h.spread
	}
	if d.worker = h.share.enter(ctx, d.cmd.Merchant, limited, wait); !d.worker {
		return crowded, later()
	}
	if claimed { // it may have to be asked for, which needs no turn of this line
		return "", 0
	}
	if left, ok := h.awaitTurn(d.cmd.Merchant, false, waitInLine); !ok {
		return producer.ReasonRateLimited, min(freeDelay, max(later(), left))
	}
	if paused() { // waiting may have taken a while
		return producer.ReasonPaused, freeDelay
	}
	return "", 0
}

// shareWait is how long a delivery waits in place for a worker of its merchant's
// share. It bounds how fast a flood of one merchant's commands is moved aside.
const shareWait = time.Second

func (h *Handler) giveBackUnused(d *delivery) {
	if d.claimed != nil {
		h.giveBack(d.claimed)
	}
}

// leave gives back what the delivery has of what others wait for.
func (h *Handler) leave(d *delivery) {
	h.giveBackUnused(d)
	if d.worker {
		h.share.leave(d.cmd.Merchant)
	}
}

// deferUnclaimed moves a delivery out of the way that need not be claimed now: its
// merchant has its share of the workers already, or its calls wait. So others'
// commands behind it are reached. It spends no try (R12).
func (h *Handler) deferUnclaimed(ctx context.Context, d *delivery, why producer.Reason, delay time.Duration) Ending {
	switch {
	case ctx.Err() != nil || h.gate.Stopping():
		return Ending{}
	case h.aged(d):
		return h.claim(ctx, d, Merchant{}, why)
	}
	return retried(d, why, delay)
}
