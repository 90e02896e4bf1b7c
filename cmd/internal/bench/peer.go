package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"runtime"
	"time"

	"github.com/apache/rocketmq-client-go/v2"
	rmqconsumer "github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	rmqproducer "github.com/apache/rocketmq-client-go/v2/producer"
	"github.com/redis/go-redis/v9"
	smartwalle "github.com/smartwalle/alipay/v3"
)

// rolePeer is the argument that makes this program the peer.
const rolePeer = "peer"

// peer is the plain consumer: it remembers numbers by SETNX, calls, publishes and
// acknowledges. It has none of what makes that safe; it is the cost to compare
// with. It is configured as refundd is, by the same variables.
func peer(ctx context.Context) error {
	store, err := openRedis()
	if err != nil {
		return err
	}
	key, err := os.ReadFile(os.Getenv("REFUNDD_ALIPAY_PRIVATE_KEY_FILE"))
	if err != nil {
		return err
	}
	client, err := smartwalle.New(os.Getenv("REFUNDD_ALIPAY_APP_ID"), string(key), false,
		smartwalle.WithSandboxGateway(os.Getenv("REFUNDD_ALIPAY_GATEWAY")))
	if err != nil {
		return err
	}
	public, err := os.ReadFile(os.Getenv("REFUNDD_ALIPAY_PUBLIC_KEY_FILE"))
	if err != nil {
		return err
	}
	if err := client.LoadAliPayPublicKey(string(public)); err != nil {
		return err
	}
	events, err := startProducer()
	if err != nil {
		return err
	}
	topic := os.Getenv("REFUNDD_TOPIC_EVENT")
	return consume(ctx, rolePeer, 20, func(ctx context.Context, m *primitive.MessageExt) error {
		return refund(ctx, m, store, client, events, topic)
	}, func() {
		_ = events.Shutdown()
		_ = store.Close()
	})
}

func openRedis() (*redis.Client, error) {
	opts, err := redis.ParseURL(os.Getenv("REFUNDD_REDIS_URL"))
	if err != nil {
		return nil, err
	}
	return redis.NewClient(opts), nil
}

func nameServers() primitive.NsResolver {
	return primitive.NewPassthroughResolver([]string{"http://" + os.Getenv("REFUNDD_ROCKETMQ_NAMESERVERS")})
}

func startProducer() (rocketmq.Producer, error) {
	events, err := rocketmq.NewProducer(
		rmqproducer.WithNsResolver(nameServers()), rmqproducer.WithGroupName(os.Getenv("REFUNDD_ROCKETMQ_GROUP")+"-producer"))
	if err != nil {
		return nil, err
	}
	return events, events.Start()
}

// consume hands every command to refund, so many at a time, until ctx ends. Then
// it closes what refund uses.
func consume(ctx context.Context, name string, workers int, refund func(context.Context, *primitive.MessageExt) error, closeAll func()) error {
	defer closeAll()
	commands, err := rocketmq.NewPushConsumer(
		rmqconsumer.WithNsResolver(nameServers()), rmqconsumer.WithGroupName(os.Getenv("REFUNDD_ROCKETMQ_GROUP")),
		rmqconsumer.WithInstance(fmt.Sprint(name, "-", os.Getpid())),
		rmqconsumer.WithConsumeFromWhere(rmqconsumer.ConsumeFromFirstOffset), rmqconsumer.WithConsumeGoroutineNums(workers),
	)
	if err != nil {
		return err
	}
	err = commands.Subscribe(os.Getenv("REFUNDD_TOPIC_REFUND"), rmqconsumer.MessageSelector{},
		func(ctx context.Context, messages ...*primitive.MessageExt) (rmqconsumer.ConsumeResult, error) {
			for _, m := range messages {
				if err := refund(ctx, m); err != nil {
					return rmqconsumer.ConsumeRetryLater, nil //nolint:nilerr // an error makes the SDK log whole messages; later is all that it does
				}
			}
			return rmqconsumer.ConsumeSuccess, nil
		})
	if err != nil {
		return err
	}
	if err := serveMemory(ctx, os.Getenv("REFUNDD_ADMIN_ADDR")); err != nil {
		return err
	}
	if err := commands.Start(); err != nil {
		return err
	}
	<-ctx.Done()
	return commands.Shutdown()
}

var errTooMany = errors.New("no more calls are taken by Alipay")

func refund(ctx context.Context, m *primitive.MessageExt, store *redis.Client, client *smartwalle.Client, events rocketmq.Producer, topic string) error {
	var cmd struct {
		Number string `json:"out_request_no"`
		Trade  string `json:"out_trade_no"`
		Amount string `json:"refund_amount"`
	}
	if err := json.Unmarshal(m.Body, &cmd); err != nil {
		return err
	}
	first, err := store.SetNX(ctx, "peer:"+cmd.Number, "1", 7*24*time.Hour).Result()
	if err != nil || !first {
		return err
	}
	answer, err := client.TradeRefund(ctx, smartwalle.TradeRefund{OutTradeNo: cmd.Trade, OutRequestNo: cmd.Number, RefundAmount: cmd.Amount})
	if err != nil {
		return err
	}
	if answer.Code == "40005" { // too many calls: this one's next try comes by the broker
		return errors.Join(errTooMany, store.Del(ctx, "peer:"+cmd.Number).Err())
	}
	if answer.IsFailure() || answer.FundChange != "Y" {
		return fmt.Errorf("refund %s: %s", cmd.Number, answer.SubCode)
	}
	data := map[string]any{
		"kind": "refund", "outcome": "succeeded", "out_request_no": cmd.Number, "out_trade_no": cmd.Trade, "trade_no": answer.TradeNo, "amount": cmd.Amount,
	}
	body, err := json.Marshal(map[string]any{
		"specversion": "1.0", "id": cmd.Number, "source": "/peer", "type": "refund.succeeded.v1", "subject": cmd.Number,
		"time": time.Now().UTC().Format(time.RFC3339Nano), "datacontenttype": "application/json", "data": data,
	})
	if err != nil {
		return err
	}
	_, err = events.SendSync(ctx, primitive.NewMessage(topic, body).WithKeys([]string{cmd.Number}))
	return err
}

// serveMemory tells what refundd's metrics tell of Go's memory.
func serveMemory(ctx context.Context, addr string) error {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	server := &http.Server{ReadHeaderTimeout: time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		_, _ = fmt.Fprintf(w, "go_memstats_mallocs_total %d\ngo_memstats_alloc_bytes_total %d\ngo_goroutines %d\n",
			m.Mallocs, m.TotalAlloc, runtime.NumGoroutine())
	})}
	go func() { _ = server.Serve(listener) }()
	return nil
}
