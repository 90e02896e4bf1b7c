package notifyhttp_test

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"unicode/utf8"

	"refundd/notifyhttp"
)

// check posts a body without a socket and holds the answer against what was published.
func check(t *testing.T, h http.Handler, b *bench, body string) (status int) {
	t.Helper()
	b.book.forget()
	b.logs.forget()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodPost, notifyhttp.Path, strings.NewReader(body)))
	told := b.book.told()
	want := map[int]string{200: "success", 400: "fail", 413: "fail"}[w.Code]
	if want == "" || w.Body.String() != want || len(told) > 1 || (len(told) == 1 && w.Code != http.StatusOK) {
		t.Fatalf("answer %d %q, %d events", w.Code, w.Body, len(told))
	}
	for _, e := range told {
		var event struct {
			ID, Time string
			Data     map[string]any
		}
		if err := json.Unmarshal(e.Body, &event); err != nil || !utf8.Valid(e.Body) {
			t.Fatalf("event %q: %v", e.Body, err)
		}
		if len(event.ID) != 32 || event.Time == "" || event.Data["out_request_no"] == "" || event.Data["notify_id"] == "" {
			t.Errorf("event %s", e.Body)
		}
	}
	return w.Code
}

// FuzzBody: whatever comes in is answered, and nothing that Alipay did not sign is told.
func FuzzBody(f *testing.F) {
	genuine := map[string]bool{}
	for _, v := range vectors(f) {
		genuine[v.RawBody] = true
		f.Add(v.RawBody)
	}
	h, b := receiver(f, setup{})
	f.Fuzz(func(t *testing.T, body string) {
		if check(t, h, b, body) != http.StatusOK || genuine[body] {
			return
		}
		// What differs from a seed and is still believed differs only in its spelling: the same values were signed.
		for _, v := range vectors(t) {
			if v.Expected.Verdict == "ok" && sameForm(v.RawBody, body) {
				return
			}
		}
		t.Errorf("accepted: %q", body)
	})
}

// FuzzSigned: nothing in what Alipay did sign breaks the receiver or makes an event that the contract does not know.
func FuzzSigned(f *testing.F) {
	f.Add("N1", "R1", "T1", "3.00", "2026-01-02 03:04:05.678", "2026-01-02 03:04:06", depositContent)
	f.Add("null", "\xb2\xe2", "\x00", "1e3", "9999-99-99", "0000-01-01 00:00:00", `{"out_request_no":null}`)
	f.Add("N", "R", "", "92233720368547758.07", "0001-01-01 00:00:00", "9999-12-31 23:59:59", `{"dback_status":"S","out_request_no":"\ud800"}`)
	key := alipayKey(f)
	h, b := receiver(f, setup{})
	f.Fuzz(func(t *testing.T, id, number, trade, amount, moment, at, content string) {
		check(t, h, b, form(t, key, "notify_id", id, "out_biz_no", number, "out_trade_no", trade, "refund_fee", amount, "gmt_refund", moment, "notify_time", at))
		check(t, h, b, coupon(t, key, "notify_id", id, "out_request_no", number, "auth_no", trade, "amount", amount, "gmt_trans", moment, "notify_time", at))
		check(t, h, b, deposit(t, key, content, "notify_id", id, "utc_timestamp", at))
	})
}

// sameForm: the same parameters, in any order and encoding.
func sameForm(a, b string) bool {
	return decoded(a) == decoded(b)
}

// decoded leaves out what is not signed: most signatures skip empty values, and one in base64 has several spellings. It is not url.ParseQuery, which refuses semicolons.
func decoded(body string) string {
	form := url.Values{}
	for pair := range strings.SplitSeq(body, "&") {
		name, value, _ := strings.Cut(pair, "=")
		key, errKey := url.QueryUnescape(name)
		text, err := url.QueryUnescape(value)
		if errKey != nil || err != nil {
			return body
		}
		if text != "" && key != "sign_type" && key != "sign" {
			form.Add(key, text)
		}
	}
	return form.Encode()
}

// BenchmarkReceive without a socket; compare BenchmarkVerify.
func BenchmarkReceive(b *testing.B) {
	h, _ := receiver(b, setup{})
	body := form(b, alipayKey(b))
	b.ReportAllocs()
	for b.Loop() {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequestWithContext(b.Context(), http.MethodPost, notifyhttp.Path, strings.NewReader(body)))
		if w.Code != http.StatusOK {
			b.Fatal(w.Code)
		}
	}
}

// BenchmarkVerify is the bare RSA operation that no receiver can be faster than.
func BenchmarkVerify(b *testing.B) {
	key := alipayKey(b)
	sum := sha256.Sum256([]byte("text"))
	sig, err := rsa.SignPKCS1v15(nil, key, crypto.SHA256, sum[:])
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if err := rsa.VerifyPKCS1v15(&key.PublicKey, crypto.SHA256, sum[:], sig); err != nil {
			b.Fatal(err)
		}
	}
}
