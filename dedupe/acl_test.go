package dedupe_test

import (
	"os"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"refundd/dedupe"
)

// TestProductionUserMayDoNoMore: what the users' file does not allow is refused.
// That it allows what is needed, the other tests show: on a real Redis they run
// as this user.
func TestProductionUserMayDoNoMore(t *testing.T) {
	url := os.Getenv("REFUNDD_TEST_REDIS")
	if url == "" {
		t.Skip("miniredis has no users: go run ./deploy/stack -- go test ./dedupe")
	}
	opts, err := redis.ParseURL(url)
	must(t, err)
	b := onProductionUser(t, opts)
	for _, command := range [][]any{
		{"KEYS", "*"},
		{"SCAN", 0},
		{"FLUSHALL"},
		{"CONFIG", "GET", "maxmemory"},
		{"ACL", "LIST"},
		{"CLIENT", "KILL", "ID", 1},
		{"GET", "another"},
		{"SET", "another", 1},
		{"EVAL", "return redis.call('GET', 'another')", 0},
		{"PUBLISH", "news", "x"},
	} {
		err := b.own.Do(t.Context(), command...).Err()
		if err == nil || !strings.Contains(err.Error(), "NOPERM") && !strings.Contains(err.Error(), "can't access") {
			t.Errorf("%v: %v, want a refusal", command, err)
		}
	}
}

// TestProductionUsersAreUnderstood: Redis takes the rules of every user.
func TestProductionUsersAreUnderstood(t *testing.T) {
	url := os.Getenv("REFUNDD_TEST_REDIS")
	if url == "" {
		t.Skip("miniredis has no users: go run ./deploy/stack -- go test ./dedupe")
	}
	opts, err := redis.ParseURL(url)
	must(t, err)
	client := redis.NewClient(opts)
	defer func() { _ = client.Close() }()
	for name, rules := range productionUsers(t) {
		user := "test-" + string(dedupe.NewToken())
		words := []any{"ACL", "SETUSER", user}
		for _, rule := range rules {
			if rule == "#EXAMPLE" {
				rule = "#" + strings.Repeat("0", 64)
			}
			words = append(words, rule)
		}
		if err := client.Do(t.Context(), words...).Err(); err != nil {
			t.Errorf("user %s: %v", name, err)
		}
		must(t, client.Do(t.Context(), "ACL", "DELUSER", user).Err())
	}
}
