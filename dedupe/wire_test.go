package dedupe_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"refundd/dedupe"
)

// Redis may lose its scripts at any time: a restart, a failover, SCRIPT FLUSH.
func TestScriptsComeBackAfterAFlush(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, b *bench) {
		ctx, id := t.Context(), refund("R1")
		flush := func() {
			t.Helper()
			if cluster, ok := b.client.(*redis.ClusterClient); ok {
				must(t, cluster.ForEachMaster(ctx, func(ctx context.Context, node *redis.Client) error {
					return node.ScriptFlush(ctx).Err()
				}))
				return
			}
			must(t, b.client.ScriptFlush(ctx).Err())
		}
		entry := b.store.Entry(time.UnixMilli(1), 1, id)
		flush()
		token := b.won(t, id)
		flush()
		r := b.release(t, dedupe.ReleaseRequest{ID: id, Token: token, Entry: entry, Due: time.UnixMilli(5)})
		if r.State != dedupe.Released || r.Generation != 1 || b.entries(t)[entry] != "5" {
			t.Errorf("release %+v, index %q", r, b.entries(t))
		}
		flush()
		must(t, b.store.Confirm(ctx, id, 1))
		flush()
		if record, err := b.store.Read(ctx, id); err != nil || record.Confirmed != 1 {
			t.Errorf("read %+v, %v", record, err)
		}
		flush()
		s := b.settle(t, dedupe.SettleRequest{ID: id, Fingerprint: "fp", Succeeded: true, Event: []byte("e"), Entry: entry})
		if s.State != dedupe.Settled || len(b.entries(t)) != 1 {
			t.Errorf("settle %+v, index %q", s, b.entries(t))
		}
		flush()
		if b.told(t, id, "fp", entry, "e"); len(b.entries(t)) != 0 {
			t.Errorf("told, index %q", b.entries(t))
		}
	})
}

// Any Redis Cluster will do: every command touches one key, and every script
// declares the one that it touches. (The cluster of the other tests, if there is
// one, refuses what breaks this; here it is seen without one.)
func TestEveryCommandTouchesOneKey(t *testing.T) {
	b := onMiniredis(t)
	seen := &recorder{}
	b.own.AddHook(seen)
	ctx, id := t.Context(), refund("R1")
	entry := b.store.Entry(time.UnixMilli(1), 1, id)
	token := b.won(t, id)
	b.release(t, dedupe.ReleaseRequest{ID: id, Token: token, Entry: entry, Due: time.UnixMilli(5)})
	b.release(t, dedupe.ReleaseRequest{ID: id, Token: b.won(t, id), Entry: entry, Parked: true})
	b.settle(t, dedupe.SettleRequest{ID: id, Fingerprint: "fp", Token: b.won(t, id), Event: []byte("e"), Entry: entry})
	b.settle(t, dedupe.SettleRequest{ID: id, Fingerprint: "fp", Succeeded: true, Event: []byte("e"), Entry: entry})
	b.told(t, id, "fp", entry, "e")
	b.release(t, dedupe.ReleaseRequest{ID: refund("R2"), Token: b.won(t, refund("R2")), Entry: b.store.Entry(time.UnixMilli(1), 1, refund("R2")), Due: time.UnixMilli(5)})
	must(t, b.store.Confirm(ctx, refund("R2"), 1))
	record, err := b.store.Read(ctx, refund("R2"))
	must(t, err)
	if _, amended, err := b.store.Amend(ctx, refund("R2"), record, []byte("another note")); err != nil || !amended {
		t.Errorf("amended %v, %v", amended, err)
	}
	_, err = b.store.Totals(ctx, appID)
	must(t, err)
	sweepOnce(t, b, dedupe.SweeperConfig{})
	slot := dedupe.Slot{Trade: "T1", Spacing: time.Second, Rate: 10}
	token = dedupe.NewToken()
	_, _, err = b.store.ClaimWithSlot(ctx, dedupe.ClaimRequest{ID: refund("R3"), Fingerprint: "fp", Token: token}, slot)
	must(t, err)
	must(t, b.store.Undo(ctx, appID, slot, token))
	must(t, b.store.Throttled(ctx, appID, "", dedupe.Grant{}, 0))
	must(t, b.store.Pause(ctx, appID, dedupe.Brake{}))
	_, _, err = b.store.Reject(ctx, refund("R9"), "M1", "invalid")
	must(t, err)
	_, err = b.store.Brakes(ctx, appID)
	must(t, err)
	_, err = b.store.Resume(ctx, appID, "", "")
	must(t, err)
	must(t, b.store.Probe(ctx)[""])

	scripts := map[string]bool{}
	for _, args := range seen.commands() {
		switch args[0] {
		case "eval", "evalsha":
			if args[2] != "1" || !strings.HasPrefix(args[3], b.prefix) {
				t.Errorf("%s declares %s keys: %q", args[0], args[2], args[3])
			}
			scripts[args[1]] = true
		case "zadd", "zrem", "zrange", "zrangebyscore", "set", "hset", "hdel", "hgetall":
			if !slices.ContainsFunc([]string{"u:", "l:", "t:", "p:"}, func(kind string) bool {
				return strings.HasPrefix(args[1], b.prefix+kind)
			}) {
				t.Errorf("%s on %q", args[0], args[1])
			}
		case "script", "hello", "client":
		default:
			t.Errorf("unexpected command %q", args[0])
		}
	}
	if len(scripts) < 12 {
		t.Errorf("%d scripts ran, want all twelve", len(scripts))
	}

	files, err := filepath.Glob("*.lua")
	if err != nil || len(files) != 15 {
		t.Fatalf("scripts %q, %v", files, err)
	}
	call := regexp.MustCompile(`redis\.p?call\(([^,)]*),?\s*([^,)]*)`)
	for _, file := range files {
		text, err := os.ReadFile(file)
		must(t, err)
		for _, match := range call.FindAllStringSubmatch(string(text), -1) {
			if match[1] != "'TIME'" && match[2] != "key" && match[2] != "KEYS[1]" {
				t.Errorf("%s: %s on %s, which is not the declared key", file, match[1], match[2])
			}
		}
		if strings.Contains(strings.ReplaceAll(string(text), "KEYS[1]", ""), "KEYS") {
			t.Errorf("%s uses more than KEYS[1]", file)
		}
	}
}

// The fast path is one exchange each for claim and settle (issue 3: at most two).
func TestExchangesOfTheFastPath(t *testing.T) {
	b := onMiniredis(t)
	id := refund("R1")
	b.settle(t, dedupe.SettleRequest{ // warms up connection and scripts
		ID: refund("R0"), Fingerprint: "fp", Token: b.won(t, refund("R0")), Succeeded: true, Event: []byte("e"),
	})
	seen := &recorder{}
	b.own.AddHook(seen)
	b.settle(t, dedupe.SettleRequest{ID: id, Fingerprint: "fp", Token: b.won(t, id), Succeeded: true, Event: []byte("e")})
	if n := seen.exchanges.Load(); n != 2 {
		t.Errorf("%d exchanges, want 2", n)
	}
	token := b.won(t, refund("R2"))
	seen.exchanges.Store(0)
	b.release(t, dedupe.ReleaseRequest{ // the first one finds that the script is not there
		ID: refund("R2"), Token: token, Entry: b.store.Entry(time.UnixMilli(1), 1, id), Due: time.UnixMilli(5),
	})
	token = b.won(t, refund("R2"))
	seen.exchanges.Store(0)
	b.release(t, dedupe.ReleaseRequest{
		ID: refund("R2"), Token: token, Entry: b.store.Entry(time.UnixMilli(1), 1, id), Due: time.UnixMilli(5),
	})
	if n := seen.exchanges.Load(); n != 1 {
		t.Errorf("release with its entry takes %d exchanges, want 1", n)
	}

	// A later try has its entry put in the same exchange, and takes it out in one more.
	entry := b.store.Entry(time.UnixMilli(1), 1, refund("R2"))
	for i, succeeded := range []bool{true, false, true} {
		id := refund(fmt.Sprintf("R%d", 3+i))
		token := b.won(t, id)
		seen.exchanges.Store(0)
		b.settle(t, dedupe.SettleRequest{ID: id, Fingerprint: "fp", Token: token, Succeeded: succeeded, Event: []byte("e"), Entry: entry})
		b.told(t, id, "fp", entry, "e")
		if n := seen.exchanges.Load(); i > 0 && n != 2 { // the first one finds that scripts are not there
			t.Errorf("settled and told takes %d exchanges, want 2", n)
		}
	}
}

// An answer that is lost on the wire makes the client send the script again. The
// caller must get the same answer as if nothing had happened.
func TestAnswersLostOnTheWire(t *testing.T) {
	b := onMiniredis(t)
	proxy := newProxy(t, b.mini.Addr())
	client := redis.NewClient(&redis.Options{Addr: proxy.addr(), PoolSize: 1, MinRetryBackoff: time.Millisecond, MaxRetryBackoff: 2 * time.Millisecond})
	t.Cleanup(func() { must(t, client.Close()) })
	b = &bench{client: client, own: client, prefix: b.prefix, mini: b.mini}
	b.store = b.newStore(t, nil)
	id := refund("R1")
	entry := b.store.Entry(time.UnixMilli(1), 1, id)
	// The scripts have to be there, or what is lost is an answer that says they are not.
	b.release(t, dedupe.ReleaseRequest{ID: id, Token: b.won(t, id), Entry: entry, Due: time.UnixMilli(5)})
	b.settle(t, dedupe.SettleRequest{ID: id, Fingerprint: "fp", Succeeded: true, Event: []byte("e")})
	must(t, client.Del(t.Context(), b.store.Key(id)).Err())

	token := dedupe.NewToken()
	proxy.loseNextAnswer()
	if c := b.claim(t, id, "fp", token, 3); c.State != dedupe.Won || !c.Fresh || c.Generation != 3 {
		t.Errorf("claim %+v, want won and fresh", c)
	}
	proxy.loseNextAnswer()
	r := b.release(t, dedupe.ReleaseRequest{ID: id, Token: token, Note: []byte("n"), Entry: entry, Due: time.UnixMilli(7)})
	if r.State != dedupe.Released || r.Generation != 4 {
		t.Errorf("release %+v, want generation 4", r)
	}
	token = dedupe.NewToken()
	b.claim(t, id, "fp", token, 4)
	proxy.loseNextAnswer()
	s := b.settle(t, dedupe.SettleRequest{ID: id, Fingerprint: "fp", Token: token, Event: []byte("failed")})
	if s.State != dedupe.AlreadyDecided || string(s.Event) != "failed" {
		t.Errorf("settle %+v, want our own event, decided already", s)
	}
	proxy.loseNextAnswer()
	s = b.settle(t, dedupe.SettleRequest{ID: id, Fingerprint: "fp", Succeeded: true, Event: []byte("ok"), Entry: entry})
	if !s.Contradiction || string(s.Event) != "ok" {
		t.Errorf("settle %+v, want the contradiction told again", s)
	}
	if lost := proxy.lost.Load(); lost != 4 {
		t.Errorf("%d answers were lost, want 4: the test proves nothing", lost)
	}
}

// recorder notes what a client sends.
type recorder struct {
	exchanges atomic.Int32
	mu        sync.Mutex
	sent      [][]string
}

func (r *recorder) note(cmds ...redis.Cmder) {
	r.exchanges.Add(1)
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, cmd := range cmds {
		args := make([]string, 0, 4)
		for _, arg := range cmd.Args()[:min(4, len(cmd.Args()))] {
			switch arg := arg.(type) {
			case string:
				args = append(args, arg)
			case int:
				args = append(args, string(rune('0'+arg)))
			default:
				args = append(args, "")
			}
		}
		r.sent = append(r.sent, args)
	}
}

func (r *recorder) commands() [][]string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.sent)
}

func (r *recorder) DialHook(next redis.DialHook) redis.DialHook { return next }

func (r *recorder) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		r.note(cmd)
		return next(ctx, cmd)
	}
}

func (r *recorder) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		r.note(cmds...)
		return next(ctx, cmds)
	}
}

// proxy passes bytes on to Redis and back, and can cut a connection in place of
// an answer.
type proxy struct {
	listener net.Listener
	lose     atomic.Bool
	lost     atomic.Int32
}

func newProxy(t *testing.T, target string) *proxy {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	must(t, err)
	p := &proxy{listener: listener}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			near, err := listener.Accept()
			if err != nil {
				return
			}
			far, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", target)
			if err != nil {
				_ = near.Close()
				return
			}
			all.Go(func() {
				_, _ = io.Copy(far, near)
				_ = far.Close()
			})
			all.Go(func() {
				p.answers(near, far)
				_ = near.Close()
				_ = far.Close()
			})
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		all.Wait()
	})
	return p
}

func (p *proxy) addr() string { return p.listener.Addr().String() }

func (p *proxy) loseNextAnswer() { p.lose.Store(true) }

func (p *proxy) answers(near io.Writer, far io.Reader) {
	buffer := make([]byte, 32<<10)
	for {
		n, err := far.Read(buffer)
		if err != nil {
			return
		}
		if p.lose.CompareAndSwap(true, false) {
			p.lost.Add(1)
			return
		}
		if _, err := near.Write(buffer[:n]); err != nil {
			return
		}
	}
}
