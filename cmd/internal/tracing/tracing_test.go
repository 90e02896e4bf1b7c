package tracing

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sirupsen/logrus/hooks/test"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/goleak"

	"refundd/alipay"
	"refundd/consumer"
	"refundd/producer"
)

// The RocketMQ SDK starts a goroutine with its package.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m, goleak.IgnoreCurrent()) }

const traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

// canary is in everything that a span must not tell.
const canary = "CANARY"

// act is a handler that does one thing.
type act func(context.Context, consumer.Delivery) consumer.Ending

func (a act) Handle(ctx context.Context, d consumer.Delivery) consumer.Ending   { return a(ctx, d) }
func (a act) Postpone(ctx context.Context, d consumer.Delivery) consumer.Ending { return a(ctx, d) }

// answers is a gateway whose calls end with err.
type answers struct{ err error }

func (a answers) Refund(context.Context, *alipay.RefundRequest) (*alipay.RefundResponse, error) {
	return &alipay.RefundResponse{TraceID: "alipay-1", BuyerUserID: canary}, a.err
}

func (a answers) QueryRefund(context.Context, *alipay.RefundQueryRequest) (*alipay.RefundQueryResponse, error) {
	return &alipay.RefundQueryResponse{TraceID: "alipay-2"}, a.err
}

func (a answers) RefundCoupon(context.Context, *alipay.CouponRefundRequest) (*alipay.CouponRefundResponse, error) {
	return &alipay.CouponRefundResponse{TraceID: "alipay-3"}, a.err
}

func (a answers) QueryCouponOperation(context.Context, *alipay.CouponOperationRequest) (*alipay.CouponOperationResponse, error) {
	return &alipay.CouponOperationResponse{TraceID: "alipay-4"}, a.err
}

// sent is a publisher that answers err.
type sent struct{ err error }

func (s sent) Publish(context.Context, producer.Encoded) error           { return s.err }
func (s sent) Retry(context.Context, producer.Copy, time.Duration) error { return s.err }
func (s sent) Park(context.Context, producer.Copy) error                 { return s.err }

var config = Config{ //nolint:gochecknoglobals // nothing changes it
	Version: "v1", Instance: "i1", Group: "refundd", EventTopic: "refund-event", RetryTopic: "refund-retry", ParkedTopic: "refund-parked",
	TradeURL: "https://v3.example", CouponURL: "http://127.0.0.1:9800/gateway.do",
}

// recording is a tracer and what it has exported when it is stopped.
func recording(t *testing.T) (*Tracer, func() []tracetest.SpanStub) {
	t.Helper()
	log, hook := test.NewNullLogger()
	memory := &kept{}
	tracer := newTracer(config, memory, log)
	return tracer, func() []tracetest.SpanStub {
		tracer.Stop(context.WithoutCancel(t.Context()))
		for _, e := range hook.AllEntries() {
			t.Errorf("log: %s", e.Message)
		}
		return memory.spans
	}
}

// kept is an exporter that keeps the spans after its shutdown.
type kept struct{ spans []tracetest.SpanStub }

func (k *kept) ExportSpans(_ context.Context, spans []sdktrace.ReadOnlySpan) error {
	k.spans = append(k.spans, tracetest.SpanStubsFromReadOnlySpans(spans)...)
	return nil
}
func (k *kept) Shutdown(context.Context) error { return nil }

func named(t *testing.T, spans []tracetest.SpanStub, name string) tracetest.SpanStub {
	t.Helper()
	i := slices.IndexFunc(spans, func(s tracetest.SpanStub) bool { return s.Name == name })
	if i < 0 {
		t.Fatalf("no span %q among %d", name, len(spans))
	}
	return spans[i]
}

func attributes(s tracetest.SpanStub) map[string]string {
	all := map[string]string{}
	for _, a := range s.Attributes {
		all[string(a.Key)] = a.Value.String()
	}
	return all
}

func encoded(t *testing.T) producer.Encoded {
	t.Helper()
	e, err := producer.Event{
		ID: strings.Repeat("a", 32), RefundKey: strings.Repeat("b", 32), Subject: "R1", Time: time.UnixMilli(1), Traceparent: traceparent, Kind: producer.KindRefund,
		Outcome: producer.Failed, AppID: "1", OutRequestNo: "R1", OutTradeNo: canary, AmountFen: 1, ConfirmedBy: producer.ByQuery,
		Reason: producer.ReasonRefused, Detail: canary, Metadata: map[string]string{canary: canary},
	}.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func TestOneTraceFromTheCommandToTheEvent(t *testing.T) {
	tracer, stop := recording(t)
	secret := &alipay.Error{
		Method: alipay.MethodRefund, Code: "40004", SubCode: "ACQ.SYSTEM_ERROR", SubMsg: canary, TraceID: "t-9", HTTPStatus: 200,
		Signed: true, Class: alipay.ClassUnknown, Err: errors.New(canary),
	}
	event := encoded(t)
	h := tracer.Handler(act(func(ctx context.Context, _ consumer.Delivery) consumer.Ending {
		req := &alipay.RefundRequest{OutRequestNo: "R1", RefundReason: canary, AppAuthToken: canary, OutTradeNo: canary}
		_, _ = tracer.Gateway(answers{secret}).Refund(ctx, req)
		_, _ = tracer.Gateway(answers{}).QueryRefund(ctx, &alipay.RefundQueryRequest{OutRequestNo: "R1", AppAuthToken: canary})
		ctx = context.WithoutCancel(ctx) // as final acts have it
		_ = tracer.Publisher(sent{fmt.Errorf("%w: %s", producer.ErrUnconfirmed, canary)}).Publish(ctx, event)
		if err := tracer.Publisher(sent{}).Publish(ctx, event); err != nil {
			t.Error(err)
		}
		return consumer.Ending{Outcome: "succeeded"}
	}))
	h.Handle(t.Context(), consumer.Delivery{
		Topic: "refund-command", MsgID: "M1", Body: []byte(canary),
		Properties: map[string]string{producer.PropertyTraceparent: traceparent, "KEYS": canary, "buyer": canary},
	})
	spans := stop()
	if len(spans) != 5 {
		t.Fatalf("%d spans", len(spans))
	}
	process := named(t, spans, "process refund-command")
	if process.Parent.SpanID().String() != "00f067aa0ba902b7" || !process.Parent.IsRemote() || process.SpanKind != trace.SpanKindConsumer {
		t.Errorf("the delivery's span hangs below %v as %v", process.Parent.SpanID(), process.SpanKind)
	}
	for _, s := range spans {
		if s.SpanContext.TraceID().String() != "4bf92f3577b34da6a3ce929d0e0e4736" {
			t.Errorf("%s is of another trace", s.Name)
		}
		if s.Name != process.Name && s.Parent.SpanID() != process.SpanContext.SpanID() {
			t.Errorf("%s is not below the delivery", s.Name)
		}
		if text := fmt.Sprintf("%+v", s); strings.Contains(text, canary) {
			t.Errorf("%s tells what it must not: %s", s.Name, text)
		}
	}
	holds(t, process, map[string]string{
		"messaging.system": "rocketmq", "messaging.operation.type": "process", "messaging.operation.name": "process",
		"messaging.destination.name": "refund-command", "messaging.consumer.group.name": "refundd", "messaging.message.id": "M1",
		"messaging.rocketmq.consumption_model": "clustering", "messaging.client.id": "i1",
		"refundd.out_request_no": "R1", "refundd.outcome": "failed", "refundd.reason": "refused",
	})
	call := named(t, spans, alipay.MethodRefund)
	holds(t, call, map[string]string{
		"server.address": "v3.example", "server.port": "443", "rpc.method": alipay.MethodRefund, "rpc.system.name": "alipay",
		"alipay.class": "unknown", "alipay.code": "40004", "alipay.sub_code": "ACQ.SYSTEM_ERROR", "alipay.trace_id": "t-9", "error.type": "unknown",
	})
	if call.Status.Code != codes.Error || call.SpanKind != trace.SpanKindClient {
		t.Errorf("an unknown call is %v, %v", call.Status, call.SpanKind)
	}
	holds(t, named(t, spans, alipay.MethodQueryRefund), map[string]string{"alipay.class": "ok", "alipay.trace_id": "alipay-2"})
	send := named(t, spans, "send refund-event")
	holds(t, send, map[string]string{
		"messaging.operation.type": "send", "messaging.destination.name": "refund-event", "messaging.rocketmq.message.keys": `["R1"]`,
		"messaging.rocketmq.message.tag": "refund.failed", "cloudevents.event_type": "refund.failed.v1", "error.type": "unconfirmed",
	})
}

func holds(t *testing.T, s tracetest.SpanStub, want map[string]string) {
	t.Helper()
	got := attributes(s)
	for key, value := range want {
		if got[key] != value {
			t.Errorf("%s: %s is %q, want %q", s.Name, key, got[key], value)
		}
	}
}

func TestCopiesAndCoupons(t *testing.T) {
	tracer, stop := recording(t)
	c := producer.Copy{Keys: "R1", Reason: "held", Try: 3, Traceparent: traceparent, Body: []byte(canary)}
	p := tracer.Publisher(sent{})
	for _, err := range []error{p.Retry(t.Context(), c, 20*time.Second), p.Park(t.Context(), c)} {
		if err != nil {
			t.Error(err)
		}
	}
	g := tracer.Gateway(answers{errors.New(canary)})
	_, _ = g.RefundCoupon(t.Context(), &alipay.CouponRefundRequest{OutRequestNo: "C1"})
	_, _ = g.QueryCouponOperation(t.Context(), &alipay.CouponOperationRequest{OutRequestNo: "C1"})
	spans := stop()
	for _, name := range []string{"send refund-retry", "send refund-parked"} {
		s := named(t, spans, name)
		if s.Parent.SpanID().String() != "00f067aa0ba902b7" {
			t.Errorf("%s, made from the record alone, is not of the command's trace", name)
		}
		holds(t, s, map[string]string{"refundd.reason": "held", "refundd.try": "3"})
	}
	holds(t, named(t, spans, "send refund-retry"), map[string]string{
		"messaging.rocketmq.message.type": "delay", "messaging.rocketmq.message.delay_time_level": "4", "refundd.delay_seconds": "30",
	})
	holds(t, named(t, spans, alipay.MethodRefundCoupon), map[string]string{"server.address": "127.0.0.1", "server.port": "9800", "alipay.class": "unknown"})
	if strings.Contains(fmt.Sprintf("%+v", spans), canary) {
		t.Error("a span tells what it must not")
	}
}

func TestEndsWithoutAnEvent(t *testing.T) {
	tracer, stop := recording(t)
	d := consumer.Delivery{Topic: "T", Properties: map[string]string{producer.PropertyTry: "2", producer.PropertyTraceparent: canary}}
	tracer.Handler(act(func(context.Context, consumer.Delivery) consumer.Ending { return consumer.Ending{} })).Postpone(t.Context(), d)
	func() {
		defer func() { _ = recover() }()
		tracer.Handler(act(func(context.Context, consumer.Delivery) consumer.Ending { panic(canary) })).Handle(t.Context(), d)
	}()
	spans := stop()
	holds(t, spans[0], map[string]string{"refundd.left": "true", "refundd.try": "2"})
	if spans[1].Status.Code != codes.Error || strings.Contains(fmt.Sprintf("%+v", spans), canary) {
		t.Errorf("spans are %+v", spans)
	}
}

// TestOffIsNothing: the parts are the same ones, so nothing is called, made or
// allocated besides.
func TestOffIsNothing(t *testing.T) {
	var off *Tracer
	inner := &struct{ act }{func(context.Context, consumer.Delivery) consumer.Ending { return consumer.Ending{Outcome: "succeeded"} }}
	if off.Handler(inner) != handler(inner) {
		t.Error("the handler is wrapped")
	}
	if g := (answers{}); off.Gateway(g) != gateway(g) {
		t.Error("the gateway is wrapped")
	}
	if p := (sent{}); off.Publisher(p) != publisher(p) {
		t.Error("the publisher is wrapped")
	}
	h, d := off.Handler(inner), consumer.Delivery{}
	if n := testing.AllocsPerRun(100, func() { h.Handle(t.Context(), d) }); n != 0 {
		t.Errorf("a delivery allocates %v times", n)
	}
	off.Stop(t.Context())
}

// TestNobodyTakesTheSpans: no delivery waits for a collector, a stop only as long
// as it may, and what is dropped is a log line a minute.
func TestNobodyTakesTheSpans(t *testing.T) {
	for name, there := range map[string]bool{"the collector hangs": true, "the collector is not there": false} {
		t.Run(name, func(t *testing.T) {
			before := goleak.IgnoreCurrent()
			listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = listener.Close() }() // nobody ever accepts
			if !there {
				_ = listener.Close()
			}
			t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://"+listener.Addr().String())
			t.Setenv("OTEL_BSP_SCHEDULE_DELAY", "1")
			log, hook := test.NewNullLogger()
			tracer, err := Start(t.Context(), config, log)
			if err != nil {
				t.Fatal(err)
			}
			h := tracer.Handler(act(func(context.Context, consumer.Delivery) consumer.Ending { return consumer.Ending{Outcome: "succeeded"} }))
			for range 5000 { // more than the queue takes
				h.Handle(t.Context(), consumer.Delivery{Topic: "T"})
			}
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			defer cancel()
			ended := make(chan struct{})
			go func() { defer close(ended); tracer.Stop(ctx) }()
			select {
			case <-ended:
			case <-time.After(time.Minute):
				t.Fatal("the stop waits for the collector")
			}
			entries := hook.AllEntries()
			if len(entries) == 0 || len(entries) > 2 { // one of the export, one of the stop
				t.Errorf("%d log lines", len(entries))
			}
			for _, e := range entries {
				t.Log(e.Message, e.Data)
			}
			for end := time.Now().Add(time.Minute); ; { // what the stop has cut ends by itself
				left := goleak.Find(before)
				if left == nil {
					break
				}
				if time.Now().After(end) {
					t.Fatal(left)
				}
			}
		})
	}
}
