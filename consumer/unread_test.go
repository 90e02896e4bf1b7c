package consumer

import (
	"context"
	"testing"

	"refundd/dedupe"
	"refundd/producer"
)

// spoilt are records of which one is overwritten while it is worked on.
type spoilt struct {
	*dedupe.Store
	spoil func()
}

func (s spoilt) ClaimWithSlot(ctx context.Context, req dedupe.ClaimRequest, slot dedupe.Slot) (dedupe.Claim, dedupe.Grant, error) {
	claim, grant, err := s.Store.ClaimWithSlot(ctx, req, slot)
	return claim.Through(s), grant, err
}

func (s spoilt) Settle(ctx context.Context, req dedupe.SettleRequest) (dedupe.Settlement, error) {
	s.spoil()
	return s.Store.Settle(ctx, req)
}

func (s spoilt) Release(ctx context.Context, req dedupe.ReleaseRequest) (dedupe.Release, error) {
	s.spoil()
	return s.Store.Release(ctx, req)
}

// TestRecordSpoiltInHand: a record that cannot be read any more keeps no worker; the
// command comes back, and is a person's in the end.
func TestRecordSpoiltInHand(t *testing.T) {
	for name, number := range map[string]string{"settle": "R1", "release": "fault-timeout-before-1", "park": "fault-balance-1"} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, func(c *Config) {
				if name == "park" {
					c.RetryDelays = nil
				}
			})
			b.handler.records = spoilt{b.store, func() {
				b.redis.Del(b.store.Key(identityOf(number)))
				check(t, b.redis.Set(b.store.Key(identityOf(number)), "of another make"))
			}}
			b.handle(b.command(refundBody(number, "T1", "3.00")))
			if m := b.broker.Scheduled(retryTopic); len(m) != 1 || m[0].Properties[producer.PropertyClaimed] != "1" {
				t.Errorf("%d copies wait, want the claimed one", len(m))
			}
			if b.health.Failing(PartRedis) {
				t.Error("one record counts as trouble of Redis")
			}
		})
	}
}
