package producer

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

const (
	specVersion     = "1.0"
	contentType     = "application/json"
	dataSchema      = "urn:refundd:schema:refund-event:v1"
	sourcePrefix    = "/refundd/"
	defaultCurrency = "CNY"
	maxText         = 1000 // characters of detail and alipay_sub_msg

	maxMetadataEntries = 32
	maxMetadataBytes   = 2048

	usualEvent = 1 << 10 // bytes that are enough for most events
)

// Encoded is an event as it is stored and published. Its bytes are the event: whoever publishes a decided refund again publishes
// the stored bytes, not a new encoding.
type Encoded struct {
	ID      string
	Type    Type
	Subject string
	Body    []byte
}

// wireEvent and wireData fix names and order of the members.
type wireEvent struct {
	SpecVersion     string   `json:"specversion"`
	ID              string   `json:"id"`
	Source          string   `json:"source"`
	Type            Type     `json:"type"`
	Subject         string   `json:"subject"`
	Time            string   `json:"time"`
	DataContentType string   `json:"datacontenttype"`
	DataSchema      string   `json:"dataschema"`
	Traceparent     string   `json:"traceparent,omitempty"`
	Data            wireData `json:"data"`
}

type wireData struct {
	Kind               Kind              `json:"kind"`
	Outcome            Outcome           `json:"outcome"`
	AppID              string            `json:"app_id"`
	Merchant           string            `json:"merchant,omitempty"`
	RefundKey          string            `json:"refund_key,omitempty"`
	SellerID           string            `json:"seller_id,omitempty"`
	PaidByOther        bool              `json:"paid_by_other,omitempty"`
	OutRequestNo       string            `json:"out_request_no,omitempty"`
	OutTradeNo         string            `json:"out_trade_no,omitempty"`
	TradeNo            string            `json:"trade_no,omitempty"`
	AuthNo             string            `json:"auth_no,omitempty"`
	OutOrderNo         string            `json:"out_order_no,omitempty"`
	OperationID        string            `json:"operation_id,omitempty"`
	Amount             Fen               `json:"amount,omitempty"`
	Currency           string            `json:"currency,omitempty"`
	TotalRefunded      Fen               `json:"total_refunded,omitempty"`
	AmountAtAlipay     Fen               `json:"amount_at_alipay,omitempty"`
	ConfirmedBy        ConfirmedBy       `json:"confirmed_by,omitempty"`
	RefundedAt         string            `json:"refunded_at,omitempty"`
	Reason             Reason            `json:"reason,omitempty"`
	Detail             string            `json:"detail,omitempty"`
	AlipayCode         string            `json:"alipay_code,omitempty"`
	AlipaySubCode      string            `json:"alipay_sub_code,omitempty"`
	AlipaySubMsg       string            `json:"alipay_sub_msg,omitempty"`
	TraceID            string            `json:"trace_id,omitempty"`
	Calls              *int              `json:"calls,omitempty"`
	Funds              json.RawMessage   `json:"funds,omitempty"`
	FundsCut           bool              `json:"funds_cut,omitempty"`
	Metadata           map[string]string `json:"metadata,omitzero"`
	NotifyID           string            `json:"notify_id,omitempty"`
	TradeStatus        string            `json:"trade_status,omitempty"`
	DbackStatus        string            `json:"dback_status,omitempty"`
	DbackAmount        Fen               `json:"dback_amount,omitempty"`
	BankAckTime        string            `json:"bank_ack_time,omitempty"`
	EstBankReceiptTime string            `json:"est_bank_receipt_time,omitempty"`
}

// Fen is an amount that is written as a string of yuan with two decimals.
type Fen int64

// MaxFen is the most that an amount of an event can be: nine digits of yuan.
const MaxFen = 999999999_99

// MarshalText refuses what the schema cannot express.
func (f Fen) MarshalText() ([]byte, error) {
	if f < 0 || f > MaxFen {
		return nil, errors.New("an amount is out of range")
	}
	return fmt.Appendf(nil, "%d.%02d", f/100, f%100), nil
}

// UnmarshalText takes what MarshalText writes.
func (f *Fen) UnmarshalText(text []byte) error {
	whole, cents, ok := strings.Cut(string(text), ".")
	if !ok || len(cents) != 2 || len(whole) == 0 || len(whole) > 9 || (len(whole) > 1 && whole[0] == '0') ||
		!only(whole+cents, "0123456789") {
		return errors.New("an amount is not yuan with two decimals")
	}
	fen, err := strconv.ParseInt(whole+cents, 10, 64)
	*f = Fen(fen)
	return err
}

// Encode gives the event as one line of JSON, members always in the same order, so that equal events are equal byte for byte.
// It refuses an event that the published schema would refuse; the error names the member and holds no value.
// Sums and times of Alipay's that the schema cannot express (above 999999999.99 yuan, not of four-digit years) and a malformed
// traceparent are left out: they must not keep a final truth from being published. Metadata of a command that gave an empty object is encoded as an empty object.
func (e Event) Encode() (Encoded, error) {
	if err := e.validate(); err != nil {
		return Encoded{}, fmt.Errorf("encode event: %w", err)
	}
	body, err := compact(e.wire())
	if err != nil {
		return Encoded{}, fmt.Errorf("encode event: %w", err)
	}
	return Encoded{ID: e.ID, Type: e.Type(), Subject: e.Subject, Body: body}, nil
}

// compact is the value as one line of JSON that a person can read.
func compact(value any) ([]byte, error) {
	var text bytes.Buffer
	text.Grow(usualEvent)
	enc := json.NewEncoder(&text)
	enc.SetEscapeHTML(false)
	err := enc.Encode(value)
	return bytes.TrimSuffix(text.Bytes(), []byte("\n")), err
}

func (e Event) wire() wireEvent {
	w := wireEvent{
		SpecVersion: specVersion, ID: e.ID, Source: sourcePrefix + e.AppID, Type: e.Type(), Subject: e.Subject,
		DataContentType: contentType, DataSchema: dataSchema,
		Data: wireData{
			Kind: e.Kind, Outcome: e.Outcome, AppID: e.AppID, Merchant: e.Merchant,
			RefundKey: e.RefundKey, SellerID: e.SellerID, PaidByOther: e.PaidByOther,
			OutRequestNo: e.OutRequestNo, OutTradeNo: e.OutTradeNo, TradeNo: e.TradeNo,
			AuthNo: e.AuthNo, OutOrderNo: e.OutOrderNo, OperationID: e.OperationID,
			Amount: Fen(e.AmountFen), TotalRefunded: toldYuan(e.TotalRefundedFen),
			AmountAtAlipay: toldYuan(e.AmountAtAlipayFen),
			ConfirmedBy:    e.ConfirmedBy, RefundedAt: alipayTime(e.RefundedAt), Reason: e.Reason, Detail: cut(e.Detail, maxText),
			AlipayCode: e.AlipayCode, AlipaySubCode: e.AlipaySubCode, AlipaySubMsg: cut(e.AlipaySubMsg, maxText), TraceID: e.TraceID,
			Metadata: e.Metadata, NotifyID: e.NotifyID, TradeStatus: e.TradeStatus,
			DbackStatus: e.DbackStatus, DbackAmount: toldYuan(e.DbackAmountFen),
			BankAckTime: alipayTime(e.BankAckTime), EstBankReceiptTime: alipayTime(e.EstBankReceiptTime),
		},
	}
	w.Data.Funds, w.Data.FundsCut = e.Funds.wire()
	w.Data.FundsCut = w.Data.FundsCut || e.FundsCut
	if e.AmountFen != 0 {
		w.Data.Currency = e.Currency
		if e.Currency == "" {
			w.Data.Currency = defaultCurrency
		}
	}
	if ValidTraceparent(e.Traceparent) {
		w.Traceparent = e.Traceparent
	}
	switch e.Outcome {
	case Succeeded, Failed, Unresolved:
		w.Data.Calls = &e.Calls
		w.Time = e.Time.UTC().Format("2006-01-02T15:04:05.000Z07:00")
	case Rejected:
		w.Time = e.Time.UTC().Format("2006-01-02T15:04:05.000Z07:00")
	case Notified, DepositBack:
		w.Time = e.Time.UTC().Format(time.RFC3339Nano)
	}
	return w
}

// alipayTime keeps the precision that Alipay gave.
func alipayTime(t time.Time) string {
	t = t.In(time.FixedZone("GMT+8", 8*60*60))
	if t.IsZero() || !fourDigits(t) {
		return ""
	}
	return t.Format("2006-01-02T15:04:05.999999999-07:00")
}

func fourDigits(t time.Time) bool { return t.Year() >= 1 && t.Year() <= 9999 }

func toldYuan(fen int64) Fen {
	if fen < 0 || fen > MaxFen {
		return 0
	}
	return Fen(fen)
}

func cut(s string, limit int) string {
	n := 0
	for i := range s {
		if n == limit {
			return s[:i]
		}
		n++
	}
	return s
}

// ValidTraceparent says whether s is a W3C Trace Context traceparent of 55 characters. Others are not carried on.
func ValidTraceparent(s string) bool {
	if len(s) != 55 || s[2] != '-' || s[35] != '-' || s[52] != '-' {
		return false
	}
	version, trace, span, flags := s[:2], s[3:35], s[36:52], s[53:]
	return only(version+trace+span+flags, hexDigits) && version != "ff" && !only(trace, "0") && !only(span, "0")
}

func wellFormedID(id string) bool { return len(id) == 32 && only(id, hexDigits) }

const hexDigits = "0123456789abcdef"

func only(s, chars string) bool { return strings.Trim(s, chars) == "" }

func (e Event) validate() error {
	if e.Type() == "" {
		return fmt.Errorf("no event type for kind %q with outcome %q", e.Kind, e.Outcome)
	}
	for _, m := range []struct {
		name, value string
		required    bool
		wellFormed  bool
	}{
		{"id", e.ID, true, wellFormedID(e.ID)},
		{"subject", e.Subject, true, true},
		{"app_id", e.AppID, true, true},
		{"refund_key", e.RefundKey, e.final() || e.Outcome == Unresolved, wellFormedID(e.RefundKey)},
		{"out_request_no", e.OutRequestNo, e.Outcome != Rejected, true},
		{"currency", e.Currency, false, len(e.Currency) == 3 && only(e.Currency, "ABCDEFGHIJKLMNOPQRSTUVWXYZ")},
		{"confirmed_by", string(e.ConfirmedBy), e.final(), e.ConfirmedBy == ByResponse || e.ConfirmedBy == ByQuery},
		{"reason", string(e.Reason), e.needsReason(), e.Reason.fits(e.Outcome)},
		{"detail", e.Detail, e.needsReason(), true},
		{"notify_id", e.NotifyID, e.Outcome == Notified || e.Outcome == DepositBack, true},
		{"dback_status", e.DbackStatus, e.Outcome == DepositBack, e.DbackStatus == "S" || e.DbackStatus == "F"},
	} {
		switch {
		case m.value == "" && m.required:
			return fmt.Errorf("%s is missing", m.name)
		case m.value != "" && !m.wellFormed:
			return fmt.Errorf("%s is not one that %s events have", m.name, e.Outcome)
		}
	}
	required := e.final() || e.Outcome == Unresolved
	switch {
	case e.Time.IsZero():
		return errors.New("time is missing")
	case !fourDigits(e.Time.UTC()):
		return errors.New("time is out of range")
	case e.AmountFen == 0 && required:
		return errors.New("amount is missing")
	case e.AmountFen < 0 || e.AmountFen > MaxFen:
		return errors.New("amount is out of range")
	case e.Calls < 0:
		return errors.New("calls is negative")
	case (e.Funds != nil || e.FundsCut || e.PaidByOther) && e.Outcome != Succeeded:
		return errors.New("only a success tells of funds")
	}
	return validateMetadata(e.Metadata)
}

func (e Event) final() bool { return e.Outcome == Succeeded || e.Outcome == Failed }

func (e Event) needsReason() bool {
	return e.Outcome == Rejected || e.Outcome == Failed || e.Outcome == Unresolved
}

func validateMetadata(metadata map[string]string) error {
	size := 0
	for name, value := range metadata {
		size += len(name) + len(value)
	}
	if len(metadata) > maxMetadataEntries || size > maxMetadataBytes {
		return fmt.Errorf("metadata has more than %d entries or %d bytes", maxMetadataEntries, maxMetadataBytes)
	}
	return nil
}
