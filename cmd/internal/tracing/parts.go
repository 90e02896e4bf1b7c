package tracing

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"refundd/alipay"
	"refundd/consumer"
	"refundd/producer"
)

// The parts that are wrapped, as package consumer wants them.
type (
	handler interface {
		Handle(ctx context.Context, d consumer.Delivery) consumer.Ending
		Postpone(ctx context.Context, d consumer.Delivery) consumer.Ending
	}
	gateway interface {
		Refund(ctx context.Context, req *alipay.RefundRequest) (*alipay.RefundResponse, error)
		QueryRefund(ctx context.Context, req *alipay.RefundQueryRequest) (*alipay.RefundQueryResponse, error)
		RefundCoupon(ctx context.Context, req *alipay.CouponRefundRequest) (*alipay.CouponRefundResponse, error)
		QueryCouponOperation(ctx context.Context, req *alipay.CouponOperationRequest) (*alipay.CouponOperationResponse, error)
	}
	publisher interface {
		Publish(ctx context.Context, e producer.Encoded) error
		Retry(ctx context.Context, c producer.Copy, delay time.Duration) error
		Park(ctx context.Context, c producer.Copy) error
	}
)

// Attributes of our own.
const (
	attrNumber  = attribute.Key("refundd.out_request_no")
	attrOutcome = attribute.Key("refundd.outcome") // as in refundd_commands_total, and parked
	attrReason  = attribute.Key("refundd.reason")
	attrTry     = attribute.Key("refundd.try")
	attrLeft    = attribute.Key("refundd.left") // the delivery was left to another instance
	attrDelay   = attribute.Key("refundd.delay_seconds")
	attrClass   = attribute.Key("alipay.class")
	attrCode    = attribute.Key("alipay.code")
	attrSubCode = attribute.Key("alipay.sub_code")
	attrSigned  = attribute.Key("alipay.signed")
	attrTraceID = attribute.Key("alipay.trace_id")
)

// Handler makes a span of each delivery.
func (t *Tracer) Handler(inner handler) handler {
	if t == nil {
		return inner
	}
	return handled{t, inner}
}

type handled struct {
	t     *Tracer
	inner handler
}

func (h handled) Handle(ctx context.Context, d consumer.Delivery) consumer.Ending {
	return h.t.process(ctx, d, h.inner.Handle)
}

func (h handled) Postpone(ctx context.Context, d consumer.Delivery) consumer.Ending {
	return h.t.process(ctx, d, h.inner.Postpone)
}

func (t *Tracer) process(ctx context.Context, d consumer.Delivery, act func(context.Context, consumer.Delivery) consumer.Ending) (e consumer.Ending) {
	ctx, span := t.tracer.Start(below(ctx, d.Properties[producer.PropertyTraceparent]), "process "+d.Topic,
		trace.WithSpanKind(trace.SpanKindConsumer), trace.WithAttributes(
			semconv.MessagingSystemRocketMQ, semconv.MessagingOperationTypeProcess, semconv.MessagingOperationName("process"),
			semconv.MessagingDestinationName(d.Topic), semconv.MessagingConsumerGroupName(t.cfg.Group),
			semconv.MessagingRocketMQConsumptionModelClustering, semconv.MessagingClientID(t.cfg.Instance),
			semconv.MessagingMessageID(clip(d.MsgID)), semconv.MessagingMessageBodySize(len(d.Body)),
		))
	if try, err := strconv.Atoi(d.Properties[producer.PropertyTry]); err == nil {
		span.SetAttributes(attrTry.Int(try))
	}
	returned := false
	defer func() {
		switch {
		case !returned: // consumer recovers, logs and repeats
			span.SetStatus(codes.Error, "panic")
		case !e.Acknowledged():
			span.SetAttributes(attrLeft.Bool(true))
		}
		span.End()
	}()
	e = act(ctx, d)
	returned = true
	return e
}

// Gateway makes a span of each call of Alipay.
func (t *Tracer) Gateway(inner gateway) gateway {
	if t == nil {
		return inner
	}
	return called{t, inner}
}

type called struct {
	t     *Tracer
	inner gateway
}

func (c called) Refund(ctx context.Context, req *alipay.RefundRequest) (*alipay.RefundResponse, error) {
	ctx, span := c.t.call(ctx, alipay.MethodRefund, req.OutRequestNo, c.t.trade)
	defer span.End()
	resp, err := c.inner.Refund(ctx, req)
	if err == nil {
		span.SetAttributes(attrTraceID.String(resp.TraceID))
	}
	answered(span, err)
	return resp, err
}

func (c called) QueryRefund(ctx context.Context, req *alipay.RefundQueryRequest) (*alipay.RefundQueryResponse, error) {
	ctx, span := c.t.call(ctx, alipay.MethodQueryRefund, req.OutRequestNo, c.t.trade)
	defer span.End()
	resp, err := c.inner.QueryRefund(ctx, req)
	if err == nil {
		span.SetAttributes(attrTraceID.String(resp.TraceID))
	}
	answered(span, err)
	return resp, err
}

func (c called) RefundCoupon(ctx context.Context, req *alipay.CouponRefundRequest) (*alipay.CouponRefundResponse, error) {
	ctx, span := c.t.call(ctx, alipay.MethodRefundCoupon, req.OutRequestNo, c.t.coupon)
	defer span.End()
	resp, err := c.inner.RefundCoupon(ctx, req)
	if err == nil {
		span.SetAttributes(attrTraceID.String(resp.TraceID))
	}
	answered(span, err)
	return resp, err
}

func (c called) QueryCouponOperation(ctx context.Context, req *alipay.CouponOperationRequest) (*alipay.CouponOperationResponse, error) {
	ctx, span := c.t.call(ctx, alipay.MethodQueryCouponOperation, req.OutRequestNo, c.t.coupon)
	defer span.End()
	resp, err := c.inner.QueryCouponOperation(ctx, req)
	if err == nil {
		span.SetAttributes(attrTraceID.String(resp.TraceID))
	}
	answered(span, err)
	return resp, err
}

func (t *Tracer) call(ctx context.Context, method, number string, server []attribute.KeyValue) (context.Context, trace.Span) {
	return t.tracer.Start(ctx, method, trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(server...),
		trace.WithAttributes(semconv.RPCSystemNameKey.String("alipay"), semconv.RPCMethod(method), attrNumber.String(number)))
}

// answered records what came of a call: what it proves, and the codes, never a text.
func answered(span trace.Span, err error) {
	if err == nil {
		span.SetAttributes(attrClass.String(alipay.ClassOK.String()), attrSigned.Bool(true))
		return
	}
	class := alipay.ClassUnknown
	if e, ok := errors.AsType[*alipay.Error](err); ok {
		class = e.Class
		span.SetAttributes(attrCode.String(e.Code), attrSubCode.String(e.SubCode), attrSigned.Bool(e.Signed))
		if e.HTTPStatus != 0 {
			span.SetAttributes(semconv.HTTPResponseStatusCode(e.HTTPStatus))
		}
		if e.TraceID != "" {
			span.SetAttributes(attrTraceID.String(e.TraceID))
		}
	}
	span.SetAttributes(attrClass.String(class.String()), semconv.ErrorTypeKey.String(class.String()))
	span.SetStatus(codes.Error, class.String())
}

// Publisher makes a span of each message that is sent, and records in a delivery's span how the delivery ended.
func (t *Tracer) Publisher(inner publisher) publisher {
	if t == nil {
		return inner
	}
	return published{t, inner}
}

type published struct {
	t     *Tracer
	inner publisher
}

func (p published) Publish(ctx context.Context, e producer.Encoded) error {
	_, outcome, _ := strings.Cut(strings.TrimSuffix(string(e.Type), ".v1"), ".")
	told := []attribute.KeyValue{attrOutcome.String(outcome)}
	if delivery := trace.SpanFromContext(ctx); delivery.IsRecording() {
		if event, err := producer.DecodeEvent(e.Body); err == nil {
			told = append(told, attrNumber.String(event.OutRequestNo), attrReason.String(string(event.Reason)))
		}
		delivery.SetAttributes(told...)
	}
	return p.t.send(ctx, p.t.cfg.EventTopic, e.Subject, func(ctx context.Context) error { return p.inner.Publish(ctx, e) },
		append(told, semconv.CloudEventsEventID(e.ID), semconv.CloudEventsEventType(string(e.Type)),
			semconv.MessagingRocketMQMessageTag(strings.TrimSuffix(string(e.Type), ".v1")), semconv.MessagingRocketMQMessageTypeNormal)...)
}

func (p published) Retry(ctx context.Context, c producer.Copy, delay time.Duration) error {
	level, actual := producer.DelayAtLeast(delay)
	more := []attribute.KeyValue{attrDelay.Float64(actual.Seconds()), semconv.MessagingRocketMQMessageTypeNormal}
	if level > 0 {
		more = append(more[:1], semconv.MessagingRocketMQMessageTypeDelay, semconv.MessagingRocketMQMessageDelayTimeLevel(level))
	}
	return p.copy(ctx, p.t.cfg.RetryTopic, "retried", c, func(ctx context.Context) error { return p.inner.Retry(ctx, c, delay) }, more...)
}

func (p published) Park(ctx context.Context, c producer.Copy) error {
	return p.copy(ctx, p.t.cfg.ParkedTopic, "parked", c, func(ctx context.Context) error { return p.inner.Park(ctx, c) },
		semconv.MessagingRocketMQMessageTypeNormal)
}

func (p published) copy(ctx context.Context, topic, outcome string, c producer.Copy, act func(context.Context) error, more ...attribute.KeyValue) error {
	told := []attribute.KeyValue{attrOutcome.String(outcome), attrReason.String(c.Reason), attrTry.Int(c.Try)}
	if delivery := trace.SpanFromContext(ctx); delivery.IsRecording() {
		delivery.SetAttributes(told...)
	} else { // made from the record alone: its trace is the command's all the same
		ctx = below(ctx, c.Traceparent)
	}
	return p.t.send(ctx, topic, c.Keys, act, append(told, more...)...)
}

func (t *Tracer) send(ctx context.Context, topic, key string, act func(context.Context) error, more ...attribute.KeyValue) error {
	ctx, span := t.tracer.Start(ctx, "send "+topic, trace.WithSpanKind(trace.SpanKindProducer), trace.WithAttributes(more...),
		trace.WithAttributes(
			semconv.MessagingSystemRocketMQ, semconv.MessagingOperationTypeSend, semconv.MessagingOperationName("send"),
			semconv.MessagingDestinationName(topic), semconv.MessagingRocketMQMessageKeys(clip(key)), semconv.MessagingClientID(t.cfg.Instance),
		))
	defer span.End()
	err := act(ctx)
	if err != nil {
		kind := "unconfirmed"
		if errors.Is(err, producer.ErrRefused) {
			kind = "refused"
		}
		span.SetAttributes(semconv.ErrorTypeKey.String(kind))
		span.SetStatus(codes.Error, kind)
	}
	return err
}
