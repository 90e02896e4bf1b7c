package alipaytest_test

import (
	"fmt"

	"refundd/alipay/alipaytest"
)

// A test starts a simulator, gives its URL and keys to the client that it
// tests, and reads from the ledger what really happened.
func Example() {
	keys, err := alipaytest.NewKeys()
	if err != nil {
		fmt.Println(err)
		return
	}
	sim, err := alipaytest.New(alipaytest.Config{Keys: keys, Faults: map[string]float64{"answer-lost-after": 0.1}})
	if err != nil {
		fmt.Println(err)
		return
	}
	base, err := sim.Start("127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = sim.Close() }()

	refundSomething(base+"/gateway.do", keys.AppPrivatePEM, keys.AlipayPublicPEM)

	for _, refund := range sim.State().Refunds {
		if refund.Moved > 1 {
			fmt.Println("money moved twice for", refund.OutRequestNo)
		}
	}
	fmt.Println("faults that happened:", len(sim.FaultCounts()))
	// Output: faults that happened: 0
}

// refundSomething stands for the client under test.
func refundSomething(gateway, appPrivateKey, alipayPublicKey string) {
	_, _, _ = gateway, appPrivateKey, alipayPublicKey
}
