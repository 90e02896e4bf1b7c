package dedupe_test

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"refundd/dedupe"
	"refundd/dedupe/dedupetest"
)

// TestProbeSeesWhatAClaimMeets: Redis answers every PING and every read, and
// refuses a claim. The probe says so, and says so no longer once it is over.
func TestProbeSeesWhatAClaimMeets(t *testing.T) {
	t.Parallel()
	set := func(s *dedupetest.Server, key, value string) {
		must(t, s.Do.ConfigSet(context.Background(), key, value).Err())
	}
	rows := []struct {
		name        string
		config      []string
		broken, end func(*dedupetest.Server) // nil: from the start, for ever
		want        string
	}{
		{
			"no memory", nil,
			func(s *dedupetest.Server) { set(s, "maxmemory", "1") },
			func(s *dedupetest.Server) { set(s, "maxmemory", "0") }, "OOM",
		},
		{
			"a replica", nil,
			func(s *dedupetest.Server) { must(t, s.Do.ReplicaOf(context.Background(), "127.0.0.1", "1").Err()) },
			func(s *dedupetest.Server) { must(t, s.Do.ReplicaOf(context.Background(), "no", "one").Err()) }, "READONLY",
		},
		{
			"a replica that serves nothing",
			[]string{"replica-serve-stale-data no"},
			func(s *dedupetest.Server) { must(t, s.Do.ReplicaOf(context.Background(), "127.0.0.1", "1").Err()) },
			func(s *dedupetest.Server) { must(t, s.Do.ReplicaOf(context.Background(), "no", "one").Err()) }, "MASTERDOWN",
		},
		{
			"too few replicas", nil,
			func(s *dedupetest.Server) { set(s, "min-replicas-to-write", "1") },
			func(s *dedupetest.Server) { set(s, "min-replicas-to-write", "0") }, "NOREPLICAS",
		},
		{
			"snapshots fail",
			[]string{"save 3600 1000000"},
			func(s *dedupetest.Server) {
				at, err := s.Do.ConfigGet(context.Background(), "dir").Result()
				must(t, err)
				must(t, os.RemoveAll(at["dir"]))
				must(t, s.Do.BgSave(context.Background()).Err())
				dedupetest.Until(t, "the snapshot to fail", func() bool {
					info, err := s.Do.Info(context.Background(), "persistence").Result()
					return err == nil && strings.Contains(info, "rdb_last_bgsave_status:err")
				})
			},
			func(s *dedupetest.Server) { set(s, "stop-writes-on-bgsave-error", "no") }, "MISCONF",
		},
		{
			"no right to run scripts", nil,
			func(s *dedupetest.Server) {
				must(t, s.Do.Do(context.Background(), "ACL", "SETUSER", "default", "-evalsha").Err())
			},
			func(s *dedupetest.Server) {
				must(t, s.Do.Do(context.Background(), "ACL", "SETUSER", "default", "+evalsha").Err())
			}, "NOPERM",
		},
		{"no such command", []string{`rename-command EVALSHA ""`}, nil, nil, "unknown command"},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			s := dedupetest.StartServer(t, row.config...)
			store := storeOf(t, redis.NewClient(&redis.Options{Addr: s.Addr, ContextTimeoutEnabled: true}))
			if row.broken != nil {
				must(t, store.Probe(t.Context())[""])
				row.broken(s)
			}
			claim := func(number string) error {
				_, err := store.Claim(t.Context(), dedupe.ClaimRequest{ID: refund(number), Fingerprint: "fp", Token: dedupe.NewToken()})
				return err
			}
			probed := store.Probe(t.Context())
			if err := probed[""]; len(probed) != 1 || err == nil || !strings.Contains(err.Error(), row.want) || !strings.Contains(err.Error(), "h:0") {
				t.Errorf("the probe found %v, want %s", probed, row.want)
			}
			if claim("R1") == nil {
				t.Error("a claim is taken: this is no trouble")
			}
			if row.end == nil {
				return
			}
			row.end(s)
			must(t, store.Probe(t.Context())[""])
			must(t, claim("R2"))
		})
	}
}

func storeOf(t *testing.T, client redis.UniversalClient) *dedupe.Store {
	t.Helper()
	t.Cleanup(func() { _ = client.Close() })
	store, err := dedupe.New(client, dedupe.Config{Prefix: "refundd:", Lease: lease, Keep: keep})
	must(t, err)
	return store
}

// TestProbeWrites a key of its own, which Redis forgets.
func TestProbeWrites(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, b *bench) {
		for master, err := range b.store.Probe(t.Context()) {
			if err != nil {
				t.Errorf("%q: %v", master, err)
			}
		}
		key := b.prefix + "h:0"
		written, err := b.client.HLen(t.Context(), key).Result()
		must(t, err)
		left, err := b.client.PTTL(t.Context(), key).Result()
		must(t, err)
		if written == 0 || left <= 0 {
			t.Errorf("%d fields, for %v", written, left)
		}
	})
}

// TestProbeAsksEveryMaster of a Cluster: one that is down is named, and the
// others are not taken for broken with it.
func TestProbeAsksEveryMaster(t *testing.T) {
	t.Parallel()
	all := dedupetest.StartCluster(t, 3)
	opts, err := redis.ParseClusterURL(dedupetest.ClusterURL(all))
	must(t, err)
	opts.ContextTimeoutEnabled = true
	store := storeOf(t, redis.NewClusterClient(opts))
	probe := func() map[string]error {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		return store.Probe(ctx)
	}
	found := probe()
	for _, s := range all {
		if err, asked := found[s.Addr]; !asked || err != nil {
			t.Errorf("%s: asked %v, %v", s.Addr, asked, err)
		}
		keys, err := s.Do.Keys(t.Context(), "refundd:h:*").Result()
		if err != nil || len(keys) != 1 {
			t.Errorf("%s has %q of the probe, want one key", s.Addr, keys)
		}
	}
	must(t, all[1].Do.ConfigSet(t.Context(), "maxmemory", "1").Err())
	if found = probe(); found[all[0].Addr] != nil || found[all[2].Addr] != nil ||
		found[all[1].Addr] == nil || !strings.Contains(found[all[1].Addr].Error(), "OOM") {
		t.Errorf("one without memory: %v", found)
	}
	all[1].Kill()
	if found = probe(); found[all[0].Addr] != nil || found[all[2].Addr] != nil || found[all[1].Addr] == nil {
		t.Errorf("one is down: %v", found)
	}
}

// TestProbeOfATaggedPrefix asks the one master that has all the records.
func TestProbeOfATaggedPrefix(t *testing.T) {
	t.Parallel()
	all := dedupetest.StartCluster(t, 3)
	opts, err := redis.ParseClusterURL(dedupetest.ClusterURL(all))
	must(t, err)
	client := redis.NewClusterClient(opts)
	t.Cleanup(func() { _ = client.Close() })
	store, err := dedupe.New(client, dedupe.Config{Prefix: "{refunds}:", Lease: lease, Keep: keep})
	must(t, err)
	found := store.Probe(t.Context())
	if len(found) != 1 {
		t.Errorf("asked %v, want one master", found)
	}
	for _, err := range found {
		must(t, err)
	}
}
