package alipaytest

import (
	"context"
	"crypto"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"
)

// notifyTimeout is how long a receiver has for its answer.
const notifyTimeout = 5 * time.Second

// notifyDelays is Alipay's schedule: eight deliveries in about 25 hours.
func notifyDelays() []time.Duration {
	return []time.Duration{
		4 * time.Minute, 10 * time.Minute, 10 * time.Minute, time.Hour, 2 * time.Hour, 6 * time.Hour, 15 * time.Hour,
	}
}

// SellerID is the seller_id in notifications of the merchant with this
// app_auth_token; empty means the app itself.
func SellerID(appAuthToken string) string {
	if appAuthToken == "" {
		return "2088000000000001"
	}
	return fmt.Sprintf("2088%012d", hash("seller", appAuthToken)%1_000_000_000_000)
}

// Notice is one delivery of a notification.
type Notice struct {
	NotifyID     string    `json:"notify_id"`
	OutRequestNo string    `json:"out_request_no"`
	URL          string    `json:"url"`
	Sent         time.Time `json:"sent"`   // before it left
	At           time.Time `json:"at"`     // when it was answered, or given up
	Status       int       `json:"status"` // HTTP status, 0 if there was no answer
	Accepted     bool      `json:"accepted"`
	Forged       bool      `json:"forged"` // its signature is of something else
}

// notice is a notification that is to be delivered until it is accepted.
type notice struct {
	url    string
	number string
	params map[string]string // without notify_time, sign
	v2     bool              // sign_type is signed, too
	copies int               // deliveries at once
	forged bool
}

// errands are work that outlives the call that began it.
type errands struct {
	ctx    context.Context //nolint:containedctx // the life of all errands, not of a call
	cancel context.CancelFunc
	wg     sync.WaitGroup
}

func newErrands() *errands {
	ctx, cancel := context.WithCancel(context.Background())
	return &errands{ctx: ctx, cancel: cancel}
}

// after runs f once d has passed, or never if the errands end before.
func (e *errands) after(d time.Duration, f func(context.Context)) {
	if e.ctx.Err() != nil {
		return
	}
	e.wg.Go(func() {
		timer := time.NewTimer(d)
		defer timer.Stop()
		select {
		case <-timer.C:
			f(e.ctx)
		case <-e.ctx.Done():
		}
	})
}

// notifyMoved notifies of the money that has moved since the last time. The
// server's lock is held.
func (s *Server) notifyMoved() {
	for _, m := range s.ledger.news {
		if m.entry.order.kind == couponRefundKind {
			if m.entry.notifyURL != "" {
				s.launch(m.entry, &notice{url: m.entry.notifyURL, params: s.couponNotice(m)})
			}
			continue
		}
		if s.cfg.NotifyURL == "" {
			continue
		}
		s.launch(m.entry, &notice{url: s.cfg.NotifyURL, params: s.refundNotice(m)})
		if m.entry.depositBack && m.entry.byCard() {
			n := &notice{url: s.cfg.NotifyURL, params: s.depositNotice(m)}
			if hash(m.entry.number)%2 == 0 {
				n.v2 = true // as messages of the app gateway may be
			}
			s.launch(m.entry, n)
		}
	}
	s.ledger.news = nil
}

// launch begins the deliveries, under the fault that the number or the draw
// asks for.
func (s *Server) launch(e *entry, n *notice) {
	n.number, n.copies = e.number, 1
	c := &call{spec: method{op: noticeOp, method: "notify"}}
	c.draw = s.drawOf(c, e, 1)
	if f, err := s.pick(c, e); err == nil && f != nil {
		f.notice(n)
		s.happened(c, e, f)
	}
	all := s.errands
	for range n.copies {
		all.after(0, func(ctx context.Context) { s.deliverNotice(ctx, all, n, s.cfg.NotifyDelays) })
	}
}

// deliverNotice delivers n now, and again after each delay until it is accepted.
func (s *Server) deliverNotice(ctx context.Context, all *errands, n *notice, delays []time.Duration) {
	sent := s.now()
	status, accepted := s.postNotice(ctx, n)
	if ctx.Err() != nil {
		return
	}
	s.mu.Lock()
	if len(s.notices) >= s.cfg.KeepCalls {
		s.notices = append([]Notice(nil), s.notices[(s.cfg.KeepCalls+1)/2:]...)
	}
	s.notices = append(s.notices, Notice{
		NotifyID: n.params["notify_id"], OutRequestNo: n.number, URL: n.url, Sent: sent, At: s.now(), Status: status, Accepted: accepted, Forged: n.forged,
	})
	s.mu.Unlock()
	if !accepted && len(delays) > 0 {
		all.after(delays[0], func(ctx context.Context) { s.deliverNotice(ctx, all, n, delays[1:]) })
	}
}

// postNotice signs and posts one delivery. It is accepted by HTTP 200 and the
// body success, nothing else.
func (s *Server) postNotice(ctx context.Context, n *notice) (status int, accepted bool) {
	ctx, cancel := context.WithTimeout(ctx, notifyTimeout)
	defer cancel()
	form, err := n.form(s.cfg.Signer, s.now())
	if err != nil {
		return 0, false
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, n.url, strings.NewReader(form))
	if err != nil {
		return 0, false
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")
	resp, err := s.notifier.Do(req)
	if err != nil {
		return 0, false
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 64))
	return resp.StatusCode, err == nil && resp.StatusCode == http.StatusOK && string(body) == "success"
}

// form is the signed form body of a delivery at this time.
func (n *notice) form(signer crypto.Signer, now time.Time) (string, error) {
	values := url.Values{}
	params := map[string]string{"sign_type": "RSA2", "charset": "utf-8"}
	maps.Copy(params, n.params)
	if n.params["msg_method"] == "" {
		params["notify_time"] = beijing(now)
	}
	skip := []string{"sign", "sign_type"}
	if n.v2 {
		skip = skip[:1]
	}
	text := signingText(params, skip...)
	if n.forged {
		text += "forged"
	}
	signature, err := sign(signer, text)
	if err != nil {
		return "", err
	}
	for name, value := range params {
		values.Set(name, value)
	}
	values.Set("sign", signature)
	return values.Encode(), nil
}

// refundNotice is what the payment's notify_url gets when money went back.
func (s *Server) refundNotice(m movement) map[string]string {
	o := m.entry.order
	params := map[string]string{
		"notify_type": "trade_status_sync", "notify_id": notifyID("trade", m.entry), "app_id": o.owner.appID, "version": "1.0",
		"trade_no": o.no, "out_trade_no": o.outNo, "out_biz_no": m.entry.number,
		"seller_id": SellerID(o.owner.token), "seller_email": "seller@example.com",
		"buyer_id": buyer(o), "buyer_logon_id": "sim***@example.com",
		"trade_status": "TRADE_SUCCESS", "total_amount": FormatYuan(o.total), "refund_fee": FormatYuan(m.refunded),
		"gmt_refund":  m.entry.movedAt.In(beijingZone()).Format("2006-01-02 15:04:05.000"),
		"gmt_payment": beijing(m.entry.movedAt), "gmt_create": beijing(m.entry.movedAt),
		"subject": "测试 100% a+b", "passback_params": "",
	}
	if o.owner.token != "" {
		params["auth_app_id"] = "2021" + SellerID(o.owner.token)[4:]
	}
	if m.refunded >= o.total {
		params["trade_status"], params["gmt_close"] = "TRADE_CLOSED", beijing(m.entry.movedAt)
	}
	return params
}

// couponNotice is what a coupon refund's notify_url gets; absent values are the
// word null.
func (s *Server) couponNotice(m movement) map[string]string {
	o := m.entry.order
	return map[string]string{
		"notify_type": "fund_stdtrustee_refund.success", "notify_id": notifyID("coupon", m.entry),
		"auth_no": o.no, "out_order_no": o.outNo, "operation_id": operationID(m.entry), "out_request_no": m.entry.number,
		"operation_type": "REFUND", "amount": FormatYuan(m.entry.amount), "status": "SUCCESS",
		"gmt_create": beijing(m.entry.movedAt), "gmt_trans": beijing(m.entry.movedAt),
		"payer_logon_id": "null", "payer_user_id": buyer(o),
	}
}

// depositNotice says what the bank did with the refund.
func (s *Server) depositNotice(m movement) map[string]string {
	o := m.entry.order
	content, err := append(node{
		{"trade_no", o.no},
		{"out_trade_no", o.outNo},
		{"out_request_no", m.entry.number},
	}, m.entry.deposit()[1:]...).MarshalJSON()
	if err != nil {
		panic(err) // strings always encode
	}
	return map[string]string{
		"notify_id": notifyID("deposit", m.entry), "utc_timestamp": strconv.FormatInt(m.entry.movedAt.UnixMilli(), 10),
		"msg_method": "alipay.trade.refund.depositback.completed", "app_id": o.owner.appID, "version": "1.1",
		"biz_content": string(content),
	}
}

// notifyID stays the same over all deliveries of one notification.
func notifyID(what string, e *entry) string {
	return fmt.Sprintf("2026010300222%020d", hash(what, e.order.owner.token, e.order.no, e.number))
}
