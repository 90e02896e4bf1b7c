package simulation

import (
	"context"
	"fmt"
	"slices"
	"time"

	"refundd/consumer"
	"refundd/consumer/history"
)

// A world loses a copy that the broker had acknowledged, or has a Redis that forgets;
// never both at once: a command that both have lost exists nowhere. A merchant's
// authorisation changes only where Redis does not forget who called.

// plan decides the troubles of the run, and when they are over.
func (w *world) plan() {
	if w.opts.mute {
		w.fact(history.Fact{What: history.Quiet})
		return
	}
	w.forgets = w.rng.IntN(2) == 0
	troubles := []func(){w.stopOne, w.killOne, w.stall, w.redisFails, w.redisRefuses, w.brokerFails, w.again, w.again, w.nudge, w.nudge, w.withoutMerchant, w.clockJumps, w.clockBack, w.pause, w.limit}
	if w.forgets {
		troubles = append(troubles, w.wipe, w.rollBack, w.rollBack)
	} else {
		troubles = append(troubles, w.authorisation, w.authorisation)
	}
	for range w.rng.IntN(14) {
		trouble := troubles[w.rng.IntN(len(troubles))]
		w.later(time.Duration(w.rng.Int64N(int64(faultTime))), trouble)
	}
	for range w.rng.IntN(6) { // also when faults are over: parking comes later
		w.later(time.Duration(w.rng.Int64N(int64(2*time.Hour))), w.nudge)
	}
	w.later(faultTime, w.calm)
	end := faultTime
	if w.rng.IntN(4) == 0 {
		again := keep + 3*time.Hour
		end = again + faultTime
		w.later(again, func() { w.quiet = false })
		for range 1 + w.rng.IntN(4) {
			w.later(again+time.Duration(w.rng.Int64N(int64(faultTime))), w.old)
		}
		for range w.rng.IntN(6) {
			w.later(again+time.Duration(w.rng.Int64N(int64(faultTime))), troubles[w.rng.IntN(len(troubles))])
		}
		w.later(end, w.calm)
	}
	w.later(end, func() { w.fact(history.Fact{What: history.Quiet}) })
}

// calm ends all faults.
func (w *world) calm() {
	w.quiet = true
	w.redisDown, w.brokerDown = time.Time{}, time.Time{}
	w.redis.Refuse(nil)
	for name := range w.merchants {
		w.merchants[name] = firstToken(name)
	}
	for _, p := range w.processes {
		p.missing = ""
		clear(p.files)
	}
	w.rolled()
}

// anyone is a process that lives, or nil.
func (w *world) anyone() *process {
	if len(w.processes) == 0 {
		return nil
	}
	return w.processes[w.rng.IntN(len(w.processes))]
}

func (w *world) stopOne() {
	if p := w.anyone(); p != nil && !p.stopping && w.fault("stop", "process", 1) {
		w.stop(p)
	}
}

func (w *world) killOne() {
	if p := w.anyone(); p != nil && w.fault("kill", "process", 1) {
		w.kill(p)
	}
}

func (w *world) stall() {
	if p := w.anyone(); p != nil && w.fault("freeze", "process", 1) {
		w.freeze(p)
	}
}

func (w *world) redisFails() {
	if w.fault("redis down", "redis", 1) {
		w.redisDown = time.Now().Add(time.Duration(w.rng.IntN(90_000)) * time.Millisecond)
	}
}

// redisRefuses lets Redis go on answering, and refuse whatever would write.
func (w *world) redisRefuses() {
	if w.fault("redis does not write", "redis", 1) {
		w.redis.Refuse(errNoMemory)
		w.later(time.Duration(w.rng.IntN(90_000))*time.Millisecond, func() { w.redis.Refuse(nil) })
	}
}

func (w *world) brokerFails() {
	if w.fault("broker down", "broker", 1) {
		w.brokerDown = time.Now().Add(time.Duration(w.rng.IntN(90_000)) * time.Millisecond)
	}
}

func (w *world) wipe() {
	if w.fault("redis wiped", "redis", 1) {
		w.forget(history.Wiped, w.redis.Wipe)
	}
}

func (w *world) rollBack() {
	if w.fault("redis rolled back", "redis", 1) {
		n := 1 + w.rng.IntN(12)
		w.forget(history.RolledBack, func() { w.redis.RollBack(n) })
	}
}

// clockJumps moves Redis' clock, at most once a minute.
func (w *world) clockJumps() {
	if time.Since(w.jumped) > time.Minute && w.fault("clock jump", "redis", 1) {
		w.skew += time.Duration(w.rng.IntN(40_000)-20_000) * time.Millisecond
		w.jumped = time.Now()
	}
}

// clockBack sets Redis' clock back, as a fail-over to a machine whose clock is late.
func (w *world) clockBack() {
	if time.Since(w.jumped) > time.Minute && w.fault("clock set back", "redis", 1) {
		w.skew -= time.Duration(w.rng.Int64N(int64(3 * time.Hour)))
		w.jumped = time.Now()
	}
}

// withoutMerchant lets one process lack a merchant for a while, as when files are
// rolled out one by one.
func (w *world) withoutMerchant() {
	p := w.anyone()
	if p == nil || !w.fault("merchant missing", "process", 1) {
		return
	}
	p.missing = []string{"shop", "mall"}[w.rng.IntN(2)]
	w.later(time.Duration(w.rng.IntN(300))*time.Second, func() { p.missing = "" })
}

// authorisation gives a merchant another one, for a while.
func (w *world) authorisation() {
	name := []string{"shop", "mall"}[w.rng.IntN(2)]
	if !w.fault("authorisation changed", "merchant", 1) {
		return
	}
	was := w.merchants[name]
	w.rollOut(name, "token-"+name+"-2", was)
	w.later(time.Duration(w.rng.IntN(600))*time.Second, func() { w.rollOut(name, firstToken(name), w.merchants[name]) })
}

// rollOut gives every process the merchant's authorisation, one by one.
func (w *world) rollOut(name, token, was string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.merchants[name] = token
	for _, p := range w.processes {
		if w.rng.IntN(2) == 0 || w.quiet {
			delete(p.files, name)
			continue
		}
		p.files[name] = was
		w.later(time.Duration(w.rng.IntN(200))*time.Second, func() { delete(p.files, name) })
	}
}

// again delivers a message once more: at once although it is in hand or done, as
// after a rebalance, a lost acknowledgement or a reset of offsets.
func (w *world) again() {
	candidates := slices.DeleteFunc(slices.Clone(w.broker.messages), func(m *message) bool { return m.lost || !m.seen })
	if len(candidates) == 0 {
		return
	}
	m := candidates[w.rng.IntN(len(candidates))]
	on := m.role + " in hand"
	if m.acked {
		on = m.role + " acknowledged"
	}
	if w.fault("delivered again", on, 1) {
		w.mu.Lock()
		m.acked, m.holders, m.visible = false, nil, time.Now()
		w.mu.Unlock()
	}
}

// old delivers a message of upstream again when its record has expired long ago.
func (w *world) old() {
	candidates := slices.DeleteFunc(slices.Clone(w.broker.messages), func(m *message) bool {
		return !m.acked || m.role != history.TopicCommand || m.cmd.number == ""
	})
	if len(candidates) == 0 {
		return
	}
	m := candidates[w.rng.IntN(len(candidates))]
	w.happened("an old command delivered again", m.role)
	m.acked, m.visible = false, time.Now()
}

// nudge lets a notification about some refund arrive, mostly about one that is
// undecided.
func (w *world) nudge() {
	undecided := slices.DeleteFunc(slices.Clone(w.refunds), func(c command) bool {
		r := w.redis.Record(w.names.Key(c.identity()))
		return !r.Exists || r.Decided
	})
	about := w.refunds
	if len(undecided) > 0 && w.rng.IntN(4) > 0 {
		about = undecided
	}
	if len(about) > 0 {
		w.notify(about[w.rng.IntN(len(about))])
	}
}

// notify lets a notification about one refund arrive. It is no fault: it may come
// at any time.
func (w *world) notify(cmd command) {
	p := w.anyone()
	if p == nil || p.stopping || p.dead {
		return
	}
	w.happened("notification", "process")
	w.nudges++
	actor := fmt.Sprintf("n%d", w.nudges)
	about := consumer.Notified{Kind: cmd.kind, OutRequestNo: cmd.number, Merchants: []string{cmd.merchant}}
	if cmd.kind == consumer.KindCouponRefund {
		about.AuthNo = cmd.trade
	} else {
		about.TradeNo, about.OutTradeNo = alipays(cmd.trade), cmd.trade
	}
	w.run(actor, func() {
		ctx, cancel := context.WithTimeout(as(context.Background(), actor), 5*time.Second)
		defer cancel()
		_ = p.handler.Nudge(ctx, about) // then it is asked at its next try
	})
}
