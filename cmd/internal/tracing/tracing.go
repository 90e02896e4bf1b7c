// Package tracing makes OpenTelemetry spans of a command's way: one for each of its deliveries, and below it one for
// each call of Alipay and each message that is sent. It is the only place that knows OpenTelemetry. It wraps the parts
// that package consumer is put together from, so that consumer knows nothing of it, and where tracing is off a nil
// [Tracer] hands the parts back as they are: off costs nothing.
//
// The trace is the command's own, where its message has a traceparent: every delivery's span, hours later and on any
// instance, is a child of that one. The traceparent itself travels unchanged into copies and events, so the readers of
// an event find themselves beside these spans, not below them: the bytes of an event are the same on every instance.
//
// Where and what is exported is said by OpenTelemetry's own variables (OTEL_EXPORTER_OTLP_ENDPOINT,
// OTEL_TRACES_SAMPLER, OTEL_SERVICE_NAME, OTEL_BSP_SCHEDULE_DELAY, …), which its SDK reads itself; config.Load says
// whether anything is. Exporting happens beside the money's way and never holds it up: what a collector does not take
// in time is dropped, and a log line a minute says so.
//
// A span has numbers of refunds and messages, Alipay's codes, topics and words of ours. It has no body, no text of an
// error, no name of a person and no secret.
package tracing

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"time"

	"github.com/sirupsen/logrus"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"refundd/producer"
)

// Config is what spans say about the surroundings.
type Config struct {
	// Version and Instance are those of this process.
	Version, Instance string
	// Group consumes, and what it sends goes to the topics.
	Group                               string
	EventTopic, RetryTopic, ParkedTopic string
	// TradeURL and CouponURL are where Alipay is called; only host and port are recorded.
	TradeURL, CouponURL string
}

// Tracer is safe for use by several goroutines. A nil one is off.
type Tracer struct {
	cfg           Config
	provider      *sdktrace.TracerProvider
	tracer        trace.Tracer
	exporter      *exporter
	log           logrus.FieldLogger
	trade, coupon []attribute.KeyValue // where Alipay is called
}

// Start makes a tracer that exports over OTLP/HTTP. It connects to nothing yet. Stop ends it.
func Start(ctx context.Context, cfg Config, log logrus.FieldLogger) (*Tracer, error) {
	otlp, err := otlptracehttp.New(ctx)
	if err != nil {
		return nil, fmt.Errorf("start tracing: %w", err)
	}
	described, err := resource.New(ctx,
		resource.WithAttributes(
			semconv.ServiceName("refundd"), semconv.ServiceVersion(cfg.Version), semconv.ServiceInstanceID(cfg.Instance),
		),
		resource.WithTelemetrySDK(), resource.WithFromEnv(), // OTEL_SERVICE_NAME wins
	)
	if err != nil {
		return nil, errors.New("start tracing: OTEL_RESOURCE_ATTRIBUTES cannot be read")
	}
	return newTracer(cfg, otlp, log, sdktrace.WithResource(described)), nil
}

func newTracer(cfg Config, to sdktrace.SpanExporter, log logrus.FieldLogger, opts ...sdktrace.TracerProviderOption) *Tracer {
	e := newExporter(to, log)
	provider := sdktrace.NewTracerProvider(append(opts, sdktrace.WithBatcher(e))...)
	return &Tracer{
		cfg: cfg, provider: provider, tracer: provider.Tracer("refundd"), exporter: e, log: log,
		trade: serverOf(cfg.TradeURL), coupon: serverOf(cfg.CouponURL),
	}
}

// Stop sends what is not sent yet, until ctx ends; the rest is dropped. Spans that end later are dropped as well.
func (t *Tracer) Stop(ctx context.Context) {
	if t == nil {
		return
	}
	defer t.exporter.cut()
	if err := t.provider.Shutdown(ctx); err != nil {
		t.log.WithError(err).Warn("the last spans could not be exported")
	}
}

// RedirectSDK sends what OpenTelemetry's SDK complains of into log. It is the SDK's global: call it once.
func RedirectSDK(log logrus.FieldLogger) {
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) {
		log.WithError(err).WithField("part", "tracing").Warn("OpenTelemetry complains")
	}))
}

// serverOf is host and port of an address.
func serverOf(address string) []attribute.KeyValue {
	u, err := url.Parse(address)
	if err != nil || u.Hostname() == "" {
		return nil
	}
	port := map[string]int{"http": 80, "https": 443}[u.Scheme]
	if n, err := strconv.Atoi(u.Port()); err == nil {
		port = n
	}
	return []attribute.KeyValue{semconv.ServerAddress(u.Hostname()), semconv.ServerPort(port)}
}

// below is ctx, with the span that a traceparent names as the parent of what begins in it.
func below(ctx context.Context, traceparent string) context.Context {
	if !producer.ValidTraceparent(traceparent) {
		return ctx
	}
	return propagation.TraceContext{}.Extract(ctx, propagation.MapCarrier{"traceparent": traceparent})
}

// clip bounds what others wrote.
func clip(text string) string { return text[:min(len(text), 255)] }

// exporter takes the errors of another one for itself: it logs one a minute, and the SDK learns of none.
type exporter struct {
	to    sdktrace.SpanExporter
	log   logrus.FieldLogger
	quiet time.Time       // no line before; only the SDK's one goroutine looks
	alive context.Context //nolint:containedctx // ends with the tracer: an export in hand has no other sign of it
	cut   context.CancelFunc
}

const quietFor = time.Minute

func newExporter(to sdktrace.SpanExporter, log logrus.FieldLogger) *exporter {
	e := &exporter{to: to, log: log}
	e.alive, e.cut = context.WithCancel(context.Background())
	return e
}

func (e *exporter) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	if e.alive.Err() != nil {
		return nil
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(e.alive, cancel)()
	err := e.to.ExportSpans(ctx, spans)
	if now := time.Now(); err != nil && e.alive.Err() == nil && now.After(e.quiet) {
		e.quiet = now.Add(quietFor)
		e.log.WithError(err).WithFields(logrus.Fields{"part": "tracing", "spans": len(spans)}).
			Warn("spans could not be exported and are dropped; nothing else depends on them")
	}
	return nil
}

func (e *exporter) Shutdown(ctx context.Context) error {
	if err := e.to.Shutdown(ctx); err != nil {
		return fmt.Errorf("end the exporter: %w", err)
	}
	return nil
}
