package alipay

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

const success = `{"code":"10000","msg":"Success","fund_change":"Y","out_trade_no":"T1","refund_fee":"3.00","trade_no":"A1"}`

// envelopeOf wraps a node as the gateway does, signed by Alipay's test key.
func envelopeOf(t testing.TB, root, node string) string {
	t.Helper()
	sig, err := sign(privateKey(t, "keys/alipay_private_pkcs8.pem"), []byte(node))
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf(`{"%s":%s,"sign":"%s"}`, root, node, sig)
}

func unsignedOf(root, node string) string { return fmt.Sprintf(`{"%s":%s}`, root, node) }

const refundRoot = "alipay_trade_refund_response"

func testConfig(t testing.TB, gateway string) Config {
	t.Helper()
	return Config{
		Gateway:    gateway,
		AppID:      "2021000000000001",
		Signer:     privateKey(t, "keys/app_private_pkcs8.pem"),
		AlipayKeys: publicKeys(t, "keys/alipay_public.pem"),
		Timeout:    10 * time.Second,
	}
}

func testClient(t testing.TB, cfg Config) *Client {
	t.Helper()
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.CloseIdleConnections)
	return c
}

// served starts a gateway that answers every call with one text.
func served(t testing.TB, status int, body string) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("trace_id", "0123456789abcdef")
		w.Header().Set("Content-Type", "text/html;charset=utf-8")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}))
	t.Cleanup(s.Close)
	return s
}

func refundOf(number string) *RefundRequest {
	return &RefundRequest{OutTradeNo: "T1", OutRequestNo: number, RefundAmount: 300}
}

func asError(t *testing.T, err error) *Error {
	t.Helper()
	e, ok := errors.AsType[*Error](err)
	if !ok {
		t.Fatalf("error is %T %v, want *Error", err, err)
	}
	return e
}

func TestRefundSuccess(t *testing.T) {
	s := served(t, 200, envelopeOf(t, refundRoot, success))
	resp, err := testClient(t, testConfig(t, s.URL)).Refund(t.Context(), refundOf("R1"))
	if err != nil {
		t.Fatal(err)
	}
	if resp.Code != "10000" || resp.FundChange != "Y" || resp.TradeNo != "A1" || resp.OutTradeNo != "T1" {
		t.Errorf("response %+v", resp)
	}
	if resp.RefundFee == nil || *resp.RefundFee != 300 || resp.SendBackFee != nil {
		t.Errorf("refund_fee %v, send_back_fee %v", resp.RefundFee, resp.SendBackFee)
	}
	if resp.TraceID != "0123456789abcdef" {
		t.Errorf("trace id %q", resp.TraceID)
	}
}

// TestAnswers is what each answer over a working connection proves.
func TestAnswers(t *testing.T) {
	refusal := func(code, sub string) string {
		return fmt.Sprintf(`{"code":"%s","msg":"x","sub_code":"%s","sub_msg":"说明"}`, code, sub)
	}
	stranger := func() string {
		sig, err := sign(privateKey(t, "keys/stranger_private_pkcs8.pem"), []byte(success))
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprintf(`{"%s":%s,"sign":"%s"}`, refundRoot, success, sig)
	}
	for _, r := range []struct {
		name, body string
		status     int
		want       Error
		cause      error
	}{
		{
			name: "signed refusal", body: envelopeOf(t, refundRoot, refusal("40004", "ACQ.TRADE_NOT_EXIST")),
			want: Error{Class: ClassRefused, Signed: true, Code: "40004", SubCode: "ACQ.TRADE_NOT_EXIST", SubMsg: "说明"},
		},
		{
			name: "signed refusal that asks for a query", body: envelopeOf(t, refundRoot, refusal("40004", "ACQ.TRADE_HAS_CLOSE")),
			want: Error{Class: ClassRefused, QueryFirst: true, Signed: true, Code: "40004", SubCode: "ACQ.TRADE_HAS_CLOSE", SubMsg: "说明"},
		},
		{
			name: "unsigned refusal keeps its class and proves nothing", body: unsignedOf(refundRoot, refusal("40004", "ACQ.TRADE_NOT_EXIST")),
			want: Error{Class: ClassRefused, Code: "40004", SubCode: "ACQ.TRADE_NOT_EXIST", SubMsg: "说明"}, cause: ErrUnsigned,
		},
		{
			name: "unsigned error_response", body: unsignedOf("error_response", refusal("40002", "isv.invalid-app-id")),
			want: Error{Class: ClassBlockedConfiguration, Code: "40002", SubCode: "isv.invalid-app-id", SubMsg: "说明"}, cause: ErrUnsigned,
		},
		{
			name: "signed null_response", body: envelopeOf(t, "null_response", refusal("40001", "isv.missing-method")),
			want: Error{Class: ClassBlockedConfiguration, Signed: true, Code: "40001", SubCode: "isv.missing-method", SubMsg: "说明"},
		},
		{
			name: "a success in error_response is none", body: envelopeOf(t, "error_response", success),
			want: Error{Code: "10000"}, cause: ErrMalformed,
		},
		{
			name: "rate limit", body: envelopeOf(t, refundRoot, refusal("40005", "isv.app-call-limited")),
			want: Error{Class: ClassLimited, Signed: true, Code: "40005", SubCode: "isv.app-call-limited", SubMsg: "说明"},
		},
		{
			name: "system error", body: envelopeOf(t, refundRoot, refusal("40004", "ACQ.SYSTEM_ERROR")),
			want: Error{Signed: true, Code: "40004", SubCode: "ACQ.SYSTEM_ERROR", SubMsg: "说明"},
		},
		{
			name: "conflict", body: envelopeOf(t, refundRoot, refusal("40004", "ACQ.DISCORDANT_REPEAT_REQUEST")),
			want: Error{Class: ClassConflict, QueryFirst: true, Signed: true, Code: "40004", SubCode: "ACQ.DISCORDANT_REPEAT_REQUEST", SubMsg: "说明"},
		},
		{name: "unsigned success", body: unsignedOf(refundRoot, success), want: Error{Code: "10000"}, cause: ErrUnsigned},
		{name: "success of a stranger", body: stranger(), cause: ErrBadSignature},
		{name: "refusal with a broken signature", body: strings.Replace(envelopeOf(t, refundRoot, refusal("40004", "ACQ.TRADE_NOT_EXIST")), "TRADE_NOT_EXIST", "TRADE_HAS_CLOSE", 1), cause: ErrBadSignature},
		{name: "proxy page", body: "<html>502 Bad Gateway</html>", status: 502, cause: ErrStatus},
		{name: "signed success under status 500", body: envelopeOf(t, refundRoot, success), status: 500, cause: ErrStatus},
		{name: "accepted is not done", body: envelopeOf(t, refundRoot, success), status: 202, cause: ErrStatus},
		{name: "status 429", body: "slow down", status: 429, want: Error{Class: ClassLimited}, cause: ErrStatus},
		{name: "html under status 200", body: "<html>login</html>", cause: ErrMalformed},
		{name: "two objects", body: envelopeOf(t, refundRoot, success) + "{}", cause: ErrMalformed},
		{name: "not UTF-8", body: "{\"" + refundRoot + "\":{\"a\":\"\xff\"}}", cause: ErrMalformed},
		{name: "more than 1 MiB", body: `{"x":"` + strings.Repeat("a", 1<<20) + `"}`, cause: ErrTooLarge},
		{name: "a proof that stands twice", body: envelopeOf(t, refundRoot, `{"code":"10000","fund_change":"N","fund_change":"Y"}`), want: Error{Code: "10000"}, cause: ErrMalformed},
		{name: "code that stands twice", body: envelopeOf(t, refundRoot, `{"code":"40004","code":"10000","fund_change":"Y"}`), cause: ErrMalformed},
		{name: "code as an object", body: envelopeOf(t, refundRoot, `{"code":{"x":"10000"},"fund_change":"Y"}`), cause: ErrMalformed},
		{name: "refund_fee in an unknown spelling", body: envelopeOf(t, refundRoot, `{"code":"10000","fund_change":"Y","refund_fee":"1e2"}`), want: Error{Code: "10000"}, cause: ErrMalformed},
		{name: "no code", body: envelopeOf(t, refundRoot, `{}`), want: Error{Signed: true}},
		{name: "code with a line end", body: unsignedOf(refundRoot, `{"code":"40004\nX","sub_code":"ACQ.TRADE_NOT_EXIST"}`), want: Error{SubCode: "ACQ.TRADE_NOT_EXIST"}, cause: ErrUnsigned},
	} {
		t.Run(r.name, func(t *testing.T) {
			if r.status == 0 {
				r.status = 200
			}
			s := served(t, r.status, r.body)
			resp, err := testClient(t, testConfig(t, s.URL)).Refund(t.Context(), refundOf("R1"))
			got := asError(t, err)
			if resp != nil {
				t.Error("a response beside an error")
			}
			if (r.cause == nil) != (got.Err == nil) || (r.cause != nil && !errors.Is(err, r.cause)) {
				t.Errorf("cause %v, want %v", got.Err, r.cause)
			}
			r.want.Method, r.want.HTTPStatus, r.want.TraceID, r.want.Err = MethodRefund, r.status, "0123456789abcdef", got.Err
			if *got != r.want {
				t.Errorf("\n got %+v\nwant %+v", *got, r.want)
			}
		})
	}
}

// TestRotation: any configured key verifies, none other does.
func TestRotation(t *testing.T) {
	s := served(t, 200, envelopeOf(t, refundRoot, success))
	cfg := testConfig(t, s.URL)
	cfg.AlipayKeys = append(publicKeys(t, "keys/stranger_public.pem"), cfg.AlipayKeys...)
	if _, err := testClient(t, cfg).Refund(t.Context(), refundOf("R1")); err != nil {
		t.Error(err)
	}
	cfg.AlipayKeys = publicKeys(t, "keys/stranger_public.pem")
	if _, err := testClient(t, cfg).Refund(t.Context(), refundOf("R1")); !errors.Is(err, ErrBadSignature) {
		t.Error(err)
	}
}

func TestQueryRefund(t *testing.T) {
	const root = "alipay_trade_fastpay_refund_query_response"
	for _, r := range []struct {
		name, node string
		check      func(*RefundQueryResponse) bool
		class      Class
	}{
		{
			name: "found, amounts as numbers",
			node: `{"code":"10000","msg":"Success","out_request_no":"R1","out_trade_no":"T1","trade_no":"A1","refund_amount":100.20,
				"total_amount":"250","refund_status":"REFUND_SUCCESS","deposit_back_info":{"has_deposit_back":true,"dback_status":"S","dback_amount":12.33}}`,
			check: func(q *RefundQueryResponse) bool {
				return *q.RefundAmount == 10020 && *q.TotalAmount == 25000 && q.RefundStatus == RefundStatusSuccess &&
					q.OutRequestNo == "R1" && q.DepositBackInfo.HasDepositBack == "true" && *q.DepositBackInfo.DbackAmount == 1233
			},
		},
		{
			name: "nothing found", node: `{"code":"10000","msg":"Success"}`,
			check: func(q *RefundQueryResponse) bool { return q.RefundStatus == "" && q.RefundAmount == nil },
		},
		{
			name: "nulls and empty amounts", node: `{"code":10000,"refund_amount":"","total_amount":null,"refund_status":null,"deposit_back_info":null}`,
			check: func(q *RefundQueryResponse) bool {
				return q.RefundAmount == nil && q.TotalAmount == nil && q.DepositBackInfo == nil
			},
		},
		{
			name: "details of unexpected shapes do not hide a refund",
			node: `{"code":"10000","refund_status":"REFUND_SUCCESS","refund_amount":"1","deposit_back_info":[1],"refund_detail_item_list":{"amount":"1.00","fund_channel":"PCREDIT"},
				"refund_channel_list":["a"],"refund_hyb_amount":"none","refund_royaltys":"x"}`,
			check: func(q *RefundQueryResponse) bool {
				return *q.RefundAmount == 100 && q.DepositBackInfo == nil && len(q.RefundDetailItemList) == 1 &&
					q.RefundDetailItemList[0].FundChannel == "PCREDIT" && q.RefundHybAmount == nil && q.RefundRoyaltys == nil
			},
		},
		{name: "trade not found", node: `{"code":"40004","sub_code":"ACQ.TRADE_NOT_EXIST"}`, class: ClassNotFound},
		{name: "trade not found, unprefixed", node: `{"code":"40004","sub_code":"TRADE_NOT_EXIST"}`, class: ClassNotFound},
	} {
		t.Run(r.name, func(t *testing.T) {
			s := served(t, 200, envelopeOf(t, root, r.node))
			q, err := testClient(t, testConfig(t, s.URL)).QueryRefund(t.Context(), &RefundQueryRequest{TradeNo: "A1", OutRequestNo: "R1"})
			if r.check == nil {
				if e := asError(t, err); e.Class != r.class || !e.Signed {
					t.Errorf("%+v", e)
				}
				return
			}
			if err != nil || !r.check(q) {
				t.Errorf("%+v, %v", q, err)
			}
		})
	}
}

// TestNotSent: failures before the first byte of the request are proven, and
// nothing later is taken for one.
func TestNotSent(t *testing.T) {
	closed := listen(t)
	refused := "http://" + closed.Addr().String()
	_ = closed.Close()
	var hits atomic.Int32
	untrusted := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { hits.Add(1) }))
	untrusted.Config.ErrorLog = nullLog()
	untrusted.StartTLS()
	defer untrusted.Close()
	ended, cancel := context.WithCancel(t.Context())
	cancel()

	for _, r := range []struct {
		name, gateway string
		ctx           context.Context
		req           *RefundRequest
	}{
		{"connection refused", refused, t.Context(), refundOf("R1")},
		{"TLS certificate not trusted", untrusted.URL, t.Context(), refundOf("R1")},
		{"context ended before", refused, ended, refundOf("R1")},
		{"no trade", refused, t.Context(), &RefundRequest{OutRequestNo: "R1", RefundAmount: 1}},
		{"no number", refused, t.Context(), &RefundRequest{TradeNo: "A1", RefundAmount: 1}},
		{"no amount", refused, t.Context(), &RefundRequest{TradeNo: "A1", OutRequestNo: "R1"}},
		{"amount above the limit", refused, t.Context(), &RefundRequest{TradeNo: "A1", OutRequestNo: "R1", RefundAmount: MaxAmount + 1}},
		{"text that is not UTF-8", refused, t.Context(), &RefundRequest{TradeNo: "A1", OutRequestNo: "R\xff", RefundAmount: 1}},
	} {
		t.Run(r.name, func(t *testing.T) {
			_, err := testClient(t, testConfig(t, r.gateway)).Refund(r.ctx, r.req)
			if e := asError(t, err); e.Class != ClassNotSent || e.Err == nil {
				t.Errorf("class %v, %v", e.Class, err)
			}
		})
	}
	if hits.Load() != 0 {
		t.Error("the server without a trusted certificate was called")
	}
}

// TestSentAndLost: once a byte was written, every failure is unknown, and the
// request arrives once.
func TestSentAndLost(t *testing.T) {
	type handler func(t *testing.T, conn net.Conn)
	answer := envelopeOf(t, refundRoot, success)
	head := fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", len(answer))
	for _, r := range []struct {
		name   string
		handle handler
		cause  error
	}{
		{"closed without an answer", func(_ *testing.T, _ net.Conn) {}, io.EOF},
		{"reset", func(_ *testing.T, c net.Conn) { _ = c.(*net.TCPConn).SetLinger(0) }, nil},
		{"truncated", func(_ *testing.T, c net.Conn) { _, _ = io.WriteString(c, head+answer[:40]) }, io.ErrUnexpectedEOF},
		{"silent", func(t *testing.T, _ net.Conn) { <-t.Context().Done() }, context.DeadlineExceeded},
		{"slow drip", func(t *testing.T, c net.Conn) {
			_, _ = io.WriteString(c, head)
			for i := range len(answer) {
				if _, err := io.WriteString(c, answer[i:i+1]); err != nil {
					return
				}
				select {
				case <-t.Context().Done():
					return
				case <-time.After(20 * time.Millisecond):
				}
			}
		}, context.DeadlineExceeded},
		{"not HTTP", func(_ *testing.T, c net.Conn) { _, _ = io.WriteString(c, "SSH-2.0-x\r\n\r\n") }, nil},
		{"endless header", func(_ *testing.T, c net.Conn) {
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\n")
			for range 20_000 {
				if _, err := io.WriteString(c, "X-Long: aaaaaaaaaaaaaaaa\r\n"); err != nil {
					return
				}
			}
		}, nil},
	} {
		t.Run(r.name, func(t *testing.T) {
			var requests atomic.Int32
			addr := rawServer(t, func(c net.Conn) {
				if !readRequest(c) {
					return
				}
				requests.Add(1)
				r.handle(t, c)
			})
			cfg := testConfig(t, "http://"+addr)
			cfg.Timeout = 300 * time.Millisecond
			_, err := testClient(t, cfg).Refund(t.Context(), refundOf("R1"))
			if e := asError(t, err); e.Class != ClassUnknown {
				t.Errorf("class %v: %v", e.Class, err)
			}
			if r.cause != nil && !errors.Is(err, r.cause) {
				t.Errorf("cause of %v, want %v", err, r.cause)
			}
			if n := requests.Load(); n != 1 {
				t.Errorf("the request arrived %d times", n)
			}
		})
	}
}

// TestNoSecondSend: a kept connection that dies under the second call must not
// make the transport send that call again on a new one.
func TestNoSecondSend(t *testing.T) {
	answer := envelopeOf(t, refundRoot, success)
	var mu sync.Mutex
	var seen []string
	addr := rawServer(t, func(c net.Conn) {
		for first := true; ; first = false {
			body, ok := requestBody(c)
			if !ok {
				return
			}
			mu.Lock()
			seen = append(seen, body)
			mu.Unlock()
			if !first {
				return
			}
			_, _ = fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(answer), answer)
		}
	})
	c := testClient(t, testConfig(t, "http://"+addr))
	if _, err := c.Refund(t.Context(), refundOf("R1")); err != nil {
		t.Fatal(err)
	}
	_, err := c.Refund(t.Context(), refundOf("R2"))
	if e := asError(t, err); e.Class != ClassUnknown {
		t.Errorf("class %v: %v", e.Class, err)
	}
	mu.Lock()
	defer mu.Unlock()
	if len(seen) != 2 || !strings.Contains(seen[1], "R2") {
		t.Errorf("%d requests arrived: %q", len(seen), seen)
	}
}

func TestRedirectIsNotFollowed(t *testing.T) {
	var hits atomic.Int32
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { hits.Add(1) }))
	defer other.Close()
	s := httptest.NewServer(http.RedirectHandler(other.URL, http.StatusTemporaryRedirect))
	defer s.Close()
	_, err := testClient(t, testConfig(t, s.URL)).Refund(t.Context(), refundOf("R1"))
	if e := asError(t, err); e.Class != ClassUnknown || e.HTTPStatus != 307 || hits.Load() != 0 {
		t.Errorf("%+v, %d calls elsewhere", e, hits.Load())
	}
}

func TestConnectionReuse(t *testing.T) {
	var connections atomic.Int32
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = io.WriteString(w, envelopeOf(t, refundRoot, success))
		if r.ProtoMajor != 1 || r.TLS.Version < tls.VersionTLS12 {
			t.Errorf("%s, TLS %x", r.Proto, r.TLS.Version)
		}
	}))
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			connections.Add(1)
		}
	}
	s.EnableHTTP2 = true
	s.StartTLS()
	defer s.Close()
	cfg := testConfig(t, s.URL)
	cfg.RootCAs = x509.NewCertPool()
	cfg.RootCAs.AddCert(s.Certificate())
	c := testClient(t, cfg)
	for i := range 20 {
		if _, err := c.Refund(t.Context(), refundOf(fmt.Sprint("R", i))); err != nil {
			t.Fatal(err)
		}
	}
	if n := connections.Load(); n != 1 {
		t.Errorf("%d connections for 20 calls in a row", n)
	}
}
