package simulation

import (
	"fmt"
	"time"

	"refundd/consumer"
)

// limits are an operator's brakes and Alipay's own limit.
type limits struct {
	brakes  map[brake]int // how many pauses are on
	allowed int           // calls a second that Alipay lets through; 0: all, below: none
	second  int64         // in which so many were let through:
	through int
}

// brake stops the refund calls of a kind and a merchant; either empty: of all.
type brake struct {
	kind     consumer.Kind
	merchant string
}

// pause brakes all refund calls, those of a kind or those of a merchant, for a while.
func (w *world) pause() {
	b := []brake{{}, {kind: consumer.KindRefund}, {kind: consumer.KindCouponRefund}, {merchant: "shop"}, {merchant: "mall"}}[w.rng.IntN(5)]
	if !w.fault("pause", "process", 1) {
		return
	}
	set := func(d int) {
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.limits.brakes == nil {
			w.limits.brakes = map[brake]int{}
		}
		w.limits.brakes[b] += d
	}
	set(1)
	w.later(time.Duration(w.rng.IntN(600))*time.Second, func() { set(-1) })
}

// paused is what every process knows of the brakes, at once.
func (w *world) paused(kind consumer.Kind, merchant string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	on := w.limits.brakes
	return on[brake{}]+on[brake{kind: kind}] > 0 || merchant != "" && on[brake{merchant: merchant}] > 0
}

// mayCall holds the flow to the brakes: it asks them right before each call, so no
// call begins while one is on.
func (w *world) mayCall(req request, actor string) {
	w.mu.Lock()
	merchant := w.inHand[actor].merchant
	w.mu.Unlock()
	if req.call && w.paused(req.kind, merchant) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.result.panics = append(w.result.panics, fmt.Sprintf("%s calls %s of %s although it is paused", actor, req.number, merchant))
	}
}

// limit lets Alipay take few calls a second, or none, for a while.
func (w *world) limit() {
	if !w.fault("Alipay's limit", "Alipay", 1) {
		return
	}
	w.limits.allowed = []int{-1, 1, 3}[w.rng.IntN(3)]
	w.later(time.Duration(w.rng.IntN(600))*time.Second, func() { w.limits.allowed = 0 })
}

// tooMany reports whether a call is beyond Alipay's limit.
func (w *world) tooMany(on string) bool {
	if now := time.Now().Unix(); now != w.limits.second {
		w.limits.second, w.limits.through = now, 0
	}
	if w.limits.allowed == 0 || w.limits.through < w.limits.allowed {
		w.limits.through++
		return false
	}
	w.happened("beyond Alipay's limit", on)
	return true
}
