package consumer

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"refundd/alipay"
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
	digits := rand.New(rand.NewPCG(1, 2))
	random := func(alphabet string, n int) string {
		text := make([]byte, n)
		for i := range text {
			text[i] = alphabet[digits.IntN(len(alphabet))]
		}
		return string(text)
	}
	for name, row := range map[string]struct {
		funds alipay.Funds
		most  int64
	}{
		"no funds":       {alipay.Funds{}, 420},
		"three channels": {threeChannels(), 600},
	} {
		const refunds = 1000
		var stored int64
		told, _ := fundsOf(row.funds, nil)
		for range refunds {
			no := random("0123456789", 12)
			cmd, err := DecodeCommand(KindRefund, fmt.Appendf(nil,
				`{"out_request_no":"R-%s","out_trade_no":"T-%s","refund_amount":"16.00"}`, no, no))
			check(t, err)
			id := dedupe.Identity{AppID: testApp, Kind: string(KindRefund), OutRequestNo: cmd.OutRequestNo}
			key := producer.Identity{AppID: testApp, Kind: KindRefund, OutRequestNo: cmd.OutRequestNo}
			e, err := producer.Event{
				ID: producer.DecidedID(key, cmd.Trade(), int64(cmd.Amount), producer.Succeeded), RefundKey: producer.RefundKey(key),
				Time: time.Now(), Subject: cmd.OutRequestNo, Kind: KindRefund, Outcome: producer.Succeeded, AppID: testApp,
				OutRequestNo: cmd.OutRequestNo, OutTradeNo: cmd.OutTradeNo, TradeNo: "20261122" + random("0123456789", 20),
				AmountFen: int64(cmd.Amount), TotalRefundedFen: int64(cmd.Amount), ConfirmedBy: producer.ByResponse, RefundedAt: time.Now().Truncate(time.Second),
				AlipayCode: "10000", TraceID: random("0123456789abcdef", 32), Calls: 1, Funds: told,
			}.Encode()
			check(t, err)
			_, err = store.Settle(ctx, dedupe.SettleRequest{ID: id, Fingerprint: cmd.Fingerprint(), Succeeded: true, Event: e.Stored()})
			check(t, err)
			defer func() { _ = client.Del(context.Background(), store.Key(id)).Err() }()
			size, err := client.MemoryUsage(ctx, store.Key(id)).Result()
			check(t, err)
			stored += size
		}
		t.Logf("%s: %d bytes a refund", name, stored/refunds)
		if stored/refunds > row.most {
			t.Errorf("%s: %d bytes a refund, want at most %d", name, stored/refunds, row.most)
		}
	}
}

func threeChannels() alipay.Funds {
	amounts := []alipay.Amount{1580, 700, 880, 20}
	return alipay.Funds{
		SendBackFee: &amounts[0], HasDepositBack: "true",
		RefundDetailItemList: []alipay.FundBill{
			{FundChannel: "ALIPAYACCOUNT", Amount: &amounts[1]},
			{FundChannel: "BANKCARD", BankCode: "ICBC", FundType: "DEBIT_CARD", Amount: &amounts[2], RealAmount: &amounts[2]},
			{FundChannel: "COUPON", Amount: &amounts[3]},
		},
	}
}
