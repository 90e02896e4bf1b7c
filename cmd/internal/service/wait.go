package service

import (
	"context"
	"errors"
	"fmt"
	"time"

	"refundd/cmd/internal/config"
	"refundd/consumer/remoting"
)

// waitPause is how long to wait before a part that is not there is asked again.
const waitPause = time.Second

// waitLonger logs what is waited for and why, then waits. Its error is ctx's.
func (s *service) waitLonger(ctx context.Context, part string, why error) error {
	s.state.waiting(part, why)
	s.log.WithError(why).WithField("part", part).Warn("waiting for " + part)
	select {
	case <-ctx.Done():
		return fmt.Errorf("wait for %s: %w", part, ctx.Err())
	case <-time.After(waitPause):
		return nil
	}
}

// waitForRedis waits until Redis takes a write.
func (s *service) waitForRedis(ctx context.Context) error {
	for {
		probe, cancel := context.WithTimeout(ctx, 3*time.Second)
		masters := s.store.Probe(probe)
		cancel()
		var err error
		for _, refused := range masters {
			if refused == nil { // of a Cluster some will do
				s.state.there("redis")
				return nil
			}
			err = refused
		}
		if err := s.waitLonger(ctx, "redis", err); err != nil {
			return err
		}
	}
}

// waitForBroker waits until a name server knows brokers and every topic has a
// route. A topic without one while brokers are known is a configuration error:
// the topics exist before the service starts.
func (s *service) waitForBroker(ctx context.Context) error {
	for {
		err := s.checkTopics(ctx)
		if err == nil {
			s.state.there("rocketmq")
			return nil
		}
		if _, ok := errors.AsType[*config.Error](err); ok {
			return err
		}
		if err := s.waitLonger(ctx, "rocketmq", err); err != nil {
			return err
		}
	}
}

func (s *service) checkTopics(ctx context.Context) error {
	var errs []error
	for _, server := range s.cfg.RocketMQNameservers {
		err := s.checkTopicsAt(ctx, server)
		if _, wrong := errors.AsType[*config.Error](err); wrong || err == nil {
			return err
		}
		errs = append(errs, fmt.Errorf("name server %s: %w", server, err))
	}
	return errors.Join(errs...)
}

func (s *service) checkTopicsAt(ctx context.Context, server string) error {
	ctx, cancel := context.WithTimeout(s.signed(ctx), 5*time.Second)
	defer cancel()
	brokers, err := remoting.Brokers(ctx, server)
	if _, refused := errors.AsType[*remoting.RefusedError](err); refused {
		return nil // access control: the clients will find out
	}
	if err != nil {
		return err
	}
	if len(brokers) == 0 {
		return errors.New("it knows no broker")
	}
	var problems []config.Problem
	for _, topic := range []struct{ variable, name string }{
		{"REFUNDD_TOPIC_REFUND", s.cfg.TopicRefund},
		{"REFUNDD_TOPIC_COUPON_REFUND", s.cfg.TopicCouponRefund},
		{"REFUNDD_TOPIC_EVENT", s.cfg.TopicEvent},
		{"REFUNDD_TOPIC_RETRY", s.cfg.TopicRetry},
		{"REFUNDD_TOPIC_PARKED", s.cfg.TopicParked},
	} {
		if topic.name == "" {
			continue
		}
		_, err := remoting.Route(ctx, server, topic.name)
		refused, ok := errors.AsType[*remoting.RefusedError](err)
		switch {
		case err == nil:
		case ok && refused.Code == remoting.CodeTopicNotExist:
			problems = append(problems, config.Problem{
				Variable: topic.variable, Text: fmt.Sprintf("topic %s does not exist at name server %s", topic.name, server),
			})
		default:
			return fmt.Errorf("route of topic %s: %w", topic.name, err)
		}
	}
	if problems == nil {
		return nil
	}
	// A broker that is just registering shows no topic yet: look again once.
	if !s.state.again("topics") {
		return errors.New(problems[0].Text)
	}
	return &config.Error{Problems: problems}
}
