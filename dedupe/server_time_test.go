package dedupe_test

import (
	"context"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"refundd/dedupe"
)

// BenchmarkServerTime tells how long Redis itself is at work on each script, by
// its own count (INFO commandstats), and how many times a bare SET that is. It
// needs a real Redis (REFUNDD_TEST_REDIS) that nobody else uses meanwhile.
func BenchmarkServerTime(b *testing.B) {
	url := os.Getenv("REFUNDD_TEST_REDIS")
	if url == "" {
		b.Skip("REFUNDD_TEST_REDIS names no real Redis")
	}
	opts, err := redis.ParseURL(url)
	if err != nil {
		b.Fatal(err)
	}
	client := redis.NewClient(opts)
	defer func() { _ = client.Close() }()
	prefix := "bench:" + string(dedupe.NewToken()) + ":"
	store, err := dedupe.New(client, dedupe.Config{Prefix: prefix, Lease: time.Minute, Keep: time.Minute})
	if err != nil {
		b.Fatal(err)
	}
	note, event := make([]byte, 600), make([]byte, 140)
	id := func(i int) dedupe.Identity {
		return dedupe.Identity{AppID: appID, Kind: "refund", OutRequestNo: fmt.Sprint("R-", b.N, "-", i)}
	}
	slot := func(i int) dedupe.Slot {
		return dedupe.Slot{Trade: fmt.Sprint("T-", b.N, "-", i), Spacing: 3 * time.Second}
	}
	tokens := map[int]dedupe.Token{}
	claim := func(ctx context.Context, i int) error {
		tokens[i] = dedupe.NewToken()
		_, err := store.Claim(ctx, dedupe.ClaimRequest{ID: id(i), Fingerprint: "1:x", Token: tokens[i], Note: note})
		return err
	}
	settle := func(ctx context.Context, i int) error {
		_, err := store.Settle(ctx, dedupe.SettleRequest{ID: id(i), Fingerprint: "1:x", Token: tokens[i], Succeeded: true, Event: event})
		return err
	}
	bare := 0.0
	for _, op := range []struct {
		name, command string
		before, act   func(ctx context.Context, i int) error
	}{
		{"SET", "set", nil, func(ctx context.Context, i int) error {
			return client.Set(ctx, fmt.Sprint(prefix, "set:", b.N, ":", i), note, time.Minute).Err()
		}},
		{"claim", "evalsha", nil, claim},
		{"spacing and rate", "evalsha", nil, func(ctx context.Context, i int) error {
			_, err := store.Reserve(ctx, appID, slot(i), dedupe.NewToken())
			return err
		}},
		{"settle", "evalsha", claim, settle},
		{"release", "evalsha", claim, func(ctx context.Context, i int) error {
			_, err := store.Release(ctx, dedupe.ReleaseRequest{ID: id(i), Token: tokens[i], Note: note})
			return err
		}},
		{"claim of a decided refund", "evalsha", func(ctx context.Context, i int) error {
			if err := claim(ctx, i); err != nil {
				return err
			}
			return settle(ctx, i)
		}, claim},
	} {
		b.Run(op.name, func(b *testing.B) {
			ctx := b.Context()
			for i := range b.N {
				if op.before != nil {
					if err := op.before(ctx, i); err != nil {
						b.Fatal(err)
					}
				}
			}
			if err := client.ConfigResetStat(ctx).Err(); err != nil {
				b.Fatal(err)
			}
			b.ResetTimer()
			for i := range b.N {
				if err := op.act(ctx, i); err != nil {
					b.Fatal(err)
				}
			}
			b.StopTimer()
			each := serverTime(b, client, op.command)
			if op.command == "set" {
				bare = each
			}
			b.ReportMetric(each, "server-µs/call")
			b.ReportMetric(each/bare, "SETs")
		})
	}
	keys := client.Scan(b.Context(), 0, prefix+"*", 1000).Iterator()
	for keys.Next(b.Context()) {
		_ = client.Del(b.Context(), keys.Val()).Err()
	}
}

func serverTime(b *testing.B, client *redis.Client, command string) float64 {
	b.Helper()
	info, err := client.Info(b.Context(), "commandstats").Result()
	if err != nil {
		b.Fatal(err)
	}
	match := regexp.MustCompile(`cmdstat_` + command + `:.*usec_per_call=([0-9.]+)`).FindStringSubmatch(info)
	if match == nil {
		b.Fatalf("no statistics of %s", command)
	}
	each, err := strconv.ParseFloat(match[1], 64)
	if err != nil {
		b.Fatal(err)
	}
	return each
}
