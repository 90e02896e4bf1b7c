//go:build !journal

package service

import (
	"github.com/apache/rocketmq-client-go/v2"
	"github.com/redis/go-redis/v9"

	"refundd/cmd/internal/config"
	"refundd/consumer"
	"refundd/dedupe"
)

// acts is nothing: what a process does is written down only by builds with the tag
// journal, which the chaos run makes.
type acts struct{}

func openActs(config.Config) (acts, error) { return acts{}, nil }

func (acts) records(store *dedupe.Store, _ redis.UniversalClient) *dedupe.Store { return store }

func (acts) gateway(c *changing) *changing { return c }

func (acts) sender(p rocketmq.Producer) rocketmq.Producer { return p }

func (acts) handler(h *consumer.Handler) *consumer.Handler { return h }
