package notifyhttp_test

import (
	"context"
	"fmt"
	"sync/atomic"

	"github.com/sirupsen/logrus"

	"refundd/alipay"
	"refundd/notifyhttp"
	"refundd/producer"
)

// A receiver whose keys and merchants can be replaced while it runs.
func ExampleNew() {
	var (
		verifier  atomic.Pointer[alipay.Verifier]   // Store a new one when a key file changed
		merchants atomic.Pointer[map[string]string] // seller id to name
		events    *producer.Producer                // the service's
	)
	merchants.Store(&map[string]string{"2088000000000009": "m9"})
	receiver := notifyhttp.New(notifyhttp.Config{
		AppID:    "2021000000000001",
		SellerID: "2088000000000001",
		Sellers: func(sellerID string) (string, bool) {
			name, ok := (*merchants.Load())[sellerID]
			return name, ok
		},
		Verified: func(_ context.Context, n notifyhttp.Notice) {
			fmt.Println("if undecided here, query now:", n.Kind, n.Merchant, n.OutRequestNo)
		},
	}, verifier.Load, events, func(notifyhttp.Result) { /* refundd_notifications_total */ }, logrus.StandardLogger())

	server := notifyhttp.Server("127.0.0.1:8080", receiver)
	fmt.Println(server.Addr) // then server.ListenAndServe, and Shutdown before the producer closes
	// Output: 127.0.0.1:8080
}
