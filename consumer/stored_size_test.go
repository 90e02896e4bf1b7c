package consumer

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"refundd/dedupe"
	"refundd/producer"
)

// TestStoredSize: what a decided refund takes in a real Redis, by its own count.
func TestStoredSize(t *testing.T) {
	url := os.Getenv("REFUNDD_TEST_REDIS")
	if url == "" {
		t.Skip("REFUNDD_TEST_REDIS names no real Redis, and only that one counts as it does")
	}
	opts, err := redis.ParseURL(url)
	check(t, err)
	client := redis.NewClient(opts)
	defer func() { _ = client.Close() }()
	ctx := t.Context()
	store, err := dedupe.New(client, dedupe.Config{Prefix: "refundd:size:", Lease: time.Minute, Keep: time.Minute})
	check(t, err)
	const refunds = 1000
	var stored int64
	for i := range refunds {
		cmd, err := DecodeCommand(KindRefund, fmt.Appendf(nil,
			`{"out_request_no":"R-20261122-%06d","out_trade_no":"T-20261122-%06d","refund_amount":"16.00"}`, i, i))
		check(t, err)
		id := dedupe.Identity{AppID: testApp, Kind: string(KindRefund), OutRequestNo: cmd.OutRequestNo}
		e, err := producer.Event{
			ID:   producer.DecidedID(producer.Identity{AppID: testApp, Kind: KindRefund, OutRequestNo: cmd.OutRequestNo}, cmd.Trade(), int64(cmd.Amount), producer.Succeeded),
			Time: time.Now(), Subject: cmd.OutRequestNo, Kind: KindRefund, Outcome: producer.Succeeded, AppID: testApp,
			OutRequestNo: cmd.OutRequestNo, OutTradeNo: cmd.OutTradeNo, TradeNo: fmt.Sprintf("20260101071396318344837%05d", i),
			AmountFen: int64(cmd.Amount), TotalRefundedFen: int64(cmd.Amount), ConfirmedBy: producer.ByResponse, RefundedAt: time.Now().Truncate(time.Second),
			AlipayCode: "10000", TraceID: fmt.Sprintf("%032x", 1<<60+i), Calls: 1,
		}.Encode()
		check(t, err)
		_, err = store.Settle(ctx, dedupe.SettleRequest{ID: id, Fingerprint: cmd.Fingerprint(), Succeeded: true, Event: e.Stored()})
		check(t, err)
		defer func() { _ = client.Del(context.Background(), store.Key(id)).Err() }()
		size, err := client.MemoryUsage(ctx, store.Key(id)).Result()
		check(t, err)
		stored += size
	}
	t.Logf("%d bytes a refund", stored/refunds)
	if stored/refunds > 420 {
		t.Errorf("%d bytes a refund, want at most 420", stored/refunds)
	}
}
