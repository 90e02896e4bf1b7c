package simulation

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/apache/rocketmq-client-go/v2/primitive"

	"refundd/consumer/history"
	"refundd/producer"
)

// broker keeps messages and hands them out in any order.
type broker struct {
	messages   []*message // of the command and retry topics, oldest first
	stored     int
	deliveries int
	from       map[string]string     // delivery -> first message's id
	delays     map[int]time.Duration // of RocketMQ's levels
}

// message is one message of a command or retry topic.
type message struct {
	id, origin, topic, role string
	body                    []byte
	properties              map[string]string
	born, visible           time.Time
	cmd                     command
	generation              int64
	claimed                 bool
	holders                 []*process // who has it in hand
	seen, acked, lost       bool
}

func (b *broker) add(m *message) { b.messages = append(b.messages, m) }

// ready are the messages that can be delivered now.
func (b *broker) ready() []*message {
	var ready []*message
	for _, m := range b.messages {
		if !m.acked && !m.lost && len(m.holders) == 0 && !m.visible.After(time.Now()) {
			ready = append(ready, m)
		}
	}
	return ready
}

// alive is how many messages are not acknowledged.
func (b *broker) alive() int {
	n := 0
	for _, m := range b.messages {
		if !m.acked && !m.lost {
			n++
		}
	}
	return n
}

// next is how long the next delayed message still waits.
func (b *broker) next() (time.Duration, bool) {
	var soonest *message
	for _, m := range b.messages {
		if !m.acked && !m.lost && m.visible.After(time.Now()) && (soonest == nil || m.visible.Before(soonest.visible)) {
			soonest = m
		}
	}
	if soonest == nil {
		return 0, false
	}
	return time.Until(soonest.visible), true
}

// origin is the first message's id of what a delivery carries.
func (b *broker) origin(delivery string) string { return b.from[delivery] }

// SendSync is the RocketMQ client of this process: one outside act. What it stores,
// and what it says of it, is the broker's.
func (p *process) SendSync(ctx context.Context, messages ...*primitive.Message) (*primitive.SendResult, error) {
	msg := messages[0]
	role := map[string]string{eventTopic: history.TopicEvent, retryTopic: history.TopicRetry, parkedTopic: history.TopicParked}[msg.Topic]
	var status primitive.SendStatus
	var failed error
	o := &op{proc: p, what: "publish " + role, watched: true}
	o.do = func() { status, failed = p.w.store(o, role, msg) }
	if !p.w.park(ctx, o) {
		return nil, ctx.Err()
	}
	if failed != nil {
		return nil, failed
	}
	return &primitive.SendResult{Status: status}, nil
}

var errIllegal = errors.New("CODE: 13, DESC: the message is illegal, maybe msg body or properties length not matched")

// refuses tells whether the broker refuses every copy of the command for its content,
// for as long as the run takes.
func (w *world) refuses(role string, body []byte) bool {
	sum := sha256.Sum256(body)
	return role != history.TopicEvent && hex.EncodeToString(sum[:]) == w.illegal
}

var errFull = errors.New("CODE: 14, DESC: service not available now, maybe disk full")

// store decides what becomes of one message.
func (w *world) store(o *op, role string, msg *primitive.Message) (primitive.SendStatus, error) {
	result, status := history.Confirmed, primitive.SendOK
	var err error
	switch {
	case w.refuses(role, msg.Body):
		w.cover("publish illegal", o.what)
		result, err = history.Refused, errIllegal
	case time.Now().Before(w.brokerDown):
		result, err = history.Refused, errDown
	case w.fault("publish refused", o.what, 0.02):
		result, err = history.Refused, errFull
	case w.fault("publish lost", o.what, 0.01):
		result, err = history.Refused, errReset
	case w.fault("publish unconfirmed", o.what, 0.015):
		result, err = history.Stored, errReset
	case w.fault("flush timeout", o.what, 0.01):
		result, status = history.Stored, primitive.SendFlushDiskTimeout
	}
	if o.unheard && result == history.Confirmed {
		result = history.Stored
	}
	f := o.by(history.Fact{What: history.Publish, Topic: role, Result: result})
	if role == history.TopicEvent {
		w.fact(w.eventFact(f, msg.Body))
		return status, err
	}
	msg.Body = ofLater(msg.Body)
	c, bad := producer.CopyFromProperties(msg.GetProperties(), msg.Body)
	if bad != nil {
		panic(bad) // our own producer made it
	}
	f.Message, f.Generation, f.Claimed, f.Reason = c.MsgID, c.Generation, c.Claimed, c.Reason
	cmd := w.commandOf(c.Topic, c.Body)
	if stub, is := producer.DecodeStub(c.Body); is {
		cmd = w.stubbed(c.Topic, stub)
	}
	if result != history.Refused {
		w.broker.stored++
		f.Copy = fmt.Sprintf("k%d", w.broker.stored)
	}
	w.fact(cmd.bare(f))
	if result == history.Refused || role == history.TopicParked {
		return status, err
	}
	level, _ := strconv.Atoi(msg.GetProperty(primitive.PropertyDelayTimeLevel))
	m := &message{
		id: f.Copy, origin: c.MsgID, topic: retryTopic, role: role, body: msg.Body, properties: msg.GetProperties(),
		born: time.Now(), visible: time.Now().Add(w.broker.delays[level]), cmd: cmd, generation: c.Generation, claimed: c.Claimed,
	}
	delete(m.properties, primitive.PropertyDelayTimeLevel)
	w.broker.add(m)
	if result == history.Confirmed && w.losable(m) && w.fault("acknowledged copy lost", o.what, 0.01) {
		w.lose(m)
	}
	return status, err
}

// stubbed is the command that a stub stands for.
func (w *world) stubbed(topic string, s producer.Stub) command {
	for text, cmd := range w.bodies {
		if body, ok := strings.CutPrefix(text, topic); ok && producer.StubOf(s.Of, []byte(body), nil).SHA256 == s.SHA256 {
			return cmd
		}
	}
	return command{} // an event's
}

// losable reports whether the broker may lose a message: every copy that says that
// it was claimed, if its command was, and whatever else there is of a command whose
// record was released. Of others nobody but the broker knows.
func (w *world) losable(m *message) bool {
	if w.forgets || m.cmd.print == "" {
		return false
	}
	key := w.names.Key(m.cmd.identity())
	return m.claimed && w.redis.Record(key).Fingerprint == m.cmd.print || w.released[key] == m.cmd.print
}

func (w *world) lose(m *message) {
	m.lost = true
	w.fact(m.cmd.bare(history.Fact{What: history.Lost, Copy: m.id, Message: m.origin}))
}

// levels are the delays of RocketMQ's levels.
func levels() map[int]time.Duration {
	delays := map[int]time.Duration{}
	for level, d := producer.DelayAtLeast(1); delays[level] == 0; level, d = producer.DelayAtLeast(d + 1) {
		delays[level] = d
	}
	return delays
}

// eventFact reads an event as its readers do.
func (w *world) eventFact(f history.Fact, body []byte) history.Fact {
	e, err := producer.DecodeEvent(body)
	if err != nil {
		panic(err) // our own producer made it
	}
	sum := sha256.Sum256(body)
	f.Event, f.Key, f.Outcome, f.Reason, f.Body = e.ID, e.RefundKey, string(e.Outcome), string(e.Reason), hex.EncodeToString(sum[:6])
	f.AppID, f.Merchant, f.Kind, f.Number = e.AppID, e.Merchant, string(e.Kind), e.OutRequestNo
	f.Amount, f.Trade = e.AmountFen, cmp.Or(e.OutTradeNo, e.AuthNo)
	if e.Outcome == producer.Rejected {
		f.Message = w.broker.origin(f.Delivery)
	}
	if f.Result != history.Refused {
		w.result.ends[f.Outcome]++
	}
	return f
}

// eventID is the id of an event that a record stores, and its reason.
func eventID(body string) (id, reason string) {
	encoded, err := producer.DecodeEncoded([]byte(strings.TrimPrefix(body, laterEvent)))
	if err != nil {
		return "", ""
	}
	e, err := producer.DecodeEvent(encoded.Body)
	if err != nil {
		return encoded.ID, ""
	}
	return encoded.ID, string(e.Reason)
}
