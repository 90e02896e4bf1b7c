package producer

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
)

// DecodeEncoded takes an event from what Stored returned, or from its bytes as they are. It reads only what publishing needs, and
// the bytes are those that were encoded, whichever version did it.
func DecodeEncoded(stored []byte) (Encoded, error) {
	body, err := published(stored)
	if err != nil {
		return Encoded{}, fmt.Errorf("decode stored event: %w", err)
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(body, &members); err != nil {
		return Encoded{}, errors.New("decode stored event: not a JSON object")
	}
	e := Encoded{Body: body}
	for _, m := range []struct {
		name string
		into any
	}{{"id", &e.ID}, {"type", &e.Type}, {"subject", &e.Subject}} {
		if err := json.Unmarshal(members[m.name], m.into); err != nil {
			return Encoded{}, fmt.Errorf("decode stored event: %s is missing or not a string", m.name)
		}
	}
	if !e.Type.known() || !wellFormedID(e.ID) || e.Subject == "" {
		return Encoded{}, errors.New("decode stored event: id, type or subject is not one of ours")
	}
	return e, nil
}

// DecodeEvent reads a published event, for readers. Members that this version does not know are skipped; the others must make an
// event that Encode would take. Errors hold no values.
func DecodeEvent(body []byte) (Event, error) {
	var w wireEvent
	if err := json.Unmarshal(body, &w); err != nil {
		if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
			return Event{}, fmt.Errorf("decode event: %s has the wrong type", wrong.Field)
		}
		return Event{}, errors.New("decode event: not an event in JSON")
	}
	switch {
	case w.SpecVersion != specVersion:
		return Event{}, errors.New("decode event: specversion is not 1.0")
	case w.DataSchema != dataSchema || w.DataContentType != contentType:
		return Event{}, errors.New("decode event: dataschema or datacontenttype is not ours")
	case w.Source != sourcePrefix+w.Data.AppID:
		return Event{}, errors.New("decode event: source does not fit app_id")
	}
	d := w.Data
	e := Event{
		ID: w.ID, Subject: w.Subject, Traceparent: w.Traceparent,
		Kind: d.Kind, Outcome: d.Outcome, AppID: d.AppID, Merchant: d.Merchant,
		RefundKey: d.RefundKey, SellerID: d.SellerID, PaidByOther: d.PaidByOther, FundsCut: d.FundsCut,
		OutRequestNo: d.OutRequestNo, OutTradeNo: d.OutTradeNo, TradeNo: d.TradeNo,
		AuthNo: d.AuthNo, OutOrderNo: d.OutOrderNo, OperationID: d.OperationID,
		AmountFen: int64(d.Amount), Currency: d.Currency, TotalRefundedFen: int64(d.TotalRefunded),
		AmountAtAlipayFen: int64(d.AmountAtAlipay),
		ConfirmedBy:       d.ConfirmedBy, Reason: d.Reason, Detail: d.Detail,
		AlipayCode: d.AlipayCode, AlipaySubCode: d.AlipaySubCode, AlipaySubMsg: d.AlipaySubMsg, TraceID: d.TraceID,
		Metadata: d.Metadata, NotifyID: d.NotifyID, TradeStatus: d.TradeStatus,
		DbackStatus: d.DbackStatus, DbackAmountFen: int64(d.DbackAmount),
	}
	if d.Calls != nil {
		e.Calls = *d.Calls
	}
	if len(d.Funds) > 0 {
		if err := json.Unmarshal(d.Funds, &e.Funds); err != nil {
			return Event{}, errors.New("decode event: funds has the wrong type")
		}
	}
	if e.Type() != w.Type {
		return Event{}, errors.New("decode event: type does not fit kind and outcome")
	}
	for _, m := range []struct {
		name, text, zone string
		into             *time.Time
	}{
		{"time", w.Time, "Z", &e.Time},
		{"refunded_at", d.RefundedAt, "+08:00", &e.RefundedAt},
		{"bank_ack_time", d.BankAckTime, "+08:00", &e.BankAckTime},
		{"est_bank_receipt_time", d.EstBankReceiptTime, "+08:00", &e.EstBankReceiptTime},
	} {
		if m.text == "" {
			continue
		}
		at, err := time.Parse(time.RFC3339Nano, m.text)
		if err != nil || !strings.HasSuffix(m.text, m.zone) {
			return Event{}, fmt.Errorf("decode event: %s is not a time with zone %s", m.name, m.zone)
		}
		*m.into = at
	}
	if err := e.validate(); err != nil {
		return Event{}, fmt.Errorf("decode event: %w", err)
	}
	return e, nil
}
