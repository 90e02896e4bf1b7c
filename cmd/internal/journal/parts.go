package journal

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"strings"
	"time"

	"github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/redis/go-redis/v9"

	"refundd/alipay"
	"refundd/consumer"
	"refundd/consumer/history"
	"refundd/dedupe"
	"refundd/producer"
)

// The parts that are wrapped, as package consumer wants them.
type (
	// Handler is the flow.
	Handler interface {
		Handle(ctx context.Context, d consumer.Delivery) consumer.Ending
		Postpone(ctx context.Context, d consumer.Delivery) consumer.Ending
	}
	// Gateway is Alipay.
	Gateway interface {
		Refund(ctx context.Context, req *alipay.RefundRequest) (*alipay.RefundResponse, error)
		QueryRefund(ctx context.Context, req *alipay.RefundQueryRequest) (*alipay.RefundQueryResponse, error)
		RefundCoupon(ctx context.Context, req *alipay.CouponRefundRequest) (*alipay.CouponRefundResponse, error)
		QueryCouponOperation(ctx context.Context, req *alipay.CouponOperationRequest) (*alipay.CouponOperationResponse, error)
	}
)

// OutTrade begins a trade's number in a fact that is the merchant's own: how Alipay
// spells it is not known here.
const OutTrade = "out_trade_no:"

// delivery is what an act is done for; the context carries it.
type delivery struct {
	id, message string
	about       history.Fact // the refund
}

type deliveryKey struct{}

func deliveryOf(ctx context.Context) delivery {
	d, _ := ctx.Value(deliveryKey{}).(delivery)
	return d
}

// Topics are those that say of what kind a command is.
type Topics struct {
	AppID, Retry string
	Kinds        map[string]consumer.Kind // by topic
}

// Deliver writes down deliveries and their acknowledgements.
func (j *Journal) Deliver(inner Handler, topics Topics) Handler { return handled{j, inner, topics} }

type handled struct {
	j      *Journal
	inner  Handler
	topics Topics
}

func (h handled) Handle(ctx context.Context, d consumer.Delivery) consumer.Ending {
	return h.process(ctx, d, h.inner.Handle)
}

func (h handled) Postpone(ctx context.Context, d consumer.Delivery) consumer.Ending {
	return h.process(ctx, d, h.inner.Postpone)
}

func (h handled) process(ctx context.Context, d consumer.Delivery, act func(context.Context, consumer.Delivery) consumer.Ending) consumer.Ending {
	in := delivery{id: h.j.name("d"), message: d.MsgID}
	f := history.Fact{What: history.Delivery, Delivery: in.id, Copy: d.MsgID, Message: d.MsgID, Topic: history.TopicCommand}
	topic := d.Topic
	if d.Topic == h.topics.Retry {
		f.Topic = history.TopicRetry
		if c, err := producer.CopyFromProperties(d.Properties, d.Body); err == nil {
			topic, in.message = c.Topic, c.MsgID
			f.Message, f.Generation, f.Claimed = c.MsgID, c.Generation, c.Claimed
		}
	}
	if cmd, err := consumer.DecodeCommand(h.topics.Kinds[topic], d.Body); err == nil {
		in.about = history.Fact{AppID: h.topics.AppID, Merchant: cmd.Merchant, Kind: string(cmd.Kind), Number: cmd.OutRequestNo}
		in.about.Trade = tradeOf(cmd.TradeNo, cmd.OutTradeNo, cmd.AuthNo)
	}
	f.AppID, f.Merchant, f.Kind, f.Number = in.about.AppID, in.about.Merchant, in.about.Kind, in.about.Number
	h.j.add(time.Now(), f)
	ended := act(context.WithValue(ctx, deliveryKey{}, in), d)
	if ended.Acknowledged() {
		f.What = history.Ack
		h.j.add(time.Now(), f)
	}
	return ended
}

func tradeOf(tradeNo, outTradeNo, authNo string) string {
	if outTradeNo != "" && tradeNo == "" {
		return OutTrade + outTradeNo
	}
	return tradeNo + authNo
}

// Records writes down claims, settles and releases. How long Redis keeps what was
// settled is read from it: expiry asks for a key's.
func (j *Journal) Records(store *dedupe.Store, lease time.Duration, client redis.UniversalClient) Records {
	return Records{store, j, lease, client}
}

// Records is a Store whose acts are written down.
type Records struct {
	*dedupe.Store
	j      *Journal
	lease  time.Duration
	client redis.UniversalClient
}

func of(id dedupe.Identity, f history.Fact) history.Fact {
	f.AppID, f.Merchant, f.Kind, f.Number, f.Trade = id.AppID, id.Merchant, id.Kind, id.OutRequestNo, id.Trade
	return f
}

// ClaimWithSlot is Store's. Where Redis' lease ends is known to be this late at least.
func (r Records) ClaimWithSlot(ctx context.Context, req dedupe.ClaimRequest, slot dedupe.Slot) (dedupe.Claim, dedupe.Grant, error) {
	sent := time.Now()
	claim, grant, err := r.Store.ClaimWithSlot(ctx, req, slot)
	if err != nil {
		return claim, grant, err
	}
	in := deliveryOf(ctx)
	f := of(req.ID, history.Fact{
		What: history.Claim, Delivery: in.id, Message: in.message, Token: string(req.Token), Result: claim.State.String(),
		Clock: claim.Now.UnixMilli(), Sent: sent.UnixMilli(), Fresh: claim.Fresh, Fingerprint: req.Fingerprint,
	})
	if claim.State == dedupe.Won {
		f.Lease = sent.Add(r.lease).UnixMilli()
	}
	r.j.add(time.Now(), f)
	return claim.Through(r), grant, nil
}

// Settle is Store's.
func (r Records) Settle(ctx context.Context, req dedupe.SettleRequest) (dedupe.Settlement, error) {
	sent := time.Now()
	f := of(req.ID, history.Fact{
		What: history.Settle, Delivery: deliveryOf(ctx).id, Token: cmp.Or(string(req.Token), "none"), Result: history.Unknown,
		Clock: sent.UnixMilli(), Outcome: history.Failed,
	})
	f.Event, f.Reason = event(req.Event)
	if req.Succeeded {
		f.Outcome = history.Succeeded
	}
	r.j.add(sent, f)
	settlement, err := r.Store.Settle(ctx, req)
	if err != nil {
		return settlement, err
	}
	f.Result, f.Contradiction = words(settlement.State.String()), settlement.Contradiction
	if settlement.State == dedupe.Settled {
		f.Event, f.Reason = event(settlement.Event)
		f.Expires = r.expires(ctx, r.Key(req.ID))
	}
	r.j.add(sent, f)
	return settlement, nil
}

// expires is when a record does, 0 for never, below 0 if nobody knows.
func (r Records) expires(ctx context.Context, key string) int64 {
	at, err := r.client.PExpireTime(ctx, key).Result()
	switch {
	case err != nil || at == -2*time.Nanosecond: // gone
		return -1
	case at < 0 && r.client.Type(ctx, key).Val() != "string": // rolled back since
		return -1
	case at < 0:
		return 0
	}
	return at.Milliseconds()
}

// Release is Store's.
func (r Records) Release(ctx context.Context, req dedupe.ReleaseRequest) (dedupe.Release, error) {
	sent := time.Now()
	f := of(req.ID, history.Fact{
		What: history.Release, Delivery: deliveryOf(ctx).id, Token: string(req.Token), Result: history.Unknown,
		Clock: sent.UnixMilli(), Parked: req.Parked,
	})
	r.j.add(sent, f)
	release, err := r.Store.Release(ctx, req)
	if err != nil {
		return release, err
	}
	f.Result, f.Generation = words(release.State.String()), release.Generation
	r.j.add(sent, f)
	return release, nil
}

func words(s string) string { return strings.ReplaceAll(s, " ", "_") }

// event is the id of a stored event, and its reason.
func event(stored []byte) (id, reason string) {
	encoded, err := producer.DecodeEncoded(stored)
	if err != nil {
		return "", ""
	}
	e, err := producer.DecodeEvent(encoded.Body)
	if err != nil {
		return encoded.ID, ""
	}
	return encoded.ID, string(e.Reason)
}

// authorised names whose authorisation a call carries, without the token.
func authorised(token string) string {
	digest := sha256.Sum256([]byte(token))
	return hex.EncodeToString(digest[:4])
}

// What an Answer's Name says of a red packet's order, by which it can be asked for.
const (
	// OrderNamed: Alipay named it.
	OrderNamed = "order named"
	// ByOrder: it was asked for by it.
	ByOrder = "by order"
)

// Sender writes down what the broker said of each message.
func (j *Journal) Sender(inner rocketmq.Producer, topics map[string]string) Sender {
	return Sender{inner, j, topics}
}

// Sender is a RocketMQ client whose sends are written down.
type Sender struct {
	rocketmq.Producer
	j      *Journal
	topics map[string]string // what each is for, in history's words
}

// SendSync is the client's.
func (s Sender) SendSync(ctx context.Context, messages ...*primitive.Message) (*primitive.SendResult, error) {
	began := time.Now()
	result, err := s.Producer.SendSync(ctx, messages...)
	in := deliveryOf(ctx)
	for _, m := range messages {
		f := history.Fact{
			What: history.Publish, Delivery: in.id, Topic: s.topics[m.Topic], Result: history.Unknown,
			Copy: m.GetProperty(primitive.PropertyUniqueClientMessageIdKeyIndex),
		}
		if err == nil && result != nil && result.Status == primitive.SendOK {
			f.Result = history.Confirmed
		}
		s.j.add(began, f)
	}
	return result, err
}

// Call writes down the calls that are made for a delivery, and what was answered.
func (j *Journal) Call(inner Gateway) Gateway { return called{j, inner} }

type called struct {
	j     *Journal
	inner Gateway
}

// ask writes one call and its answer down. A query that is not for a delivery has
// nobody's claim.
func ask[Request, Response any](c called, ctx context.Context, req Request, f history.Fact,
	act func(context.Context, Request) (Response, error), said func(Response) (result, name string),
) (Response, error) {
	in := deliveryOf(ctx)
	if in.id == "" && f.Method == history.MethodQuery {
		return act(ctx, req)
	}
	began := time.Now() // the flow has just found that there is time for it
	number, trade := cmp.Or(f.Number, in.about.Number), cmp.Or(f.Trade, in.about.Trade)
	f.AppID, f.Merchant, f.Kind = in.about.AppID, in.about.Merchant, in.about.Kind
	f.What, f.Delivery, f.Call, f.Number, f.Trade = history.Call, in.id, c.j.name("c"), number, trade
	c.j.add(began, f)
	resp, err := act(ctx, req)
	f.What, f.Amount, f.Authorised = history.Answer, 0, ""
	if err != nil {
		f.Result = refused(f.Method, err)
		if e, ok := errors.AsType[*alipay.Error](err); ok && f.Method == history.MethodRefund {
			f.Signed, f.QueryFirst = e.Signed, e.QueryFirst
		}
	} else {
		f.Result, f.Name = said(resp)
	}
	c.j.add(time.Now(), f)
	return resp, err
}

// refused is what an error proves.
func refused(method string, err error) string {
	e, ok := errors.AsType[*alipay.Error](err)
	switch {
	case !ok:
		return history.Unknown
	case method == history.MethodRefund:
		return words(e.Class.String())
	case e.Class == alipay.ClassNotFound && e.Signed:
		return history.Absent
	}
	return history.Unknown
}

func (c called) Refund(ctx context.Context, req *alipay.RefundRequest) (*alipay.RefundResponse, error) {
	f := history.Fact{
		Method: history.MethodRefund, Number: req.OutRequestNo, Trade: tradeOf(req.TradeNo, req.OutTradeNo, ""), Amount: int64(req.RefundAmount),
		Authorised: authorised(req.AppAuthToken),
	}
	return ask(c, ctx, req, f, c.inner.Refund, func(*alipay.RefundResponse) (string, string) { return "ok", "" })
}

func (c called) QueryRefund(ctx context.Context, req *alipay.RefundQueryRequest) (*alipay.RefundQueryResponse, error) {
	f := history.Fact{Method: history.MethodQuery, Number: req.OutRequestNo, Trade: tradeOf(req.TradeNo, req.OutTradeNo, ""), Authorised: authorised(req.AppAuthToken)}
	return ask(c, ctx, req, f, c.inner.QueryRefund, func(r *alipay.RefundQueryResponse) (string, string) {
		switch {
		case r.RefundStatus == "" && r.RefundAmount == nil:
			return history.Absent, ""
		case r.OutRequestNo == req.OutRequestNo && r.RefundAmount != nil:
			return "ours", ""
		}
		return history.Unknown, ""
	})
}

func (c called) RefundCoupon(ctx context.Context, req *alipay.CouponRefundRequest) (*alipay.CouponRefundResponse, error) {
	f := history.Fact{Method: history.MethodRefund, Number: req.OutRequestNo, Trade: req.AuthNo, Amount: int64(req.Amount), Authorised: authorised(req.AppAuthToken)}
	return ask(c, ctx, req, f, c.inner.RefundCoupon, func(r *alipay.CouponRefundResponse) (string, string) {
		return strings.ToLower(cmp.Or(r.Status, history.Unknown)), order(r.OutOrderNo)
	})
}

func (c called) QueryCouponOperation(ctx context.Context, req *alipay.CouponOperationRequest) (*alipay.CouponOperationResponse, error) {
	f := history.Fact{Method: history.MethodQuery, Authorised: authorised(req.AppAuthToken)}
	if req.OperationID == "" {
		f.Name = ByOrder
	}
	return ask(c, ctx, req, f, c.inner.QueryCouponOperation, func(r *alipay.CouponOperationResponse) (string, string) {
		if r.OperationType == alipay.OperationRefund && r.Status == alipay.CouponClosed {
			return history.Closed, order(r.OutOrderNo)
		}
		return history.Unknown, order(r.OutOrderNo)
	})
}

func order(named string) string {
	if named == "" {
		return ""
	}
	return OrderNamed
}
