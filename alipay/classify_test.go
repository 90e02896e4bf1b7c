package alipay

import (
	"strings"
	"testing"
)

// TestClassifyRows spells the whole table out a second time: a row that is
// changed by accident fails here. The letters are those of Alipay's documents
// as the rules read them: A unknown, H blocked by merchant or account, C by
// configuration, F refused, L limited, N not found, X conflict; q queries first.
func TestClassifyRows(t *testing.T) {
	letters := map[byte]Class{
		'A': ClassUnknown, 'H': ClassBlockedMerchant, 'C': ClassBlockedConfiguration, 'F': ClassRefused,
		'L': ClassLimited, 'N': ClassNotFound, 'X': ClassConflict,
	}
	groups := []struct{ method, code, rows string }{
		{"", "10003", "A"},
		{"", "20000", "A isp.unknow-error A aop.unknow-error A aop.ACQ.SYSTEM_ERROR"},
		{"", "20001", `C aop.invalid-auth-token C aop.auth-token-time-out C aop.invalid-app-auth-token
			C aop.invalid-app-auth-token-no-api C aop.app-auth-token-time-out C aop.no-product-reg-by-partner
			C aop.* C isv.* C`},
		{"", "40001", `C isv.missing-method C isv.missing-signature C isv.missing-signature-type
			C isv.missing-signature-key C isv.missing-app-id C isv.missing-timestamp C isv.missing-version
			C isv.decryption-error-missing-encrypt-type C isv.* C`},
		{"", "40002", `C isv.invalid-parameter C isv.invalid-method C isv.invalid-format
			C isv.invalid-signature-type C isv.invalid-signature C isv.invalid-app-id C isv.invalid-timestamp
			C isv.invalid-charset C isv.invalid-encrypt-type C isv.invalid-encrypt C isv.illegal-json
			C isv.suspected-attack C isv.forbidden-api C isv.app-cert-expired C isv.not-online-app
			C isv.upload-fail C isv.invalid-file-* C isv.* C`},
		{"", "40003", "C isv.missing-signature-config C isv.invalid-auth-relations C isv.decryption-error-unknown C isv.* C"},
		{"", "40005", "L isv.app-call-limited L isv.method-call-limited L isv.* L"},
		{"", "40006", `C isv.insufficient-isv-permissions C isv.insufficient-user-permissions
			C isv.self-invoke-forbidden C isv.illegal-client-ip C isv.* C`},
		{MethodRefund, "40004", `A ACQ.SYSTEM_ERROR A ACQ.REFUND_CHARGE_ERROR Xq ACQ.DISCORDANT_REPEAT_REQUEST
			H ACQ.SELLER_BALANCE_NOT_ENOUGH H ACQ.REASON_TRADE_BEEN_FREEZEN H ACQ.REFUNDALLOC_UNAUTH_LIMIT
			H ACQ.REFUND_ACCOUNT_NOT_EXIST H ACQ.CUSTOMER_VALIDATE_ERROR H ACQ.BUYER_ENABLE_STATUS_FORBID
			H ACQ.BUYER_ERROR C ACQ.OVERDRAFT_ASSIGN_ACCOUNT_INVALID C ACQ.OVERDRAFT_AGREEMENT_NOT_MATCH
			H ACQ.TRADE_SETTLE_ERROR H ACQ.ENTERPRISE_PAY_BIZ_ERROR H ACQ.USER_NOT_MATCH_ERR
			F ACQ.INVALID_PARAMETER Fq ACQ.REFUND_AMT_NOT_EQUAL_TOTAL Fq ACQ.REASON_TRADE_REFUND_FEE_ERR
			Fq ACQ.REFUND_FEE_ERROR F ACQ.TRADE_NOT_EXIST Fq ACQ.TRADE_HAS_FINISHED Fq ACQ.TRADE_HAS_CLOSE
			F ACQ.TRADE_STATUS_ERROR Fq ACQ.REASON_TRADE_STATUS_INVALID F ACQ.TRADE_NOT_ALLOW_REFUND
			F ACQ.NOT_ALLOW_PARTIAL_REFUND F ACQ.ONLINE_TRADE_VOUCHER_NOT_ALLOW_REFUND F ACQ.BUYER_NOT_EXIST
			F ACQ.CURRENCY_NOT_SUPPORT F ACQ.ALLOC_AMOUNT_VALIDATE_ERROR F ACQ.REFUND_ROYALTY_PAYEE_ACCOUNT_NOT_EXIST`},
		{MethodQueryRefund, "40004", `A ACQ.SYSTEM_ERROR F ACQ.INVALID_PARAMETER N ACQ.TRADE_NOT_EXIST
			N TRADE_NOT_EXIST H ACQ.ENTERPRISE_PAY_BIZ_ERROR`},
		{MethodRefundCoupon, "40004", `Aq UNIQUE_VIOLATION Fq MONEY_NOT_ENOUGH F ILLEGAL_ARGUMENT
			F AUTH_ORDER_NOT_EXIST C ACCESS_FORBIDDEN C HAS_NO_PRIVILEGE H ENTERPRISE_PAY_BIZ_ERROR A SYSTEM_ERROR`},
		{MethodQueryCouponOperation, "40004", `N AUTH_OPERATION_NOT_EXIST F AUTH_ORDER_NOT_EXIST F ILLEGAL_ARGUMENT
			C ACCESS_FORBIDDEN C HAS_NO_PRIVILEGE H ENTERPRISE_PAY_BIZ_ERROR A SYSTEM_ERROR`},
	}
	groups = append(groups, struct{ method, code, rows string }{methodV3, "", `
		A unknow-error A unknown-sub-code A invalid-response-data A openid-error A access-data-time-out
		L app-call-limited L method-call-limited L app-auth-invoke-limit L exceed-api-balance
		C invalid-parameter C missing-* C invalid-* C illegal-json C illegal-timestamp C unsupported-* C decryption-error*
		C suspected-attack C app-cert-expired C app-cert-not-exist C alipay-cert-not-exist C app-key-security-risk
		C insufficient-*-permissions C forbidden-api C self-invoke-forbidden C illegal-client-ip C app-api-punished
		C *auth-token* C no-product-reg-by-partner C app-unbind-partner C inner-app-no-access C sevice-not-been-subscribed-to`}) //nolint:misspell // Alipay's spelling
	var want []outcome
	for _, g := range groups {
		words := strings.Fields(g.rows)
		for i := 0; i < len(words); i++ {
			o := outcome{method: g.method, code: g.code, class: letters[words[i][0]], queryFirst: strings.HasSuffix(words[i], "q")}
			if i+1 < len(words) && len(words[i+1]) > 2 {
				i++
				o.sub = words[i]
			}
			want = append(want, o)
		}
	}
	got := outcomes()
	if len(got) != len(want) {
		t.Fatalf("the table has %d rows, the test %d", len(got), len(want))
	}
	for i, w := range want {
		t.Run(w.method+"/"+w.code+"/"+w.sub, func(t *testing.T) {
			if got[i] != w {
				t.Errorf("row %d is %+v, want %+v", i, got[i], w)
			}
			method := w.method
			if method == "" {
				method = MethodRefund
			}
			sub := strings.ReplaceAll(w.sub, "*", "something-new")
			if method == methodV3 || w.code == codeBusiness {
				if class, q := classifyV3(strings.Replace(method, methodV3, MethodRefund, 1), sub); class != w.class || q != w.queryFirst {
					t.Errorf("classifyV3(%s, %s) = %v, %v", method, sub, class, q)
				}
			}
			if method == methodV3 {
				return
			}
			if class, q := classify(method, w.code, sub); class != w.class || q != w.queryFirst {
				t.Errorf("classify(%s, %s, %s) = %v, %v", method, w.code, sub, class, q)
			}
		})
	}
}

func TestClassifyUnknownIsTheDefault(t *testing.T) {
	for _, r := range []struct{ name, method, code, sub string }{
		{"no code at all", MethodRefund, "", ""},
		{"a code nobody documented", MethodRefund, "40007", "isv.new"},
		{"a sub_code nobody documented", MethodRefund, "40004", "ACQ.TRADE_ROYALTY_NEW"},
		{"a business failure without sub_code", MethodRefund, "40004", ""},
		{"a success is no refusal", MethodRefund, "10000", ""},
		{"in process", MethodRefund, "10003", "ACQ.TRADE_NOT_EXIST"},
		{"unavailable with a definite sub_code", MethodRefund, "20000", "ACQ.TRADE_NOT_EXIST"},
		{"unavailable without sub_code", MethodRefund, "20000", ""},
		{"the business system's code under a gateway code", MethodRefund, "40002", "ACQ.INVALID_PARAMETER"},
		{"the platform's own failure under a gateway code", MethodRefund, "40006", "isp.unknow-error"},
		{"misspelt in one document", MethodRefund, "40004", "AQC.SYSTEM_ERROR"},
		{"lower case", MethodRefund, "40004", "acq.system_error"},
		{"behind the gateway", MethodRefund, "20000", "aop.ACQ.SYSTEM_ERROR"},
		{"system error under a configuration code", MethodRefund, "40002", "isv.SYSTEM_ERROR"},
		{"a code in another case", MethodRefund, "40004", "acq.trade_not_exist"},
		{"a code with a space", MethodRefund, "40004", "ACQ.TRADE_NOT_EXIST "},
		{"the code of another call", MethodRefundCoupon, "40004", "ACQ.TRADE_NOT_EXIST"},
		{"the code of another call", MethodQueryRefund, "40004", "ACQ.SELLER_BALANCE_NOT_ENOUGH"},
		{"unprefixed code of the query in a refund", MethodRefund, "40004", "TRADE_NOT_EXIST"},
		{"another method", "alipay.trade.cancel", "40004", "ACQ.TRADE_NOT_EXIST"},
	} {
		t.Run(r.name, func(t *testing.T) {
			if class, q := classify(r.method, r.code, r.sub); class != ClassUnknown || q {
				t.Errorf("classify(%s, %s, %s) = %v, %v", r.method, r.code, r.sub, class, q)
			}
		})
	}
}

func TestClassifyV3UnknownIsTheDefault(t *testing.T) {
	for _, sub := range []string{"", "ACQ.NEW_CODE", "isv.invalid-app-id", "ACQ.SYSTEM_ERROR", "system-error", "SYSTEM_ERROR", "Invalid-Parameter", "internal-error"} {
		if class, q := classifyV3(MethodRefund, sub); class != ClassUnknown || q {
			t.Errorf("classifyV3(%s) = %v, %v", sub, class, q)
		}
	}
	if class, _ := classify(MethodRefund, "", "invalid-parameter"); class != ClassUnknown {
		t.Errorf("a code of V3 over v2 is %v", class)
	}
}

func TestClassString(t *testing.T) {
	want := []string{
		"unknown", "ok", "not_sent", "limited", "blocked_configuration", "blocked_merchant", "refused", "not_found", "conflict",
	}
	for i, w := range want {
		if got := Class(i).String(); got != w {
			t.Errorf("Class(%d) is %s, want %s", i, got, w)
		}
	}
	if got := Class(99).String(); got != "unknown" {
		t.Errorf("a class that does not exist is %s", got)
	}
}
