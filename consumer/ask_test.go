package consumer

import (
	"testing"
)

// TestAsk: what a person is told is what the service would conclude.
func TestAsk(t *testing.T) {
	b := newBench(t, nil)
	b.handle(b.command(refundBody("R1", "T1", "3.00")))
	b.final("R1")
	rows := []struct {
		name, body, found, amount string
	}{
		{"there", refundBody("R1", "T1", "3.00"), "ours", "3.00"},
		{"another amount", refundBody("R1", "T1", "4.00"), "other", "3.00"},
		{"not there", refundBody("R2", "T1", "3.00"), "absent", ""},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			cmd, err := DecodeCommand(KindRefund, []byte(row.body))
			if err != nil {
				t.Fatal(err)
			}
			a := Ask(t.Context(), b.client, cmd, "", "")
			amount := ""
			if a.Amount != nil {
				amount = a.Amount.String()
			}
			if a.Found != row.found || amount != row.amount || a.Err != nil {
				t.Errorf("%+v, amount %q", a, amount)
			}
		})
	}
	if a := Ask(t.Context(), b.client, Command{Kind: KindCouponRefund, AuthNo: "1"}, "", ""); a != (Answer{}) {
		t.Errorf("nobody can be asked, and yet: %+v", a)
	}
}
