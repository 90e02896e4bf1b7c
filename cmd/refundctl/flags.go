package main

import (
	"strings"

	"refundd/consumer"
	"refundd/producer"
)

func kinds() []string {
	return []string{string(consumer.KindRefund), string(consumer.KindCouponRefund)}
}

// eventTypes are the outcomes, and the types without their version; full has them
// with it.
func eventTypes() (short, full []string) {
	var types []string
	for _, t := range producer.Types() {
		name := strings.TrimSuffix(string(t), ".v1")
		types, full = append(types, name), append(full, string(t))
		if outcome, ok := strings.CutPrefix(name, string(producer.KindRefund)+"."); ok {
			short = append(short, outcome)
		}
	}
	return append(short, types...), full
}

func reasons() []string {
	var list []string
	for _, r := range producer.Reasons() {
		list = append(list, string(r))
	}
	return list
}
