package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// redisState is what all nodes of a Redis have counted.
type redisState struct {
	reads, traffic, connections int64
	scripts, scriptMicros       int64
	sets, setMicros             int64
	memory                      int64 // now
}

// eachNode calls do for every node that has data, one at a time.
func (s *surroundings) eachNode(ctx context.Context, do func(context.Context, *redis.Client) error) error {
	if client, ok := s.redis.(*redis.Client); ok {
		return do(ctx, client)
	}
	cluster, ok := s.redis.(*redis.ClusterClient)
	if !ok {
		return fmt.Errorf("unexpected Redis client %T", s.redis)
	}
	var one sync.Mutex
	return cluster.ForEachMaster(ctx, func(ctx context.Context, node *redis.Client) error {
		one.Lock()
		defer one.Unlock()
		return do(ctx, node)
	})
}

func (s *surroundings) emptyRedis(ctx context.Context) error {
	return s.eachNode(ctx, func(ctx context.Context, node *redis.Client) error { return node.FlushAll(ctx).Err() })
}

func (s *surroundings) redisState(ctx context.Context) (redisState, error) {
	var state redisState
	err := s.eachNode(ctx, func(ctx context.Context, node *redis.Client) error {
		var text strings.Builder
		for _, section := range []string{"stats", "commandstats", "memory"} {
			info, err := node.Info(ctx, section).Result()
			if err != nil {
				return err
			}
			text.WriteString(info)
		}
		return state.add(text.String())
	})
	return state, err
}

var commandStat = regexp.MustCompile(`cmdstat_(evalsha|set):calls=(\d+),usec=(\d+)`)

// add adds what one node tells.
func (s *redisState) add(info string) error {
	for name, into := range map[string]*int64{
		"total_reads_processed": &s.reads, "total_net_input_bytes": &s.traffic, "total_net_output_bytes": &s.traffic,
		"total_connections_received": &s.connections, "used_memory": &s.memory,
	} {
		match := regexp.MustCompile(`(?m)^` + name + `:(\d+)`).FindStringSubmatch(info)
		if match == nil {
			return fmt.Errorf("redis does not count %s", name)
		}
		*into += number(match[1])
	}
	for _, match := range commandStat.FindAllStringSubmatch(info, -1) {
		calls, micros := &s.scripts, &s.scriptMicros
		if match[1] == "set" {
			calls, micros = &s.sets, &s.setMicros
		}
		*calls, *micros = *calls+number(match[2]), *micros+number(match[3])
	}
	return nil
}

// number is what digits say; more of them than fit are the greatest.
func number(digits string) int64 {
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil {
		return math.MaxInt64
	}
	return n
}

// bareSet returns how many microseconds Redis is at work on a SET of a small
// value, by its own count.
func (s *surroundings) bareSet(ctx context.Context) (float64, error) {
	before, err := s.redisState(ctx)
	if err != nil {
		return 0, err
	}
	value := strings.Repeat("v", 140) // what a stored event has
	for i := range 1000 {
		if err := s.redis.Set(ctx, fmt.Sprintf("bench-set-%d", i), value, time.Second).Err(); err != nil {
			return 0, err
		}
	}
	after, err := s.redisState(ctx)
	if err != nil {
		return 0, err
	}
	return float64(after.setMicros-before.setMicros) / float64(max(after.sets-before.sets, 1)), nil
}

// mostKeys is of how many keys a node is asked for their size. SCAN returns keys
// in the order of a hash, so the first ones speak for all.
const mostKeys = 100_000

// kept returns how many bytes Redis keeps for a refund, by MEMORY USAGE of what
// does not expire within seconds. Where a node has more than mostKeys, it is the
// mean of so many times the number of keys.
func (s *surroundings) kept(ctx context.Context, refunds float64) (float64, error) {
	total := 0.0
	err := s.eachNode(ctx, func(ctx context.Context, node *redis.Client) error {
		size, seen, all := 0.0, 0, false
		for cursor := uint64(0); !all && seen < mostKeys; {
			keys, next, err := node.Scan(ctx, cursor, "*", 1000).Result()
			if err != nil {
				return err
			}
			some, err := sizeOf(ctx, node, keys)
			if err != nil {
				return err
			}
			size, seen = size+some, seen+len(keys)
			cursor, all = next, next == 0
		}
		if !all {
			keys, err := node.DBSize(ctx).Result()
			if err != nil {
				return err
			}
			size *= float64(keys) / float64(seen)
		}
		total += size
		return nil
	})
	return total / refunds, err
}

func sizeOf(ctx context.Context, node *redis.Client, keys []string) (size float64, err error) {
	lefts, sizes := make([]*redis.DurationCmd, len(keys)), make([]*redis.IntCmd, len(keys))
	_, err = node.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i, key := range keys {
			lefts[i], sizes[i] = p.PTTL(ctx, key), p.MemoryUsage(ctx, key)
		}
		return nil
	})
	if err != nil && !errors.Is(err, redis.Nil) { // a key that is gone
		return 0, err
	}
	for i := range keys {
		if left := lefts[i].Val(); left <= 0 || left >= 10*time.Second {
			size += float64(sizes[i].Val())
		}
	}
	return size, nil
}
