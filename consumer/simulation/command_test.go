package simulation

import (
	"fmt"
	"math/rand/v2"
	"time"

	"refundd/alipay"
	"refundd/consumer"
	"refundd/consumer/history"
	"refundd/dedupe"
	"refundd/producer"
)

// command is one message that upstream sends.
type command struct {
	kind     consumer.Kind
	merchant string
	number   string
	trade    string // out_trade_no or auth_no
	amount   int64
	order    string // out_order_no of a red packet, which may be wrong
	both     bool   // trade_no is named as well
	body     []byte
	print    string // fingerprint; empty if the body is no command
	scoped   bool   // the trade belongs to the identity
	later    bool   // has a member that the version before does not know
}

// alipays is Alipay's own number of a trade.
func alipays(trade string) string { return "A" + trade }

// written puts the command into words.
func (c command) written() command {
	text := fmt.Sprintf(`{"out_request_no":%q,"out_trade_no":%q,"refund_amount":%q`, c.number, c.trade, alipay.Amount(c.amount).String())
	if c.both {
		text += fmt.Sprintf(`,"trade_no":%q`, alipays(c.trade))
	}
	if c.kind == consumer.KindCouponRefund {
		text = fmt.Sprintf(`{"out_request_no":%q,"auth_no":%q,"amount":%q`, c.number, c.trade, alipay.Amount(c.amount).String())
		if c.order != "" {
			text += fmt.Sprintf(`,"out_order_no":%q`, c.order)
		}
	}
	if c.merchant != "" {
		text += fmt.Sprintf(`,"merchant":%q`, c.merchant)
	}
	c.body = []byte(text + "}")
	decoded, err := consumer.DecodeCommand(c.kind, c.body)
	if err != nil {
		panic(err) // it is written above
	}
	c.print = decoded.Fingerprint()
	return c
}

// spoilt makes the command unreadable.
func (c command) spoilt() command {
	c.body = c.body[:len(c.body)-1]
	c.number, c.print = "", ""
	return c
}

func (c command) topic() string {
	if c.kind == consumer.KindCouponRefund {
		return couponTopic
	}
	return refundTopic
}

func (c command) identity() dedupe.Identity {
	id := dedupe.Identity{AppID: appID, Merchant: c.merchant, Kind: string(c.kind), OutRequestNo: c.number}
	if c.scoped {
		id.Trade = c.trade
		if c.both {
			id.Trade = alipays(c.trade)
		}
	}
	return id
}

// bare puts the refund's identity into a fact.
func (c command) bare(f history.Fact) history.Fact {
	if c.number == "" {
		return f
	}
	f.AppID, f.Merchant, f.Kind, f.Number = appID, c.merchant, string(c.kind), c.number
	if c.scoped {
		f.Trade = c.trade
	}
	return f
}

// fact puts also the command's content into it.
func (c command) fact(f history.Fact) history.Fact {
	if c.number == "" {
		return f
	}
	f = c.bare(f)
	f.Trade, f.Amount, f.Fingerprint, f.Askable = c.trade, c.amount, c.print, c.kind == consumer.KindRefund || c.order != ""
	return f
}

// commandOf reads a message's body.
func (w *world) commandOf(topic string, body []byte) command {
	if cmd, known := w.bodies[topic+string(body)]; known {
		return cmd
	}
	return command{}
}

// sending is one message of upstream, and when it is sent.
type sending struct {
	cmd   command
	after time.Duration
}

// command sends all commands of the run, over some minutes.
func (w *world) command() {
	if w.opts.told != nil {
		for i, cmd := range w.opts.told {
			w.send(sending{cmd.written(), time.Duration(i) * time.Second})
		}
		return
	}
	trades := newTrades(w.opts.seed, w.scoped)
	for i := range w.opts.refunds {
		// Each from its own source, so that leaving some out changes no other.
		rng := rand.New(rand.NewPCG(w.opts.seed, uint64(i)+1))
		wanted := w.opts.keep == nil || w.opts.keep[i]
		for _, s := range trades.draw(rng, i) {
			if wanted {
				w.send(s)
			}
		}
	}
}

// trades are what refunds are made of.
type trades struct {
	scoped bool
	all    []command // one of each trade, without a number
}

// newTrades are a few trades and red packets of three sellers.
func newTrades(seed uint64, scoped bool) *trades {
	t := &trades{scoped: scoped}
	rng := rand.New(rand.NewPCG(seed, 0x7ade))
	for i := range 4 + rng.IntN(4) {
		c := command{
			kind: consumer.KindRefund, merchant: []string{"", "", "shop", "shop", "mall"}[rng.IntN(5)],
			trade: fmt.Sprintf("T%d", i+1), both: rng.IntN(3) == 0, scoped: scoped,
		}
		if rng.IntN(3) == 0 {
			c.kind, c.trade, c.both = consumer.KindCouponRefund, fmt.Sprintf("H%d", i+1), false
			c.order = []string{"", "O" + c.trade, "O" + c.trade, "wrong"}[rng.IntN(4)]
		}
		t.all = append(t.all, c)
	}
	return t
}

// number is that of the refund with an index.
func number(i int) string { return fmt.Sprintf("R%d", i+1) }

// draw makes one refund's messages: mostly one.
func (t *trades) draw(rng *rand.Rand, i int) []sending {
	c := t.all[rng.IntN(len(t.all))]
	c.number = number(i)
	c.amount = int64(100 * (1 + rng.IntN(9)))
	at := time.Duration(rng.Int64N(int64(faultTime / 2)))
	if rng.IntN(3) == 0 {
		at = time.Duration(rng.Int64N(int64(2 * time.Second))) // many at once
	}
	if rng.IntN(40) == 0 {
		c.merchant = "nobody"
	}
	c.later = rng.IntN(3) == 0
	out := []sending{{c.written(), at}}
	if rng.IntN(30) == 0 {
		return []sending{{c.written().spoilt(), at}}
	}
	for rng.IntN(6) == 0 { // sent again
		out = append(out, sending{c.written(), at + time.Duration(rng.Int64N(int64(faultTime/2)))})
	}
	if rng.IntN(8) == 0 { // the number is used for something else
		if rng.IntN(2) == 0 {
			c.amount += 50
		} else {
			c.trade += "x"
			if c.order != "" {
				c.order += "x"
			}
		}
		out = append(out, sending{c.written(), time.Duration(rng.Int64N(int64(faultTime / 2)))})
	}
	return out
}

// send gives one message to the broker, at its time.
func (w *world) send(s sending) {
	s.cmd.scoped = w.scoped
	w.later(s.after, func() {
		cmd := s.cmd
		w.bank.pay(cmd)
		w.sent++
		m := &message{
			id: fmt.Sprintf("m%d", w.sent), topic: cmd.topic(), role: history.TopicCommand, body: cmd.body,
			born: time.Now(), visible: time.Now(), cmd: cmd,
		}
		m.origin = m.id
		w.fact(cmd.fact(history.Fact{What: history.Command, Message: m.id}))
		w.broker.add(m)
		w.bodies[cmd.topic()+string(cmd.body)] = cmd
		if w.illegal == "" && w.fault("publish illegal", "command", 0.03) {
			w.illegal = producer.StubOf(producer.StubOfCommand, cmd.body, nil).SHA256
		}
		if cmd.number == "" {
			return
		}
		key := w.names.Key(cmd.identity())
		if _, known := w.keys[key]; !known {
			w.keys[key] = cmd
			w.refunds = append(w.refunds, cmd)
		}
	})
}
