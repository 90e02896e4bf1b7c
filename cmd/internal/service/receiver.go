package service

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"strings"
	"sync"

	"github.com/sirupsen/logrus"

	"refundd/consumer"
	"refundd/notifyhttp"
	"refundd/producer"
)

// startReceiver begins to answer notifications, which needs the producer, and
// Redis only for nudges. It returns nil if the receiver is off.
func (s *service) startReceiver(ctx context.Context, wg *sync.WaitGroup, tell *producer.Producer, handler *consumer.Handler) (*http.Server, error) {
	if s.cfg.HTTPAddr == "" {
		return nil, nil //nolint:nilnil // off is no error, and there is nothing to stop
	}
	var listen net.ListenConfig
	listener, err := listen.Listen(ctx, "tcp", s.cfg.HTTPAddr)
	if err != nil {
		return nil, fmt.Errorf("REFUNDD_HTTP_ADDR: %w", err)
	}
	server := notifyhttp.Server(s.cfg.HTTPAddr, notifyhttp.New(
		notifyhttp.Config{
			AppID: s.cfg.AlipayAppID, SellerID: s.cfg.AlipaySellerID, Sellers: s.changing.seller,
			Verified: func(ctx context.Context, n notifyhttp.Notice) { s.nudge(ctx, handler, n) },
		},
		s.changing.verifier.Load, counted{s.trace.Publisher(tell), s}, s.metrics.Notification, s.log,
	))
	server.ErrorLog = log.New(lines{s.log.WithField("part", "receiver")}, "", 0)
	wg.Go(func() {
		if err := server.Serve(notifyhttp.Limit(listener, notifyhttp.MaxConnections)); !errors.Is(err, http.ErrServerClosed) {
			s.log.WithError(err).Error("the notification receiver ended")
		}
	})
	s.log.WithField("addr", listener.Addr().String()).Info("notifications are received at " + notifyhttp.Path)
	return server, nil
}

// nudge has the refund of a notification asked for at once. What fails here costs
// only time: the next try asks as well.
func (s *service) nudge(ctx context.Context, handler *consumer.Handler, n notifyhttp.Notice) {
	err := handler.Nudge(ctx, consumer.Notified{
		Kind: n.Kind, OutRequestNo: n.OutRequestNo, Merchants: s.merchantsOf(n),
		TradeNo: n.TradeNo, OutTradeNo: n.OutTradeNo, AuthNo: n.AuthNo,
	})
	if err != nil {
		s.log.WithError(err).Warn("a notified refund is queried at its next try only")
	}
}

// mostMerchants is how many merchants are tried for a notification that names none.
const mostMerchants = 32

// merchantsOf are those whose refund it may be. Where no seller is named, as for
// red packets, it may be anybody's: all are tried if they are few.
func (s *service) merchantsOf(n notifyhttp.Notice) []string {
	if n.Merchant != "" {
		return []string{n.Merchant}
	}
	names := s.changing.merchantNames()
	if len(names) > mostMerchants {
		names = nil
	}
	return append([]string{""}, names...)
}

// stopReceiver lets the notifications in hand finish until ctx ends. Those that
// are cut get no answer, and Alipay delivers them again.
func (s *service) stopReceiver(ctx context.Context, server *http.Server) {
	if server == nil {
		return
	}
	if err := server.Shutdown(ctx); err != nil {
		_ = server.Close()
		s.log.WithError(err).Warn("notifications were still in hand at the stop: Alipay delivers them again")
	}
}

// counted publishes the receiver's events and counts them. It reports nothing to
// the health: the consumer suspends itself by what it publishes itself, and resumes
// by it.
type counted struct {
	events events
	s      *service
}

type events interface {
	Publish(ctx context.Context, e producer.Encoded) error
	Park(ctx context.Context, c producer.Copy) error
}

func (c counted) Publish(ctx context.Context, e producer.Encoded) error {
	err := c.events.Publish(ctx, e)
	if errors.Is(err, producer.ErrContent) {
		return c.parkStub(ctx, e)
	}
	if err != nil {
		c.s.metrics.PublishFailed(c.s.cfg.TopicEvent)
		return err
	}
	c.s.metrics.Published(string(e.Type))
	return nil
}

// parkStub is the end of an event that the broker refuses for its content: the
// sender could deliver its notification for ever.
func (c counted) parkStub(ctx context.Context, e producer.Encoded) error {
	s := producer.StubOf(producer.StubOfEvent, e.Body, nil)
	body, err := s.Encode()
	if err != nil {
		return err
	}
	c.s.log.WithFields(logrus.Fields{"event_id": e.ID, "size": s.Size, "digest": s.SHA256}).Error(consumer.AlarmRefusedContent)
	if err := c.events.Park(ctx, producer.Copy{Body: body, Keys: e.Subject, Reason: string(producer.ReasonTooLarge)}); err != nil {
		c.s.metrics.PublishFailed(c.s.cfg.TopicParked)
		return err
	}
	c.s.metrics.Parked(string(producer.ReasonTooLarge))
	return nil
}

// lines is where net/http writes what it can say to nobody.
type lines struct{ log logrus.FieldLogger }

func (l lines) Write(line []byte) (int, error) {
	l.log.Warn(strings.TrimSpace(string(line)))
	return len(line), nil
}
