package doctor

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"refundd/cmd/internal/config"
	"refundd/dedupe"
)

// redis looks at every master node.
func (d *doctor) redis(ctx context.Context) {
	client, err := d.cfg.OpenRedis()
	if err != nil {
		d.add("redis", Problem, "REFUNDD_REDIS_URL", "%v", err)
		return
	}
	defer func() { _ = client.Close() }()
	ctx, cancel := context.WithTimeout(ctx, 4*askTime)
	defer cancel()
	d.redisWrites(ctx, client)
	if cluster, ok := client.(*redis.ClusterClient); ok {
		nodes := 0
		err := cluster.ForEachMaster(ctx, func(ctx context.Context, node *redis.Client) error {
			nodes++
			return d.node(ctx, node, node.Options().Addr)
		})
		if err != nil || nodes == 0 {
			d.add("redis", Problem, redisFix, "%d masters answered: %v", nodes, err)
		}
		return
	}
	if err := d.node(ctx, client, "it"); err != nil {
		d.add("redis", Problem, redisFix, "%v", err)
	}
}

// redisWrites: a Redis that answers everything else may still refuse a claim.
func (d *doctor) redisWrites(ctx context.Context, client redis.UniversalClient) {
	store, err := dedupe.New(client, dedupe.Config{Prefix: d.cfg.RedisPrefix, Lease: d.cfg.Lease, Keep: d.cfg.Keep})
	if err != nil {
		d.add("redis writes", Problem, "REFUNDD_LEASE, REFUNDD_KEEP", "%v", err)
		return
	}
	short, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	for master, err := range store.Probe(short) {
		if master == "" {
			master = "it"
		}
		if err != nil {
			d.add("redis writes", Problem, "see RefunddRedisTrouble in the runbook: without it nothing is sent to Alipay", "%s refuses a write as a claim makes it: %v", master, err)
			continue
		}
		d.add("redis writes", OK, "", "%s takes a write as a claim makes it", master)
	}
}

const redisFix = "see that it runs, that it can be reached from here, and its password; without it nothing is sent to Alipay"

func (d *doctor) node(ctx context.Context, client redis.Cmdable, name string) error {
	begin := time.Now()
	theirs, err := client.Time(ctx).Result()
	if err != nil {
		return err
	}
	took := time.Since(begin)
	ours := begin.Add(took / 2)
	off := theirs.Sub(ours).Abs()
	d.add("redis", pick(took < 50*time.Millisecond, OK, Warning), "put refundd near its Redis: every command waits for it", "%s answers in %s", name, took.Round(10*time.Microsecond))
	Severity := OK
	if off > 2*time.Second+took {
		Severity = Warning
	}
	if off > 30*time.Second {
		Severity = Problem
	}
	d.add("redis clock", Severity, "run NTP on both: ages, leases and retries are judged by both clocks", "%s and this machine differ by %s", name, off.Round(time.Millisecond))

	info := map[string]string{}
	for _, section := range []string{"server", "memory", "persistence", "replication"} {
		text, err := client.Info(ctx, section).Result()
		if err != nil {
			d.add("redis info", Warning, "refundd itself may do without: run doctor as a Redis user that may run INFO and CONFIG GET (REFUNDD_REDIS_URL, REFUNDD_REDIS_PASSWORD_FILE); role, eviction, memory and persistence were not looked at", "%s refuses: %v", name, err)
			return nil
		}
		for line := range strings.Lines(text) {
			if key, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
				info[key] = value
			}
		}
	}
	d.redisMode(name, info)
	d.redisMemory(name, info)
	d.redisDisk(ctx, client, name, info)
	return nil
}

func (d *doctor) redisMode(name string, info map[string]string) {
	mode := info["redis_mode"]
	want := "standalone" // Sentinels lead to one
	if d.cfg.RedisMode == config.ModeCluster {
		want = "cluster"
	}
	d.add("redis mode", pick(mode == want, OK, Problem), "REFUNDD_REDIS_MODE="+mode+", or another URL", "%s is %s %s; REFUNDD_REDIS_MODE is %s", name, info["redis_version"], mode, d.cfg.RedisMode)
	role := info["role"]
	d.add("redis role", pick(role == "master", OK, Problem), "name the master in REFUNDD_REDIS_URL, or use mode sentinel", "%s is %s with %s replicas", name, role, info["connected_slaves"])
}

func (d *doctor) redisMemory(name string, info map[string]string) {
	policy := info["maxmemory_policy"]
	d.add("redis eviction", pick(policy == "noeviction", OK, Problem), "CONFIG SET maxmemory-policy noeviction, and in redis.conf: a record that was evicted is a refund forgotten",
		"%s has maxmemory-policy %s", name, policy)
	used, _ := strconv.ParseInt(info["used_memory"], 10, 64)
	most, _ := strconv.ParseInt(info["maxmemory"], 10, 64)
	if most == 0 {
		d.add("redis memory", Warning, "maxmemory below the machine's memory: without it the system ends Redis when memory is out", "%s uses %s, without a limit", name, megabytes(used))
		return
	}
	full := 100 * used / most
	Severity := OK
	if full >= 75 {
		Severity = Warning
	}
	if full >= 95 {
		Severity = Problem
	}
	d.add("redis memory", Severity, "more maxmemory, or a shorter REFUNDD_KEEP: a full Redis refuses writes, and refundd waits", "%s uses %s of %s, %d%%", name, megabytes(used), megabytes(most), full)
}

func megabytes(n int64) string { return fmt.Sprintf("%.1f MB", float64(n)/(1<<20)) }

func (d *doctor) redisDisk(ctx context.Context, client redis.Cmdable, name string, info map[string]string) {
	const fix = "appendonly yes, and appendfsync always or everysec: a Redis that forgets moves no money twice, but costs queries, waiting, and conflicts that can no longer be seen"
	setting := func(key string) string { // may be forbidden, as on rented ones
		values, err := client.ConfigGet(ctx, key).Result()
		if err != nil {
			return ""
		}
		return values[key]
	}
	switch {
	case info["aof_enabled"] == "1" && info["aof_last_write_status"] == "err":
		d.add("redis persistence", Problem, "free space on its disk; see Redis' log", "%s cannot write its log", name)
	case info["aof_enabled"] == "1":
		sync := setting("appendfsync")
		d.add("redis persistence", pick(sync != "no", OK, Warning), fix, "%s writes a log, appendfsync %s", name, or(sync, "unknown"))
	case info["rdb_last_bgsave_status"] == "err":
		d.add("redis persistence", Problem, "free space on its disk; see Redis' log", "%s cannot write its snapshots", name)
	default:
		d.add("redis persistence", Warning, fix, "%s writes no log; snapshots: %s", name, or(setting("save"), "none"))
	}
}

func or(text, instead string) string {
	if text == "" {
		return instead
	}
	return text
}
