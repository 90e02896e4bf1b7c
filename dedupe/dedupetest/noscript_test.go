package dedupetest_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"refundd/dedupe"
	"refundd/dedupe/dedupetest"
)

// A process dies behind its first exchange with a Redis that has lost the scripts. The
// entry in the index stays, decided or not: it leaves when the event is told. Found by
// the simulation: the broker lost the copy, and nobody looked for the command any more.
func TestSettleWhereRedisLostItsScripts(t *testing.T) {
	ctx := t.Context()
	r := dedupetest.NewRedis(time.Now)
	cfg := dedupe.Config{Prefix: "t:", Lease: time.Minute, Keep: time.Hour}
	store, err := dedupe.New(r.Client(nil), cfg)
	if err != nil {
		t.Fatal(err)
	}
	id := dedupe.Identity{AppID: "app", Kind: "refund", OutRequestNo: "R1"}
	token, entry := dedupe.NewToken(), store.Entry(time.Now(), 100, id)
	claim := func(token dedupe.Token) {
		t.Helper()
		if _, err := store.Claim(ctx, dedupe.ClaimRequest{ID: id, Fingerprint: "f", Token: token, Note: []byte("n")}); err != nil {
			t.Fatal(err)
		}
	}
	claim(token)
	if _, err := store.Release(ctx, dedupe.ReleaseRequest{ID: id, Token: token, Note: []byte("n"), Entry: entry, Due: time.Now()}); err != nil {
		t.Fatal(err)
	}
	token = dedupe.NewToken()
	claim(token)

	exchanges := 0
	dying, err := dedupe.New(r.Client(func(_ context.Context, commands [][]any) ([]any, error) {
		if exchanges++; exchanges > 1 {
			return nil, errors.New("dead")
		}
		replies := make([]any, len(commands))
		for i, command := range commands {
			replies[i] = r.Do(command)
		}
		return replies, nil
	}), cfg)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = dying.Settle(ctx, dedupe.SettleRequest{ID: id, Fingerprint: "f", Token: token, Succeeded: true, Event: []byte("e"), Entry: entry})
	entries, _ := r.Do([]any{"zrangebyscore", "t:u:app", "-inf", "+inf"}).([]redis.Z)
	if r.Record(store.Key(id)).Decided || len(entries) != 1 {
		t.Errorf("record %+v, index %v: want an undecided one, and its entry", r.Record(store.Key(id)), entries)
	}
}
