package dedupe

import (
	"context"
	_ "embed" // the script
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

//go:embed probe.lua
var probeLua string

const (
	// probeKeep is how long Redis remembers a probe.
	probeKeep = time.Minute
	// probeKeys is how many keys are tried until one lies on a master. Even one
	// with a single slot has one among them, unless the prefix has a hash tag.
	probeKeys = 300_000
)

// Probe writes to Redis as a claim does, under the prefix h:, and returns what
// came of it: nil, or why the write was refused. On a Cluster it writes to every
// master that may hold records, and names them by host:port; otherwise the one
// entry has no name. It takes as long as ctx lets it.
func (s *Store) Probe(ctx context.Context) map[string]error {
	cluster, ok := s.client.(*redis.ClusterClient)
	if !ok {
		return map[string]error{"": s.probe(ctx, s.probeKey(0))}
	}
	slots, err := s.slots(ctx, cluster)
	if err != nil {
		return map[string]error{"": fmt.Errorf("dedupe: find the masters: %w", err)}
	}
	keys := s.keyPerMaster(slots)
	found := make(map[string]error, len(keys))
	var mu sync.Mutex
	var wg sync.WaitGroup
	for master, key := range keys {
		wg.Go(func() {
			err := s.probe(ctx, key)
			mu.Lock()
			defer mu.Unlock()
			found[master] = err
		})
	}
	wg.Wait()
	return found
}

func (s *Store) probe(ctx context.Context, key string) error {
	began := time.Now()
	_, err := readReply(s.scripts.probe.Run(ctx, s.client, []string{key}, string(NewToken()), probeKeep.Milliseconds()))
	op := "probe"
	if err != nil {
		op, err = "probe_failed", fmt.Errorf("dedupe: write %s: %w", key, err)
	}
	s.observe(op, began)
	return err
}

func (s *Store) probeKey(n int) string { return s.cfg.Prefix + "h:" + strconv.Itoa(n) }

// slots asks which master has which slots. A node that does not answer must not
// hide the others: what was known last is used then.
func (s *Store) slots(ctx context.Context, cluster *redis.ClusterClient) ([]redis.ClusterSlot, error) {
	if deadline, ok := ctx.Deadline(); ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Until(deadline)/3)
		defer cancel()
	}
	slots, err := cluster.ClusterSlots(ctx).Result() //nolint:staticcheck // the client itself asks so, and ClusterShards needs Redis 7
	if err == nil && len(slots) > 0 {
		s.lastSlots.Store(&slots)
		return slots, nil
	}
	if last := s.lastSlots.Load(); last != nil {
		return *last, nil
	}
	if err == nil {
		err = fmt.Errorf("%w: no master has slots", errReply)
	}
	return nil, err
}

// keyPerMaster gives each master a key of the probe's that lies on it.
func (s *Store) keyPerMaster(slots []redis.ClusterSlot) map[string]string {
	wanted := map[string]bool{}
	for _, r := range slots {
		if len(r.Nodes) > 0 {
			wanted[r.Nodes[0].Addr] = true
		}
	}
	keys := make(map[string]string, len(wanted))
	for n := 0; len(keys) < len(wanted) && n < probeKeys; n++ {
		key := s.probeKey(n)
		slot := slotOf(key)
		for _, r := range slots {
			if r.Start <= slot && slot <= r.End && len(r.Nodes) > 0 && keys[r.Nodes[0].Addr] == "" {
				keys[r.Nodes[0].Addr] = key
			}
		}
		if hashTag(key) != key { // all keys are on one master
			break
		}
	}
	return keys
}

// hashTag is the part of a key that chooses its slot.
func hashTag(key string) string {
	if _, tail, found := strings.Cut(key, "{"); found {
		if tag, _, closed := strings.Cut(tail, "}"); closed && tag != "" {
			return tag
		}
	}
	return key
}

// slotOf is a key's slot in a Redis Cluster: CRC-16/XMODEM of its hash tag.
func slotOf(key string) int {
	var crc uint16
	for _, b := range []byte(hashTag(key)) {
		crc ^= uint16(b) << 8
		for range 8 {
			if crc&0x8000 != 0 {
				crc = crc<<1 ^ 0x1021
			} else {
				crc <<= 1
			}
		}
	}
	return int(crc % 16384)
}
