package alipay_test

import (
	"context"
	"crypto/rsa"
	"errors"
	"fmt"
	"os"
	"time"

	"refundd/alipay"
	"refundd/alipay/alipaytest"
)

// A refund, with everything that its answer may mean. The answer to the second one
// is lost after the money has moved. In production the gateway is Alipay's, and the
// keys come from ParsePrivateKey and ParsePublicKeys.
func Example() {
	keys, err := alipaytest.NewKeys()
	check(err)
	local, err := alipaytest.New(alipaytest.Config{Keys: keys})
	check(err)
	url, err := local.Start("127.0.0.1:0")
	check(err)
	defer func() { _ = local.Close() }()
	client, err := alipay.New(alipay.Config{
		Gateway:    url + "/gateway.do",
		AppID:      "2021000000000001",
		Signer:     keys.AppPrivate,
		AlipayKeys: []*rsa.PublicKey{keys.AlipayPublic},
	})
	check(err)
	defer client.CloseIdleConnections()

	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Second)
	defer cancel()
	fmt.Println(refund(ctx, client, "R0001"))
	fmt.Println(refund(ctx, client, "fault-answer-lost-after-R0002"))

	found, err := client.QueryRefund(ctx, &alipay.RefundQueryRequest{OutTradeNo: "T20260101001", OutRequestNo: "fault-answer-lost-after-R0002"})
	check(err)
	fmt.Println("query:", found.RefundStatus)
	// Output:
	// the money moved
	// not known: QueryRefund, at the earliest in ten seconds, then the same request again
	// query: REFUND_SUCCESS
}

// refund makes one call and reports what is known then.
func refund(ctx context.Context, client *alipay.Client, number string) string {
	amount, err := alipay.ParseAmount("12.30")
	check(err)
	resp, err := client.Refund(ctx, &alipay.RefundRequest{
		OutTradeNo:   "T20260101001",
		OutRequestNo: number, // the refund's identity: never another one after an unknown end
		RefundAmount: amount,
	})
	if e, ok := errors.AsType[*alipay.Error](err); ok {
		switch {
		case e.Class == alipay.ClassNotSent || e.Class == alipay.ClassLimited && e.Signed:
			return "not executed: the same request again, later"
		case e.Class == alipay.ClassRefused && e.Signed && !e.QueryFirst:
			return "refused, the money stays: " + e.SubCode
		default:
			return "not known: QueryRefund, at the earliest in ten seconds, then the same request again"
		}
	}
	if resp.FundChange == "Y" {
		return "the money moved"
	}
	return "this call moved nothing, an earlier one may have: QueryRefund says"
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}

func readFile[T any](name string, parse func([]byte) (T, error)) (T, error) {
	file, err := os.ReadFile(name)
	if err != nil {
		var none T
		return none, err
	}
	return parse(file)
}
