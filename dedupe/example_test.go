package dedupe_test

import (
	"context"
	"fmt"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"refundd/dedupe"
)

// A command is delivered twice. The first delivery wins the record and ends the
// refund; the second gets the stored event, and nothing is refunded again.
func ExampleStore_Claim() {
	server, err := miniredis.Run()
	if err != nil {
		fmt.Println(err)
		return
	}
	defer server.Close()
	client := redis.NewClient(&redis.Options{Addr: server.Addr()})
	defer func() { _ = client.Close() }()
	store, err := dedupe.New(client, dedupe.Config{Prefix: "refundd:", Lease: time.Minute, Keep: 240 * time.Hour})
	if err != nil {
		fmt.Println(err)
		return
	}

	ctx := context.Background()
	id := dedupe.Identity{AppID: "2021000000000001", Kind: "refund", OutRequestNo: "R1"}
	for range 2 {
		token := dedupe.NewToken()
		claim, err := store.Claim(ctx, dedupe.ClaimRequest{ID: id, Fingerprint: "v1:5f1c", Token: token})
		if err != nil {
			fmt.Println(err) // without a claim nothing is sent to Alipay
			return
		}
		switch claim.State {
		case dedupe.Won:
			// Ask Alipay here, before claim.Deadline. It proved a success:
			settlement, err := store.Settle(ctx, dedupe.SettleRequest{
				ID: id, Fingerprint: "v1:5f1c", Token: token, Succeeded: true, Event: []byte("refund.succeeded R1"),
			})
			if err != nil {
				fmt.Println(err)
				return
			}
			fmt.Printf("won, %v, publish %s\n", settlement.State, settlement.Event)
		case dedupe.Decided:
			fmt.Printf("decided before, publish %s again\n", claim.Event)
		case dedupe.Held, dedupe.Superseded, dedupe.Conflict, dedupe.Rejected:
			fmt.Println(claim.State)
		}
	}
	// Output:
	// won, settled, publish refund.succeeded R1
	// decided before, publish refund.succeeded R1 again
}
