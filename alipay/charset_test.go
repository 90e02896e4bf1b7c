package alipay

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"golang.org/x/text/encoding/simplifiedchinese"
)

// explained ends in a character whose second byte in GBK is a backslash.
const explained = "交易已完結，貨物已起運"

func inGBK(t testing.TB, text string) string {
	t.Helper()
	raw, err := simplifiedchinese.GBK.NewEncoder().String(text)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// TestAnswersInGBK: an answer proves the same in either charset, since the
// signature is over the bytes as they came.
func TestAnswersInGBK(t *testing.T) {
	key := aesKey(t, "keys/aes_key.txt")
	refused := inGBK(t, `{"code":"40004","msg":"x","sub_code":"ACQ.TRADE_STATUS_ERROR","sub_msg":"`+explained+`"}`)
	found := inGBK(t, `{"code":"10000","msg":"Success","out_request_no":"R1","refund_amount":"3.00","refund_status":"REFUND_SUCCESS","refund_reason":"`+explained+`"}`)
	moved := inGBK(t, `{"code":"10000","msg":"成功","fund_change":"Y","store_name":"`+explained+`"}`)
	const queryRoot = "alipay_trade_fastpay_refund_query_response"
	encrypted := func(node string) string {
		text, err := encrypt(key, []byte(node))
		if err != nil {
			t.Fatal(err)
		}
		return `"` + text + `"`
	}
	slashes := strings.Replace(refused, `"sub_msg":"`, `"sub_msg":"\/`, 1)
	signedWithout := strings.Replace(envelopeOf(t, refundRoot, strings.Replace(slashes, `\/`, "/", 1)),
		strings.Replace(slashes, `\/`, "/", 1), slashes, 1)
	for _, r := range []struct {
		name, body string
		key        []byte
		query      bool
		signed     bool
		refused    bool
	}{
		{name: "success", body: envelopeOf(t, refundRoot, moved), signed: true},
		{name: "query", body: envelopeOf(t, queryRoot, found), query: true, signed: true},
		{name: "encrypted query", body: envelopeOf(t, queryRoot, encrypted(found)), key: key, query: true, signed: true},
		{name: "refusal", body: envelopeOf(t, refundRoot, refused), refused: true, signed: true},
		{name: "encrypted refusal", body: envelopeOf(t, refundRoot, encrypted(refused)), key: key, refused: true, signed: true},
		{name: "unsigned refusal", body: unsignedOf(refundRoot, refused), refused: true},
		{name: "refusal signed before its slashes were escaped", body: signedWithout, refused: true, signed: true},
	} {
		t.Run(r.name, func(t *testing.T) {
			cfg := testConfig(t, served(t, 200, r.body).URL)
			cfg.EncryptKey = r.key
			c := testClient(t, cfg)
			if r.query {
				resp, err := c.QueryRefund(t.Context(), &RefundQueryRequest{OutTradeNo: "T1", OutRequestNo: "R1"})
				if err != nil || resp.RefundReason != explained || resp.RefundStatus != "REFUND_SUCCESS" || *resp.RefundAmount != 300 {
					t.Errorf("%+v, %v", resp, err)
				}
				return
			}
			resp, err := c.Refund(t.Context(), refundOf("R1"))
			if !r.refused {
				if err != nil || resp.FundChange != "Y" || resp.StoreName != explained {
					t.Errorf("%+v, %v", resp, err)
				}
				return
			}
			e := asError(t, err)
			if e.Class != ClassRefused || e.Signed != r.signed || strings.TrimPrefix(e.SubMsg, "/") != explained {
				t.Errorf("%+v", e)
			}
		})
	}
}

// TestAnswersInGBKProve: what is signed is the bytes, and not what they say.
func TestAnswersInGBKProve(t *testing.T) {
	node := `{"code":"40004","sub_code":"ACQ.TRADE_STATUS_ERROR","sub_msg":"` + explained + `"}`
	for name, body := range map[string]string{
		"signed in UTF-8, sent in GBK":   strings.Replace(envelopeOf(t, refundRoot, node), node, inGBK(t, node), 1),
		"a byte of the text was changed": strings.Replace(envelopeOf(t, refundRoot, inGBK(t, node)), inGBK(t, "貨"), inGBK(t, "物"), 1),
	} {
		_, err := testClient(t, testConfig(t, served(t, 200, body).URL)).Refund(t.Context(), refundOf("R1"))
		if e := asError(t, err); !errors.Is(err, ErrBadSignature) || e.Class != ClassUnknown || e.Code != "" {
			t.Errorf("%s: %+v", name, e)
		}
	}
	cut := inGBK(t, node)
	cut = strings.Replace(cut, inGBK(t, "運"), inGBK(t, "運")[:1], 1)
	_, err := testClient(t, testConfig(t, served(t, 200, envelopeOf(t, refundRoot, cut)).URL)).Refund(t.Context(), refundOf("R1"))
	if e := asError(t, err); e.Class != ClassRefused || !e.Signed || e.SubMsg != strings.TrimSuffix(explained, "運")+"\ufffd" {
		t.Errorf("explanation cut within a character: %+v", e)
	}
}

func TestV3InGBK(t *testing.T) {
	key := aesKey(t, "keys/aes_key.txt")
	refused := inGBK(t, `{"code":"ACQ.TRADE_STATUS_ERROR","message":"`+explained+`"}`)
	for _, encryptIt := range []bool{false, true} {
		for _, signIt := range []bool{true, false} {
			body := refused
			if encryptIt {
				if !signIt {
					continue // cipher text without a signature is not opened
				}
				var err error
				if body, err = encrypt(key, []byte(refused)); err != nil {
					t.Fatal(err)
				}
			}
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				if signIt {
					signedV3(t, w.Header(), body)
				}
				w.WriteHeader(http.StatusBadRequest)
				_, _ = io.WriteString(w, body)
			}))
			cfg := testConfig(t, "")
			cfg.V3URL = s.URL
			if encryptIt {
				cfg.EncryptKey = key
			}
			_, err := testClient(t, cfg).Refund(t.Context(), refundOf("R1"))
			s.Close()
			if e := asError(t, err); e.Class != ClassRefused || e.Signed != signIt || e.SubMsg != explained {
				t.Errorf("encrypted %v, signed %v: %+v", encryptIt, signIt, e)
			}
		}
	}
}

func TestNotificationsInGBK(t *testing.T) {
	v := testVerifier(t)
	n, err := v.ParseNotification(signedForm(t, "charset", "GBK", "out_trade_no", inGBK(t, explained), "out_biz_no", "R1",
		"refund_fee", "3.00", "gmt_refund", "2026-01-02 03:04:05.678"))
	if err != nil || n.OutTradeNo != explained {
		t.Errorf("%#v, %v", n, err)
	}
	n, err = v.ParseNotification(signedForm(t, "charset", "GBK", "msg_method", "alipay.trade.refund.depositback.completed",
		"biz_content", inGBK(t, `{"bank":"`+explained+`","out_request_no":"R1","out_trade_no":"`+explained+`","dback_status":"F"}`)))
	if err != nil || n.OutTradeNo != explained || n.OutRequestNo != "R1" {
		t.Errorf("%#v, %v", n, err)
	}
}

// FuzzCharset: the members of an object in GB18030 are the same whether it is
// walked as it came or in UTF-8, so that what was verified is what is read.
func FuzzCharset(f *testing.F) {
	f.Add([]byte(inGBK(f, explained)), []byte("\x81\x30\x81\x30"))
	f.Add([]byte("\xd5"), []byte("\x81\x3a\x81\x30\xfe\\"))
	f.Add([]byte("\x84\x31\x84\x31\xd5"), []byte("\xe3\x32\xe3\x32\xd5\\"))
	f.Fuzz(func(t *testing.T, a, b []byte) {
		body := bytes.Join([][]byte{[]byte(`{"a`), a, []byte(`":"`), b, []byte(`","b":"`), a, []byte(`"}`)}, nil)
		gb, err := checkCharset(body)
		if err != nil {
			return
		}
		read, err := utf8Of(body)
		if err != nil {
			t.Fatal(err)
		}
		var raw, text []string
		errRaw := (&scanner{data: body, gb: gb}).object(func(name, value []byte) error {
			value, err := simplifiedchinese.GB18030.NewDecoder().Bytes(value)
			if !gb {
				value = bytes.Clone(value)
			}
			raw = append(raw, string(name), string(value))
			return err
		})
		errText := members(read, func(name, value []byte) error {
			text = append(text, string(name), string(value))
			return nil
		})
		if gb && ((errRaw == nil) != (errText == nil) || errRaw == nil && strings.Join(raw, "\n") != strings.Join(text, "\n")) {
			t.Errorf("%q\n as it came %q, %v\n in UTF-8   %q, %v", body, raw, errRaw, text, errText)
		}
	})
}
