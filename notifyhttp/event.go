package notifyhttp

import (
	"fmt"
	"time"

	"refundd/alipay"
	"refundd/producer"
)

// verdict is what a body turned out to be.
type verdict struct {
	notification *alipay.Notification // nil if it is not verified, or for another app
	notice       Notice
	event        *producer.Encoded // nil if there is none to publish
}

func (h *handler) judge(body []byte) (verdict, error) {
	n, err := h.verifier().ParseNotification(body)
	if err != nil {
		return verdict{}, err
	}
	v := verdict{notification: n}
	merchant, ok := h.merchant(n)
	if !ok {
		return v, alipay.ErrNotifySeller
	}
	if n.NotifyID == "" {
		return v, fmt.Errorf("%w: no notify_id", alipay.ErrNotifyMalformed)
	}
	if !ofInterest(n) {
		return v, nil
	}
	v.notice = noticeOf(n, merchant)
	event, err := h.event(n, v.notice)
	if err != nil {
		return v, fmt.Errorf("%w: %w", alipay.ErrNotifyMalformed, err)
	}
	v.event = &event
	return v, nil
}

// merchant is whose notification n is: empty for the app's own, and where nobody can say. It is not ok for sellers of others; a
// seller that is not named is one only where Alipay always names it.
func (h *handler) merchant(n *alipay.Notification) (name string, ok bool) {
	anybody := h.cfg.SellerID == ""
	switch n.SellerID {
	case "":
		return "", anybody || n.Class != alipay.NotificationRefund
	case h.cfg.SellerID:
		return "", true
	}
	if h.cfg.Sellers != nil {
		if name, ok = h.cfg.Sellers(n.SellerID); ok {
			return name, true
		}
	}
	return "", anybody
}

func (h *handler) configured(seller string) bool {
	if seller == "" || seller == h.cfg.SellerID || h.cfg.Sellers == nil {
		return seller != "" && seller == h.cfg.SellerID
	}
	_, ok := h.cfg.Sellers(seller)
	return ok
}

// ofInterest is false for what needs no event. A deposit back with a status that nobody documented is of interest, and then
// malformed: it is not lost in silence.
func ofInterest(n *alipay.Notification) bool {
	switch n.Class {
	case alipay.NotificationRefund:
		return true
	case alipay.NotificationCouponRefund:
		return n.Status == "" || n.Status == "SUCCESS"
	case alipay.NotificationDepositBack:
		return n.DbackStatus != "P"
	case alipay.NotificationOther:
	}
	return false
}

// event is what n says. Its id is the same for all deliveries; time is that of the delivery.
func (h *handler) event(n *alipay.Notification, refund Notice) (producer.Encoded, error) {
	at, err := n.Time()
	if err != nil {
		return producer.Encoded{}, err
	}
	e := producer.Event{
		Subject: refund.OutRequestNo, Time: at,
		Kind: refund.Kind, Outcome: producer.Notified, AppID: h.cfg.AppID, Merchant: refund.Merchant,
		OutRequestNo: refund.OutRequestNo, OutTradeNo: refund.OutTradeNo, TradeNo: refund.TradeNo,
		AuthNo: refund.AuthNo, OutOrderNo: refund.OutOrderNo, OperationID: refund.OperationID,
		NotifyID: n.NotifyID,
	}
	switch n.Class {
	case alipay.NotificationRefund:
		e.TotalRefundedFen = fen(n.RefundFee)
		e.RefundedAt = moment(n.GmtRefund)
		e.TradeStatus = n.TradeStatus
	case alipay.NotificationCouponRefund:
		if n.Amount != nil && *n.Amount <= alipay.MaxAmount {
			e.AmountFen = fen(n.Amount)
		}
		e.RefundedAt = moment(n.GmtTrans)
		e.TradeStatus = n.TradeStatus
	case alipay.NotificationDepositBack:
		e.Outcome = producer.DepositBack
		e.DbackStatus = n.DbackStatus
		e.DbackAmountFen = fen(n.DbackAmount)
		e.BankAckTime = moment(n.BankAckTime)
		e.EstBankReceiptTime = moment(n.EstBankReceiptTime)
	case alipay.NotificationOther:
	}
	if h.configured(n.SellerID) {
		e.SellerID = n.SellerID
	}
	e.ID = producer.NotifiedID(h.cfg.AppID, n.NotifyID, e.Outcome)
	return e.Encode()
}

// noticeOf names the refund. One of a trade that has no number of its own has the trade's, by Alipay's rule for out_request_no.
func noticeOf(n *alipay.Notification, merchant string) Notice {
	refund := Notice{
		Kind: producer.KindRefund, Merchant: merchant,
		OutRequestNo: n.OutRequestNo, OutTradeNo: n.OutTradeNo, TradeNo: n.TradeNo,
	}
	if n.Class == alipay.NotificationCouponRefund {
		refund.Kind = producer.KindCouponRefund
		refund.AuthNo, refund.OutOrderNo, refund.OperationID = n.AuthNo, n.OutOrderNo, n.OperationID
	}
	if n.Class == alipay.NotificationRefund && refund.OutRequestNo == "" {
		refund.OutRequestNo = n.OutTradeNo
	}
	return refund
}

func fen(a *alipay.Amount) int64 {
	if a == nil {
		return 0
	}
	return int64(*a)
}

// moment is zero, and so left out, for what is no time of Alipay's.
func moment(s string) time.Time {
	t, err := alipay.ParseTime(s)
	if err != nil {
		return time.Time{}
	}
	return t
}
