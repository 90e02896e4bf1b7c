//go:build !race

package main

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"refundd/alipay/alipaytest"
	"refundd/consumer/history"
	"refundd/consumer/remoting"
	"refundd/dedupe/dedupetest"
	"refundd/notifyhttp"
)

// wholeChaos is how many refunds a run of twenty minutes has; only from then on
// must every fault and every trouble have happened.
const wholeChaos = 10_000

// TestChaos is for as long as REFUNDD_TEST_CHAOS says (make chaos): commands of
// both kinds and four owners come in all the time, Alipay has every fault of its
// menu, and one trouble after the other befalls processes, network, Redis and
// broker. REFUNDD_TEST_CHAOS_REDIS is standalone, sentinel or cluster. When it is
// over everything must come to its end; then the history of the run is held to the
// promises, and ledger, notifications and events to each other. The seed
// (REFUNDD_TEST_SEED) chooses faults and troubles; what the machine makes of them
// is its own.
func TestChaos(t *testing.T) {
	span, err := time.ParseDuration(os.Getenv("REFUNDD_TEST_CHAOS"))
	if err != nil {
		t.Skip("lasts as long as REFUNDD_TEST_CHAOS says, such as 20m: make chaos")
	}
	if os.Getenv("REFUNDD_TEST_NAMESERVERS") == "" || os.Getenv("REFUNDD_TEST_REDIS") == "" {
		t.Skip("needs a real RocketMQ and Redis: make chaos")
	}
	count := min(wholeChaos, int(span.Seconds()*wholeChaos/(20*60)))
	c := newLong(t)
	for i := range c.lives {
		c.live(i)
	}
	for _, l := range c.lives {
		l.process.waitReady()
	}
	numbers := c.sendFor(span, count)
	c.befall(span)
	<-c.sent

	check(t, c.alipay.SetFaults(nil))
	c.alipay.Heal()
	c.account.add(history.Fact{What: history.Quiet})
	requeued := 0
	var v verdict
	c.wait("the end of every refund", bound, func() bool {
		requeued = c.requeue(requeued)
		v = c.judge(numbers)
		if len(v.missing) > 0 {
			<-time.After(2 * time.Second)
		}
		return len(v.missing) == 0
	})
	c.judgeNotices()
	c.wait("every command to be read", 2*time.Minute, func() bool {
		return len(c.commands.read(c.topic("refund")))+len(c.commands.read(c.topic("coupon"))) >= c.stored
	})
	for _, l := range c.lives {
		c.account.add(history.Fact{What: history.Process, Process: l.name, Result: history.Stopping})
		c.stop(l.process)
		c.account.add(history.Fact{What: history.Process, Process: l.name, Result: history.Stopped})
	}
	c.lookForSecrets()
	faults := c.tellFaults(count)
	c.account.add(history.Fact{What: history.End})

	path, report := c.report()
	calls := len(c.alipay.Calls())
	t.Logf("%d refunds in %v on redis %s: %d succeeded, %d failed, %d taken by somebody else, %d not provable and with a person; %d commands stored, %d events, %d requeued by hand, %d calls",
		count, span, c.mode, v.succeeded, v.failed, v.conflicts, v.unprovable, c.stored, v.events, requeued, calls)
	t.Logf("faults of Alipay that happened, %d of %d kinds: %s", len(c.alipay.FaultCounts()), len(alipaytest.Menu()), faults)
	t.Logf("troubles that happened:\n%s", c.tellTroubles())
	t.Logf("history: %s\n%s", path, report)
	if !report.Clean() {
		t.Error("the history breaks a promise")
	}
	for _, u := range report.Unchecked {
		if unchecked()[u.Invariant] == "" {
			t.Errorf("%s was not checked: lacks %s", u.Invariant, u.Lacks)
		}
	}
}

// chaosRate is REFUNDD_RATE of the run: reached when what a trouble held up comes
// at once.
const chaosRate = 60

// unchecked are the invariants that such a run cannot show, and why.
func unchecked() map[string]string {
	return map[string]string{
		"I17":  "a process that is killed takes its counters along",
		"I19":  "no two runs on real processes are alike",
		"R10i": "the index is kept by exchanges below what a journal sees",
	}
}

// long is a world in trouble.
type long struct {
	*world
	random   *rand.Rand
	toxi     *toxiproxy
	mode     string
	redises  *redises // nil: standalone
	brokers  []string
	turn     int    // whose turn it is to be killed
	journal  string // the folder of the processes' journals
	sends    *sends
	account  *account
	commands *topicReader
	lives    []life // who has which place now
	past     []life // and who had it
	started  int
	env      []map[string]string // by place
	logs     []*lockedBuffer
	happened map[string]int
	sent     chan struct{}
	reported bool
	stored   int // commands that the broker confirmed; read it after sent
}

// bound is within which time everything ends once nothing breaks any more.
const bound = 15 * time.Minute

// report writes the history of the run down and judges it.
func (c *long) report() (path string, verdict history.Report) {
	c.t.Helper()
	c.reported = true
	facts := c.facts(bound + time.Minute)
	return writeHistory(c.t, c.name, facts), history.Check(facts, history.Options{})
}

// life is one process in one place; it asks Alipay at an address of the place.
type life struct {
	name    string
	process *process
	host    string
}

type proxied struct{ name, addr string }

func newLong(t *testing.T) *long {
	t.Helper()
	places := 3
	var receivers []string
	for range places {
		receivers = append(receivers, dedupetest.FreeAddr(t))
	}
	front := httptest.NewServer(balancer(receivers))
	t.Cleanup(front.Close)
	w := newWorld(t, alipaytest.Config{
		Latency: 20 * time.Millisecond, KeepCalls: 1_000_000,
		NotifyURL: front.URL + notifyhttp.Path, NotifyDelays: append(shortDelays(), slices.Repeat([]time.Duration{5 * time.Second}, 200)...),
	})
	// Those that only few calls can meet are likelier; those that make all calls of
	// an owner wait are rarer, or nothing would happen but waiting.
	faults, err := alipaytest.ParseFaults("all=0.6,coupon-unique-violation=0.15,coupon-10003=0.02,query-pay-operation=0.05,query-empty=0.03," +
		"limited=0.001,limited-auth=0.001,config=0.001,config-auth=0.001,query-limited=0.002")
	check(t, err)
	check(t, w.alipay.SetFaults(faults))
	c := &long{
		world: w, random: randomly(w.seed), happened: map[string]int{}, account: &account{}, sends: &sends{},
		toxi: startToxiproxy(t), journal: t.TempDir(), lives: make([]life, places), mode: os.Getenv("REFUNDD_TEST_CHAOS_REDIS"),
	}
	c.commands = newTopicReader(t, w.nameServer, w.topic("refund"), w.topic("coupon"), w.topic("retry"))
	c.brokers, err = remoting.Brokers(t.Context(), w.nameServer)
	check(t, err)
	proxies := map[string]string{}
	for i, broker := range c.brokers {
		proxies[broker] = c.toxi.proxy(brokerProxy(i), c.sends.before(t, broker))
	}
	c.toxi.proxy("names", rewriteRoutes(t, w.nameServer, proxies))
	t.Cleanup(func() { // a run that failed has a history as well
		if !c.reported {
			path, report := c.report()
			t.Logf("history: %s\n%s", path, report)
		}
	})
	at := c.startRedis()
	merchants := w.merchantsFile("north", "south", "west")
	for i := range places {
		gateway := httptest.NewServer(w.alipay)
		t.Cleanup(gateway.Close)
		// Each has its own, so the wire log tells them apart.
		c.lives[i].host = c.toxi.proxy(alipayProxy(i), strings.TrimPrefix(gateway.URL, "http://"))
		c.env = append(c.env, map[string]string{
			"REFUNDD_REDIS_URL": at, "REFUNDD_REDIS_MODE": c.mode, "REFUNDD_ROCKETMQ_NAMESERVERS": c.toxi.addr("names"),
			"REFUNDD_ALIPAY_GATEWAY": "http://" + c.lives[i].host + "/gateway.do",
			"REFUNDD_HTTP_ADDR":      receivers[i], "REFUNDD_ALIPAY_NOTIFY_URL": front.URL + notifyhttp.Path,
			"REFUNDD_ALIPAY_SELLER_ID": alipaytest.SellerID(""), "REFUNDD_MERCHANTS_FILE": merchants, "REFUNDD_LOG_LEVEL": "info",
			"REFUNDD_RATE": strconv.Itoa(chaosRate),
		})
	}
	return c
}

// startRedis returns what REFUNDD_REDIS_URL is to be.
func (c *long) startRedis() string {
	c.t.Helper()
	switch c.mode {
	case "", "standalone":
		c.mode = "standalone"
		at, err := url.Parse(c.redisURL)
		check(c.t, err)
		at.Host = c.toxi.proxy("redis", at.Host)
		return at.String()
	case "sentinel":
		c.redises = startSentinels(c.t, c.toxi)
	case "cluster":
		c.redises = startCluster(c.t, c.toxi)
	default:
		c.t.Fatalf("REFUNDD_TEST_CHAOS_REDIS is standalone, sentinel or cluster, not %q", c.mode)
	}
	c.redises.settle()
	c.forgot = true
	c.redises.watch(
		func() { c.account.add(history.Fact{What: history.Redis, Result: history.RolledBack}) },
		func(since time.Duration) {
			c.account.add(history.Fact{What: history.Redis, Result: history.Divided, Value: since.Milliseconds()})
		})
	return c.redises.url
}

// live starts a process in a place.
func (c *long) live(i int) {
	c.t.Helper()
	if c.lives[i].process != nil {
		c.past = append(c.past, c.lives[i])
	}
	c.started++
	l := life{name: fmt.Sprintf("p%d", c.started), host: c.lives[i].host}
	env := maps.Clone(c.env[i])
	env["REFUNDD_TEST_JOURNAL"] = filepath.Join(c.journal, l.name+".jsonl")
	l.process = c.start(env)
	c.logs = append(c.logs, l.process.log)
	c.lives[i] = l
	c.account.add(history.Fact{What: history.Process, Process: l.name, Result: "started"})
}

// sendFor spreads the commands over the span, sends every tenth twice, and puts
// some that cannot be carried out between them.
func (c *long) sendFor(span time.Duration, count int) (numbers []string) {
	type message struct{ topic, body string }
	messages := make([]message, 0, count)
	for n := range count {
		number, topic, body := c.mixedCommand(n)
		numbers = append(numbers, number)
		messages = append(messages, message{topic, body})
	}
	c.sent = make(chan struct{})
	begin := time.Now()
	go func() {
		defer close(c.sent)
		send := func(m message) {
			c.sendTo(m.topic, m.body)
			c.stored++
		}
		for n, m := range messages {
			<-time.After(time.Until(begin.Add(span * time.Duration(n) / time.Duration(count))))
			send(m)
			if n%10 == 0 {
				send(messages[n/2])
			}
			if n%97 == 0 {
				send(message{m.topic, fmt.Sprintf(`{"out_request_no":"bad-%d","amount":12.5}`, n)})
			}
		}
	}()
	return numbers
}

// known is a command that was sent long ago.
func (c *long) known() string {
	_, _, body := c.mixedCommand(2)
	return body
}

func brokerProxy(i int) string { return fmt.Sprintf("broker-%d", i) }

func alipayProxy(i int) string { return fmt.Sprintf("alipay-%d", i) }

// proxies are all that a part is reached through.
func (c *long) proxies(part string) []proxied {
	var all []proxied
	add := func(name string) { all = append(all, proxied{name, c.toxi.addr(name)}) }
	switch {
	case part == "the broker":
		for i := range c.brokers {
			add(brokerProxy(i))
		}
	case part == "the name server":
		add("names")
	case part == "alipay":
		for i := range c.lives {
			add(alipayProxy(i))
		}
	case c.redises == nil:
		add("redis")
	default:
		for _, n := range c.redises.serving() {
			add(n.name)
		}
	}
	return all
}

func (c *long) proxyOf(part string) proxied {
	all := c.proxies(part)
	return all[c.random.IntN(len(all))]
}

// masters are clients of all that take writes, past the proxies.
func (c *long) masters() []*redis.Client {
	if c.redises == nil {
		return []*redis.Client{c.redis}
	}
	var clients []*redis.Client
	for _, n := range c.redises.serving() {
		clients = append(clients, n.own)
	}
	return clients
}

// tellFaults writes down which faults of Alipay happened. In a whole run all
// must.
func (c *long) tellFaults(count int) string {
	counts := c.alipay.FaultCounts()
	note := func(name string, injected bool, n int) {
		if injected {
			c.account.add(history.Fact{What: history.Fault, Name: name, Result: history.Injected})
		}
		if n > 0 {
			c.account.add(history.Fact{What: history.Fault, Name: name, Result: history.Happened, Value: int64(n)})
		}
	}
	for _, f := range alipaytest.Menu() {
		note("alipay: "+f.Name, count >= wholeChaos || counts[f.Name] > 0, counts[f.Name])
	}
	if count >= wholeChaos {
		for _, tr := range c.troubles() {
			note(tr.name, true, 0)
		}
	}
	var words []string
	for _, name := range slices.Sorted(maps.Keys(counts)) {
		words = append(words, fmt.Sprintf("%s %d", name, counts[name]))
	}
	return strings.Join(words, ", ")
}

func (c *long) tellTroubles() string {
	var b strings.Builder
	total := 0
	for _, name := range slices.Sorted(maps.Keys(c.happened)) {
		fmt.Fprintf(&b, "  %4d  %s\n", c.happened[name], name)
		total += c.happened[name]
	}
	fmt.Fprintf(&b, "  %4d  in all, of %d kinds", total, len(c.happened))
	return b.String()
}

// lookForSecrets searches what the processes have said and told.
func (c *long) lookForSecrets() {
	secrets := map[string]string{"app_auth_token": tokenOf(""), "buyer's log-on id": "sim***@example.com"}
	for _, m := range []string{"north", "south", "west"} {
		secrets["app_auth_token of "+m] = tokenOf(m)
	}
	pem, err := os.ReadFile(filepath.Join(c.keys, "app_private_key.pem"))
	check(c.t, err)
	secrets["private key"] = strings.Split(string(pem), "\n")[1]
	for name, secret := range secrets {
		if secret == "" {
			continue
		}
		c.account.add(history.Fact{What: history.Canary, Name: name, Result: history.Planted})
		for _, log := range c.logs {
			if bytes.Contains(log.Bytes(), []byte(secret)) {
				c.account.add(history.Fact{What: history.Canary, Name: name + " in a log", Result: history.Found})
			}
		}
		for _, m := range c.reader.read(c.topic("event")) {
			if bytes.Contains(m.Body, []byte(secret)) {
				c.account.add(history.Fact{What: history.Canary, Name: name + " in an event", Result: history.Found})
			}
		}
	}
}
