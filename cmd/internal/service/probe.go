package service

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sirupsen/logrus"

	"refundd/consumer"
	"refundd/consumer/remoting"
)

// The brokers are asked so often, and each round takes so long at most, that
// readiness shows what is found within ten seconds.
const (
	brokersEvery = 3 * time.Second
	brokersTime  = 2500 * time.Millisecond
)

// consumerPrefix is before the instance in the consumer's client id.
const consumerPrefix = "consumer-"

// signed has the requests of package remoting signed, where the brokers want that.
func (s *service) signed(ctx context.Context) context.Context {
	return remoting.Signed(ctx, s.cfg.RocketMQAccessKey, s.cfg.Secrets.RocketMQSecretKey)
}

// probeBrokers finds out what the client does not say: it starts although its
// heartbeats are refused, and waits for messages that never come.
func (s *service) probeBrokers(ctx context.Context) {
	p := s.brokerProbe()
	tick := time.NewTicker(brokersEvery)
	defer tick.Stop()
	for {
		within, cancel := context.WithTimeout(s.signed(ctx), brokersTime)
		findings, member := p.look(within)
		cancel()
		if ctx.Err() != nil {
			return
		}
		s.health.Found(consumer.PartRocketMQ, findings)
		if member && !s.state.consumes() {
			s.log.WithFields(logrus.Fields{"topics": s.topics(), "group": s.cfg.RocketMQGroup, "instance": s.instance}).Info("refundd consumes")
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (s *service) brokerProbe() *brokerProbe {
	p := &brokerProbe{
		servers: s.cfg.RocketMQNameservers, group: s.cfg.RocketMQGroup, client: "@" + consumerPrefix + s.instance,
		routes: map[string][]remoting.TopicQueues{},
	}
	for _, topic := range []string{s.cfg.TopicRefund, s.cfg.TopicCouponRefund} {
		if topic != "" {
			p.uses = append(p.uses, use{topic: topic, grade: consumer.Unready})
		}
	}
	p.uses = append(p.uses,
		use{topic: s.cfg.TopicRetry, grade: consumer.Unready},
		use{topic: s.cfg.TopicRetry, publish: true, grade: consumer.Suspended},
		use{topic: s.cfg.TopicEvent, publish: true, grade: consumer.Suspended},
		// What has to be parked waits in hand; the other commands go on.
		use{topic: s.cfg.TopicParked, publish: true, grade: consumer.Degraded},
	)
	return p
}

// use is what a topic is needed for, and what follows if no broker allows it.
type use struct {
	topic   string
	publish bool
	grade   consumer.Grade
}

func (u use) String() string {
	if u.publish {
		return "publishing to " + u.topic
	}
	return "consuming " + u.topic
}

// brokerProbe asks name servers and brokers whether they would do what a command
// needs, for this group and with these credentials.
type brokerProbe struct {
	servers []string
	group   string
	client  string // how the consumer's client id ends
	uses    []use

	routes map[string][]remoting.TopicQueues // as last known: a broker that died takes its routes along
	stored bool                              // a broker stored a message that it had to refuse: none is sent any more
}

// look returns what does not work, and whether a broker knows our consumer.
func (p *brokerProbe) look(ctx context.Context) (findings []consumer.Finding, member bool) {
	findings = p.readRoutes(ctx)
	asked := p.askAll(ctx)
	reached := 0
	for _, address := range slices.Sorted(maps.Keys(asked)) {
		if a := asked[address]; a.unreached != nil {
			findings = append(findings, consumer.Finding{Of: "broker " + address, Err: a.unreached})
		} else {
			reached++
		}
	}
	if reached == 0 {
		return append(findings, consumer.Finding{Of: "brokers", Grade: consumer.Unready, Err: errors.New("none can be reached")}), false
	}
	membership := verdict{what: "group " + p.group, grade: consumer.Unready}
	for address, a := range asked {
		if a.unreached == nil && a.consumes {
			membership.hear(address, a.member)
		}
	}
	findings = append(findings, membership.findings()...)
	for _, u := range p.uses {
		v := verdict{what: u.String(), grade: u.grade}
		for address, a := range asked {
			if err, there := a.uses[u]; there && a.unreached == nil {
				v.hear(address, err)
			}
		}
		findings = append(findings, v.findings()...)
	}
	return findings, membership.works > 0
}

// verdict is what several brokers say to one question.
type verdict struct {
	what    string
	grade   consumer.Grade
	works   int
	refused map[string]error // by broker
}

func (v *verdict) hear(broker string, err error) {
	if err == nil {
		v.works++
		return
	}
	if v.refused == nil {
		v.refused = map[string]error{}
	}
	v.refused[broker] = err
}

// findings: one broker that does it is enough, and the others are named.
func (v *verdict) findings() (found []consumer.Finding) {
	brokers := slices.Sorted(maps.Keys(v.refused))
	if v.works == 0 {
		err := errors.New("no broker that has it can be reached")
		if len(brokers) > 0 {
			err = v.refused[brokers[0]]
		}
		return []consumer.Finding{{Of: v.what, Grade: v.grade, Err: err}}
	}
	for _, broker := range brokers {
		found = append(found, consumer.Finding{Of: v.what + " at " + broker, Err: v.refused[broker]})
	}
	return found
}

// readRoutes asks the name servers where the topics are. Clients go on with the
// routes that they have, so a name server that is away only degrades.
func (p *brokerProbe) readRoutes(ctx context.Context) (findings []consumer.Finding) {
	done := false
	for i, server := range p.servers {
		deadline, _ := ctx.Deadline()
		short, cancel := context.WithTimeout(ctx, time.Until(deadline)/time.Duration(2*(len(p.servers)-i)))
		err := p.readRoutesOf(short, server, done)
		cancel()
		if err != nil {
			findings = append(findings, consumer.Finding{Of: "name server " + server, Err: err})
			continue
		}
		done = true
	}
	return findings
}

// readRoutesOf asks one name server: for a sign of life if routes are known.
func (p *brokerProbe) readRoutesOf(ctx context.Context, server string, known bool) error {
	for _, u := range p.uses {
		queues, err := remoting.Queues(ctx, server, u.topic)
		no := refusal(err)
		switch {
		case no != nil && no.Code == remoting.CodeTopicNotExist: // or its broker is away
		case err != nil:
			return err
		case !known:
			p.routes[u.topic] = queues
		}
		if known {
			return nil
		}
	}
	return nil
}

// answers are one broker's.
type answers struct {
	unreached error // the others say nothing then
	consumes  bool  // it has a topic that is consumed
	member    error // why our consumer is none of the group's
	stored    bool  // what it had to refuse
	uses      map[use]error
}

func (p *brokerProbe) askAll(ctx context.Context) map[string]*answers {
	asked := map[string]*answers{}
	for _, u := range p.uses {
		for _, q := range p.routes[u.topic] {
			address := cmp.Or(q.Address, q.Broker)
			if asked[address] == nil {
				asked[address] = &answers{uses: map[use]error{}}
				if q.Address == "" {
					asked[address].unreached = errors.New("its master is away")
				}
			}
			asked[address].consumes = asked[address].consumes || !u.publish
			asked[address].uses[u] = permission(q, u)
		}
	}
	var wg sync.WaitGroup
	for address, a := range asked {
		if a.unreached == nil {
			wg.Go(func() { p.ask(ctx, address, a) })
		}
	}
	wg.Wait()
	for _, a := range asked {
		p.stored = p.stored || a.stored
	}
	return asked
}

// permission is what the topic, or the broker as a whole, allows.
func permission(q remoting.TopicQueues, u use) error {
	if need := map[bool]int{true: 2, false: 4}[u.publish]; q.Perm&need == 0 {
		return fmt.Errorf("its permission is %d (4 reads, 2 writes)", q.Perm)
	}
	return nil
}

// ask fills in a broker's answers. One that leaves a question open is not reached.
func (p *brokerProbe) ask(ctx context.Context, address string, a *answers) {
	if a.consumes {
		members, err := remoting.Consumers(ctx, address, p.group)
		if a.unreached = unanswered(err); a.unreached != nil {
			return
		}
		switch {
		case refusal(err) != nil && refusal(err).Code == remoting.CodeNoPermission:
			a.member = refusal(err)
		case !slices.ContainsFunc(members, func(id string) bool { return strings.HasSuffix(id, p.client) }):
			a.member = errors.New("the broker does not know this consumer: does the group exist? (REFUNDD_ROCKETMQ_GROUP)")
		}
	}
	for u, err := range a.uses {
		if err != nil || u.publish && p.stored {
			continue
		}
		if u.publish {
			err = remoting.MayPublish(ctx, address, p.group+"-producer", u.topic)
		} else {
			err = remoting.MayConsume(ctx, address, p.group, u.topic)
		}
		if errors.Is(err, remoting.ErrStored) {
			a.stored, err = true, nil
		}
		if a.unreached = unanswered(err); a.unreached != nil {
			return
		}
		if no := refusal(err); no != nil {
			a.uses[u] = no // without what u says already
		}
	}
}

// unanswered is the error of a question that got no answer; a no is one.
func unanswered(err error) error {
	if refusal(err) == nil {
		return err
	}
	return nil
}

func refusal(err error) *remoting.RefusedError {
	refused, _ := errors.AsType[*remoting.RefusedError](err)
	return refused
}
