package alipay

import (
	"path"
	"strings"
)

// Alipay's names of the calls.
const (
	MethodRefund      = "alipay.trade.refund"
	MethodQueryRefund = "alipay.trade.fastpay.refund.query"

	MethodRefundCoupon         = "alipay.fund.coupon.order.refund"
	MethodQueryCouponOperation = "alipay.fund.coupon.operation.query"
)

// codeBusiness is the v2 code under which a call's own sub_codes stand. V3 has
// no such code; its business codes are looked up under this one, too.
const (
	codeOK       = "10000"
	codeBusiness = "40004"
)

// methodV3 stands in the table for the common codes of the V3 protocol, which
// are those of v2 without isv., isp. and aop.
const methodV3 = "v3"

// An outcome is one row of the table of refusals.
type outcome struct {
	method     string // "" is any call over v2
	code       string // v2 code
	sub        string // sub_code; may hold * as in path.Match
	class      Class
	queryFirst bool
}

// classify says what a refusal means. The first row that fits counts, and what
// no row fits is unknown, as is every spelling of SYSTEM_ERROR: money may have
// moved. Codes differ between products and years, so that is the only default
// that is safe.
func classify(method, code, sub string) (class Class, queryFirst bool) {
	if isSystemError(sub) {
		return ClassUnknown, false
	}
	o, _ := lookUp(method, code, sub)
	return o.class, o.queryFirst
}

// classifyV3 is classify for V3, which has one code: a business code as in v2,
// or else a common one.
func classifyV3(method, code string) (class Class, queryFirst bool) {
	if isSystemError(code) {
		return ClassUnknown, false
	}
	o, found := lookUp(method, codeBusiness, code)
	if !found {
		o, _ = lookUp(methodV3, "", code)
	}
	return o.class, o.queryFirst
}

func isSystemError(sub string) bool {
	return strings.HasSuffix(strings.ToUpper(sub), "SYSTEM_ERROR")
}

// lookUp returns the first row that fits, or the zero outcome, which is unknown.
func lookUp(method, code, sub string) (outcome, bool) {
	for _, o := range outcomes() {
		if o.code != code || (o.method != "" && o.method != method) {
			continue
		}
		if fits, err := path.Match(o.sub, sub); err == nil && fits {
			return o, true
		}
	}
	return outcome{}, false
}

// outcomes is the table: what each documented refusal means for the money. The
// rows that say unknown are documented as such by Alipay; they stand here so
// that nobody adds them as something else.
func outcomes() []outcome {
	const (
		config   = ClassBlockedConfiguration
		merchant = ClassBlockedMerchant
		query    = true
	)
	return []outcome{
		// The gateway, before the call reaches its product. A sub_code of the
		// gateway that is not listed means what its code means; anything else
		// under these codes is unknown.
		{"", "10003", "", ClassUnknown, false},
		{"", "20000", "isp.unknow-error", ClassUnknown, false},
		{"", "20000", "aop.unknow-error", ClassUnknown, false},
		{"", "20000", "aop.ACQ.SYSTEM_ERROR", ClassUnknown, false},

		{"", "20001", "aop.invalid-auth-token", config, false},
		{"", "20001", "aop.auth-token-time-out", config, false},
		{"", "20001", "aop.invalid-app-auth-token", config, false},
		{"", "20001", "aop.invalid-app-auth-token-no-api", config, false},
		{"", "20001", "aop.app-auth-token-time-out", config, false},
		{"", "20001", "aop.no-product-reg-by-partner", config, false},
		{"", "20001", "aop.*", config, false},
		{"", "20001", "isv.*", config, false},
		{"", "20001", "", config, false},

		{"", "40001", "isv.missing-method", config, false},
		{"", "40001", "isv.missing-signature", config, false},
		{"", "40001", "isv.missing-signature-type", config, false},
		{"", "40001", "isv.missing-signature-key", config, false},
		{"", "40001", "isv.missing-app-id", config, false},
		{"", "40001", "isv.missing-timestamp", config, false},
		{"", "40001", "isv.missing-version", config, false},
		{"", "40001", "isv.decryption-error-missing-encrypt-type", config, false},
		{"", "40001", "isv.*", config, false},
		{"", "40001", "", config, false},

		{"", "40002", "isv.invalid-parameter", config, false},
		{"", "40002", "isv.invalid-method", config, false},
		{"", "40002", "isv.invalid-format", config, false},
		{"", "40002", "isv.invalid-signature-type", config, false},
		{"", "40002", "isv.invalid-signature", config, false},
		{"", "40002", "isv.invalid-app-id", config, false},
		{"", "40002", "isv.invalid-timestamp", config, false},
		{"", "40002", "isv.invalid-charset", config, false},
		{"", "40002", "isv.invalid-encrypt-type", config, false},
		{"", "40002", "isv.invalid-encrypt", config, false},
		{"", "40002", "isv.illegal-json", config, false},
		{"", "40002", "isv.suspected-attack", config, false},
		{"", "40002", "isv.forbidden-api", config, false},
		{"", "40002", "isv.app-cert-expired", config, false},
		{"", "40002", "isv.not-online-app", config, false},
		{"", "40002", "isv.upload-fail", config, false},
		{"", "40002", "isv.invalid-file-*", config, false},
		{"", "40002", "isv.*", config, false},
		{"", "40002", "", config, false},

		{"", "40003", "isv.missing-signature-config", config, false},
		{"", "40003", "isv.invalid-auth-relations", config, false},
		{"", "40003", "isv.decryption-error-unknown", config, false},
		{"", "40003", "isv.*", config, false},
		{"", "40003", "", config, false},

		{"", "40005", "isv.app-call-limited", ClassLimited, false},
		{"", "40005", "isv.method-call-limited", ClassLimited, false},
		{"", "40005", "isv.*", ClassLimited, false},
		{"", "40005", "", ClassLimited, false},

		{"", "40006", "isv.insufficient-isv-permissions", config, false},
		{"", "40006", "isv.insufficient-user-permissions", config, false},
		{"", "40006", "isv.self-invoke-forbidden", config, false},
		{"", "40006", "isv.illegal-client-ip", config, false},
		{"", "40006", "isv.*", config, false},
		{"", "40006", "", config, false},

		// alipay.trade.refund
		{MethodRefund, codeBusiness, "ACQ.SYSTEM_ERROR", ClassUnknown, false},
		{MethodRefund, codeBusiness, "ACQ.REFUND_CHARGE_ERROR", ClassUnknown, false},
		{MethodRefund, codeBusiness, "ACQ.DISCORDANT_REPEAT_REQUEST", ClassConflict, query},
		{MethodRefund, codeBusiness, "ACQ.SELLER_BALANCE_NOT_ENOUGH", merchant, false},
		{MethodRefund, codeBusiness, "ACQ.REASON_TRADE_BEEN_FREEZEN", merchant, false},
		{MethodRefund, codeBusiness, "ACQ.REFUNDALLOC_UNAUTH_LIMIT", merchant, false},
		{MethodRefund, codeBusiness, "ACQ.REFUND_ACCOUNT_NOT_EXIST", merchant, false},
		{MethodRefund, codeBusiness, "ACQ.CUSTOMER_VALIDATE_ERROR", merchant, false},
		{MethodRefund, codeBusiness, "ACQ.BUYER_ENABLE_STATUS_FORBID", merchant, false},
		{MethodRefund, codeBusiness, "ACQ.BUYER_ERROR", merchant, false},
		{MethodRefund, codeBusiness, "ACQ.OVERDRAFT_ASSIGN_ACCOUNT_INVALID", config, false},
		{MethodRefund, codeBusiness, "ACQ.OVERDRAFT_AGREEMENT_NOT_MATCH", config, false},
		{MethodRefund, codeBusiness, "ACQ.TRADE_SETTLE_ERROR", merchant, false},
		{MethodRefund, codeBusiness, "ACQ.ENTERPRISE_PAY_BIZ_ERROR", merchant, false},
		{MethodRefund, codeBusiness, "ACQ.USER_NOT_MATCH_ERR", merchant, false},
		{MethodRefund, codeBusiness, "ACQ.INVALID_PARAMETER", ClassRefused, false},
		{MethodRefund, codeBusiness, "ACQ.REFUND_AMT_NOT_EQUAL_TOTAL", ClassRefused, query},
		{MethodRefund, codeBusiness, "ACQ.REASON_TRADE_REFUND_FEE_ERR", ClassRefused, query},
		{MethodRefund, codeBusiness, "ACQ.REFUND_FEE_ERROR", ClassRefused, query},
		{MethodRefund, codeBusiness, "ACQ.TRADE_NOT_EXIST", ClassRefused, false},
		{MethodRefund, codeBusiness, "ACQ.TRADE_HAS_FINISHED", ClassRefused, query},
		{MethodRefund, codeBusiness, "ACQ.TRADE_HAS_CLOSE", ClassRefused, query},
		{MethodRefund, codeBusiness, "ACQ.TRADE_STATUS_ERROR", ClassRefused, false},
		{MethodRefund, codeBusiness, "ACQ.REASON_TRADE_STATUS_INVALID", ClassRefused, query},
		{MethodRefund, codeBusiness, "ACQ.TRADE_NOT_ALLOW_REFUND", ClassRefused, false},
		{MethodRefund, codeBusiness, "ACQ.NOT_ALLOW_PARTIAL_REFUND", ClassRefused, false},
		{MethodRefund, codeBusiness, "ACQ.ONLINE_TRADE_VOUCHER_NOT_ALLOW_REFUND", ClassRefused, false},
		{MethodRefund, codeBusiness, "ACQ.BUYER_NOT_EXIST", ClassRefused, false},
		{MethodRefund, codeBusiness, "ACQ.CURRENCY_NOT_SUPPORT", ClassRefused, false},
		{MethodRefund, codeBusiness, "ACQ.ALLOC_AMOUNT_VALIDATE_ERROR", ClassRefused, false},
		{MethodRefund, codeBusiness, "ACQ.REFUND_ROYALTY_PAYEE_ACCOUNT_NOT_EXIST", ClassRefused, false},

		// alipay.trade.fastpay.refund.query
		{MethodQueryRefund, codeBusiness, "ACQ.SYSTEM_ERROR", ClassUnknown, false},
		{MethodQueryRefund, codeBusiness, "ACQ.INVALID_PARAMETER", ClassRefused, false},
		{MethodQueryRefund, codeBusiness, "ACQ.TRADE_NOT_EXIST", ClassNotFound, false},
		{MethodQueryRefund, codeBusiness, "TRADE_NOT_EXIST", ClassNotFound, false},
		{MethodQueryRefund, codeBusiness, "ACQ.ENTERPRISE_PAY_BIZ_ERROR", merchant, false},

		// alipay.fund.coupon.order.refund. Its full table is not published: the
		// first two are documented, the others follow its sister calls.
		{MethodRefundCoupon, codeBusiness, "UNIQUE_VIOLATION", ClassUnknown, query},
		{MethodRefundCoupon, codeBusiness, "MONEY_NOT_ENOUGH", ClassRefused, query},
		{MethodRefundCoupon, codeBusiness, "ILLEGAL_ARGUMENT", ClassRefused, false},
		{MethodRefundCoupon, codeBusiness, "AUTH_ORDER_NOT_EXIST", ClassRefused, false},
		{MethodRefundCoupon, codeBusiness, "ACCESS_FORBIDDEN", config, false},
		{MethodRefundCoupon, codeBusiness, "HAS_NO_PRIVILEGE", config, false},
		{MethodRefundCoupon, codeBusiness, "ENTERPRISE_PAY_BIZ_ERROR", merchant, false},
		{MethodRefundCoupon, codeBusiness, "SYSTEM_ERROR", ClassUnknown, false},

		// alipay.fund.coupon.operation.query
		{MethodQueryCouponOperation, codeBusiness, "AUTH_OPERATION_NOT_EXIST", ClassNotFound, false},
		{MethodQueryCouponOperation, codeBusiness, "AUTH_ORDER_NOT_EXIST", ClassRefused, false},
		{MethodQueryCouponOperation, codeBusiness, "ILLEGAL_ARGUMENT", ClassRefused, false},
		{MethodQueryCouponOperation, codeBusiness, "ACCESS_FORBIDDEN", config, false},
		{MethodQueryCouponOperation, codeBusiness, "HAS_NO_PRIVILEGE", config, false},
		{MethodQueryCouponOperation, codeBusiness, "ENTERPRISE_PAY_BIZ_ERROR", merchant, false},
		{MethodQueryCouponOperation, codeBusiness, "SYSTEM_ERROR", ClassUnknown, false},

		// The common codes of V3. The order counts: invalid-response-data is not one
		// of the invalid-* that blame the request.
		{methodV3, "", "unknow-error", ClassUnknown, false},
		{methodV3, "", "unknown-sub-code", ClassUnknown, false},
		{methodV3, "", "invalid-response-data", ClassUnknown, false},
		{methodV3, "", "openid-error", ClassUnknown, false},
		{methodV3, "", "access-data-time-out", ClassUnknown, false},
		{methodV3, "", "app-call-limited", ClassLimited, false},
		{methodV3, "", "method-call-limited", ClassLimited, false},
		{methodV3, "", "app-auth-invoke-limit", ClassLimited, false},
		{methodV3, "", "exceed-api-balance", ClassLimited, false},
		{methodV3, "", "invalid-parameter", config, false},
		{methodV3, "", "missing-*", config, false},
		{methodV3, "", "invalid-*", config, false},
		{methodV3, "", "illegal-json", config, false},
		{methodV3, "", "illegal-timestamp", config, false},
		{methodV3, "", "unsupported-*", config, false},
		{methodV3, "", "decryption-error*", config, false},
		{methodV3, "", "suspected-attack", config, false},
		{methodV3, "", "app-cert-expired", config, false},
		{methodV3, "", "app-cert-not-exist", config, false},
		{methodV3, "", "alipay-cert-not-exist", config, false},
		{methodV3, "", "app-key-security-risk", config, false},
		{methodV3, "", "insufficient-*-permissions", config, false},
		{methodV3, "", "forbidden-api", config, false},
		{methodV3, "", "self-invoke-forbidden", config, false},
		{methodV3, "", "illegal-client-ip", config, false},
		{methodV3, "", "app-api-punished", config, false},
		{methodV3, "", "*auth-token*", config, false},
		{methodV3, "", "no-product-reg-by-partner", config, false},
		{methodV3, "", "app-unbind-partner", config, false},
		{methodV3, "", "inner-app-no-access", config, false},
		{methodV3, "", "sevice-not-been-subscribed-to", config, false}, //nolint:misspell // Alipay's spelling
	}
}
