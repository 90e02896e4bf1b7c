package alipaytest

import (
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// bodyLimit is how many bytes of a request are read.
const bodyLimit = 1 << 20

// clockSkew is how far a request's timestamp may be from the clock here. It
// catches a caller that writes another zone than GMT+8.
const clockSkew = 10 * time.Minute

// method is one callable interface.
type method struct {
	op         op
	method     string
	badContent string // sub_code of a biz_content that is not as it must be
	handle     func(*call) answer
}

func (s *Server) methodTable() map[string]method {
	table := map[string]method{}
	for _, m := range []method{
		{refundOp, "alipay.trade.refund", "ACQ.INVALID_PARAMETER", s.tradeRefund},
		{queryOp, "alipay.trade.fastpay.refund.query", "ACQ.INVALID_PARAMETER", s.refundQuery},
		{couponOp, "alipay.fund.coupon.order.refund", "ILLEGAL_ARGUMENT", s.couponRefund},
		{operationOp, "alipay.fund.coupon.operation.query", "ILLEGAL_ARGUMENT", s.operationQuery},
	} {
		table[m.method] = m
	}
	return table
}

// call is one request that is being answered.
type call struct {
	spec      method
	owner     owner
	biz       string // biz_content in plain text
	notifyURL string
	encrypted bool
	certified bool // certificate mode
	start     time.Time
	host      string

	// Filled in by the ledger.
	number string
	trade  string
	amount int64
	fault  string
	moved  bool
	draw   uint64
}

// serveV2 is the v2 gateway.
func (s *Server) serveV2(w http.ResponseWriter, r *http.Request) {
	c := &call{start: s.now(), draw: s.nextDraw(), host: r.Host}
	params, refusal := readParams(w, r)
	if refusal == nil {
		refusal = s.admit(c, params)
	}
	if refusal != nil {
		s.record(c, params["method"], *refusal)
		s.writeV2(w, r, params["method"], c, *refusal)
		return
	}
	a, end := s.serveCall(r, c)
	defer end()
	s.writeV2(w, r, c.spec.method, c, a)
}

// serveCall lets the called interface answer. The call is on record before its
// answer leaves; end notes when that was over.
func (s *Server) serveCall(r *http.Request, c *call) (a answer, end func()) {
	s.pause(r, s.cfg.Latency/2)
	a = c.spec.handle(c)
	s.pause(r, s.cfg.Latency-s.cfg.Latency/2)
	return a, s.record(c, c.spec.method, a)
}

// nextDraw is the draw of a call that has not reached the ledger.
func (s *Server) nextDraw() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.serial++
	return hash(strconv.FormatUint(s.cfg.Seed, 10), "gateway", strconv.FormatUint(s.serial, 10))
}

// readParams collects the parameters of query and body.
func readParams(w http.ResponseWriter, r *http.Request) (map[string]string, *answer) {
	params := map[string]string{}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, bodyLimit))
	if err != nil {
		return params, refuseCall("40002", "isv.invalid-parameter", "the body cannot be read")
	}
	media, options, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || media != "application/x-www-form-urlencoded" || !utf8Name(options["charset"]) {
		return params, refuseCall("40002", "isv.invalid-parameter", "want Content-Type application/x-www-form-urlencoded;charset=utf-8")
	}
	for _, text := range []string{r.URL.RawQuery, string(body)} {
		values, err := url.ParseQuery(text)
		if err != nil {
			return params, refuseCall("40002", "isv.invalid-parameter", "a parameter is not percent-encoded")
		}
		for name, list := range values {
			if _, twice := params[name]; twice || len(list) > 1 {
				return params, refuseCall("40002", "isv.invalid-parameter", "a parameter is given twice: "+name)
			}
			params[name] = list[0]
		}
	}
	return params, nil
}

// admit checks everything that is not the called interface's business, in the
// order of Alipay: the app, the signature, then the rest.
func (s *Server) admit(c *call, params map[string]string) *answer {
	for _, name := range []string{"app_id", "method", "sign_type", "sign", "timestamp", "version"} {
		if strings.TrimSpace(params[name]) == "" {
			sub := map[string]string{"sign": "signature", "sign_type": "signature-type"}[name]
			if sub == "" {
				sub = strings.ReplaceAll(name, "_", "-")
			}
			return refuseCall("40001", "isv.missing-"+sub, "缺少参数 "+name)
		}
	}
	if params["app_id"] != s.cfg.AppID {
		return refuseCall("40002", "isv.invalid-app-id", "无效的AppID参数")
	}
	if params["sign_type"] != "RSA2" {
		return refuseCall("40002", "isv.invalid-signature-type", "want RSA2")
	}
	if refusal := s.admitCertificates(c, params["app_cert_sn"], params["alipay_root_cert_sn"]); refusal != nil {
		return refusal
	}
	if !verify(s.cfg.Keys.AppPublic, signingText(params, "sign"), params["sign"]) {
		return refuseCall("40002", "isv.invalid-signature", "验签出错，建议检查签名字符串或签名私钥与应用公钥是否匹配")
	}
	if refusal := s.admitRest(c, params); refusal != nil {
		refusal.signature = goodSignature
		return refusal
	}
	return nil
}

// admitRest checks a request whose signature is good.
func (s *Server) admitRest(c *call, params map[string]string) *answer {
	stamp, err := time.ParseInLocation(time.DateTime, params["timestamp"], beijingZone())
	spec, known := s.methods[params["method"]]
	switch {
	case !known:
		return refuseCall("40002", "isv.invalid-method", "不存在的方法名")
	case err != nil || s.now().Sub(stamp).Abs() > clockSkew:
		return refuseCall("40002", "isv.invalid-timestamp", "want the time now, in GMT+8, as yyyy-MM-dd HH:mm:ss")
	case params["charset"] == "" || !utf8Name(params["charset"]):
		return refuseCall("40002", "isv.invalid-charset", "want utf-8")
	case !strings.EqualFold(params["format"], "JSON") && params["format"] != "":
		return refuseCall("40002", "isv.invalid-format", "want JSON")
	case params["version"] != "1.0":
		return refuseCall("40002", "isv.invalid-parameter", "want version 1.0")
	}
	c.spec = spec
	c.owner = owner{s.cfg.AppID, params["app_auth_token"]}
	c.biz = params["biz_content"]
	c.notifyURL = params["notify_url"]
	return s.admitEncryption(c, params["encrypt_type"])
}

// admitCertificates accepts key mode (no numbers) and certificate mode with the
// right numbers.
func (s *Server) admitCertificates(c *call, app, root string) *answer {
	if app == "" && root == "" {
		return nil
	}
	if app != s.cfg.Keys.AppCertSN || root != s.cfg.Keys.RootCertSN {
		return refuseCall("40002", "isv.invalid-signature", "app_cert_sn or alipay_root_cert_sn is not ours")
	}
	c.certified = true
	return nil
}

// admitEncryption decrypts biz_content where the request says that it is
// encrypted.
func (s *Server) admitEncryption(c *call, encryptType string) *answer {
	switch encryptType {
	case "":
		return nil
	case "AES":
		plain, err := decrypt(s.cfg.Keys.AES, c.biz)
		if err != nil {
			return refuseCall("40003", "isv.decryption-error-unknown", err.Error())
		}
		c.biz, c.encrypted = plain, true
		return nil
	}
	return refuseCall("40002", "isv.invalid-encrypt-type", "want AES")
}

// refuseCall is a failure before the called interface, not signed.
func refuseCall(code, subCode, subMsg string) *answer {
	a := gateway(code, subCode, subMsg).unsigned()
	return &a
}

func utf8Name(charset string) bool { return charset == "" || strings.EqualFold(charset, "utf-8") }

// writeV2 wraps, signs and delivers an answer.
func (s *Server) writeV2(w http.ResponseWriter, r *http.Request, name string, c *call, a answer) {
	body, charset, err := s.v2Body(name, c, a)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html;charset="+charset)
	w.Header().Set("trace_id", fmt.Sprintf("%016x%016x", c.draw, hash(body)))
	s.deliver(w, r, a.delivery, http.StatusOK, body)
}

// v2Body is the envelope. Its members come in either order, and "/" in either
// spelling: a reader of JSON does not care, a cutter of text does.
func (s *Server) v2Body(name string, c *call, a answer) (body, charset string, err error) {
	raw, err := a.v2Node().MarshalJSON()
	if err != nil {
		return "", "", err
	}
	text := string(raw)
	if c.draw&8 != 0 {
		text = strings.ReplaceAll(text, "/", `\/`)
	}
	if text, charset, err = a.inCharset(text); err != nil {
		return "", "", err
	}
	if c.encrypted {
		if text, err = encrypt(s.cfg.Keys.AES, text); err != nil {
			return "", "", err
		}
		text = `"` + text + `"`
	}
	root := "error_response"
	if name != "" && s.methods[name].method == name {
		root = strings.ReplaceAll(name, ".", "_") + "_response"
	}
	members := []string{fmt.Sprintf("%q:%s", root, text)}
	if c.certified {
		members = append(members, fmt.Sprintf(`"alipay_cert_sn":%q`, s.cfg.Keys.AlipayCertSN))
	}
	if a.signature != noSignature {
		signed := text
		if a.signature == badSignature {
			signed = strings.ToUpper(text)
		}
		signature, err := sign(s.cfg.Signer, signed)
		if err != nil {
			return "", "", err
		}
		members = append(members, fmt.Sprintf(`"sign":%q`, signature))
	}
	if c.draw&4 != 0 {
		slices.Reverse(members)
	}
	return "{" + strings.Join(members, ",") + "}", charset, nil
}

// pause waits, or until the client or the server goes away. What the client
// asked for is carried out in any case.
func (s *Server) pause(r *http.Request, d time.Duration) {
	if d <= 0 {
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-r.Context().Done():
	}
}

// deliver sends the bytes of an answer as its delivery says.
func (s *Server) deliver(w http.ResponseWriter, r *http.Request, d delivery, status int, body string) {
	switch d {
	case delivered, cutJSON:
		if d == cutJSON {
			body = body[:len(body)/2]
		}
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		w.WriteHeader(status)
		_ = write(w, body)
	case lost:
		s.pause(r, s.cfg.Hold)
		panic(http.ErrAbortHandler)
	case reset:
		resetConnection(w)
	case silent:
		<-r.Context().Done()
		panic(http.ErrAbortHandler)
	case badGateway:
		w.Header().Set("Content-Type", "text/html")
		w.WriteHeader(http.StatusBadGateway)
		_ = write(w, "<html><head><title>502 Bad Gateway</title></head><body>502</body></html>\n")
	case cutBody:
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		w.WriteHeader(status)
		_ = write(w, body[:len(body)/2])
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	case dripping:
		s.drip(w, r, status, body)
	}
}

// write sends a part of an answer. It fails only if the client has gone.
func write(w io.Writer, text string) error {
	_, err := io.WriteString(w, text)
	return err
}

func (s *Server) drip(w http.ResponseWriter, r *http.Request, status int, body string) {
	const portion = 8
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	control := http.NewResponseController(w)
	for len(body) > 0 {
		n := min(portion, len(body))
		if err := write(w, body[:n]); err != nil {
			return
		}
		body = body[n:]
		if err := control.Flush(); err != nil && !errors.Is(err, http.ErrNotSupported) {
			return
		}
		s.pause(r, s.cfg.Drip)
		if r.Context().Err() != nil {
			panic(http.ErrAbortHandler)
		}
	}
}

// resetConnection makes the kernel send a reset instead of a clean end.
func resetConnection(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	if tcp, ok := conn.(interface{ SetLinger(seconds int) error }); ok {
		_ = tcp.SetLinger(0)
	}
	_ = conn.Close()
}
