// Package notifyhttp receives Alipay's asynchronous notifications and publishes them as events (producer/CONTRACT.md §7 and
// §4). The rules R1 and R13 are those of consumer/DESIGN.md.
//
// A notification is believed only if Alipay signed the very bytes that came in (R13), and it is answered `success` only after its
// event is durably published; every other answer makes Alipay deliver it again, eight times within 25 hours. So no genuine
// notification is lost between the two, and one that is published twice has one event id: readers drop it.
//
//	POST /alipay/notify     200 success   its event is published, or it is verified and of no interest
//	                        400 fail      malformed, duplicate parameters, bad signature, wrong app, wrong seller
//	                        413 fail      more than 64 KiB
//	                        503 fail      not published in time, or too many at once
//	other methods, paths    405, 404
//
// Of no interest are payments, closed unpaid trades, refunds of red packets that did not succeed, and deposit backs that the bank
// still works on.
//
// A notification is information, never proof (R1): it says that something was refunded, not that one refund of ours succeeded
// with our amount. Whoever wants the truth at once sets Config.Verified, and queries.
//
// Nothing here keeps state that matters, so any number of instances may receive. Anybody may connect: a place among those in
// hand is taken by a body that has arrived, the order of the checks is such that the cheap ones come first, and memory and time of
// each request are bounded, as connections are by Limit. Put TLS in front.
//
// Whoever has caught a genuine notification can send it over and over. What this process has published of the very same content
// within a day is answered `success` at once, without another event or call of Verified.
//
// Logs hold notify_id, class and result, and why in words that quote nothing of the request.
package notifyhttp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/sirupsen/logrus"

	"refundd/alipay"
	"refundd/producer"
)

// Path is the only path that is served.
const Path = "/alipay/notify"

// MaxBody is how many bytes a notification may have; real ones have about a thousand.
const MaxBody = 64 << 10

const (
	defaultMaxAtOnce       = 128
	defaultBodyTimeout     = 5 * time.Second
	defaultPublishTimeout  = 5 * time.Second
	defaultVerifiedTimeout = 5 * time.Second
)

// Config says whose notifications are published, and within which limits. Only AppID is required.
type Config struct {
	// AppID is the app of all events. It is the verifier's, too.
	AppID string

	// SellerID is the app's own seller. If it is set, notifications of sellers that are neither this one nor known to Sellers are
	// refused, and so are those of trade refunds that name none. If it is empty, any seller is accepted.
	SellerID string

	// Sellers reports which merchant has this seller id, for the event's merchant. It is asked anew for each notification, by many
	// goroutines, so merchants may change while running. nil knows none.
	Sellers func(sellerID string) (merchant string, ok bool)

	// Verified is called for each refund's notification once its event is published and the answer is on its way; what
	// it does changes neither. Its context ends after VerifiedTimeout, and it counts among MaxAtOnce until it returns. It may be nil.
	Verified func(ctx context.Context, n Notice)

	MaxAtOnce       int           // notifications in hand whose bodies have arrived, the rest is answered 503; 0 stands for 128
	BodyTimeout     time.Duration // for a body to arrive; 0 stands for 5s
	PublishTimeout  time.Duration // for an event to be published; 0 stands for 5s
	VerifiedTimeout time.Duration // for Verified; 0 stands for 5s
}

// Notice names the refund that a verified notification is about, in the notification's words. It may be nobody's command.
type Notice struct {
	Kind         producer.Kind
	Merchant     string // empty for the app's own seller, and where no seller is named, as in those of red packets
	OutRequestNo string
	OutTradeNo   string // of a trade's refund
	TradeNo      string
	AuthNo       string // of a red packet's refund
	OutOrderNo   string
	OperationID  string
}

// Result is how a request ended, a label of refundd_notifications_total{result}. Requests with another path or method are no
// notifications and are not counted.
type Result string

// The results.
const (
	Published    Result = "published"     // 200: verified, and its event is published
	Repeated     Result = "repeated"      // 200: verified, and published before with the same content
	Ignored      Result = "ignored"       // 200: verified, and of no interest
	BadSignature Result = "bad_signature" // 400: signed by none of the keys, or changed on its way
	WrongApp     Result = "wrong_app"     // 400: verified, and for another app
	WrongSeller  Result = "wrong_seller"  // 400: verified, and for another seller
	DuplicateKey Result = "duplicate_key" // 400: a parameter stands twice
	Malformed    Result = "malformed"     // 400: no form, or verified and without what its event needs, such as notify_id
	Incomplete   Result = "incomplete"    // 400: the body did not arrive whole within BodyTimeout
	TooLarge     Result = "too_large"     // 413: more than MaxBody
	Busy         Result = "busy"          // 503: MaxAtOnce others were in hand
	Unpublished  Result = "unpublished"   // 503: verified, and its event was not confirmed within PublishTimeout
)

// Results are all of them, for a counter whose series are there from the start.
func Results() []Result {
	return []Result{
		Published, Repeated, Ignored, BadSignature, WrongApp, WrongSeller, DuplicateKey, Malformed, Incomplete, TooLarge, Busy, Unpublished,
	}
}

func (r Result) status() int {
	switch r {
	case Published, Repeated, Ignored:
		return http.StatusOK
	case BadSignature, WrongApp, WrongSeller, DuplicateKey, Malformed, Incomplete:
		return http.StatusBadRequest
	case TooLarge:
		return http.StatusRequestEntityTooLarge
	case Busy, Unpublished:
	}
	return http.StatusServiceUnavailable
}

// publisher is *producer.Producer. Publish returns nil only if the event is stored, and returns soon after its context ended.
type publisher interface {
	Publish(ctx context.Context, event producer.Encoded) error
}

type handler struct {
	cfg      Config
	verifier func() *alipay.Verifier
	events   publisher
	count    func(Result)
	log      logrus.FieldLogger
	slots    chan struct{} // one for each notification in hand
	memory   memory
}

// New makes the receiver; see Server for the server around it. The verifier is asked for once per request, so it can be replaced
// while requests are in hand, as by the Load method of an atomic.Pointer: each is judged by one of them as a whole. It should
// hold the old and the new key for the 25 hours after a rotation, and leave the sellers to Config. count is called once for each
// notification, before it is answered.
func New(cfg Config, verifier func() *alipay.Verifier, events publisher, count func(Result), log logrus.FieldLogger) http.Handler {
	if cfg.MaxAtOnce <= 0 {
		cfg.MaxAtOnce = defaultMaxAtOnce
	}
	if cfg.BodyTimeout <= 0 {
		cfg.BodyTimeout = defaultBodyTimeout
	}
	if cfg.PublishTimeout <= 0 {
		cfg.PublishTimeout = defaultPublishTimeout
	}
	if cfg.VerifiedTimeout <= 0 {
		cfg.VerifiedTimeout = defaultVerifiedTimeout
	}
	return &handler{cfg: cfg, verifier: verifier, events: events, count: count, log: log, slots: make(chan struct{}, cfg.MaxAtOnce)}
}

// ServeHTTP is not behind an http.ServeMux, which would redirect paths that are almost ours.
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.URL.Path != Path:
		refuseUnread(w, http.StatusNotFound)
		return
	case r.Method != http.MethodPost:
		w.Header().Set("Allow", http.MethodPost)
		refuseUnread(w, http.StatusMethodNotAllowed)
		return
	}
	body, err := h.read(w, r) // slow senders take nobody's place
	if err != nil {
		result := resultOf(err)
		h.settled(result, nil, err)
		refuseUnread(w, result.status())
		return
	}
	select {
	case h.slots <- struct{}{}:
		defer func() { <-h.slots }()
	default:
		h.settled(Busy, nil, nil)
		refuseUnread(w, Busy.status())
		return
	}
	v, err := h.judge(body)
	result := Published
	switch {
	case err != nil:
	case v.event == nil:
		result = Ignored
	case h.memory.knows(v.event.Body):
		result = Repeated
	default:
		if err = h.publish(r.Context(), *v.event); err == nil {
			h.memory.keep(v.event.Body)
		}
	}
	if err != nil {
		result = resultOf(err)
	}
	h.settled(result, v.notification, err)
	answer(w, result.status())
	if result == Published && h.cfg.Verified != nil && v.notification.Class != alipay.NotificationDepositBack {
		_ = http.NewResponseController(w).Flush() // the answer does not wait for Verified
		h.tell(r.Context(), v)
	}
}

var (
	errIncomplete  = errors.New("the body did not arrive whole in time")
	errTooLarge    = errors.New("the body has more than 64 KiB")
	errUnpublished = errors.New("event is not published")
)

// read returns the body as it was posted. What net/http says about a broken body may quote it, so its errors end here.
func (h *handler) read(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	if r.ContentLength > MaxBody {
		return nil, errTooLarge
	}
	// Where there is no deadline to set, as in a recorder of tests, the server's own holds.
	conn := http.NewResponseController(w)
	_ = conn.SetReadDeadline(time.Now().Add(h.cfg.BodyTimeout))
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, MaxBody))
	if _, over := errors.AsType[*http.MaxBytesError](err); over {
		return nil, errTooLarge
	}
	if err != nil {
		return nil, errIncomplete
	}
	_ = conn.SetReadDeadline(time.Time{})
	return body, nil
}

// publish does not end when the sender hangs up: the event is true whoever still listens, and published now it need not be published again.
func (h *handler) publish(ctx context.Context, event producer.Encoded) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), h.cfg.PublishTimeout)
	defer cancel()
	if err := h.events.Publish(ctx, event); err != nil {
		return fmt.Errorf("%w: %w", errUnpublished, err)
	}
	return nil
}

func resultOf(err error) Result {
	for _, r := range []struct {
		cause  error
		result Result
	}{
		{errIncomplete, Incomplete},
		{errTooLarge, TooLarge},
		{errUnpublished, Unpublished},
		{alipay.ErrNotifySignature, BadSignature},
		{alipay.ErrNotifyDuplicate, DuplicateKey},
		{alipay.ErrNotifyApp, WrongApp},
		{alipay.ErrNotifySeller, WrongSeller},
	} {
		if errors.Is(err, r.cause) {
			return r.result
		}
	}
	return Malformed
}

// settled counts and logs. n is nil for what is not verified: nothing of that is logged.
func (h *handler) settled(result Result, n *alipay.Notification, err error) {
	h.count(result)
	log := h.log.WithField("result", string(result))
	if n != nil {
		log = log.WithFields(names(n))
	}
	switch {
	case err != nil:
		log.WithError(err).Warn("notification is not accepted")
	case result == Busy:
		log.Warn("notification is not accepted")
	default:
		log.Info("notification is accepted")
	}
}

// tell calls Verified. A panic there must not look like one of the receiver, which net/http would print with the request's stack.
func (h *handler) tell(ctx context.Context, v verdict) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), h.cfg.VerifiedTimeout)
	defer cancel()
	defer func() {
		if p := recover(); p != nil {
			h.log.WithFields(names(v.notification)).Errorf("what follows a notification panicked with a %T", p)
		}
	}()
	h.cfg.Verified(ctx, v.notice)
}

func names(n *alipay.Notification) logrus.Fields {
	return logrus.Fields{"notify_id": n.NotifyID, "class": n.Class.String()}
}

// refuseUnread closes the connection, so that the server need not read the rest of a body that nobody wants.
func refuseUnread(w http.ResponseWriter, status int) {
	w.Header().Set("Connection", "close")
	answer(w, status)
}

// answer writes the two words that Alipay knows; for any but exactly success it delivers again.
func answer(w http.ResponseWriter, status int) {
	word := "fail"
	if status == http.StatusOK {
		word = "success"
	}
	w.Header().Set("Content-Type", "text/plain")
	w.Header().Set("Content-Length", strconv.Itoa(len(word)))
	w.WriteHeader(status)
	_, _ = io.WriteString(w, word) // who has gone will deliver again
}
