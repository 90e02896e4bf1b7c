package consumer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sirupsen/logrus/hooks/test"

	"refundd/alipay"
	"refundd/consumer/rocketmqtest"
	"refundd/dedupe"
	"refundd/producer"
)

// bare is a handler without anything around it.
func bare(cfg Config) *Handler {
	log, _ := test.NewNullLogger()
	return NewHandler(cfg, Dependencies{Gate: NewGate(1), Health: NewHealth(log), Metrics: &countedMetrics{outcomes: map[string]int{}}, Log: log})
}

// attempts are when an act was tried, since the first time.
type attempts struct {
	began time.Time
	at    []time.Duration
	took  time.Duration // that each has
}

var errAway = errors.New("it is away")

func (a *attempts) fail(ctx context.Context) error {
	if a.began.IsZero() {
		a.began = time.Now()
	}
	a.at = append(a.at, time.Since(a.began))
	deadline, _ := ctx.Deadline()
	a.took = time.Until(deadline)
	return errAway
}

// TestPausesBetweenAttempts (R4, R12): what fails is tried again at growing
// distances, each attempt has five seconds, and a stop ends the waiting.
func TestPausesBetweenAttempts(t *testing.T) {
	ms := func(numbers ...int) (all []time.Duration) {
		for _, n := range numbers {
			all = append(all, time.Duration(n)*time.Millisecond)
		}
		return all
	}
	for _, row := range []struct {
		name string
		act  func(h *Handler, d *delivery, a *attempts)
		want []time.Duration
	}{
		{"patiently", func(h *Handler, d *delivery, a *attempts) {
			if err := h.retryRedis(t.Context(), d, "claim", a.fail); !errors.Is(err, errRedisAway) {
				t.Errorf("ended with %v", err)
			}
		}, ms(0, 50, 150, 350, 750, 1550, 3150, 5150, 7150, 9150, 11150, 13150, 15150, 17150, 19150, 21150)},
		{"just as long as patience", func(h *Handler, d *delivery, a *attempts) {
			h.cfg.Patience = 350 * time.Millisecond
			if err := h.retryRedis(t.Context(), d, "claim", a.fail); !errors.Is(err, errRedisAway) {
				t.Errorf("ended with %v", err)
			}
		}, ms(0, 50, 150, 350)},
		{"until done", func(h *Handler, d *delivery, a *attempts) {
			time.AfterFunc(30*time.Second, h.gate.Close)
			if err := h.retryUntilDone(t.Context(), d, "settle", a.fail); !errors.Is(err, errStopping) {
				t.Errorf("ended with %v", err)
			}
		}, ms(0, 50, 150, 350, 750, 1550, 3150, 5150, 7150, 9150, 11150, 13150, 15150, 17150, 19150, 21150, 23150, 25150, 27150, 29150)},
		{"publishing", func(h *Handler, d *delivery, a *attempts) {
			time.AfterFunc(40*time.Second, h.gate.Close)
			if err := h.publishUntilConfirmed(t.Context(), d, "t", a.fail); !errors.Is(err, errStopping) {
				t.Errorf("ended with %v", err)
			}
		}, ms(0, 100, 300, 700, 1500, 3100, 6300, 12700, 22700, 32700)},
		{"once", func(h *Handler, d *delivery, a *attempts) { h.bestEffort("try", d, a.fail) }, ms(0)},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h, a := bare(Config{}), &attempts{}
				row.act(h, &delivery{log: h.log}, a)
				if !slices.Equal(a.at, row.want) {
					t.Errorf("tried after %v\nwant %v", a.at, row.want)
				}
				if a.took != 5*time.Second {
					t.Errorf("each attempt has %v", a.took)
				}
			})
		})
	}
}

// TestFits (R8): a call begins only if it ends, with a margin, before the lease; a
// query only has to end before it.
func TestFits(t *testing.T) {
	for _, row := range []struct {
		lease, left time.Duration
		do          action
		want        bool
	}{
		{60 * time.Second, 10500 * time.Millisecond, actCall, true},
		{60 * time.Second, 10499 * time.Millisecond, actCall, false},
		{3 * time.Second, 10300 * time.Millisecond, actCall, true}, // a short lease has a tenth for its margin
		{3 * time.Second, 10299 * time.Millisecond, actCall, false},
		{60 * time.Second, 501 * time.Millisecond, actQuery, true},
		{60 * time.Second, 500 * time.Millisecond, actQuery, false},
	} {
		synctest.Test(t, func(t *testing.T) {
			h := bare(Config{Lease: row.lease, AlipayTimeout: 10 * time.Second})
			c := &claimedDelivery{claim: dedupe.Claim{Answer: dedupe.Answer{Deadline: time.Now().Add(row.left)}}}
			if got := h.fits(c, row.do); got != row.want {
				t.Errorf("%v of a lease of %v left, %d: %t", row.left, row.lease, row.do, got)
			}
		})
	}
}

// TestBorn (R10): the broker's clock counts where the producer's says nothing or is ahead.
func TestBorn(t *testing.T) {
	stored := time.UnixMilli(1_000_000)
	for _, row := range []struct{ born, stored, want time.Time }{
		{time.UnixMilli(5), time.Time{}, time.UnixMilli(5)},
		{time.UnixMilli(1), stored, time.UnixMilli(1)},
		{time.UnixMilli(0), stored, stored},
		{time.UnixMilli(-1), stored, stored},
		{stored.Add(time.Millisecond), stored, stored},
		{stored.Add(-time.Millisecond), stored, stored.Add(-time.Millisecond)},
	} {
		if got := (Delivery{Born: row.born, Stored: row.stored}).born(); !got.Equal(row.want) {
			t.Errorf("born %v, stored %v: %v", row.born, row.stored, got)
		}
	}
}

// TestTooOldNearTheEnd (R10): KEEP less a tenth of it, an hour at most.
func TestTooOldNearTheEnd(t *testing.T) {
	for keep, still := range map[time.Duration]time.Duration{
		720 * time.Hour: 719 * time.Hour, time.Hour: 54 * time.Minute, 10 * time.Hour: 9 * time.Hour, 5 * time.Hour: 270 * time.Minute,
	} {
		synctest.Test(t, func(t *testing.T) {
			h := bare(Config{Keep: keep})
			if now := time.Now(); h.tooOld(now.Add(-still+time.Second)) || !h.tooOld(now.Add(-still-time.Second)) {
				t.Errorf("keep %v: not at %v", keep, still)
			}
		})
	}
}

// TestDefaults: a Handler that is not told waits for Redis far less than the 120 s
// after which the SDK drops a queue, and divides workers only if it is told how many.
func TestDefaults(t *testing.T) {
	if h := bare(Config{}); h.cfg.Patience != 20*time.Second || h.share != nil {
		t.Errorf("patience %v, share %v", h.cfg.Patience, h.share)
	}
	if h := bare(Config{Patience: time.Second, Workers: 1}); h.cfg.Patience != time.Second || h.share == nil {
		t.Errorf("patience %v, share %v", h.cfg.Patience, h.share)
	}
}

// TestWordsOfClasses: the label of every end of a call and of a query.
func TestWordsOfClasses(t *testing.T) {
	for class, want := range map[alipay.Class]string{
		alipay.ClassOK: "ok", alipay.ClassNotSent: "not_sent", alipay.ClassLimited: "limited",
		alipay.ClassBlockedConfiguration: "blocked", alipay.ClassBlockedMerchant: "blocked",
		alipay.ClassRefused: "refused", alipay.ClassNotFound: "refused", alipay.ClassConflict: "refused",
		alipay.ClassUnknown: "unknown", alipay.Class(99): "unknown",
	} {
		if got := classWord(class); got != want {
			t.Errorf("%v is %q, want %q", class, got, want)
		}
	}
	for found, want := range map[finding]string{
		foundOurs: "ok", foundAbsent: "ok", foundUnproven: "ok", foundOther: "ok", foundOldForm: "ok", foundClosed: "ok", foundPending: "ok",
		foundConfig: "blocked", foundLimited: "limited", foundNothing: "unknown", finding("later"): "unknown",
	} {
		if got := findingWord(found); got != want {
			t.Errorf("%q is %q, want %q", found, got, want)
		}
	}
}

// TestAuthorisationIsStable: records keep this digest, so a version that made another
// one would block every refund that waits.
func TestAuthorisationIsStable(t *testing.T) {
	for token, want := range map[string]string{"": "app", "201510BBtoken": "f524a1f754e5ab9d"} {
		if got := authorisation(Merchant{AppAuthToken: token}); got != want {
			t.Errorf("%q: %s, want %s", token, got, want)
		}
	}
}

// TestAlike (R9): what makes a message that cannot be read the command of a record.
func TestAlike(t *testing.T) {
	trade := Command{OutTradeNo: "T1", Amount: 300}
	for _, row := range []struct {
		name       string
		one, other Command
		want       bool
	}{
		{"the same", trade, trade, true},
		{"another trade", trade, Command{OutTradeNo: "T2", Amount: 300}, false},
		{"another amount", trade, Command{OutTradeNo: "T1", Amount: 301}, false},
		{"no amount", Command{OutTradeNo: "T1"}, Command{OutTradeNo: "T1"}, false},
		{"the other way to name it", trade, Command{TradeNo: "2", Amount: 300}, true},
		{"an auth_no", Command{AuthNo: "A1", Amount: 300}, Command{AuthNo: "A1", Amount: 300}, true},
		{"another auth_no", Command{AuthNo: "A1", Amount: 300}, Command{AuthNo: "A2", Amount: 300}, false},
		{"nothing is named", Command{Amount: 300}, Command{Amount: 300}, false},
	} {
		if got := row.one.alike(row.other); got != row.want {
			t.Errorf("%s: %t", row.name, got)
		}
	}
}

// TestStopWhileRedisIsAway (R11): whoever waits for Redis when the process stops
// neither acknowledges nor publishes anything.
func TestStopWhileRedisIsAway(t *testing.T) {
	shop := `{"out_request_no":"R1","out_trade_no":"T1","refund_amount":"3.00","merchant":"shop"}`
	long := producer.Copy{Topic: refundTopic, MsgID: "M", Born: time.Now(), First: time.Now().Add(-2 * merchantGrace)}
	for name, act := range map[string]func(b *bench) bool{
		"claim": func(b *bench) bool {
			return b.handler.Handle(context.Background(), b.command(refundBody("R1", "T1", "3.00"))).Acknowledged()
		},
		"unreadable": func(b *bench) bool {
			return b.handler.Handle(context.Background(), b.command(`{"out_request_no":"R1","out_trade_no":"T1","refund_amount":"3.00","x":1}`)).Acknowledged()
		},
		"unknown merchant": func(b *bench) bool {
			return b.handler.Handle(context.Background(), Delivery{Topic: retryTopic, Body: []byte(shop), Properties: long.Properties()}).Acknowledged()
		},
		"panicked": func(b *bench) bool {
			return b.handler.Postpone(context.Background(), b.command(refundBody("R1", "T1", "3.00"))).Acknowledged()
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, func(c *Config) { c.Patience = time.Minute })
			b.redis.SetError("LOADING for a test")
			done := make(chan bool, 1)
			go func() { done <- act(b) }()
			waitFor(t, "the trouble", func() bool { return b.health.Failing(PartRedis) })
			b.gate.Close()
			if <-done {
				t.Error("acknowledged")
			}
			if n := len(b.events()) + len(b.parked()) + len(b.delays()); n != 0 {
				t.Errorf("%d messages", n)
			}
		})
	}
}

// TestStopWhileTheBrokerIsAway (R4): the same for what it does not take; and nothing
// that comes behind it is published.
func TestStopWhileTheBrokerIsAway(t *testing.T) {
	frozen := refundBody("fault-frozen-1", "T1", "3.00")
	for _, row := range []struct {
		name, body, topic      string
		tries                  []time.Duration
		events, parked, copies int
	}{
		{"event", refundBody("R1", "T1", "3.00"), eventTopic, nil, 0, 0, 0},
		{"rejection", refundBody("R1", "T1", "3.001"), eventTopic, nil, 0, 0, 0},
		{"what cannot be read", "no JSON", parkedTopic, nil, 0, 0, 0},
		{"its event", "no JSON", eventTopic, nil, 0, 1, 0},
		{"retry", frozen, retryTopic, []time.Duration{time.Second}, 0, 0, 0},
		{"park", frozen, parkedTopic, nil, 0, 0, 0},
		{"the event of a parking", frozen, eventTopic, nil, 0, 1, 0},
	} {
		t.Run(row.name, func(t *testing.T) {
			b := newBench(t, func(c *Config) { c.RetryDelays = row.tries })
			s := b.measured()
			refused := make(chan struct{}, 1000)
			b.broker.SetHook(func(r rocketmqtest.Request) rocketmqtest.Action {
				if r.Topic != row.topic || r.Properties == nil {
					return rocketmqtest.Action{}
				}
				refused <- struct{}{}
				return rocketmqtest.Action{Kind: rocketmqtest.Refuse, Code: rocketmqtest.SystemError}
			})
			done := make(chan bool, 1)
			go func() { done <- b.handler.Handle(context.Background(), b.command(row.body)).Acknowledged() }()
			<-refused
			b.gate.Close()
			if <-done {
				t.Error("acknowledged")
			}
			if e, p, c := len(b.events()), len(b.parked()), len(b.delays()); e != row.events || p != row.parked || c != row.copies {
				t.Errorf("%d events, %d parked, %d copies", e, p, c)
			}
			for _, line := range s.lines {
				if line == "retried "+row.name || line == "refund retried" || line == "refund unresolved" || line == "refund rejected" {
					t.Errorf("counted %q", line)
				}
			}
		})
	}
}

// odd is a record that gives an answer which this program does not know.
type odd struct {
	records
	claim dedupe.State
}

func (o odd) ClaimWithSlot(context.Context, dedupe.ClaimRequest, dedupe.Slot) (dedupe.Claim, dedupe.Grant, error) {
	return dedupe.Claim{Answer: dedupe.Answer{State: o.claim}}, dedupe.Grant{}, nil
}

// TestAnswersOfALaterVersion: nothing is concluded from an answer that is not known;
// the command comes back after the lease.
func TestAnswersOfALaterVersion(t *testing.T) {
	b := newBench(t, func(c *Config) { c.Lease = 30 * time.Second })
	b.handler.records = odd{b.store, dedupe.State(99)}
	b.handle(b.command(refundBody("R1", "T1", "3.00")))
	b.wantDelays(30 * time.Second)
	if n := len(b.events()) + len(b.alipay.Calls()); n != 0 {
		t.Errorf("%d events and calls", n)
	}
}

// TestShortest: what waits for Redis comes back after ten seconds, or earlier where
// tries are closer together.
func TestShortest(t *testing.T) {
	for first, want := range map[time.Duration]time.Duration{time.Hour: 10 * time.Second, 5 * time.Second: 5 * time.Second} {
		t.Run(first.String(), func(t *testing.T) {
			b := newBench(t, func(c *Config) { c.RetryDelays, c.Patience = []time.Duration{first}, time.Millisecond })
			b.redis.SetError("LOADING for a test")
			b.handle(b.command(refundBody("R1", "T1", "3.00")))
			b.wantDelays(want)
		})
	}
}

// TestUnknownMerchantGrace (R9): half a minute between tries, and 70 s in all.
func TestUnknownMerchantGrace(t *testing.T) {
	body := `{"out_request_no":"R1","out_trade_no":"T1","refund_amount":"3.00","merchant":"shop"}`
	for age, want := range map[time.Duration]string{69 * time.Second: "[] [30s]", 71 * time.Second: "[unknown_merchant] []"} {
		t.Run(age.String(), func(t *testing.T) {
			b := newBench(t, nil)
			c := producer.Copy{Topic: refundTopic, MsgID: "M", Born: time.Now(), First: time.Now().Add(-age)}
			b.handle(Delivery{Topic: retryTopic, Body: []byte(body), Properties: c.Properties()})
			reasons := []producer.Reason{}
			for _, e := range b.events() {
				reasons = append(reasons, e.Reason)
			}
			if got := fmt.Sprint(reasons, b.delays()); got != want {
				t.Errorf("got %s, want %s", got, want)
			}
		})
	}
}

// TestParkNumbersOutsideTheRecord: parkings that the record does not count have numbers
// of their own, each greater than the one before it, so no two events have one id.
func TestParkNumbersOutsideTheRecord(t *testing.T) {
	b := newBench(t, nil)
	unread := `{"out_request_no":"R1","out_trade_no":"T1","refund_amount":"3.00","gone":1}`
	b.handle(b.inRetry(unread, producer.Copy{}))
	b.handle(b.inRetry(unread, producer.Copy{Park: 7}))
	b.handle(b.inRetry(unread, producer.Copy{Park: 1_000_001}))
	var numbers []int
	for _, c := range b.parked() {
		numbers = append(numbers, c.Park)
	}
	if want := []int{1_000_001, 1_000_001, 1_000_002}; !slices.Equal(numbers, want) {
		t.Errorf("numbers %v, want %v", numbers, want)
	}
	for i, e := range b.events() {
		if want := producer.UnresolvedID(b.handler.eventIdentity(Command{Kind: KindRefund, OutRequestNo: "R1"}), numbers[i]); e.ID != want {
			t.Errorf("event %d is %s, want %s", i, e.ID, want)
		}
	}
	if s := b.metrics.count("unresolved"); s != 3 {
		t.Errorf("%d counted", s)
	}
}

// TestHeldTooLong (R12): who waits for another delivery past the age is parked, and
// the index has the command.
func TestHeldTooLong(t *testing.T) {
	b := newBench(t, func(c *Config) { c.Lease = 30 * time.Second })
	d := b.command(refundBody("R1", "T1", "3.00"))
	cmd, err := DecodeCommand(KindRefund, d.Body)
	check(t, err)
	born := time.Now().Add(-time.Minute).Truncate(time.Millisecond)
	stored, err := note{Origin: origin{Body: d.Body, Topic: d.Topic, MsgID: d.MsgID, Born: born.UnixMilli()}}.encode()
	check(t, err)
	_, err = b.store.Claim(t.Context(), dedupe.ClaimRequest{ID: identityOf("R1"), Fingerprint: cmd.Fingerprint(), Token: dedupe.NewToken(), Note: stored})
	check(t, err)
	entry := b.store.Entry(born, 300, identityOf("R1"))
	b.handle(d)
	b.wantDelays(30 * time.Second)
	u, there, err := b.store.Entered(t.Context(), testApp, entry)
	if err != nil || !there || time.Until(u.Due) > 30*time.Second || time.Until(u.Due) <= 0 {
		t.Errorf("entry %+v, there %t, %v", u, there, err)
	}
	b.cfg.MaxAge = time.Nanosecond
	b.reopen()
	b.handle(d)
	if e := b.onlyEvent("R1"); e.Reason != producer.ReasonHeld || e.Detail != "another delivery has held this refund for too long" {
		t.Errorf("got %s %q", e.Reason, e.Detail)
	}
	if p := b.parked(); len(p) != 1 || !p[0].Claimed || p[0].Park != 1_000_001 {
		t.Errorf("parked %+v", p)
	}
	if n := len(b.alipay.Calls()); n != 0 {
		t.Errorf("%d calls", n)
	}
}

// TestTooLittleToTell: a parked message becomes an event only if its number and its
// amount can be read.
func TestTooLittleToTell(t *testing.T) {
	for body, events := range map[string]int{
		`{"out_trade_no":"T1","refund_amount":"3.00"}`:                                  0,
		`{"out_request_no":"R1","out_trade_no":"T1","refund_amount":"x"}`:               0,
		`{"out_request_no":"R1","out_trade_no":"T1","refund_amount":"0.01","gone":"x"}`: 1,
	} {
		t.Run(body, func(t *testing.T) {
			b := newBench(t, nil)
			b.handle(b.inRetry(body, producer.Copy{}))
			if len(b.parked()) != 1 || len(b.events()) != events {
				t.Errorf("%d parked, %d events, want %d", len(b.parked()), len(b.events()), events)
			}
		})
	}
}

// TestRejectedTells: what can be read of a command that is rejected stands in its event.
func TestRejectedTells(t *testing.T) {
	b := newBench(t, nil)
	d := b.command(`{"out_request_no":"R1","out_trade_no":"T1","refund_amount":"3.00","metadata":{"order":"8816"},"x":1}`)
	d.Properties = map[string]string{producer.PropertyTraceparent: someTraceparent}
	b.handle(d)
	e := b.onlyEvent("R1")
	if e.Kind != producer.KindRefund || e.Subject != "R1" || e.Traceparent != someTraceparent || e.AmountFen != 300 || e.OutTradeNo != "T1" ||
		e.ID != producer.RejectedID(d.MsgID, d.Body, producer.ReasonInvalid) {
		t.Errorf("got %+v", e)
	}
	d = b.command(`{"out_request_no":"R2","out_trade_no":"T1","refund_amount":"3.00","metadata":{"order":"8816"}}`)
	b.handle(d)
	b.handle(b.command(`{"out_request_no":"R2","out_trade_no":"T1","refund_amount":"4.00","metadata":{"order":"8817"}}`))
	all := b.events()
	if e := all[len(all)-1]; e.Reason != producer.ReasonConflict || e.AmountFen != 400 || e.Metadata["order"] != "8817" {
		t.Errorf("got %+v", e)
	}
	coupon := b.command("no JSON")
	coupon.Topic = couponTopic
	b.handle(coupon)
	all = b.events()
	if e := all[len(all)-1]; e.Kind != producer.KindCouponRefund || e.Subject != coupon.MsgID {
		t.Errorf("got %+v", e)
	}
}

// TestWhatShowsThatRedisWorks: only an act that wrote; and while some masters work,
// nobody waits for another's.
func TestWhatShowsThatRedisWorks(t *testing.T) {
	works := func(context.Context) error { return nil }
	for op, shows := range map[string]bool{"settle": true, "release": true, "claim": false, "read": false, "enter it in the index": false} {
		h := bare(Config{})
		h.health.Fails(PartRedis, errAway)
		if err := h.retryUntilDone(t.Context(), &delivery{log: h.log}, op, works); err != nil || h.health.Failing(PartRedis) == shows {
			t.Errorf("%s: ended with %v, redis fails: %t", op, err, h.health.Failing(PartRedis))
		}
	}
	h := bare(Config{})
	unreadable := func(context.Context) error { return dedupe.ErrUnreadable }
	if err := h.retryUntilDone(t.Context(), &delivery{log: h.log}, "release", unreadable); !errors.Is(err, dedupe.ErrUnreadable) || h.health.Failing(PartRedis) {
		t.Errorf("a record that cannot be read: ended with %v, redis fails: %t", err, h.health.Failing(PartRedis))
	}
}

// TestNeeds: every command ends by an event or a retry; few are parked.
func TestNeeds(t *testing.T) {
	h := bare(Config{RetryTopic: retryTopic, EventTopic: eventTopic, ParkedTopic: parkedTopic})
	if h.needs(parkedTopic) != Degraded || h.needs(eventTopic) != Suspended || h.needs(retryTopic) != Suspended {
		t.Error("a topic has another grade")
	}
}
