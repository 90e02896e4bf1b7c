package alipay_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"refundd/alipay"
)

// A refund, with everything that its answer may mean.
func ExampleClient_Refund() {
	appKey, err := readFile("app_private_key.pem", alipay.ParsePrivateKey)
	if err != nil {
		fmt.Println(err)
		return
	}
	alipayKeys, err := readFile("alipay_public_key.pem", alipay.ParsePublicKeys)
	if err != nil {
		fmt.Println(err)
		return
	}
	client, err := alipay.New(alipay.Config{
		Gateway:    "https://openapi.alipay.com/gateway.do",
		AppID:      "2021000000000001",
		Signer:     appKey,
		AlipayKeys: alipayKeys,
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.CloseIdleConnections()

	amount, err := alipay.ParseAmount("12.30")
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Second)
	defer cancel()
	resp, err := client.Refund(ctx, &alipay.RefundRequest{
		OutTradeNo:   "T20260101001",
		OutRequestNo: "R0001", // the refund's identity: never another one after an unknown end
		RefundAmount: amount,
	})
	if e, ok := errors.AsType[*alipay.Error](err); ok {
		switch {
		case e.Class == alipay.ClassNotSent || e.Class == alipay.ClassLimited && e.Signed:
			fmt.Println("not executed: the same request again, later")
		case e.Class == alipay.ClassRefused && e.Signed && !e.QueryFirst:
			fmt.Println("refused, the money stays:", e.SubCode)
		default:
			fmt.Println("not known: QueryRefund in ten seconds, then the same request again")
		}
		return
	}
	if resp.FundChange == "Y" {
		fmt.Println("the money moved")
	} else {
		fmt.Println("this call moved nothing, an earlier one may have: QueryRefund tells")
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
