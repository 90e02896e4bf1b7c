package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"time"

	"github.com/apache/rocketmq-client-go/v2"
	rmqconsumer "github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	rmqproducer "github.com/apache/rocketmq-client-go/v2/producer"
	"github.com/redis/go-redis/v9"
	smartwalle "github.com/smartwalle/alipay/v3"
)

const (
	rolePeer    = "peer" // the argument that makes this program the peer
	peerWorkers = 20     // as many as the SDK has by default
)

// peer is the plain consumer: it remembers numbers by SETNX, calls, publishes and
// acknowledges. It has none of what makes that safe; it is the cost to compare
// with. It is configured as refundd is, by the same variables.
func peer(ctx context.Context) error {
	opts, errRedis := redis.ParseURL(os.Getenv("REFUNDD_REDIS_URL"))
	key, errKey := os.ReadFile(os.Getenv("REFUNDD_ALIPAY_PRIVATE_KEY_FILE"))
	public, errPublic := os.ReadFile(os.Getenv("REFUNDD_ALIPAY_PUBLIC_KEY_FILE"))
	if err := errors.Join(errRedis, errKey, errPublic); err != nil {
		return err
	}
	store := redis.NewClient(opts)
	kept := &http.Transport{MaxIdleConnsPerHost: peerWorkers} // the SDK's own keeps two connections, and would dial for most calls
	client, err := newClient(os.Getenv("REFUNDD_ALIPAY_GATEWAY"), string(key), string(public), kept)
	if err != nil {
		return err
	}
	brokers := primitive.NewPassthroughResolver([]string{"http://" + os.Getenv("REFUNDD_ROCKETMQ_NAMESERVERS")})
	group := os.Getenv("REFUNDD_ROCKETMQ_GROUP")
	events, errEvents := rocketmq.NewProducer(rmqproducer.WithNsResolver(brokers), rmqproducer.WithGroupName(group+"-producer"))
	commands, errCommands := rocketmq.NewPushConsumer(
		rmqconsumer.WithNsResolver(brokers), rmqconsumer.WithGroupName(group), rmqconsumer.WithInstance(fmt.Sprint("peer-", os.Getpid())),
		rmqconsumer.WithConsumeFromWhere(rmqconsumer.ConsumeFromFirstOffset), rmqconsumer.WithConsumeGoroutineNums(peerWorkers))
	if err := errors.Join(errEvents, errCommands); err != nil {
		return err
	}
	err = commands.Subscribe(os.Getenv("REFUNDD_TOPIC_REFUND"), rmqconsumer.MessageSelector{},
		func(ctx context.Context, messages ...*primitive.MessageExt) (rmqconsumer.ConsumeResult, error) {
			for _, m := range messages {
				if err := refund(ctx, m, store, client, events); err != nil {
					return rmqconsumer.ConsumeRetryLater, nil //nolint:nilerr // an error makes the SDK log whole messages; later is all that it does
				}
			}
			return rmqconsumer.ConsumeSuccess, nil
		})
	if err := errors.Join(err, events.Start(), commands.Start()); err != nil {
		return err
	}
	<-ctx.Done()
	return errors.Join(commands.Shutdown(), events.Shutdown(), store.Close())
}

func newClient(gateway, key, public string, transport http.RoundTripper) (*smartwalle.Client, error) {
	client, err := smartwalle.New(appID, key, false, smartwalle.WithSandboxGateway(gateway),
		smartwalle.WithTimeLocation(time.FixedZone("GMT+8", 8*60*60)),
		smartwalle.WithHTTPClient(&http.Client{Timeout: 15 * time.Second, Transport: transport}))
	if err != nil {
		return nil, err
	}
	return client, client.LoadAliPayPublicKey(public)
}

func refund(ctx context.Context, m *primitive.MessageExt, store *redis.Client, client *smartwalle.Client, events rocketmq.Producer) error {
	var cmd smartwalle.TradeRefund
	if err := json.Unmarshal(m.Body, &cmd); err != nil {
		return err
	}
	first, err := store.SetNX(ctx, "peer:"+cmd.OutRequestNo, "1", 7*24*time.Hour).Result()
	if err != nil || !first {
		return err
	}
	answer, err := client.TradeRefund(ctx, cmd)
	if err != nil {
		return err
	}
	if answer.Code == "40005" { // too many calls: this one's next try comes by the broker
		return errors.Join(errors.New(answer.SubCode), store.Del(ctx, "peer:"+cmd.OutRequestNo).Err())
	}
	if answer.IsFailure() || answer.FundChange != "Y" {
		return fmt.Errorf("refund %s: %s", cmd.OutRequestNo, answer.SubCode)
	}
	body, err := json.Marshal(map[string]any{
		"specversion": "1.0", "id": cmd.OutRequestNo, "source": "/peer", "type": "refund.succeeded.v1", "subject": cmd.OutRequestNo,
		"time": time.Now().UTC().Format(time.RFC3339Nano), "datacontenttype": "application/json",
		"data": map[string]any{
			"kind": "refund", "outcome": "succeeded", "amount": cmd.RefundAmount,
			"out_request_no": cmd.OutRequestNo, "out_trade_no": cmd.OutTradeNo, "trade_no": answer.TradeNo,
		},
	})
	if err != nil {
		return err
	}
	_, err = events.SendSync(ctx, primitive.NewMessage(os.Getenv("REFUNDD_TOPIC_EVENT"), body).WithKeys([]string{cmd.OutRequestNo}))
	return err
}
