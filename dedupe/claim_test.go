package dedupe_test

import (
	"context"
	"testing"
	"time"

	"refundd/dedupe"
)

// TestClaimKeepsTheOrder: what gives a claim up is in the index before, as long as
// somebody else may have to publish it, and Published takes it out or parks it.
func TestClaimKeepsTheOrder(t *testing.T) {
	born, due := time.UnixMilli(1_700_000_000_000), time.UnixMilli(1_700_000_100_000)
	settle := func(ctx context.Context, c *dedupe.Claim) error {
		_, err := c.Settle(ctx, true, []byte("e"))
		return err
	}
	for name, row := range map[string]struct {
		claimed bool // before, by a copy
		give    func(context.Context, *dedupe.Claim) error
		// what the index says of it then, and once everything is published; empty: nothing
		given, published string
		confirmed        int64
	}{
		"settled at once":   {give: settle},
		"settled by a copy": {claimed: true, give: settle, given: "now"},
		"released": {give: func(ctx context.Context, c *dedupe.Claim) error {
			_, err := c.Release(ctx, []byte("n"), due)
			return err
		}, given: "1700000100000", published: "1700000100000", confirmed: 1},
		"parked": {give: func(ctx context.Context, c *dedupe.Claim) error {
			_, err := c.Park(ctx, []byte("n"))
			return err
		}, given: "now", published: "+Inf", confirmed: 1},
		"parked as before": {give: func(ctx context.Context, c *dedupe.Claim) error {
			_, err := c.KeepParked(ctx, []byte("n"))
			return err
		}, confirmed: 1},
	} {
		t.Run(name, func(t *testing.T) {
			b := onMiniredis(t)
			id := refund("R1")
			claim, err := b.store.Claim(t.Context(), dedupe.ClaimRequest{
				ID: id, Fingerprint: "fp", Token: dedupe.NewToken(), Message: "M1", Claimed: row.claimed, Born: born, Fen: 300,
			})
			must(t, err)
			entry := b.store.Entry(born, 300, id)
			holds := func(when, want string) {
				t.Helper()
				got, there := b.entries(t)[entry]
				if due := got != "" && got != "+Inf" && got != "1700000100000"; want == "now" && !due || want != "now" && got != want || there != (want != "") {
					t.Errorf("%s: due %q, want %q", when, got, want)
				}
			}
			for range 2 { // the answer may have been lost
				must(t, row.give(t.Context(), &claim))
				holds("given up", row.given)
			}
			for _, write := range claim.Published() {
				must(t, write(t.Context()))
			}
			holds("published", row.published)
			rec, err := b.store.Read(t.Context(), id)
			must(t, err)
			if rec.Confirmed != row.confirmed || rec.Decided != (row.confirmed == 0) {
				t.Errorf("record %+v", rec)
			}
		})
	}
}

// refusing takes the place of a Store.
type refusing struct{ *dedupe.Store }

func (refusing) Settle(context.Context, dedupe.SettleRequest) (dedupe.Settlement, error) {
	return dedupe.Settlement{State: dedupe.Stale}, nil
}

// TestClaimThrough: what stands before the store sees how a claim is given up.
func TestClaimThrough(t *testing.T) {
	b := onMiniredis(t)
	claim, err := b.store.Claim(t.Context(), dedupe.ClaimRequest{ID: refund("R1"), Fingerprint: "fp", Token: dedupe.NewToken()})
	must(t, err)
	claim = claim.Through(refusing{b.store})
	if s, err := claim.Settle(t.Context(), true, []byte("e")); err != nil || s.State != dedupe.Stale {
		t.Errorf("settled %+v, %v", s, err)
	}
}
