package alipay

import (
	"bytes"
	"crypto/rsa"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"
)

// Why a notification is refused. The wrapped text says more, and quotes nothing
// of the notification.
var (
	// ErrNotifyMalformed: not a form body, or a verified one that contradicts
	// itself.
	ErrNotifyMalformed = errors.New("malformed notification")
	// ErrNotifyDuplicate: a parameter stands twice, so that what is signed and
	// what is read could differ.
	ErrNotifyDuplicate = errors.New("notification with a parameter twice")
	// ErrNotifySignature: none of the configured keys verifies it.
	ErrNotifySignature = errors.New("signature of the notification does not verify")
	// ErrNotifyApp: verified, and for another app.
	ErrNotifyApp = errors.New("notification for another app")
	// ErrNotifySeller: verified, and for another seller.
	ErrNotifySeller = errors.New("notification for another seller")
)

// maxNotification bounds a form body; real ones have about a kilobyte.
const maxNotification = 64 << 10

// NotificationClass is what kind of event a notification reports.
type NotificationClass int

// The classes of notifications.
const (
	// NotificationOther is anything else, such as a payment.
	NotificationOther NotificationClass = iota
	// NotificationRefund: some refund of a trade succeeded.
	NotificationRefund
	// NotificationCouponRefund: a refund of a red packet.
	NotificationCouponRefund
	// NotificationDepositBack: a bank took or bounced a refund to a card.
	NotificationDepositBack
)

// String returns the class as a lower-case word.
func (c NotificationClass) String() string {
	switch c {
	case NotificationRefund:
		return "refund"
	case NotificationCouponRefund:
		return "coupon_refund"
	case NotificationDepositBack:
		return "deposit_back"
	case NotificationOther:
	}
	return "other"
}

// Notification is a verified notification. Which members are filled depends on
// its class; Alipay guarantees none. The text "null", which Alipay writes here
// and there, is read as absent.
type Notification struct {
	Class NotificationClass
	// Scheme says which of Alipay's ways to sign was used: v1_skip_empty,
	// v1_keep_empty, v2_skip_empty or v2_keep_empty.
	Scheme string

	// NotifyID is the same in all deliveries of one notification. It may be
	// absent; such a notification cannot be distinguished from its repeats.
	NotifyID   string
	NotifyType string
	// NotifyTime is the time of this delivery; see ParseTime. Messages of the
	// app gateway have UTCTimestamp instead, milliseconds since 1970.
	NotifyTime, UTCTimestamp   string
	AppID, AuthAppID, SellerID string
	TradeNo, OutTradeNo        string
	// OutRequestNo is the refund's number: out_biz_no of a trade's notification,
	// where it is OutTradeNo if the refund had no number of its own.
	OutRequestNo string
	TradeStatus  string
	TotalAmount  *Amount
	// RefundFee is everything refunded of the trade so far, never this refund.
	RefundFee   *Amount
	SendBackFee *Amount
	// GmtRefund has milliseconds; see ParseTime.
	GmtRefund string

	// Of coupon refunds. Amount is of this refund alone.
	AuthNo, OutOrderNo, OperationID, OperationType, Status, GmtTrans string

	Amount *Amount

	// Of deposit backs. DbackStatus S: the bank has it; F: the money went to the
	// buyer's balance instead, and the refund stands.
	DbackStatus                     string
	DbackAmount                     *Amount
	BankAckTime, EstBankReceiptTime string
}

// Format prints class and number alone.
func (n Notification) Format(f fmt.State, _ rune) {
	_, _ = fmt.Fprintf(f, "alipay.Notification{%s %s}", n.Class, word(n.NotifyID))
}

// Time returns when the notification was sent, by notify_time or else by
// utc_timestamp, in GMT+8.
func (n *Notification) Time() (time.Time, error) {
	if n.NotifyTime != "" {
		return ParseTime(n.NotifyTime)
	}
	var ms int64
	for _, c := range []byte(n.UTCTimestamp) {
		if c < '0' || c > '9' || ms > 1<<50 {
			return time.Time{}, errors.New("notification time: utc_timestamp is not milliseconds")
		}
		ms = ms*10 + int64(c-'0')
	}
	if ms == 0 {
		return time.Time{}, errors.New("notification time: neither notify_time nor utc_timestamp")
	}
	return time.UnixMilli(ms).In(zone()), nil
}

// VerifierConfig says whose notifications are believed.
type VerifierConfig struct {
	// Keys are Alipay's, as in Config.AlipayKeys.
	Keys []*rsa.PublicKey
	// AppID is the app whose notifications are expected.
	AppID string
	// EncryptKey opens messages of the app gateway if content encryption is on,
	// as in Config.
	EncryptKey []byte
	// SellerIDs are the sellers whose trades are expected; empty means any.
	SellerIDs []string
}

// Verifier reads notifications. It is made by NewVerifier and safe for use by
// many goroutines. It never uses the network, and nothing in a notification
// chooses a key.
type Verifier struct {
	keys       []*rsa.PublicKey
	encryptKey []byte
	appID      string
	sellers    []string
}

// NewVerifier checks the configuration.
func NewVerifier(cfg VerifierConfig) (*Verifier, error) {
	if len(cfg.Keys) == 0 {
		return nil, errors.New("new verifier: the public key of Alipay is missing")
	}
	for i, key := range cfg.Keys {
		if err := checkPublic(key); err != nil {
			return nil, fmt.Errorf("new verifier: public key %d of Alipay: %w", i+1, err)
		}
	}
	if cfg.AppID == "" {
		return nil, errors.New("new verifier: app id is missing")
	}
	return &Verifier{keys: cfg.Keys, encryptKey: cfg.EncryptKey, appID: cfg.AppID, sellers: cfg.SellerIDs}, nil
}

// ParseNotification verifies a form body exactly as it was posted, at most 64
// KiB: parameters that a router added, trimmed or merged break the signature.
// Values in GBK verify too, and are read in UTF-8.
//
// The order is: form, duplicates, signature, then app and seller. A
// notification is a hint that something happened; what happened to one refund
// is what a query shows.
func (v *Verifier) ParseNotification(body []byte) (*Notification, error) {
	params, err := parseForm(body)
	if err != nil {
		return nil, err
	}
	scheme, err := v.verify(params)
	if err != nil {
		return nil, err
	}
	get := func(key string) string {
		i, found := slices.BinarySearchFunc(params, key, func(p param, k string) int { return strings.Compare(p.key, k) })
		if !found || params[i].value == "null" {
			return ""
		}
		return legible(params[i].value)
	}
	n := &Notification{
		Scheme:        scheme,
		NotifyID:      get("notify_id"),
		NotifyType:    get("notify_type"),
		NotifyTime:    get("notify_time"),
		UTCTimestamp:  get("utc_timestamp"),
		AppID:         get("app_id"),
		AuthAppID:     get("auth_app_id"),
		SellerID:      get("seller_id"),
		TradeNo:       get("trade_no"),
		OutTradeNo:    get("out_trade_no"),
		OutRequestNo:  get("out_biz_no"),
		TradeStatus:   get("trade_status"),
		TotalAmount:   amountOf(get("total_amount")),
		RefundFee:     amountOf(get("refund_fee")),
		SendBackFee:   amountOf(get("send_back_fee")),
		GmtRefund:     get("gmt_refund"),
		AuthNo:        get("auth_no"),
		OutOrderNo:    get("out_order_no"),
		OperationID:   get("operation_id"),
		OperationType: get("operation_type"),
		Status:        get("status"),
		GmtTrans:      get("gmt_trans"),
		Amount:        amountOf(get("amount")),
	}
	n.Class = n.classOf(get("msg_method"))
	switch n.Class {
	case NotificationDepositBack:
		content := []byte(get("biz_content"))
		if get("encrypt_type") == "AES" && len(v.encryptKey) > 0 && !bytes.HasPrefix(content, []byte("{")) {
			if content, err = decrypt(v.encryptKey, string(content)); err != nil {
				return nil, fmt.Errorf("%w: biz_content: %w", ErrNotifyMalformed, err)
			}
			content = []byte(legible(string(content)))
		}
		if err := decode(content, (*depositBack)(n)); err != nil {
			return nil, fmt.Errorf("%w: biz_content: %w", ErrNotifyMalformed, err)
		}
	case NotificationCouponRefund:
		n.OutRequestNo = get("out_request_no")
	case NotificationRefund, NotificationOther:
	}
	if err := v.checkParties(n); err != nil {
		return nil, err
	}
	return n, nil
}

// classOf goes by what is there, because one event comes under several types:
// payment notifications carry refund_fee=0.00, and a coupon refund may call
// itself trade_status_sync.
func (n *Notification) classOf(msgMethod string) NotificationClass {
	switch {
	case msgMethod == "alipay.trade.refund.depositback.completed":
		return NotificationDepositBack
	case n.NotifyType == "fund_stdtrustee_refund.success",
		n.AuthNo != "" && n.OperationID != "" && n.OperationType == "REFUND":
		return NotificationCouponRefund
	case n.RefundFee != nil && *n.RefundFee > 0 && (n.GmtRefund != "" || n.OutRequestNo != ""):
		return NotificationRefund
	default:
		return NotificationOther
	}
}

// checkParties refuses notifications of other apps and sellers. Who is not named
// is accepted where Alipay does not name them: no app in coupon events, no seller
// in those and in deposit backs.
func (v *Verifier) checkParties(n *Notification) error {
	mustApp := n.Class == NotificationRefund || n.Class == NotificationDepositBack
	if n.AppID != v.appID && (n.AppID != "" || mustApp) {
		return ErrNotifyApp
	}
	if len(v.sellers) == 0 || (n.SellerID == "" && n.Class != NotificationRefund) {
		return nil
	}
	if !slices.Contains(v.sellers, n.SellerID) {
		return ErrNotifySeller
	}
	return nil
}

// depositBack reads the JSON in a deposit back's biz_content.
type depositBack Notification

func (d *depositBack) fields() []field {
	return []field{
		proof("trade_no", &d.TradeNo),
		proof("out_trade_no", &d.OutTradeNo),
		proof("out_request_no", &d.OutRequestNo),
		proof("dback_status", &d.DbackStatus),
		proof("dback_amount", &d.DbackAmount),
		detail("bank_ack_time", &d.BankAckTime),
		detail("est_bank_receipt_time", &d.EstBankReceiptTime),
	}
}

// legible is a verified value in UTF-8 if it is in one of Alipay's charsets.
func legible(value string) string {
	if text, err := utf8Of([]byte(value)); err == nil {
		return string(text)
	}
	return value
}

// amountOf is nil for what is no amount.
func amountOf(s string) *Amount {
	a, err := parseYuan(s)
	if err != nil {
		return nil
	}
	return &a
}

// parseForm decodes a form body once and sorts it by key. It repairs nothing.
func parseForm(body []byte) ([]param, error) {
	if len(body) == 0 {
		return nil, fmt.Errorf("%w: empty body", ErrNotifyMalformed)
	}
	if len(body) > maxNotification {
		return nil, fmt.Errorf("%w: larger than 64 KiB", ErrNotifyMalformed)
	}
	params := make([]param, 0, 32) // as many as real ones have
	for pair := range strings.SplitSeq(string(body), "&") {
		if pair == "" {
			continue
		}
		name, value, _ := strings.Cut(pair, "=")
		key, err := url.QueryUnescape(name)
		if err != nil {
			return nil, fmt.Errorf("%w: percent-encoding of a name", ErrNotifyMalformed)
		}
		val, err := url.QueryUnescape(value)
		if err != nil {
			return nil, fmt.Errorf("%w: percent-encoding of a value", ErrNotifyMalformed)
		}
		params = append(params, param{key, val})
	}
	if len(params) == 0 {
		return nil, fmt.Errorf("%w: no parameter", ErrNotifyMalformed)
	}
	slices.SortFunc(params, func(a, b param) int { return strings.Compare(a.key, b.key) })
	for i := 1; i < len(params); i++ {
		if params[i].key == params[i-1].key {
			return nil, ErrNotifyDuplicate
		}
	}
	return params, nil
}

// A scheme is one of the ways in which Alipay's systems sign notifications. All
// of them are tried: each proves that Alipay signed these very values.
type scheme struct {
	name         string
	withSignType bool // messages of the app gateway sign sign_type, too
	keepEmpty    bool // the documents say all parameters, most signers skip empty ones
}

func schemes() []scheme {
	return []scheme{
		{"v1_skip_empty", false, false},
		{"v1_keep_empty", false, true},
		{"v2_skip_empty", true, false},
		{"v2_keep_empty", true, true},
	}
}

// verify returns the scheme whose text the signature covers. params are sorted.
func (v *Verifier) verify(params []param) (string, error) {
	var sig, signType string
	hasEmpty := false
	for _, p := range params {
		switch p.key {
		case "sign":
			sig = p.value
		case "sign_type":
			signType = p.value
		}
		hasEmpty = hasEmpty || p.value == ""
	}
	switch {
	case sig == "":
		return "", fmt.Errorf("%w: no sign", ErrNotifySignature)
	case !isBase64(sig):
		return "", fmt.Errorf("%w: sign is not base64; was it decoded twice, or its plus signs not encoded?", ErrNotifySignature)
	}
	for _, s := range schemes() {
		if s.keepEmpty && !hasEmpty {
			continue // the same text as without
		}
		if verified(v.keys, s.text(params), sig) {
			return s.name, nil
		}
	}
	if signType != "" && signType != "RSA2" {
		return "", fmt.Errorf("%w: its sign_type is not RSA2", ErrNotifySignature)
	}
	return "", fmt.Errorf("%w: changed on its way, or signed for a key that is not configured", ErrNotifySignature)
}

// text is what is signed: the values decoded once, in the bytes of their own
// charset.
func (s scheme) text(params []param) []byte {
	b := make([]byte, 0, 1024)
	for _, p := range params {
		if p.key == "sign" || (p.key == "sign_type" && !s.withSignType) || (p.value == "" && !s.keepEmpty) {
			continue
		}
		if len(b) > 0 {
			b = append(b, '&')
		}
		b = append(b, p.key...)
		b = append(b, '=')
		b = append(b, p.value...)
	}
	return b
}
