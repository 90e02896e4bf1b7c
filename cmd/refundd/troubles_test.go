//go:build !race

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"

	"refundd/consumer/history"
	"refundd/consumer/remoting"
)

// trouble is something that befalls the service and is over when end returns.
type trouble struct {
	name       string
	begin, end func()
	// felt tells whether it is really there; nil: begin returned only when it had
	// happened.
	felt func() bool
	// Redis may lose what it had confirmed: what the history calls it.
	loses string
	// least and most say how long it lasts, in milliseconds.
	least, most int
}

// befall lets one trouble after the other happen until the span is over. Each
// comes once before any comes again. REFUNDD_TEST_CHAOS_TROUBLES chooses by name.
func (c *long) befall(span time.Duration) {
	wanted, err := regexp.Compile(os.Getenv("REFUNDD_TEST_CHAOS_TROUBLES"))
	check(c.t, err)
	list := slices.DeleteFunc(c.troubles(), func(tr trouble) bool { return !wanted.MatchString(tr.name) })
	var bag []trouble
	for end := time.Now().Add(span); time.Now().Before(end); {
		<-time.After(time.Duration(500+c.random.IntN(2000)) * time.Millisecond)
		if len(bag) == 0 {
			bag = append(bag, list...)
			c.random.Shuffle(len(bag), func(i, j int) { bag[i], bag[j] = bag[j], bag[i] })
		}
		c.suffer(bag[0])
		bag = bag[1:]
	}
}

func (c *long) suffer(tr trouble) {
	lost := func() {
		if tr.loses != "" {
			c.account.add(history.Fact{What: history.Redis, Result: tr.loses})
			c.forgot = true
		}
	}
	c.account.add(history.Fact{What: history.Fault, Name: tr.name, Result: history.Injected})
	lost()
	tr.begin()
	if tr.felt != nil {
		c.wait(tr.name, 2*time.Minute, tr.felt)
	}
	if tr.most > 0 {
		<-time.After(time.Duration(tr.least+c.random.IntN(tr.most-tr.least)) * time.Millisecond)
	}
	tr.end()
	lost()
	c.happened[tr.name]++
	c.account.add(history.Fact{What: history.Fault, Name: tr.name, Result: history.Happened})
}

func nothing() {}

func (c *long) troubles() []trouble {
	all := append(c.ofProcesses(), c.ofNetwork()...)
	all = append(all, c.ofSilence()...)
	all = append(all, c.ofBroker()...)
	return append(all, c.ofRedis()...)
}

func (c *long) ofProcesses() []trouble {
	kill := func() { c.restart(func(p *process) { p.kill() }, history.Killed) }
	var frozen *process
	return []trouble{
		{name: "a process is killed", begin: kill, end: nothing},
		{name: "two processes are killed", begin: func() { kill(); kill() }, end: nothing},
		{name: "a process is stopped and started anew", begin: func() { c.restart(c.stop, history.Stopped) }, end: nothing},
		{
			name: "a process is frozen for longer than its lease", least: 4000, most: 8000,
			begin: func() {
				frozen = c.lives[c.random.IntN(len(c.lives))].process
				check(c.t, frozen.cmd.Process.Signal(syscall.SIGSTOP))
			},
			felt: func() bool { status, _ := frozen.readiness(); return status == 0 },
			end:  func() { check(c.t, frozen.cmd.Process.Signal(syscall.SIGCONT)) },
		},
	}
}

// ofNetwork are troubles between the processes and the parts.
func (c *long) ofNetwork() []trouble {
	slow := map[string]any{"latency": 600, "jitter": 200}
	kinds := []struct {
		word, toxic string
		attributes  map[string]any
	}{
		{"slow", "latency", slow},
		{"cut off again and again", "reset_peer", map[string]any{"timeout": 50}},
		{"a black hole", "timeout", map[string]any{"timeout": 0}},
		{"cut off in the middle of its answers", "limit_data", map[string]any{"bytes": 60}},
	}
	var list []trouble
	for part, probe := range map[string]func(context.Context, string) error{
		"redis": pingRedis,
		"the broker": func(ctx context.Context, addr string) error {
			_, err := remoting.Consumers(ctx, addr, c.name)
			return err
		},
		"the name server": func(ctx context.Context, addr string) error { _, err := remoting.Brokers(ctx, addr); return err },
		"alipay":          askAlipay,
	} {
		for _, k := range kinds {
			var at proxied
			list = append(list, trouble{
				name: fmt.Sprintf("%s is %s", part, k.word), least: 1000, most: 6000,
				begin: func() {
					at = c.proxyOf(part)
					c.toxi.add(at.name, k.toxic, k.attributes)
				},
				felt: func() bool {
					ctx, cancel := context.WithTimeout(c.t.Context(), 300*time.Millisecond)
					defer cancel()
					return probe(ctx, at.addr) != nil
				},
				end: c.toxi.reset,
			})
			if part == "redis" && c.redises != nil {
				last := &list[len(list)-1]
				last.loses = "rolled_back" // a master that nobody sees is replaced
				last.end = func() {
					c.toxi.reset()
					c.redises.settle()
				}
			}
		}
	}
	slices.SortFunc(list, func(a, b trouble) int { return cmp.Compare(a.name, b.name) }) // the same with every seed
	return list
}

// askAlipay takes any answer, which is longer than a few bytes.
func askAlipay(ctx context.Context, addr string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/gateway.do", nil)
	if err != nil {
		return err
	}
	resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	_, err = io.Copy(io.Discard, resp.Body)
	return err
}

// ofSilence are stops while a part hears and says nothing: each ends within its
// budget, also with deliveries in hand that must be left.
func (c *long) ofSilence() []trouble {
	var list []trouble
	for _, part := range []string{"redis", "the broker", "the name server", "alipay"} {
		tr := trouble{
			name: "a process is stopped while " + part + " is silent",
			begin: func() {
				for _, at := range c.proxies(part) {
					c.toxi.silence(at.name)
				}
				<-time.After(time.Duration(c.random.IntN(5000)) * time.Millisecond)
				c.restart(c.stopAnyhow, history.Stopped)
			},
			end: c.toxi.reset,
		}
		if part == "redis" && c.redises != nil {
			tr.loses = "rolled_back"
			tr.end = func() {
				c.toxi.reset()
				c.redises.settle()
			}
		}
		list = append(list, tr)
	}
	return list
}

// stopAnyhow ends a process as an orchestrator does, and takes it that deliveries
// are left; how long it may take the history says.
func (c *long) stopAnyhow(p *process) {
	check(c.t, p.cmd.Process.Signal(syscall.SIGTERM))
	select {
	case <-p.exited:
	case <-time.After(60 * time.Second):
		c.t.Fatal("the process did not end")
	}
	if code := p.cmd.ProcessState.ExitCode(); code != 0 && code != 1 {
		c.t.Errorf("exit code %d, want 0 or 1", code)
	}
}

// pingRedis asks for more than a few bytes.
func pingRedis(ctx context.Context, addr string) error {
	client := redis.NewClient(&redis.Options{Addr: addr, MaxRetries: -1, ContextTimeoutEnabled: true, DisableIdentity: true})
	defer func() { _ = client.Close() }()
	return client.Info(ctx).Err()
}

func (c *long) ofBroker() []trouble {
	var victim string
	kill := func(how string) func() {
		return func() {
			victim = []string{"/broker", "/broker-b"}[c.turn%len(c.brokers)]
			c.turn++
			c.breakPart(victim + how)
		}
	}
	part := func(path string) func() { return func() { c.breakPart(path) } }
	permission := func(p string) func() {
		return func() {
			for _, broker := range c.brokers {
				c.retry(func() error {
					return remoting.Configure(c.t.Context(), broker, map[string]string{"brokerPermission": p})
				})
			}
		}
	}
	spoil := func(mode int32) func() {
		return func() {
			c.sends.done.Store(0)
			c.sends.mode.Store(mode)
		}
	}
	spoiled := func() bool { return c.sends.done.Load() > 0 }
	return []trouble{
		{name: "the broker is killed and restarted", begin: kill("/restart"), end: nothing},
		{name: "the broker is away for a while", begin: kill("/stop"), end: func() { c.breakPart(victim + "/start") }, least: 1000, most: 6000},
		{name: "the name server is restarted", begin: part("/namesrv/restart"), end: nothing},
		{
			name: "the broker is read-only", begin: permission("4"), end: permission("6"), least: 1000, most: 5000,
			felt: func() bool { // clients learn of it with their next look at the routes
				<-time.After(time.Second)
				return c.post(c.topic("refund"), []byte(c.known()), nil, 0) != nil
			},
		},
		{name: "the broker's disk is full", begin: spoil(sendsRefused), felt: spoiled, end: spoil(sendsPass), least: 1000, most: 5000},
		{name: "the broker stores and does not confirm", begin: spoil(sendsInDoubt), felt: spoiled, end: spoil(sendsPass), least: 1000, most: 5000},
	}
}

func (c *long) ofRedis() []trouble {
	ctx := c.t.Context()
	memory := func(limit string) func() {
		return func() {
			for _, m := range c.masters() {
				c.retry(func() error { return m.ConfigSet(ctx, "maxmemory", limit).Err() })
			}
		}
	}
	flush := func() {
		for _, m := range c.masters() {
			c.retry(func() error { return m.FlushAll(ctx).Err() })
		}
	}
	list := []trouble{
		{name: "redis loses everything", begin: flush, end: nothing, loses: "wiped"},
		{
			name: "redis has no memory left", least: 1000, most: 4000,
			begin: memory("1"), felt: c.refusesWrites, end: memory("0"),
		},
	}
	switch {
	case c.redises == nil:
		return append(list, c.ofStandalone()...)
	case c.redises.cluster:
		return append(list, c.ofNodes("a master of the cluster")...)
	}
	return append(list, c.ofNodes("the master")...)
}

func (c *long) ofStandalone() []trouble {
	ctx := c.t.Context()
	var before map[string]backup
	return []trouble{
		// It writes to its file after each command, but not if the disk is slow.
		{name: "redis is killed and restarted", begin: func() { c.breakPart("/redis/restart") }, end: nothing, loses: "rolled_back"},
		{
			name: "redis is away for a while", loses: "rolled_back", least: 1000, most: 6000,
			begin: func() { c.breakPart("/redis/stop") }, end: func() { c.breakPart("/redis/start") },
		},
		{
			name: "redis refuses to write (it is a replica)", least: 1000, most: 4000,
			begin: func() { c.retry(func() error { return c.redis.ReplicaOf(ctx, "127.0.0.1", "1").Err() }) },
			felt:  c.refusesWrites,
			end:   func() { c.retry(func() error { return c.redis.ReplicaOf(ctx, "no", "one").Err() }) },
		},
		{
			name: "redis comes back as it was seconds ago", loses: "rolled_back", least: 1000, most: 4000,
			begin: func() { c.retry(func() (err error) { before, err = c.dump(); return err }) },
			end:   func() { c.retry(func() error { return c.restore(before) }) },
		},
	}
}

// refusesWrites asks the first of the masters, for a key that is its own.
func (c *long) refusesWrites() bool {
	m := c.masters()[0]
	for i := range 1000 {
		err := m.Set(c.t.Context(), fmt.Sprint("probe", i), "", time.Second).Err()
		if err == nil || !strings.HasPrefix(err.Error(), "MOVED") {
			return err != nil && (strings.HasPrefix(err.Error(), "OOM") || strings.HasPrefix(err.Error(), "READONLY"))
		}
	}
	return false
}

// backup is what a key held, and for how long it still is to live.
type backup struct {
	value string
	left  time.Duration
}

func (c *long) dump() (map[string]backup, error) {
	ctx := c.t.Context()
	keys := map[string]backup{}
	all := c.redis.Scan(ctx, 0, c.name+":*", 1000).Iterator()
	for all.Next(ctx) {
		value, err := c.redis.Dump(ctx, all.Val()).Result()
		if errors.Is(err, redis.Nil) {
			continue // gone in between
		}
		if err != nil {
			return nil, err
		}
		left, err := c.redis.PTTL(ctx, all.Val()).Result()
		if err != nil {
			return nil, err
		}
		keys[all.Val()] = backup{value, max(left, 0)}
	}
	return keys, all.Err()
}

func (c *long) restore(keys map[string]backup) error {
	ctx := c.t.Context()
	_, err := c.redis.TxPipelined(ctx, func(p redis.Pipeliner) error {
		p.FlushAll(ctx)
		for key, b := range keys {
			p.Restore(ctx, key, b.left, b.value)
		}
		return nil
	})
	return err
}

// ofNodes are failovers. The one that takes a master's place lacks what the
// master had confirmed and not yet passed on.
func (c *long) ofNodes(master string) []trouble {
	r := c.redises
	var victim *node
	var before []*node
	choose := func() {
		before = r.serving()
		victim = before[c.random.IntN(len(before))]
	}
	rolledBack := "rolled_back"
	return []trouble{
		{
			name: master + " is killed and replaced", loses: rolledBack,
			begin: func() { choose(); victim.end(); r.promoted(before) },
			end:   func() { victim.start(); r.settle() },
		},
		{
			name: master + " is frozen, replaced, and wakes up", loses: rolledBack,
			begin: func() { choose(); victim.freeze(); r.promoted(before) },
			end:   func() { victim.thaw(); r.settle() },
		},
		{
			name: master + " hands over", loses: rolledBack,
			begin: func() { choose(); c.retry(func() error { return r.handOver(victim) }); r.promoted(before) },
			end:   r.settle,
		},
		{
			name: master + " dies, and its replicas lack the last seconds", loses: rolledBack,
			begin: func() {
				choose()
				replicas := r.replicas(victim)
				for _, n := range replicas {
					n.end()
				}
				<-time.After(time.Duration(1000+c.random.IntN(2000)) * time.Millisecond)
				victim.end()
				for _, n := range replicas {
					n.start()
				}
				r.promoted(before)
			},
			end: func() { victim.start(); r.settle() },
		},
	}
}

// restart ends a process in one way or another and starts its successor.
func (c *long) restart(end func(*process), how string) {
	i := c.random.IntN(len(c.lives))
	old := c.lives[i]
	if how == history.Stopped {
		c.account.add(history.Fact{What: history.Process, Process: old.name, Result: history.Stopping})
	}
	end(old.process)
	c.account.add(history.Fact{What: history.Process, Process: old.name, Result: how})
	if strings.Contains(old.process.log.String(), "panic") {
		c.t.Errorf("process %s panicked", old.name)
	}
	c.live(i)
}

// retry repeats what a part just out of another trouble may refuse.
func (c *long) retry(act func() error) {
	c.t.Helper()
	var err error
	for deadline := time.Now().Add(time.Minute); ; <-time.After(100 * time.Millisecond) {
		if err = act(); err == nil {
			return
		}
		if time.Now().After(deadline) {
			c.t.Fatalf("a change of a part: %v", err)
		}
	}
}
