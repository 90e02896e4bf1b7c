package producer_test

import (
	"testing"
	"time"

	"refundd/producer"
)

// Readers drop repeats by these ids. If one of them changes, every refund that was published before is told a second time.
func TestIDsNeverChange(t *testing.T) {
	id := producer.Identity{AppID: "2021000000000001", Kind: producer.KindRefund, OutRequestNo: "HZ01RF001"}
	merchant := producer.Identity{AppID: "2021000000000001", Merchant: "shop-a", Kind: producer.KindCouponRefund, OutRequestNo: "HZ01RF001"}
	scoped := id
	scoped.Trade = "T1"
	for _, row := range []struct{ name, got, want string }{
		{"succeeded", producer.DecidedID(id, "T1", 300, producer.Succeeded), "595af612b4d4550d626f3e5ef0c4cf54"},
		{"succeeded, scope trade", producer.DecidedID(scoped, "T1", 300, producer.Succeeded), "595af612b4d4550d626f3e5ef0c4cf54"},
		{"failed", producer.DecidedID(id, "T1", 300, producer.Failed), "251969bfbdb64f2d9529a936984be705"},
		{"merchant's coupon", producer.DecidedID(merchant, "A1", 300, producer.Succeeded), "49747536a3660af004b459b7ef8ad41b"},
		{"rejected", producer.RejectedID("7F00000100002A9F0000000000000A5C", []byte("{}"), producer.ReasonInvalid), "3cb46d98d56892e2b882b8e77d18ea02"},
		{"rejected without a body", producer.RejectedID("7F00000100002A9F0000000000000A5C", nil, producer.ReasonUnreadable), "7cb6d1e18477a3aa40e43b61bb432926"},
		{"unresolved", producer.UnresolvedID(id, 1), "771a00d32ea985c4fab255837f594c69"},
		{"unresolved again", producer.UnresolvedID(id, 2), "163c45686fbf66ed3c69c00b582ab03c"},
		{"unresolved, scope trade", producer.UnresolvedID(scoped, 1), "fcf19f74e654e9f5d2f676564d15e748"},
		{"a refund's key", producer.RefundKey(id), "e44feb22c45cb9b4012efe15562c6994"},
		{"a refund's key, scope trade", producer.RefundKey(scoped), "8c6d4ea954c0ed0d1aab8204a94e5784"},
		{"notified", producer.NotifiedID("2021000000000001", "2026", producer.Notified), "1bdc60b9657c0ee69b1b0a19a81e8a2a"},
		{"deposit back", producer.NotifiedID("2021000000000001", "2026", producer.DepositBack), "1681767b9c7e29289efd6766898ae1c0"},
	} {
		if row.got != row.want {
			t.Errorf("%s: %s, want %s", row.name, row.got, row.want)
		}
	}
}

func TestIDsTellFactsApart(t *testing.T) {
	base := producer.Identity{AppID: "1", Merchant: "m", Kind: producer.KindRefund, OutRequestNo: "R"}
	change := func(f func(*producer.Identity)) producer.Identity {
		id := base
		f(&id)
		return id
	}
	seen := map[string]string{}
	for name, got := range map[string]string{
		"base":               producer.DecidedID(base, "T", 1, producer.Succeeded),
		"app":                producer.DecidedID(change(func(i *producer.Identity) { i.AppID = "2" }), "T", 1, producer.Succeeded),
		"merchant":           producer.DecidedID(change(func(i *producer.Identity) { i.Merchant = "" }), "T", 1, producer.Succeeded),
		"kind":               producer.DecidedID(change(func(i *producer.Identity) { i.Kind = producer.KindCouponRefund }), "T", 1, producer.Succeeded),
		"number":             producer.DecidedID(change(func(i *producer.Identity) { i.OutRequestNo = "RT" }), "", 1, producer.Succeeded),
		"border":             producer.DecidedID(change(func(i *producer.Identity) { i.AppID, i.Merchant = "1m", "" }), "T", 1, producer.Succeeded),
		"trade":              producer.DecidedID(base, "T2", 1, producer.Succeeded),
		"amount":             producer.DecidedID(base, "T", 2, producer.Succeeded),
		"outcome":            producer.DecidedID(base, "T", 1, producer.Failed),
		"unresolved":         producer.UnresolvedID(base, 1),
		"unresolved's scope": producer.UnresolvedID(change(func(i *producer.Identity) { i.Trade = "T" }), 1),
		"rejected":           producer.RejectedID("m", []byte("b"), producer.ReasonInvalid),
		"rejected's border":  producer.RejectedID("mb", nil, producer.ReasonInvalid),
		"rejected's reason":  producer.RejectedID("m", []byte("b"), producer.ReasonConflict),
		"notified":           producer.NotifiedID("1", "n", producer.Notified),
		"deposit back":       producer.NotifiedID("1", "n", producer.DepositBack),
	} {
		if other, again := seen[got]; again {
			t.Errorf("%s and %s have one id", name, other)
		}
		seen[got] = name
	}
}

func TestDelayLevel(t *testing.T) {
	for _, row := range []struct {
		delay  time.Duration
		exact  int // 0: none
		level  int
		actual time.Duration
	}{
		{-time.Second, 0, 0, 0},
		{0, 0, 0, 0},
		{1, 0, 1, time.Second},
		{time.Second, 1, 1, time.Second},
		{time.Second + 1, 0, 2, 5 * time.Second},
		{10 * time.Second, 3, 3, 10 * time.Second},
		{30 * time.Second, 4, 4, 30 * time.Second},
		{time.Minute, 5, 5, time.Minute},
		{61 * time.Second, 0, 6, 2 * time.Minute},
		{10 * time.Minute, 14, 14, 10 * time.Minute},
		{15 * time.Minute, 0, 15, 20 * time.Minute},
		{30 * time.Minute, 16, 16, 30 * time.Minute},
		{time.Hour, 17, 17, time.Hour},
		{2 * time.Hour, 18, 18, 2 * time.Hour},
		{3 * time.Hour, 0, 18, 2 * time.Hour},
	} {
		exact, ok := producer.DelayLevel(row.delay)
		if exact != row.exact || ok != (row.exact != 0) {
			t.Errorf("DelayLevel(%s) = %d, %t", row.delay, exact, ok)
		}
		if level, actual := producer.DelayAtLeast(row.delay); level != row.level || actual != row.actual {
			t.Errorf("DelayAtLeast(%s) = %d, %s", row.delay, level, actual)
		}
	}
}
