package producer

import (
	"bytes"
	"errors"
	"io"

	"github.com/klauspost/compress/flate"
)

// A decided event is kept for a week and more, so it is stored deflated, with a
// dictionary of what events say. It is not the event's facts, from which a later
// version of Encode might make other bytes: what is published again is what was
// published first.
//
// The first byte is the version of the dictionary, or '{' where the text is
// stored as it is. Versions are read for ever: a change of the dictionary is a
// new one. 1 was a form of its own that no release has written.
const storedV2 = 2

const maxEvent = 64 << 10 // bytes; far more than an event can have

// Stored is the form of the event that is kept; DecodeEncoded reads it.
func (e Encoded) Stored() []byte {
	packed := bytes.NewBuffer(append(make([]byte, 0, 256), storedV2))
	if len(e.Body) > maxEvent || flate.StatelessDeflate(packed, e.Body, true, []byte(dictionaryV2)) != nil {
		return e.Body
	}
	return packed.Bytes()
}

// published returns the event's text from its stored form.
func published(stored []byte) ([]byte, error) {
	switch {
	case len(stored) == 0:
		return nil, errors.New("it is empty")
	case stored[0] == '{':
		return stored, nil
	case stored[0] != storedV2:
		return nil, errors.New("its form is not known to this version")
	}
	text, err := io.ReadAll(io.LimitReader(flate.NewReaderDict(bytes.NewReader(stored[1:]), []byte(dictionaryV2)), maxEvent+1))
	switch {
	case err != nil:
		return nil, errors.New("it is damaged")
	case len(text) > maxEvent:
		return nil, errors.New("it is too large for an event")
	}
	return text, nil
}

// dictionaryV2 ends with what most events say: what is nearer is found in fewer bits.
const dictionaryV2 = `{"specversion":"1.0","id":"","source":"/refundd/2021000000000000","type":"coupon_refund.failed.v1","subject":"",` +
	`"time":"2026-00-00T00:00:00.000Z","datacontenttype":"application/json","dataschema":"urn:refundd:schema:refund-event:v1",` +
	`"traceparent":"00-","data":{"kind":"coupon_refund","outcome":"failed","app_id":"2021000000000000","merchant":"","refund_key":"",` +
	`"seller_id":"2088","paid_by_other":true,"out_request_no":"","auth_no":"","out_order_no":"","operation_id":"","amount":"0.00",` +
	`"currency":"CNY","confirmed_by":"query","reason":"closed","detail":"Alipay shows this refund as closed",` +
	`"reason":"refused","detail":"Alipay refused the refund (ACQ.), and a query shows that it was not carried out",` +
	`"alipay_code":"40004","alipay_sub_code":"ACQ.","alipay_sub_msg":"","trace_id":"","calls":2,"metadata":{"":""}}}` +
	`"funds":{"send_back_fee":"0.00","refund_detail_item_list":[{"fund_channel":"PCREDIT","bank_code":"","fund_type":"CREDIT_CARD",` +
	`"fund_type":"DEBIT_CARD","amount":"0.00","real_amount":"0.00"},{"fund_channel":"COUPON","amount":"0.00"},{"fund_channel":"BANKCARD",` +
	`"amount":"0.00"}],"refund_charge_amount":"0.00","refund_charge_info_list":[{"charge_type":"trade","refund_charge_fee":"0.00",` +
	`"switch_fee_rate":"0.","refund_sub_fee_detail_list":[{"refund_charge_fee":"0.00"}]}],"refund_voucher_detail_list":[{"id":"","name":"",` +
	`"type":"ALIPAY_","memo":"","template_id":"","amount":"0.00","merchant_contribute":"0.00","other_contribute":"0.00",` +
	`"purchase_buyer_contribute":"0.00","purchase_merchant_contribute":"0.00","purchase_ant_contribute":"0.00","other_contribute_detail":` +
	`[{"contribute_type":"","contribute_amount":"0.00"}]}],"refund_royaltys":[{"refund_amount":"0.00","royalty_type":"transfer",` +
	`"result_code":"SUCCESS","parameter":0}],"refund_preset_paytool_list":[{"assert_type_code":"","amount":["0.00"]}],` +
	`"refund_hyb_amount":"0.00","pre_auth_cancel_fee":"0.00","refund_settlement_id":"","refund_channel_status":"PART_SUCCESS",` +
	`"present_refund_buyer_amount":"0.00","present_refund_discount_amount":"0.00","present_refund_mdiscount_amount":"0.00",` +
	`"deposit_back_info":{"has_deposit_back":"true","dback_status":"S","dback_amount":"0.00","bank_ack_time":"2026-00-00T00:00:00+08:00",` +
	`"est_bank_receipt_time":"2026-00-00T00:00:00+08:00"}},"funds_cut":true,` +
	`{"specversion":"1.0","id":"","source":"/refundd/2021000000000000","type":"refund.succeeded.v1","subject":"",` +
	`"time":"2026-00-00T00:00:00.000Z","datacontenttype":"application/json","dataschema":"urn:refundd:schema:refund-event:v1",` +
	`"data":{"kind":"refund","outcome":"succeeded","app_id":"2021000000000000","refund_key":"","out_request_no":"","out_trade_no":"",` +
	`"trade_no":"2026000022001","amount":"0.00","currency":"CNY","total_refunded":"0.00","confirmed_by":"response",` +
	`"refunded_at":"2026-00-00T00:00:00+08:00","alipay_code":"10000","trace_id":"","calls":1,"funds":{"send_back_fee":"0.00",` +
	`"refund_detail_item_list":[{"fund_channel":"ALIPAYACCOUNT","amount":"0.00"}],"has_deposit_back":"true"},"metadata":{"":""}}}`
