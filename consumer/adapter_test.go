//go:build !race

// The tests of the adapter run the SDK's push consumer. It has data races of
// its own (its pause flag is a plain bool, flow control reads a tree without
// its lock), which the race detector would report here; the flow, the gate, the
// health and the log are tested with it elsewhere.

package consumer

import (
	"bytes"
	"compress/zlib"
	"context"
	"crypto/rsa"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"refundd/alipay"
	"refundd/alipay/alipaytest"
	"refundd/consumer/rocketmqtest"
	"refundd/producer"
)

const testGroup = "refundd"

// sdkOutput is what the SDK logs, of all tests, through RedirectSDK.
var sdkOutput = &lockedBuffer{} //nolint:gochecknoglobals // the SDK has one logger for the process

func TestMain(m *testing.M) {
	log := logrus.New()
	log.SetOutput(sdkOutput)
	log.SetLevel(logrus.DebugLevel)
	RedirectSDK(log)
	os.Exit(m.Run())
}

// lockedBuffer is a log that is read while it is written.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// instances makes names unique, as two SDK objects with one name share a client.
var instances atomic.Int64 //nolint:gochecknoglobals // the SDK's table of clients is global too

// rig is a bench whose deliveries come through push consumers.
type rig struct {
	*bench
	gateway *slowGateway
	tell    publisher // what the handlers of new processes publish with
	out     lockedBuffer
	server  string // the name server of new processes
	group   string

	mu    sync.Mutex
	ended map[string]bool // by message id: a delivery of it was acknowledged
}

// newRig has times that a busy machine keeps.
func newRig(t *testing.T, change func(*Config)) *rig {
	t.Helper()
	r := &rig{ended: map[string]bool{}}
	r.bench = newBench(t, func(c *Config) {
		c.Lease, c.AlipayTimeout, c.Patience = 20*time.Second, 15*time.Second, 20*time.Second
		if change != nil {
			change(c)
		}
	})
	r.tell, r.server, r.group = r.publish, r.broker.Addr(), testGroup
	r.openGateway(alipaytest.Config{})
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("log:\n%s", tail(r.out.String(), 8_000))
		}
	})
	return r
}

func tail(s string, n int) string { return s[max(0, len(s)-n):] }

// openGateway begins with a new ledger behind a slowGateway.
func (r *rig) openGateway(cfg alipaytest.Config) {
	r.t.Helper()
	keys, err := sharedKeys()
	check(r.t, err)
	cfg.Keys = keys
	r.alipay, err = alipaytest.New(cfg)
	check(r.t, err)
	r.gateway = &slowGateway{next: r.alipay}
	server := httptest.NewUnstartedServer(r.gateway)
	server.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			r.gateway.connections.Add(1)
		}
	}
	server.Start()
	r.t.Cleanup(server.Close)
	r.client, err = alipay.New(alipay.Config{
		Gateway: server.URL + "/gateway.do", AppID: testApp, Signer: keys.AppPrivate,
		AlipayKeys: []*rsa.PublicKey{keys.AlipayPublic}, Timeout: r.cfg.AlipayTimeout,
	})
	check(r.t, err)
	r.t.Cleanup(r.client.CloseIdleConnections)
}

// slowGateway stands in front of the local Alipay: it makes it slow, and sees
// when calls begin and over how many connections.
type slowGateway struct {
	next        http.Handler
	pause       atomic.Int64 // nanoseconds that a call waits before Alipay sees it
	connections atomic.Int64 // ever accepted

	mu       sync.Mutex
	arrivals []time.Time
}

func (g *slowGateway) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	g.mu.Lock()
	g.arrivals = append(g.arrivals, time.Now())
	g.mu.Unlock()
	// Only when its body was read does the server notice that the caller went away.
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return
	}
	req.Body = io.NopCloser(bytes.NewReader(body))
	select {
	case <-time.After(time.Duration(g.pause.Load())):
		g.next.ServeHTTP(w, req)
	case <-req.Context().Done():
	}
}

func (g *slowGateway) calls() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.arrivals)
}

// after is how many calls arrived after the moment.
func (g *slowGateway) after(moment time.Time) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	n := 0
	for _, a := range g.arrivals {
		if a.After(moment) {
			n++
		}
	}
	return n
}

// process is one refundd as far as this package goes.
type process struct {
	*Consumer
	gate   *Gate
	health *Health
}

// process makes one that is not started.
func (r *rig) process(concurrency int, topics ...string) *process {
	log := logrus.New()
	log.SetLevel(logrus.DebugLevel)
	log.SetOutput(&r.out)
	p := &process{gate: NewGate(concurrency), health: NewHealth(log)}
	h := NewHandler(r.cfg, Dependencies{r.client, r.store, r.tell, p.gate, p.health, r.metrics, log})
	p.Consumer = NewConsumer(RocketMQ{
		NameServers: []string{r.server}, Group: r.group, Instance: fmt.Sprintf("adapter-%d-%d", os.Getpid(), instances.Add(1)),
		Topics: append([]string{r.cfg.Topics[KindRefund], r.cfg.RetryTopic}, topics...), Concurrency: concurrency, Probe: r.store.Probe,
	}, watched{h, r}, p.gate, p.health, log)
	r.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		_ = p.Stop(ctx, time.Millisecond)
	})
	return p
}

// start makes a process that consumes, and watches its health.
func (r *rig) start(concurrency int) *process {
	r.t.Helper()
	p := r.process(concurrency)
	check(r.t, p.Start(r.t.Context()))
	r.watch(p)
	return p
}

func (r *rig) watch(p *process) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		p.Watch(ctx)
	}()
	r.t.Cleanup(func() {
		cancel()
		<-done
	})
}

// stop drains with time enough for everything.
func (r *rig) stop(p *process) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	check(r.t, p.Stop(ctx, 50*time.Second))
}

// watched notes which messages were acknowledged.
type watched struct {
	*Handler
	r *rig
}

func (w watched) Handle(ctx context.Context, d Delivery) Ending {
	return w.note(d, w.Handler.Handle(ctx, d))
}

func (w watched) Postpone(ctx context.Context, d Delivery) Ending {
	return w.note(d, w.Handler.Postpone(ctx, d))
}

func (w watched) note(d Delivery, e Ending) Ending {
	w.r.mu.Lock()
	defer w.r.mu.Unlock()
	if e.Acknowledged() {
		w.r.ended[d.MsgID] = true
	}
	return e
}

// post stores commands, one after another on the queues of the topic.
func (r *rig) post(bodies ...string) {
	r.t.Helper()
	for _, body := range bodies {
		r.number++
		_, err := r.broker.Append(rocketmqtest.Message{
			Topic: refundTopic, QueueID: r.number % 4, Body: []byte(body),
			Properties: map[string]string{"UNIQ_KEY": fmt.Sprintf("MSG%06d", r.number)},
		})
		check(r.t, err)
	}
}

// refunds are so many commands, and their numbers.
func refunds(prefix string, n int) (numbers, bodies []string) {
	for i := range n {
		number := fmt.Sprintf("%s%d", prefix, i)
		numbers = append(numbers, number)
		bodies = append(bodies, refundBody(number, fmt.Sprintf("T-%s%d", prefix, i), "3.00"))
	}
	return numbers, bodies
}

// await is waitFor with time enough for a busy machine.
func await(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(60 * time.Second); !cond(); <-time.After(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s did not happen", what)
		}
	}
}

// finals are the ids of final events by number.
func (r *rig) finals() map[string]map[string]bool {
	r.t.Helper()
	ids := map[string]map[string]bool{}
	for _, e := range r.events() {
		if e.Outcome != producer.Succeeded && e.Outcome != producer.Failed {
			continue
		}
		if ids[e.OutRequestNo] == nil {
			ids[e.OutRequestNo] = map[string]bool{}
		}
		ids[e.OutRequestNo][e.ID] = true
	}
	return ids
}

// awaitFinals waits for a final event of each, and checks that it is one, that
// it says succeeded, and that the money moved once.
func (r *rig) awaitFinals(numbers []string) {
	r.t.Helper()
	await(r.t, fmt.Sprintf("the end of %d refunds", len(numbers)), func() bool { return len(r.finals()) == len(numbers) })
	moved := map[string]int{}
	for _, m := range r.alipay.State().Refunds {
		moved[m.OutRequestNo] += m.Moved
	}
	finals := r.finals()
	for _, number := range numbers {
		if len(finals[number]) != 1 || moved[number] != 1 {
			r.t.Errorf("%s: final events %v, moved %d times", number, finals[number], moved[number])
		}
	}
	for _, e := range r.events() {
		if e.Outcome != producer.Succeeded {
			r.t.Errorf("%s: %s %s", e.OutRequestNo, e.Outcome, e.Reason)
		}
	}
}

// acknowledged are the messages of the topic that the broker would not deliver
// again.
func (r *rig) acknowledged(topic string) (done, left []rocketmqtest.Message) {
	committed := r.broker.Committed(testGroup, topic)
	for _, m := range r.broker.Messages(topic) {
		if m.QueueOffset < committed[m.QueueID] {
			done = append(done, m)
		} else {
			left = append(left, m)
		}
	}
	return done, left
}

// awaitAcknowledged: the last offsets are on their way when a stop has ended.
func (r *rig) awaitAcknowledged() {
	r.t.Helper()
	left := func() int {
		_, left := r.acknowledged(refundTopic)
		return len(left)
	}
	for deadline := time.Now().Add(10 * time.Second); left() != 0; pause() {
		if time.Now().After(deadline) {
			r.t.Fatalf("%d messages are not acknowledged after the stop: %v", left(), r.broker.Committed(testGroup, refundTopic))
		}
	}
}

func deflated(t *testing.T, body []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w := zlib.NewWriter(&out)
	_, err := w.Write(body)
	check(t, err)
	check(t, w.Close())
	return out.Bytes()
}

// TestHotPath: a refund that succeeds at once is one event, one call and at
// most two exchanges with Redis, over no more connections than busy workers.
func TestHotPath(t *testing.T) {
	t.Parallel()
	const n, workers = 300, 16
	r := newRig(t, nil)
	r.gateway.pause.Store(int64(5 * time.Millisecond))
	numbers, bodies := refunds("H", n)
	p := r.start(workers)
	r.post(bodies...)
	r.awaitFinals(numbers)
	r.stop(p)
	if got := len(r.events()); got != n {
		t.Errorf("%d events, want %d", got, n)
	}
	if got := r.gateway.calls(); got != n {
		t.Errorf("%d calls, want %d", got, n)
	}
	if got := r.trips.Load(); got > 2*n {
		t.Errorf("%d exchanges with Redis, want at most %d; failed: %d, duplicates: %d", got, 2*n, strings.Count(r.out.String(), "waiting for redis"), r.metrics.count(outcomeDuplicate))
	}
	if got := r.gateway.connections.Load(); got > workers {
		t.Errorf("%d connections to the gateway for %d workers", got, workers)
	}
	r.awaitAcknowledged()
	if m := r.broker.Messages(retryTopic); len(m) != 0 {
		t.Errorf("%d retries", len(m))
	}
}

// TestOddMessages: what only another client or a damaged broker sends ends
// like any bad command, and holds nothing up.
func TestOddMessages(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	good := []byte(refundBody("R1", "T1", "3.00"))
	large := bytes.Repeat([]byte("x"), 100<<10)
	rows := []struct {
		name   string
		m      rocketmqtest.Message
		reason producer.Reason
		detail string
	}{
		{"broken zlib", rocketmqtest.Message{Body: []byte("\x78\x9c broken"), SysFlag: 1}, producer.ReasonUnreadable, "compressed"},
		{"no zlib at all", rocketmqtest.Message{Body: []byte("\x04\x22\x4d\x18 lz4"), SysFlag: 1}, producer.ReasonUnreadable, "compressed"},
		{"too large", rocketmqtest.Message{Body: large}, producer.ReasonTooLarge, "bytes"},
		{"too large when decompressed", rocketmqtest.Message{Body: deflated(t, large), SysFlag: 1}, producer.ReasonTooLarge, "bytes"},
		{"empty", rocketmqtest.Message{}, producer.ReasonUnreadable, ""},
		{"too large when decompressed, lz4", rocketmqtest.Message{Body: lz4Of(t, large), SysFlag: 0x101}, producer.ReasonTooLarge, "bytes"},
		{"too large when decompressed, zstd", rocketmqtest.Message{Body: zstdOf(t, large), SysFlag: 0x201}, producer.ReasonTooLarge, "bytes"},
		{"broken zstd", rocketmqtest.Message{Body: []byte("\x28\xb5\x2f\xfd broken"), SysFlag: 0x201}, producer.ReasonUnreadable, "compressed"},
		{"lz4 and good", rocketmqtest.Message{Body: frame(t, lz4Frame), SysFlag: 0x101}, "", ""},
		{"zstd and good", rocketmqtest.Message{Body: zstdOf(t, []byte(refundBody("R2", "T2", "3.00"))), SysFlag: 0x201}, "", ""},
		{"compressed and good", rocketmqtest.Message{Body: deflated(t, good), SysFlag: 1}, "", ""},
	}
	for i := range rows { // none has a UNIQ_KEY
		rows[i].m.Topic, rows[i].m.QueueID = refundTopic, i%4
		var err error
		rows[i].m, err = r.broker.Append(rows[i].m)
		check(t, err)
	}
	p := r.start(4)
	await(t, "an event of each", func() bool { return len(r.events()) == len(rows) })
	r.stop(p)
	bySubject := map[string]producer.Event{}
	for _, e := range r.events() {
		bySubject[e.Subject] = e
	}
	parked := map[string]producer.Copy{}
	for _, c := range r.parked() {
		parked[c.MsgID] = c
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			if row.reason == "" {
				for _, number := range []string{"R1", "R2"} {
					if e := r.final(number); e.Outcome != producer.Succeeded {
						t.Errorf("%s: got %s", number, e.Outcome)
					}
				}
				return
			}
			e, ok := bySubject[row.m.OffsetMsgID]
			if !ok || e.Outcome != producer.Rejected || e.Reason != row.reason || !bytes.Contains([]byte(e.Detail), []byte(row.detail)) {
				t.Errorf("got %s %s %q", e.Outcome, e.Reason, e.Detail)
			}
			if c, ok := parked[row.m.OffsetMsgID]; !ok || !bytes.Equal(c.Body, row.m.Body) {
				t.Errorf("parked %v with %d bytes, want the %d of the message", ok, len(c.Body), len(row.m.Body))
			}
		})
	}
	r.awaitAcknowledged()
}

// TestOneRefusedMessageStopsNobody: a body that grows past the broker's limit
// when it is compressed, and a command whose copies are refused for ever. Both
// have an end, and intake never stops for them.
func TestOneRefusedMessageStopsNobody(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	noise := make([]byte, 4<<20)
	_, err := rand.NewChaCha8([32]byte{}).Read(noise)
	check(t, err)
	grows, err := r.broker.Append(rocketmqtest.Message{Topic: refundTopic, QueueID: 2, Body: noise})
	check(t, err)
	const number = "fault-balance-1"
	r.refuses(number, retryTopic, parkedTopic)
	p := r.start(4)
	r.post(refundBody(number, "T0", "3.00"))
	suspended := false
	for round := range 3 { // each as long as it takes to be in trouble
		numbers, bodies := refunds(fmt.Sprintf("F%d-", round), 20)
		r.post(bodies...)
		await(t, "the end of the others", func() bool {
			finals := r.finals()
			return !slices.ContainsFunc(numbers, func(n string) bool { return len(finals[n]) == 0 })
		})
		for end := time.Now().Add(troubleAfter); time.Now().Before(end); pause() {
			suspended = suspended || p.Suspended()
		}
	}
	if suspended || failing(p.health) {
		t.Errorf("one message stops the others; log:\n%s", tail(r.out.String(), 4000))
	}
	r.stop(p)
	r.awaitAcknowledged()
	stubs, copies, others := r.stubs()
	if len(stubs) != 2 || others != 0 {
		t.Fatalf("%d stubs, %d others", len(stubs), others)
	}
	for i, s := range stubs {
		if s.Size == len(noise) {
			want := producer.Place{Topic: refundTopic, Broker: rocketmqtest.BrokerName, Queue: 2, Offset: grows.QueueOffset}
			if s.Lies == nil || *s.Lies != want || copies[i].Reason != string(producer.ReasonTooLarge) || !bytes.Equal(s.Head, noise[:1024]) {
				t.Errorf("got %+v %+v", s.Lies, copies[i].Reason)
			}
		} else if copies[i].Keys != number {
			t.Errorf("got %+v", copies[i])
		}
	}
}
