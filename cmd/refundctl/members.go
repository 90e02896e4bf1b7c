package main

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"refundd/cmd/internal/cli"
	"refundd/consumer"
)

// member is a flag of one command, and what it is called in a command of each kind.
type member struct {
	flag, short, usage string
	refund, coupon     string
}

// members are in the order of the contract.
func members() []member {
	return []member{
		{"out-request-no", "", "`number` of the refund: the key that makes it happen once", "out_request_no", "out_request_no"},
		{"out-trade-no", "", "`number` of the trade, yours; this or --trade-no", "out_trade_no", ""},
		{"trade-no", "", "`number` of the trade, Alipay's", "trade_no", ""},
		{"auth-no", "", "coupon_refund: `number` of the red packet", "", "auth_no"},
		{"amount", "", "`yuan`, such as 12.50", "refund_amount", "amount"},
		{"reason", "r", "refund_reason, a `text` of at most 256 characters", "refund_reason", ""},
		{"remark", "", "coupon_refund: `text` that the receiver sees", "", "remark"},
		{"currency", "", "refund_currency, three capital `letters`", "refund_currency", ""},
		{"out-order-no", "", "coupon_refund: your order `number`, for queries", "", "out_order_no"},
		{"merchant", "m", "`name` of a merchant that the service is configured for", "merchant", "merchant"},
	}
}

// oneCommand holds the flags of one command.
type oneCommand struct {
	values   map[string]string // of the flags that were given, empty ones too
	metadata metadata
}

func (o *oneCommand) register(cmd *cobra.Command) {
	for _, m := range members() {
		cmd.Flags().StringP(m.flag, m.short, "", m.usage)
	}
	cmd.Flags().Var(&o.metadata, "metadata", "`key=value` that comes back in the event; may be repeated")
}

// note takes what was given.
func (o *oneCommand) note(cmd *cobra.Command) {
	o.values = map[string]string{}
	for _, m := range members() {
		if flag := cmd.Flags().Lookup(m.flag); flag.Changed {
			o.values[m.flag] = flag.Value.String()
		}
	}
}

// given names one of the flags that were given, or nothing.
func (o *oneCommand) given() string {
	for _, m := range members() {
		if _, ok := o.values[m.flag]; ok {
			return "--" + m.flag
		}
	}
	if len(o.metadata) > 0 {
		return "--metadata"
	}
	return ""
}

// body writes the command. Whether its members are right is for DecodeCommand to
// say; only a flag of the other kind is refused here, since it would be left out
// silently.
func (o *oneCommand) body(kind consumer.Kind) ([]byte, error) {
	var parts []string
	add := func(name string, value any) error {
		text, err := json.Marshal(value)
		if err != nil {
			return fmt.Errorf("write %s: %w", name, err)
		}
		parts = append(parts, fmt.Sprintf("%q:%s", name, text))
		return nil
	}
	for _, m := range members() {
		value, given := o.values[m.flag]
		name := m.refund
		if kind == consumer.KindCouponRefund {
			name = m.coupon
		}
		switch {
		case !given:
			continue
		case name == "":
			return nil, cli.WrongUsage("--%s: not a member of kind %s", m.flag, kind)
		}
		if err := add(name, value); err != nil {
			return nil, err
		}
	}
	if len(o.metadata) > 0 {
		if err := add("metadata", map[string]string(o.metadata)); err != nil {
			return nil, err
		}
	}
	return []byte("{" + strings.Join(parts, ",") + "}"), nil
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
