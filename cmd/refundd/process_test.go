//go:build !race

// The processes under test are ordinary builds, and the RocketMQ SDK in this
// test's own process has data races of its own (consumer/DESIGN.md, appendix), so the
// race detector has nothing to say here.

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	rmqproducer "github.com/apache/rocketmq-client-go/v2/producer"
	"github.com/redis/go-redis/v9"
	"github.com/sirupsen/logrus"

	"refundd/alipay/alipaytest"
	"refundd/cmd/internal/config"
	"refundd/consumer"
	"refundd/consumer/remoting"
	"refundd/consumer/rocketmqtest"
	"refundd/dedupe/dedupetest"
)

// world is everything around the processes under test: real RocketMQ and Redis
// where REFUNDD_TEST_NAMESERVERS and REFUNDD_TEST_REDIS name them, else the
// embedded ones; and the local Alipay.
type world struct {
	t          *testing.T
	nameServer string
	redisURL   string
	redis      *redis.Client
	control    string // of the real stack, "" with embedded parts
	embedded   *rocketmqtest.Broker
	mini       *miniredis.Miniredis
	alipay     *alipaytest.Server
	gateway    string
	keys       string // directory
	name       string // of the group, and in every topic
	sender     rocketmq.Producer
	reader     *topicReader
	seed       uint64
	// forgot: Redis has lost what it knew, so a refund that had failed may have
	// been carried out by a late copy (the contract's identity).
	forgot bool
}

func (w *world) real() bool { return w.embedded == nil }

func (w *world) topic(which string) string { return w.name + "-" + which }

// aloneOnStack begins a test that breaks parts of a real stack, which every other
// test needs. Embedded parts are each test's own.
func aloneOnStack(t *testing.T) {
	t.Helper()
	if os.Getenv("REFUNDD_TEST_STACK") == "" {
		t.Parallel()
	}
}

func newWorld(t *testing.T, cfg alipaytest.Config) *world {
	t.Helper()
	w := &world{
		t: t, nameServer: os.Getenv("REFUNDD_TEST_NAMESERVERS"), redisURL: os.Getenv("REFUNDD_TEST_REDIS"),
		control: os.Getenv("REFUNDD_TEST_STACK"), keys: t.TempDir(), seed: uint64(time.Now().UnixNano()),
	}
	w.name = fmt.Sprintf("t%d", w.seed%1e12)
	if text := os.Getenv("REFUNDD_TEST_SEED"); text != "" {
		seed, err := strconv.ParseUint(text, 10, 64)
		check(t, err)
		w.seed = seed
	}
	t.Logf("seed %d", w.seed)
	topics := []string{"refund", "coupon", "retry", "event", "parked"}
	if w.nameServer == "" || w.redisURL == "" {
		w.startEmbedded(topics)
	} else {
		w.prepareReal(topics)
	}
	opts, err := redis.ParseURL(w.redisURL)
	check(t, err)
	w.redis = redis.NewClient(opts)
	t.Cleanup(func() { _ = w.redis.Close() })

	keys, err := alipaytest.LoadOrCreateKeys(w.keys)
	check(t, err)
	cfg.Keys, cfg.Seed = keys, w.seed
	w.alipay, err = alipaytest.New(cfg)
	check(t, err)
	url, err := w.alipay.Start("127.0.0.1:0")
	check(t, err)
	w.gateway = url + "/gateway.do"
	t.Cleanup(func() { _ = w.alipay.Close() })

	quiet := logrus.New()
	quiet.SetOutput(io.Discard)
	consumer.RedirectSDK(quiet)
	redis.SetLogger(config.RedisLogger{Log: quiet})
	w.sender, err = rocketmq.NewProducer(
		rmqproducer.WithNsResolver(primitive.NewPassthroughResolver(consumer.NameServerURLs([]string{w.nameServer}))),
		rmqproducer.WithGroupName(w.name), rmqproducer.WithInstanceName(w.name), rmqproducer.WithRetry(3),
	)
	check(t, err)
	check(t, w.sender.Start())
	t.Cleanup(func() { _ = w.sender.Shutdown() })
	w.reader = newTopicReader(t, w.nameServer, w.topic("event"), w.topic("parked"))
	return w
}

func (w *world) startEmbedded(topics []string) {
	var err error
	w.embedded, err = rocketmqtest.Start(rocketmqtest.Config{Groups: []string{w.name}, DelayScale: 4})
	check(w.t, err)
	w.t.Cleanup(func() { _ = w.embedded.Close() })
	for _, topic := range topics {
		w.embedded.CreateTopic(w.topic(topic), 4)
	}
	w.nameServer = w.embedded.Addr()
	w.mini = miniredis.RunT(w.t)
	w.redisURL = "redis://" + w.mini.Addr() + "/0"
}

func (w *world) prepareReal(topics []string) {
	ctx, cancel := context.WithTimeout(w.t.Context(), time.Minute)
	defer cancel()
	_, err := remoting.WaitBroker(ctx, w.nameServer)
	check(w.t, err)
	brokers, err := remoting.Brokers(ctx, w.nameServer)
	check(w.t, err)
	for _, broker := range brokers {
		check(w.t, remoting.CreateGroup(ctx, broker, w.name))
		for _, topic := range topics {
			check(w.t, remoting.CreateTopic(ctx, broker, w.topic(topic), 4))
			check(w.t, remoting.WaitRoute(ctx, w.nameServer, w.topic(topic)))
		}
	}
	w.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		for _, broker := range brokers {
			for _, topic := range append(topics, "") {
				name := w.topic(topic)
				if topic == "" {
					name = "%RETRY%" + w.name
				}
				_ = remoting.DeleteTopic(ctx, w.nameServer, broker, name)
			}
			_ = remoting.DeleteGroup(ctx, broker, w.name)
		}
	})
}

// environment of one process.
func (w *world) environment(change map[string]string) []string {
	env := map[string]string{
		"REFUNDD_ROCKETMQ_NAMESERVERS": w.nameServer, "REFUNDD_ROCKETMQ_GROUP": w.name,
		"REFUNDD_TOPIC_REFUND": w.topic("refund"), "REFUNDD_TOPIC_RETRY": w.topic("retry"),
		"REFUNDD_TOPIC_EVENT": w.topic("event"), "REFUNDD_TOPIC_PARKED": w.topic("parked"),
		"REFUNDD_TOPIC_COUPON_REFUND": w.topic("coupon"), "REFUNDD_HTTP_ADDR": "", "REFUNDD_TRADE_SPACING": "0",
		"REFUNDD_REDIS_URL": w.redisURL, "REFUNDD_REDIS_PREFIX": w.name + ":",
		"REFUNDD_ALIPAY_GATEWAY": w.gateway, "REFUNDD_ALIPAY_APP_ID": "2021000000000001",
		"REFUNDD_ALIPAY_PRIVATE_KEY_FILE": filepath.Join(w.keys, "app_private_key.pem"),
		"REFUNDD_ALIPAY_PUBLIC_KEY_FILE":  filepath.Join(w.keys, "alipay_public_key.pem"),
		"REFUNDD_ALIPAY_TIMEOUT":          "1s", "REFUNDD_LEASE": "3s", "REFUNDD_QUERY_AFTER": "1s",
		"REFUNDD_RETRY_DELAYS": "1s,1s,5s,5s,5s,5s,5s,5s,5s,5s,5s,5s",
		"REFUNDD_CONCURRENCY":  "64", "REFUNDD_LOG_LEVEL": "debug", "REFUNDD_DRAIN": "15s",
	}
	maps.Copy(env, change)
	out := []string{"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME")}
	for name, value := range env {
		out = append(out, name+"="+value)
	}
	return out
}

// process is one refundd.
type process struct {
	w      *world
	cmd    *exec.Cmd
	admin  string
	log    *lockedBuffer
	exited chan struct{}
}

// One build serves all tests, and one those that want a journal.
var (
	built     = sync.OnceValues(func() (string, error) { return buildAs("refundd") })                       //nolint:gochecknoglobals // see above
	journaled = sync.OnceValues(func() (string, error) { return buildAs("journaled", "-tags", "journal") }) //nolint:gochecknoglobals // see above
)

func buildAs(name string, flags ...string) (string, error) {
	path := filepath.Join(scratch, name)
	out, err := exec.Command("go", append(append([]string{"build", "-o", path}, flags...), ".")...).CombinedOutput() //nolint:noctx // it ends
	if err != nil {
		return "", fmt.Errorf("build: %w: %s", err, out)
	}
	return path, nil
}

func (w *world) start(change map[string]string) *process {
	w.t.Helper()
	path, err := built()
	if change["REFUNDD_TEST_JOURNAL"] != "" {
		path, err = journaled()
	}
	check(w.t, err)
	p := &process{w: w, admin: dedupetest.FreeAddr(w.t), log: &lockedBuffer{}, exited: make(chan struct{})}
	p.cmd = exec.Command(path) //nolint:noctx // ended by signal
	p.cmd.Env = append(w.environment(change), "REFUNDD_ADMIN_ADDR="+p.admin)
	p.cmd.Stderr, p.cmd.Stdout = p.log, p.log
	check(w.t, p.cmd.Start())
	go func() {
		_ = p.cmd.Wait()
		close(p.exited)
	}()
	w.t.Cleanup(func() {
		p.kill()
		if w.t.Failed() {
			name := filepath.Join(os.TempDir(), fmt.Sprintf("refundd-%s-%d.log", w.name, p.cmd.Process.Pid))
			_ = os.WriteFile(name, p.log.Bytes(), 0o600)
			w.t.Logf("log of process %d: %s", p.cmd.Process.Pid, name)
		}
	})
	return p
}

func (p *process) kill() {
	_ = p.cmd.Process.Signal(syscall.SIGKILL)
	<-p.exited
}

// readiness is the status and body of GET /readyz, 0 while nobody answers.
func (p *process) readiness() (int, string) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.admin+"/readyz", nil)
	check(p.w.t, err)
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		return 0, ""
	}
	defer func() { _ = resp.Body.Close() }()
	body, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, string(body)
}

func (p *process) waitReady() {
	p.w.t.Helper()
	p.w.wait("readiness", time.Minute, func() bool {
		select {
		case <-p.exited:
			p.w.t.Fatalf("refundd ended: %s", p.log)
		default:
		}
		status, _ := p.readiness()
		return status == http.StatusOK
	})
}

func (w *world) wait(what string, within time.Duration, cond func() bool) {
	w.t.Helper()
	waitFor(w.t, what, within, cond)
}

func waitFor(t *testing.T, what string, within time.Duration, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(within); !cond(); <-time.After(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s did not happen within %v", what, within)
		}
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) Bytes() []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	return bytes.Clone(l.b.Bytes())
}

func (l *lockedBuffer) String() string { return string(l.Bytes()) }

// send puts refund commands on their topic until the broker has confirmed each.
func (w *world) send(bodies ...string) {
	w.t.Helper()
	w.sendTo(w.topic("refund"), bodies...)
}

func (w *world) sendTo(topic string, bodies ...string) {
	w.t.Helper()
	var wg sync.WaitGroup
	slots := make(chan struct{}, 16)
	for _, body := range bodies {
		wg.Add(1)
		slots <- struct{}{}
		go func() {
			defer wg.Done()
			defer func() { <-slots }()
			for {
				if w.post(topic, []byte(body), nil, 0) == nil {
					return
				}
				<-time.After(100 * time.Millisecond)
			}
		}()
	}
	wg.Wait()
}

func (w *world) post(topic string, body []byte, properties map[string]string, level int) error {
	m := primitive.NewMessage(topic, body)
	m.WithProperties(properties)
	if level > 0 {
		m.WithDelayTimeLevel(level)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	res, err := w.sender.SendSync(ctx, m)
	if err != nil {
		return err
	}
	if res.Status != primitive.SendOK {
		return fmt.Errorf("status %d", res.Status)
	}
	return nil
}

func (w *world) breakPart(path string) {
	w.t.Helper()
	req, err := http.NewRequestWithContext(w.t.Context(), http.MethodPost, w.control+path, nil)
	check(w.t, err)
	resp, err := http.DefaultTransport.RoundTrip(req)
	check(w.t, err)
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode >= 300 {
		b, _ := io.ReadAll(resp.Body)
		w.t.Fatalf("%s: %s: %s", path, resp.Status, b)
	}
}

func refundOf(n int) string {
	b, _ := json.Marshal(map[string]string{
		"out_request_no": fmt.Sprintf("R%05d", n), "out_trade_no": fmt.Sprintf("T%05d", n/3), "refund_amount": fmt.Sprintf("%d.%02d", 1+n%7, n%100),
	})
	return string(b)
}

// tokenOf is what a merchant of the tests has authorised the app with.
func tokenOf(merchant string) string {
	if merchant == "" {
		return ""
	}
	return "201510BB-" + merchant
}

// merchantOf is whose authorisation that is.
func merchantOf(token string) string { return strings.TrimPrefix(token, "201510BB-") }

// merchantsFile lists merchants as REFUNDD_MERCHANTS_FILE does.
func (w *world) merchantsFile(names ...string) string {
	w.t.Helper()
	all := map[string]map[string]string{}
	for _, name := range names {
		all[name] = map[string]string{"app_auth_token": tokenOf(name), "seller_id": alipaytest.SellerID(tokenOf(name))}
	}
	b, err := json.Marshal(all)
	check(w.t, err)
	path := filepath.Join(w.keys, "merchants.json")
	check(w.t, os.WriteFile(path, b, 0o600))
	return path
}

func randomly(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 7)) }

func contains(log *lockedBuffer, text string) bool { return strings.Contains(log.String(), text) }
