//go:build journal

package service

import (
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/apache/rocketmq-client-go/v2"
	"github.com/redis/go-redis/v9"

	"refundd/cmd/internal/config"
	"refundd/cmd/internal/journal"
	"refundd/consumer"
	"refundd/consumer/history"
	"refundd/dedupe"
)

// acts are written into the file that REFUNDD_TEST_JOURNAL names; the process has
// the file's name.
type acts struct {
	*journal.Journal
	lease  time.Duration
	sends  map[string]string
	topics journal.Topics
}

func openActs(cfg config.Config) (acts, error) {
	path := os.Getenv("REFUNDD_TEST_JOURNAL")
	j, err := journal.Open(path, strings.TrimSuffix(filepath.Base(path), filepath.Ext(path)))
	return acts{
		j, cfg.Lease,
		map[string]string{cfg.TopicEvent: history.TopicEvent, cfg.TopicRetry: history.TopicRetry, cfg.TopicParked: history.TopicParked},
		journal.Topics{AppID: cfg.AlipayAppID, Retry: cfg.TopicRetry, Kinds: map[string]consumer.Kind{
			cfg.TopicRefund: consumer.KindRefund, cfg.TopicCouponRefund: consumer.KindCouponRefund,
		}},
	}, err
}

func (a acts) records(store *dedupe.Store, client redis.UniversalClient) journal.Records {
	return a.Records(store, a.lease, client)
}

func (a acts) gateway(c *changing) journal.Gateway { return a.Call(c) }

func (a acts) sender(p rocketmq.Producer) rocketmq.Producer { return a.Sender(p, a.sends) }

func (a acts) handler(h *consumer.Handler) journal.Handler { return a.Deliver(h, a.topics) }
