package desk

import (
	"context"
	"errors"
	"strings"
	"time"

	"refundd/alipay"
	"refundd/cmd/internal/cli"
	"refundd/cmd/internal/config"
	"refundd/cmd/internal/story"
	"refundd/consumer"
)

// asker queries Alipay with the service's own configuration.
type asker struct {
	cfg    config.Config
	client *alipay.Client
}

func newAsker(env cli.Env) (*asker, error) {
	cfg, err := config.Load(env.Environ)
	if err != nil {
		return nil, cli.WrongUsage("--live needs the service's configuration: %v", err)
	}
	client, err := cfg.OpenAlipay()
	if err != nil {
		return nil, err
	}
	return &asker{cfg, client}, nil
}

func (a *asker) close() { a.client.CloseIdleConnections() }

// LiveAnswer is what Alipay says now.
type LiveAnswer struct {
	At     time.Time `json:"at"`
	Found  string    `json:"found,omitempty"` // as consumer.Answer has it
	Amount string    `json:"amount,omitempty"`
	Code   string    `json:"alipay_code,omitempty"`
	Sub    string    `json:"alipay_sub_code,omitempty"`
	Says   string    `json:"says"`
}

// about asks for one refund.
func (a *asker) about(ctx context.Context, s *refund) *LiveAnswer {
	cmd := s.asked()
	live := &LiveAnswer{At: time.Now().UTC()}
	switch {
	case cmd.Kind == consumer.KindRefund && cmd.TradeNo == "" && cmd.OutTradeNo == "":
		live.Says = "not asked: nothing here names the trade; give --trade"
		return live
	case cmd.Kind == consumer.KindCouponRefund && s.memory.OperationID == "" && cmd.OutOrderNo == "":
		live.Says = "not asked: a coupon refund can be asked for by its operation id or out_order_no only, and neither is known"
		return live
	}
	token := ""
	if cmd.Merchant != "" {
		var ok bool
		if token, ok = a.cfg.Secrets.Merchants.Token(cmd.Merchant); !ok {
			live.Says = "not asked: the merchant is not in REFUNDD_MERCHANTS_FILE"
			return live
		}
	}
	answer := consumer.Ask(ctx, a.client, cmd, token, s.memory.OperationID)
	live.At, live.Found, live.Code, live.Sub = time.Now().UTC(), answer.Found, answer.Code, answer.SubCode
	if answer.Amount != nil {
		live.Amount = answer.Amount.String()
	}
	if !s.known && live.Found == "other" {
		live.Found = "ours" // nobody told an amount to compare with
	}
	live.Says = story.Found(live.Found)
	switch failed, ok := errors.AsType[*alipay.Error](answer.Err); {
	case live.Says == "" && ok:
		live.Says = strings.TrimSpace("the query failed, which proves nothing: " + failed.Class.String() + " " + failed.Code + " " + failed.SubCode)
	case live.Says == "":
		live.Says = "an answer that proves nothing"
	}
	if live.Amount != "" {
		live.Says += ", amount " + live.Amount
	}
	if answer.RefundedAt != "" {
		live.Says += ", refunded at " + answer.RefundedAt
	}
	return live
}

// asked is the command to ask for, from the best source there is.
func (s *refund) asked() consumer.Command {
	cmd := s.cmd
	if s.known {
		return cmd
	}
	for _, ev := range s.events {
		if ev.OutRequestNo == "" {
			continue
		}
		return consumer.Command{
			Kind: ev.Kind, OutRequestNo: ev.OutRequestNo, OutTradeNo: ev.OutTradeNo, TradeNo: ev.TradeNo,
			AuthNo: ev.AuthNo, OutOrderNo: ev.OutOrderNo, Merchant: ev.Merchant, Amount: alipay.Amount(ev.AmountFen),
		}
	}
	return cmd
}
