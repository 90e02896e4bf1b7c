package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"refundd/cmd/internal/cli"
	"refundd/consumer"
)

// members are the flags of one command.
type members struct {
	outRequestNo, outTradeNo, tradeNo, authNo, outOrderNo string
	amount, reason, remark, currency, merchant            string
	metadata                                              metadata
	set                                                   []string // names of those that were given
}

func (m *members) register(cmd *cobra.Command) {
	set := cmd.Flags()
	set.StringVar(&m.outRequestNo, "out-request-no", "", "`number` of the refund: the key that makes it happen once")
	set.StringVar(&m.outTradeNo, "out-trade-no", "", "`number` of the trade, yours; this or --trade-no")
	set.StringVar(&m.tradeNo, "trade-no", "", "`number` of the trade, Alipay's")
	set.StringVar(&m.amount, "amount", "", "`yuan`, such as 12.50")
	set.StringVarP(&m.reason, "reason", "r", "", "refund_reason, a `text` of at most 256 characters")
	set.StringVar(&m.currency, "currency", "", "refund_currency, three capital `letters`")
	set.StringVarP(&m.merchant, "merchant", "m", "", "`name` of a merchant that the service is configured for")
	set.Var(&m.metadata, "metadata", "`key=value` that comes back in the event; may be repeated")
	set.StringVar(&m.authNo, "auth-no", "", "coupon_refund: `number` of the red packet")
	set.StringVar(&m.outOrderNo, "out-order-no", "", "coupon_refund: your order `number`, for queries")
	set.StringVar(&m.remark, "remark", "", "coupon_refund: `text` that the receiver sees")
}

// note remembers which of the flags were given; empty ones count too, and are
// for the check to refuse.
func (m *members) note(cmd *cobra.Command) {
	var known cobra.Command
	(&members{}).register(&known)
	cmd.Flags().Visit(func(f *pflag.Flag) {
		if known.Flags().Lookup(f.Name) != nil {
			m.set = append(m.set, f.Name)
		}
	})
}

// given names one of the flags that were given, or nothing.
func (m *members) given() string {
	if len(m.set) == 0 {
		return ""
	}
	return "--" + m.set[0]
}

// body writes the command, members in the order of the contract. Whether they
// are right is for DecodeCommand to say; only a flag of the other kind is
// refused here, since it would be left out silently.
func (m *members) body(kind consumer.Kind) ([]byte, error) {
	type member struct{ flag, name, value string }
	list := []member{
		{"out-request-no", "out_request_no", m.outRequestNo},
		{"out-trade-no", "out_trade_no", m.outTradeNo},
		{"trade-no", "trade_no", m.tradeNo},
		{"amount", "refund_amount", m.amount},
		{"reason", "refund_reason", m.reason},
		{"currency", "refund_currency", m.currency},
		{"merchant", "merchant", m.merchant},
	}
	if kind == consumer.KindCouponRefund {
		list = []member{
			{"out-request-no", "out_request_no", m.outRequestNo},
			{"auth-no", "auth_no", m.authNo},
			{"amount", "amount", m.amount},
			{"remark", "remark", m.remark},
			{"out-order-no", "out_order_no", m.outOrderNo},
			{"merchant", "merchant", m.merchant},
		}
	}
	given := map[string]bool{}
	for _, name := range m.set {
		given[name] = true
	}
	var body bytes.Buffer
	add := func(name string, value any) error {
		if body.Len() > 0 {
			body.WriteByte(',')
		}
		text, err := json.Marshal(value)
		if err != nil {
			return fmt.Errorf("write %s: %w", name, err)
		}
		_, _ = fmt.Fprintf(&body, "%q:%s", name, text)
		return nil
	}
	for _, e := range list {
		if !given[e.flag] {
			continue
		}
		delete(given, e.flag)
		if err := add(e.name, e.value); err != nil {
			return nil, err
		}
	}
	if given["metadata"] {
		delete(given, "metadata")
		if err := add("metadata", map[string]string(m.metadata)); err != nil {
			return nil, err
		}
	}
	for _, name := range m.set {
		if given[name] {
			return nil, cli.WrongUsage("--%s: not a member of kind %s", name, kind)
		}
	}
	return append(append([]byte{'{'}, body.Bytes()...), '}'), nil
}

// metadata is a flag that may be repeated.
type metadata map[string]string

func (m *metadata) String() string { return "" }

func (m *metadata) Type() string { return "key=value" }

// Set takes key=value; a key twice is a mistake.
func (m *metadata) Set(text string) error {
	key, value, ok := strings.Cut(text, "=")
	if !ok {
		return fmt.Errorf("not key=value")
	}
	if *m == nil {
		*m = metadata{}
	}
	if _, twice := (*m)[key]; twice {
		return fmt.Errorf("key %q is given twice", key)
	}
	(*m)[key] = value
	return nil
}
