package dedupe_test

import (
	"context"
	"fmt"
	"maps"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"refundd/dedupe"
)

const (
	lease = time.Minute
	keep  = 24 * time.Hour
	appID = "2021000000000001"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

// bench is a store on one kind of Redis, with a prefix of its own.
type bench struct {
	client redis.UniversalClient // may do everything
	own    redis.UniversalClient // the store's
	store  *dedupe.Store
	prefix string
	mini   *miniredis.Miniredis // nil on a real Redis
	clock  time.Time            // of miniredis
}

// onEveryRedis runs a test on miniredis and on the real Redis (REFUNDD_TEST_REDIS)
// and Redis Cluster (REFUNDD_TEST_REDIS_CLUSTER, a URL as go-redis spells it for
// clusters) that the environment names.
func onEveryRedis(t *testing.T, test func(t *testing.T, b *bench)) {
	t.Helper()
	t.Run("miniredis", func(t *testing.T) {
		test(t, onMiniredis(t))
	})
	if url := os.Getenv("REFUNDD_TEST_REDIS"); url != "" {
		t.Run("redis", func(t *testing.T) {
			opts, err := redis.ParseURL(url)
			if err != nil {
				t.Fatal(err)
			}
			test(t, onProductionUser(t, opts))
		})
	}
	if url := os.Getenv("REFUNDD_TEST_REDIS_CLUSTER"); url != "" {
		t.Run("cluster", func(t *testing.T) {
			opts, err := redis.ParseClusterURL(url)
			if err != nil {
				t.Fatal(err)
			}
			test(t, newBench(t, redis.NewClusterClient(opts)))
		})
	}
}

func onMiniredis(t *testing.T) *bench {
	t.Helper()
	mini := miniredis.RunT(t)
	b := newBench(t, redis.NewClient(&redis.Options{Addr: mini.Addr()}))
	b.mini = mini
	b.clock = time.UnixMilli(1_800_000_000_123)
	mini.SetTime(b.clock)
	mini.ClockTTL(true)
	return b
}

// onProductionUser makes a store whose Redis user may do what the users' file for
// production allows it, on the keys of the test.
func onProductionUser(t *testing.T, opts *redis.Options) *bench {
	t.Helper()
	b := newBench(t, redis.NewClient(opts))
	ctx, name, password := t.Context(), "test-"+string(dedupe.NewToken()), string(dedupe.NewToken())
	rules := []any{"ACL", "SETUSER", name, "on", ">" + password, "~" + b.prefix + "*"}
	for _, rule := range productionRules(t) {
		rules = append(rules, rule)
	}
	must(t, b.client.Do(ctx, rules...).Err())
	user := *opts
	user.Username, user.Password = name, password
	client := redis.NewClient(&user)
	t.Cleanup(func() {
		_ = client.Close()
		admin := redis.NewClient(opts) // the bench's is closed by then, or not yet
		defer func() { _ = admin.Close() }()
		if err := admin.Do(context.Background(), "ACL", "DELUSER", name).Err(); err != nil {
			t.Errorf("remove the user of the test: %v", err)
		}
	})
	b.own = client
	b.store = b.newStore(t, nil)
	return b
}

// productionRules are those of user refundd in deploy/redis-users.conf, without
// what this test gives: password and keys.
func productionRules(t *testing.T) []string {
	t.Helper()
	words := productionUsers(t)["refundd"]
	if len(words) < 5 || words[0] != "on" || words[2] != "~refundd:*" || words[3] != "resetchannels" || words[4] != "-@all" {
		t.Fatalf("user refundd is %v", words)
	}
	return words[3:]
}

// productionUsers is name -> rules.
func productionUsers(t *testing.T) map[string][]string {
	t.Helper()
	text, err := os.ReadFile("../deploy/redis-users.conf")
	must(t, err)
	users := map[string][]string{}
	for line := range strings.Lines(string(text)) {
		if words := strings.Fields(line); len(words) > 2 && words[0] == "user" {
			users[words[1]] = words[2:]
		}
	}
	return users
}

// newBench makes a store on a client, which it closes at the end of the test.
// What the test leaves behind is removed.
func newBench(t *testing.T, client redis.UniversalClient) *bench {
	t.Helper()
	b := &bench{client: client, own: client, prefix: "test:" + string(dedupe.NewToken()) + ":"}
	b.store = b.newStore(t, nil)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		sweep := func(ctx context.Context, node *redis.Client) error {
			keys := node.Scan(ctx, 0, b.prefix+"*", 1000).Iterator()
			for keys.Next(ctx) {
				if err := node.Del(ctx, keys.Val()).Err(); err != nil {
					return err
				}
			}
			return keys.Err()
		}
		var err error
		switch c := client.(type) {
		case *redis.ClusterClient:
			err = c.ForEachMaster(ctx, sweep)
		case *redis.Client:
			if b.mini == nil {
				err = sweep(ctx, c)
			}
		}
		if err != nil {
			t.Errorf("remove the keys of the test: %v", err)
		}
		if err := client.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return b
}

func (b *bench) newStore(t *testing.T, observe func(string, time.Duration)) *dedupe.Store {
	t.Helper()
	store, err := dedupe.New(b.own, dedupe.Config{Prefix: b.prefix, Lease: lease, Keep: keep, Observe: observe})
	if err != nil {
		t.Fatal(err)
	}
	return store
}

// pass lets time go by for one record. On miniredis the clock moves. On a real
// Redis, whose clock is not ours, the times in the record move back instead.
func (b *bench) pass(t *testing.T, key string, d time.Duration) {
	t.Helper()
	if b.mini != nil {
		b.clock = b.clock.Add(d)
		b.mini.SetTime(b.clock)
		return
	}
	ctx := t.Context()
	raw := b.raw(t, key)
	for _, field := range []string{"until", "luntil"} {
		if _, there := raw.fields[field]; there {
			must(t, b.client.HIncrBy(ctx, key, field, -d.Milliseconds()).Err())
		}
	}
	switch {
	case raw.ttl == 0:
	case raw.ttl > d:
		must(t, b.client.PExpire(ctx, key, raw.ttl-d).Err())
	default:
		must(t, b.client.Del(ctx, key).Err())
	}
}

// raw is a record as it lies in Redis.
type raw struct {
	fields map[string]string // undecided
	value  string            // decided
	ttl    time.Duration     // zero: none
}

func (r raw) equal(other raw) bool {
	return maps.Equal(r.fields, other.fields) && r.value == other.value
}

func (b *bench) raw(t *testing.T, key string) raw {
	t.Helper()
	ctx := t.Context()
	kind, err := b.client.Type(ctx, key).Result()
	must(t, err)
	var r raw
	switch kind {
	case "hash":
		r.fields, err = b.client.HGetAll(ctx, key).Result()
	case "string":
		r.value, err = b.client.Get(ctx, key).Result()
	}
	must(t, err)
	ttl, err := b.client.PTTL(ctx, key).Result()
	must(t, err)
	r.ttl = max(ttl, 0) // -1 and -2 say none
	return r
}

// put makes the record what it was, as a Redis does that was rolled back.
func (b *bench) put(t *testing.T, key string, r raw) {
	t.Helper()
	ctx := t.Context()
	must(t, b.client.Del(ctx, key).Err())
	if r.fields != nil {
		must(t, b.client.HSet(ctx, key, r.fields).Err())
		if r.ttl > 0 {
			must(t, b.client.PExpire(ctx, key, r.ttl).Err())
		}
	}
	if r.value != "" {
		must(t, b.client.Set(ctx, key, r.value, r.ttl).Err())
	}
}

// entries returns the index as it lies in Redis: entry to score.
func (b *bench) entries(t *testing.T) map[string]string {
	t.Helper()
	members, err := b.client.ZRangeWithScores(t.Context(), b.prefix+"u:"+appID, 0, -1).Result()
	must(t, err)
	scores := map[string]string{}
	for _, member := range members {
		scores[fmt.Sprint(member.Member)] = strconv.FormatFloat(member.Score, 'f', -1, 64)
	}
	return scores
}

//nolint:unparam // the fingerprint belongs to the call, whatever it is
func (b *bench) claim(t *testing.T, id dedupe.Identity, fp string, token dedupe.Token, gen int64) dedupe.Answer {
	t.Helper()
	claim, err := b.store.Claim(t.Context(), dedupe.ClaimRequest{
		ID: id, Fingerprint: fp, Token: token, Generation: gen, Note: []byte("note of " + string(token)),
	})
	must(t, err)
	return claim.Answer
}

// won claims with a new token and expects to win.
func (b *bench) won(t *testing.T, id dedupe.Identity) dedupe.Token {
	t.Helper()
	token := dedupe.NewToken()
	if claim := b.claim(t, id, "fp", token, 0); claim.State != dedupe.Won {
		t.Fatalf("claim: %v, want won", claim.State)
	}
	return token
}

func (b *bench) settle(t *testing.T, req dedupe.SettleRequest) dedupe.Settlement {
	t.Helper()
	settlement, err := b.store.Settle(t.Context(), req)
	must(t, err)
	return settlement
}

func (b *bench) release(t *testing.T, req dedupe.ReleaseRequest) dedupe.Release {
	t.Helper()
	release, err := b.store.Release(t.Context(), req)
	must(t, err)
	return release
}

// park releases a record into the parked state, and its person was told.
func (b *bench) park(t *testing.T, id dedupe.Identity, entry string) {
	t.Helper()
	b.release(t, dedupe.ReleaseRequest{ID: id, Token: b.won(t, id), Entry: entry, Parked: true})
	must(t, b.store.Reschedule(t.Context(), appID, entry, time.Time{}))
}

//nolint:unparam // the fingerprint belongs to the call, whatever it is
func (b *bench) told(t *testing.T, id dedupe.Identity, fp, entry, event string) {
	t.Helper()
	u, err := dedupe.ParseEntry(entry)
	must(t, err)
	r := dedupe.Refund{Identity: id, Fingerprint: fp, Born: u.FirstBorn, Fen: u.Fen}
	must(t, b.store.MarkPublished(t.Context(), r, []byte(event)))
}

func refund(number string) dedupe.Identity {
	return dedupe.Identity{AppID: appID, Kind: "refund", OutRequestNo: number}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func mustContain(t *testing.T, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("%q does not name %q", text, part)
		}
	}
}
