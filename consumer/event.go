package consumer

import (
	"fmt"
	"time"

	"refundd/producer"
)

// What a command and its note tell in events.

func (h *Handler) event(cmd Command, outcome producer.Outcome) producer.Event {
	ev := producer.Event{
		Subject: cmd.OutRequestNo, Kind: cmd.Kind, Outcome: outcome,
		AppID: h.cfg.AppID, Merchant: cmd.Merchant,
		OutRequestNo: cmd.OutRequestNo, OutTradeNo: cmd.OutTradeNo, TradeNo: cmd.TradeNo,
		AuthNo: cmd.AuthNo, OutOrderNo: cmd.OutOrderNo,
		AmountFen: int64(cmd.Amount), Currency: cmd.Currency,
	}
	if outcome != producer.Rejected {
		m, _ := h.merchant(cmd.Merchant)
		ev.RefundKey, ev.SellerID = producer.RefundKey(h.eventIdentity(cmd)), m.SellerID
	}
	return ev
}

func (h *Handler) eventIdentity(cmd Command) producer.Identity {
	id := h.identity(cmd)
	return producer.Identity{AppID: id.AppID, Merchant: id.Merchant, Kind: producer.Kind(id.Kind), OutRequestNo: id.OutRequestNo, Trade: id.Trade}
}

func (h *Handler) decidedEvent(c *claimedDelivery, outcome producer.Outcome, reason producer.Reason) producer.Event {
	ev := h.event(c.cmd, outcome)
	ev.ID = producer.DecidedID(h.eventIdentity(c.cmd), c.cmd.Trade(), int64(c.cmd.Amount), outcome)
	ev.Time, ev.Traceparent, ev.Metadata = time.Now(), c.note.Origin.Traceparent, c.first.Metadata
	c.note.fillEvent(&ev)
	if outcome == producer.Succeeded {
		ev.PaidByOther = c.cmd.Refund.RefundTransOut != "" || c.cmd.Refund.RefundAdvanceAccount != ""
		ev.Funds, ev.FundsCut = c.note.Last.Funds, c.note.Last.LeftOut != ""
		if ev.FundsCut {
			h.metrics.FundsCut()
			c.log.WithField("left_out", c.note.Last.LeftOut).Warn("Alipay's answer tells in a form that this version cannot read where the money went")
		}
		ev.ConfirmedBy = producer.ByQuery
		if c.note.Proof == provenByResponse {
			ev.ConfirmedBy = producer.ByResponse
		}
		return ev
	}
	ev.ConfirmedBy, ev.Reason, ev.Detail = producer.ByQuery, reason, "Alipay shows this refund as closed"
	if r := c.note.Refusal; r != nil && reason == producer.ReasonRefused {
		ev.AlipayCode, ev.AlipaySubCode, ev.AlipaySubMsg, ev.TraceID = r.Code, r.SubCode, r.SubMsg, r.TraceID
		ev.Detail = fmt.Sprintf("Alipay refused the refund (%s), and a query shows that it was not carried out", r.SubCode)
		if c.note.LastQuery == 0 {
			ev.ConfirmedBy = producer.ByResponse
			ev.Detail = fmt.Sprintf("Alipay refused the refund (%s)", r.SubCode)
		}
	}
	return ev
}

// unresolvedEvent tells of a copy that is parked. The note is nil where there is none.
func (h *Handler) unresolvedEvent(cmd Command, parked producer.Copy, n *note, metadata map[string]string) producer.Event {
	ev := h.event(cmd, producer.Unresolved)
	ev.ID = producer.UnresolvedID(h.eventIdentity(cmd), parked.Park)
	ev.Time, ev.Traceparent, ev.Metadata = time.Now(), parked.Traceparent, metadata
	ev.Reason = producer.Reason(parked.Reason)
	ev.Detail = unresolvedDetail(ev.Reason)
	if n != nil {
		n.fillEvent(&ev)
		if ev.Reason == producer.ReasonConflictAtAlipay {
			ev.AmountAtAlipayFen = n.Last.AtAlipay
		}
	}
	return ev
}

// tell puts into the event what Alipay's answers told.
func (n *note) fillEvent(ev *producer.Event) {
	f := n.Last
	ev.Calls = n.Calls + n.Queries
	ev.AlipayCode, ev.AlipaySubCode, ev.AlipaySubMsg, ev.TraceID = f.Code, f.SubCode, f.SubMsg, f.TraceID
	if ev.TradeNo == "" {
		ev.TradeNo = f.TradeNo
	}
	if ev.OutTradeNo == "" {
		ev.OutTradeNo = f.OutTradeNo
	}
	if ev.OutOrderNo == "" {
		ev.OutOrderNo = f.OutOrderNo
	}
	ev.OperationID = n.OperationID
	if isCurrency(f.Currency) {
		ev.Currency = f.Currency
	}
	if f.TotalRefunded != nil {
		ev.TotalRefundedFen = *f.TotalRefunded
	}
	if t, err := time.Parse(time.RFC3339Nano, f.RefundedAt); err == nil && ev.Outcome == producer.Succeeded {
		ev.RefundedAt = t // elsewhere this refund's money is not proven to have moved
	}
}

func unresolvedDetail(r producer.Reason) string {
	switch r {
	case producer.ReasonBlockedMerchant:
		return "Alipay refuses until the merchant's account is mended (funds or account state); every try was used up"
	case producer.ReasonBlockedConfiguration:
		return "keys, permissions, certificate or authorisation need a person"
	case producer.ReasonConflictAtAlipay:
		return "this refund number exists at Alipay with another amount"
	case producer.ReasonRateLimited:
		return "Alipay limited the calls until the command's age was over"
	case producer.ReasonGatewayUnavailable:
		return "Alipay could not be reached in any try; nothing was sent"
	case producer.ReasonPaused:
		return "refund calls were paused until the command's age was over"
	case producer.ReasonHeld:
		return "the command could not be worked on until its age was over"
	case producer.ReasonTooOld:
		return "the command is older than what is remembered of decided refunds, and Alipay does not show the refund"
	case producer.ReasonContradiction:
		return "Alipay proves that the money moved although failed was published before"
	case producer.ReasonUnknownOutcome, producer.ReasonUnreadable, producer.ReasonInvalid, producer.ReasonConflict,
		producer.ReasonUnknownMerchant, producer.ReasonTooLarge, producer.ReasonRefused, producer.ReasonClosed:
	}
	return "the outcome of the refund could not be proven in any try"
}

func (h *Handler) kindOf(topic string) (Kind, bool) {
	for kind, t := range h.cfg.Topics {
		if t != "" && t == topic {
			return kind, true
		}
	}
	return "", false
}
