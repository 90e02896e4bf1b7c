package alipaytest

import (
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// The paths of V3 and the interfaces behind them. Coupon refunds have none.
func v3Paths() map[string]string {
	return map[string]string{
		"/v3/alipay/trade/refund":               "alipay.trade.refund",
		"/v3/alipay/trade/fastpay/refund/query": "alipay.trade.fastpay.refund.query",
	}
}

const v3Scheme = "ALIPAY-SHA256withRSA "

// serveV3 is the REST gateway. What it does not share with v2 is the envelope:
// where the signature stands, and HTTP status codes instead of code.
func (s *Server) serveV3(w http.ResponseWriter, r *http.Request) {
	c := &call{start: s.now(), draw: s.nextDraw(), host: r.Host, spec: s.methods[v3Paths()[r.URL.Path]]}
	if refusal := s.admitV3(c, w, r); refusal != nil {
		s.record(c, c.spec.method, *refusal)
		s.writeV3(w, r, c, *refusal)
		return
	}
	a, end := s.serveCall(r, c)
	defer end()
	s.writeV3(w, r, c, a)
}

// admitV3 checks the Authorization header and the signature over the request.
func (s *Server) admitV3(c *call, w http.ResponseWriter, r *http.Request) *answer {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, bodyLimit))
	if err != nil {
		return refuseCall("40002", "isv.invalid-parameter", "the body cannot be read")
	}
	header, ok := strings.CutPrefix(r.Header.Get("Authorization"), v3Scheme)
	cut := strings.LastIndex(header, ",sign=")
	if !ok || cut < 0 {
		return refuseCall("40001", "isv.missing-timestamp", "want Authorization: "+v3Scheme+"…,sign=…")
	}
	auth, signature := header[:cut], header[cut+len(",sign="):]
	fields := map[string]string{}
	for pair := range strings.SplitSeq(auth, ",") {
		name, value, _ := strings.Cut(pair, "=")
		if _, twice := fields[name]; twice {
			return refuseCall("40002", "isv.invalid-parameter", "given twice: "+name)
		}
		fields[name] = value
	}
	if refusal := s.admitV3Fields(c, fields, r.Header); refusal != nil {
		return refusal
	}
	text := auth + "\n" + r.Method + "\n" + r.RequestURI + "\n" + string(body) + "\n"
	if token := r.Header.Get("alipay-app-auth-token"); token != "" {
		text += token + "\n"
	}
	if !verify(s.cfg.Keys.AppPublic, text, signature) {
		return refuseCall("40002", "isv.invalid-signature", "验签出错")
	}
	if refusal := s.admitV3Rest(fields, r.Header); refusal != nil {
		refusal.signature = goodSignature
		return refusal
	}
	c.owner = owner{s.cfg.AppID, r.Header.Get("alipay-app-auth-token")}
	c.biz = string(body)
	refusal := s.admitEncryption(c, r.Header.Get("alipay-encrypt-type"))
	if refusal != nil {
		refusal.signature = goodSignature
	}
	return refusal
}

// admitV3Fields checks what must be right before the signature is looked at.
func (s *Server) admitV3Fields(c *call, fields map[string]string, header http.Header) *answer {
	for _, name := range []string{"app_id", "nonce", "timestamp"} {
		if fields[name] == "" {
			return refuseCall("40001", "isv.missing-"+strings.ReplaceAll(name, "_", "-"), "缺少参数 "+name)
		}
	}
	if fields["app_id"] != s.cfg.AppID {
		return refuseCall("40002", "isv.invalid-app-id", "无效的AppID参数")
	}
	// The root number travels in a header that some clients leave out.
	root := header.Get("alipay-root-cert-sn")
	if fields["app_cert_sn"] != "" && root == "" {
		root = s.cfg.Keys.RootCertSN
	}
	return s.admitCertificates(c, fields["app_cert_sn"], root)
}

// admitV3Rest checks a request whose signature is good: no old one, none twice,
// none for another kind of content.
func (s *Server) admitV3Rest(fields map[string]string, header http.Header) *answer {
	ms, err := strconv.ParseInt(fields["timestamp"], 10, 64)
	if err != nil || s.now().Sub(time.UnixMilli(ms)).Abs() > clockSkew {
		return refuseCall("40002", "isv.illegal-timestamp", "want the time now, in milliseconds")
	}
	want := "application/json"
	if header.Get("alipay-encrypt-type") != "" {
		want = "text/plain"
	}
	media, options, err := mime.ParseMediaType(header.Get("Content-Type"))
	if err != nil || media != want || !utf8Name(options["charset"]) {
		return refuseCall("40002", "isv.invalid-parameter", "want Content-Type "+want)
	}
	if !s.takeNonce(fields["nonce"]) {
		return refuseCall("40002", "isv.invalid-nonce", "the nonce was used before")
	}
	return nil
}

// takeNonce reports whether a nonce is new. It remembers them for as long as
// their timestamps are accepted.
func (s *Server) takeNonce(nonce string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	if now.Sub(s.noncesSince) > 2*clockSkew {
		s.noncesBefore, s.nonces, s.noncesSince = s.nonces, map[string]bool{}, now
	}
	if s.nonces[nonce] || s.noncesBefore[nonce] {
		return false
	}
	s.nonces[nonce] = true
	return true
}

// v3Status is the HTTP status of an answer.
func (a answer) v3Status() int {
	switch a.code {
	case "10000":
		return http.StatusOK
	case "10003":
		return http.StatusAccepted
	case "20000":
		return http.StatusInternalServerError
	case "20001":
		return http.StatusUnauthorized
	case "40005":
		return http.StatusTooManyRequests
	case "40006":
		return http.StatusForbidden
	}
	return http.StatusBadRequest
}

// v3Body is the business fields alone, or an error. Amounts are numbers now and
// then: Alipay's own sample mixes both.
func (a answer) v3Body(draw uint64) (string, error) {
	fields := a.fields
	if a.code != "10000" {
		code := a.subCode
		for _, prefix := range []string{"isv.", "isp.", "aop."} {
			code = strings.TrimPrefix(code, prefix)
		}
		fields = node{
			{"code", code},
			{"message", a.subMsg},
			{"links", []node{{{"link", "https://open.alipay.com/"}, {"desc", "解决方案"}}}},
		}
	}
	if draw&32 != 0 {
		for _, name := range []string{"refund_fee", "refund_amount", "total_amount", "send_back_fee"} {
			if text, ok := fields.value(name).(string); ok {
				fields = fields.with(name, json.Number(text))
			}
		}
	}
	raw, err := fields.MarshalJSON()
	return string(raw), err
}

// writeV3 signs and delivers an answer.
func (s *Server) writeV3(w http.ResponseWriter, r *http.Request, c *call, a answer) {
	body, err := a.v3Body(c.draw)
	charset := ""
	if err == nil {
		body, charset, err = a.inCharset(body)
	}
	if err == nil && c.encrypted {
		w.Header().Set("alipay-encrypt-type", "AES")
		body, err = encrypt(s.cfg.Keys.AES, body)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	header := w.Header()
	header.Set("Content-Type", "application/json;charset="+charset)
	header.Set("alipay-trace-id", fmt.Sprintf("%016x%016x", c.draw, hash(body)))
	timestamp := strconv.FormatInt(s.now().UnixMilli(), 10)
	nonce := fmt.Sprintf("%016x", hash(timestamp, body))
	header.Set("alipay-timestamp", timestamp)
	header.Set("alipay-nonce", nonce)
	if c.certified {
		header.Set("alipay-sn", s.cfg.Keys.AlipayCertSN)
	}
	if a.signature == noSignature {
		if c.draw&64 != 0 {
			header.Set("alipay-signature", "null") // Alipay's way of none
		}
		s.deliver(w, r, a.delivery, a.v3Status(), body)
		return
	}
	text := timestamp + "\n" + nonce + "\n" + body + "\n"
	if a.signature == badSignature {
		text = strings.ToUpper(text)
	}
	signature, err := sign(s.cfg.Signer, text)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	header.Set("alipay-signature", signature)
	s.deliver(w, r, a.delivery, a.v3Status(), body)
}
