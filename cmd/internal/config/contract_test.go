package config_test

import (
	"testing"

	"refundd/cmd/internal/config"
)

// TestRedisURLs: the three schemes of the contract.
func TestRedisURLs(t *testing.T) {
	for _, url := range []string{"redis://h:6379/1", "rediss://user@h:6380", "unix:///run/redis.sock?db=1"} {
		cfg, err := config.Load(environment("REFUNDD_REDIS_URL=" + url))
		if err != nil {
			t.Errorf("%s: %v", url, err)
			continue
		}
		client, err := cfg.OpenRedis()
		if err != nil {
			t.Errorf("%s: %v", url, err)
			continue
		}
		if err := client.Close(); err != nil {
			t.Error(err)
		}
	}
}
