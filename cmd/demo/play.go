package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/sirupsen/logrus"

	"refundd/cmd/internal/tap"
	"refundd/consumer"
)

const (
	// actTime bounds one act of the script.
	actTime = 25 * time.Second
	// quiet is how long nothing may happen before -once believes the end.
	quiet = time.Second
	// plenty is the balance after the top-up, in fen: 100,000,000.00 yuan.
	plenty = 100_000_000_00
)

// play is the demonstration from start to stop. False: with -once, ledger and
// events do not agree.
func play(ctx context.Context, o options, t table, log *logrus.Logger) (ok bool, err error) {
	p, err := startParts(o)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, p.close()) }()

	serving, stopService := context.WithCancel(context.WithoutCancel(ctx))
	ended := p.serve(serving, log)
	running := true
	stop := func() error {
		stopService()
		if !running {
			return nil
		}
		running = false
		return <-ended
	}
	defer func() { err = errors.Join(err, stop()) }()
	if err := p.waitReady(ctx, ended); err != nil {
		if ctx.Err() != nil {
			return true, nil
		}
		running = false
		return false, err
	}

	d := &demo{parts: p, table: t, board: newBoard(p.alipay.Calls), messages: make(chan sighted, 64)}
	following, stopFollowing := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stopFollowing()
	if err := d.follow(following, &wg); err != nil {
		if ctx.Err() != nil {
			return true, nil
		}
		return false, err
	}
	sender, err := tap.NewSender(tap.Cluster{NameServers: []string{p.broker.Addr()}})
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, sender.Close()) }()

	t.head()
	if err := d.perform(ctx, sender, ended); err != nil {
		if ctx.Err() != nil {
			return true, nil
		}
		running = !errors.Is(err, errServiceEnded)
		return false, err
	}
	if o.once {
		d.settle(ctx)
		return d.verdict(), nil
	}
	if err := sendSteps(ctx, sender, topicRefund, newScript().slow); err != nil && ctx.Err() == nil {
		return false, err
	}
	_, _ = fmt.Fprintf(t.out, "\n%s\n\n", p.hints())
	if err := d.watch(ctx, ended, func() bool { return false }); ctx.Err() == nil {
		running = !errors.Is(err, errServiceEnded)
		return false, err
	}
	_, _ = fmt.Fprintln(t.out, "stopping")
	return true, nil
}

// sighted is a message of one of the two topics.
type sighted struct {
	topic string
	tap.Message
}

type demo struct {
	parts    *parts
	table    table
	board    *board
	messages chan sighted
	last     time.Time // when the last message was seen
}

// follow begins to read the command topics and the event topic.
func (d *demo) follow(ctx context.Context, wg *sync.WaitGroup) error {
	topics := []string{topicRefund, topicCoupon, topicEvent}
	failed := make(chan error, len(topics))
	ready := make(chan struct{}, len(topics))
	for _, topic := range topics {
		wg.Go(func() {
			err := tap.Follow(ctx, tap.Cluster{NameServers: []string{d.parts.broker.Addr()}},
				tap.Following{Topic: topic, Beginning: true, Ready: func() { ready <- struct{}{} }},
				func(m tap.Message) {
					select {
					case d.messages <- sighted{topic, m}:
					case <-ctx.Done():
					}
				})
			if err != nil {
				failed <- err
			}
		})
	}
	for range topics {
		select {
		case <-ready:
		case err := <-failed:
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// perform sends the script, act by act.
func (d *demo) perform(ctx context.Context, sender *tap.Sender, ended <-chan error) error {
	s := newScript()
	sent := 0
	act := func(topic string, steps []step) error {
		sent += len(steps)
		return sendSteps(ctx, sender, topic, steps)
	}
	until := func(done func() bool) error {
		ctx, cancel := context.WithTimeout(ctx, actTime)
		defer cancel()
		err := d.watch(ctx, ended, done)
		if errors.Is(err, context.DeadlineExceeded) {
			d.table.note("some commands have no end yet")
			return nil // the verdict will name them
		}
		return err
	}
	allEnded := func() bool { return d.board.stepsEnded() >= sent }
	if err := errors.Join(act(topicRefund, s.first), act(topicCoupon, s.coupons), until(allEnded)); err != nil {
		return err
	}
	if err := errors.Join(act(topicRefund, s.second), until(allEnded)); err != nil {
		return err
	}
	answer, err := forge(ctx, d.parts.notifyURL)
	if err != nil {
		return err
	}
	d.table.note("a forged notification is answered with " + answer)
	d.parts.alipay.SetBalance("", 0)
	d.table.note("the merchant's balance is 0.00 now")
	if err := errors.Join(act(topicRefund, s.last), until(func() bool { return d.board.called(topUpNumber) })); err != nil {
		return err
	}
	d.parts.alipay.SetBalance("", plenty)
	d.table.note("topped up")
	return until(allEnded)
}

func sendSteps(ctx context.Context, sender *tap.Sender, topic string, steps []step) error {
	for _, st := range steps {
		if _, err := sender.Send(ctx, tap.Outgoing{
			Topic: topic, Keys: st.key, Body: []byte(st.body), Properties: map[string]string{stepProperty: st.what},
		}); err != nil {
			return err
		}
	}
	return nil
}

var errServiceEnded = errors.New("the service ended")

// watch notes and prints what happens until done.
func (d *demo) watch(ctx context.Context, ended <-chan error, done func() bool) error {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-ended:
			return errors.Join(errServiceEnded, err)
		case now := <-tick.C:
			for _, ev := range d.board.news(now) {
				d.table.news(ev)
			}
		case m := <-d.messages:
			d.last = time.Now()
			var r *row
			switch m.topic {
			case topicRefund:
				r = d.board.command(consumer.KindRefund, m.Message)
			case topicCoupon:
				r = d.board.command(consumer.KindCouponRefund, m.Message)
			default:
				r = d.board.published(m.Message, d.last)
			}
			if r != nil {
				d.table.row(r)
			}
		}
	}
	return nil
}

// settle waits until nothing is left at the broker to be tried again, every
// notification has become an event, and nothing has happened for a moment, so that a second event would be seen.
func (d *demo) settle(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, actTime)
	defer cancel()
	_ = d.watch(ctx, nil, func() bool {
		return len(d.parts.broker.Scheduled(topicRetry)) == 0 && time.Since(d.last) > quiet &&
			len(d.board.checkNotices(d.parts.alipay.Notices())) == 0
	}) // if that never comes the verdict says what it sees
}

// verdict prints whether ledger and events agree.
func (d *demo) verdict() bool {
	wrong, summary := d.board.check(d.parts.alipay.State().Refunds)
	wrong = append(wrong, d.board.checkNotices(d.parts.alipay.Notices())...)
	if n := len(d.parts.broker.Scheduled(topicRetry)); n > 0 {
		wrong = append(wrong, fmt.Sprintf("%d retry messages are left", n))
	}
	_, _ = fmt.Fprintln(d.table.out)
	for _, w := range wrong {
		_, _ = fmt.Fprintln(d.table.out, "WRONG:", w)
	}
	verdict := "ledger and events agree"
	if len(wrong) > 0 {
		verdict = "ledger and events DO NOT agree"
	}
	_, _ = fmt.Fprintf(d.table.out, "%s\nverdict: %s\n", summary, verdict)
	return len(wrong) == 0
}
