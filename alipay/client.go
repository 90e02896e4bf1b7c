package alipay

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// Config says whom to ask and as whom.
type Config struct {
	// Gateway is the v2 address, such as https://openapi.alipay.com/gateway.do.
	// Plain http is accepted only for a loopback host.
	Gateway string
	// V3URL, such as https://openapi.alipay.com, sends Refund and QueryRefund over
	// the V3 protocol instead; Gateway is then needed for red packets only. Empty
	// is v2. Plain http as in Gateway.
	V3URL string
	// AppID is the app's number, such as 2021000000000001.
	AppID string
	// Signer holds the app's RSA key of at least 2048 bits: an *rsa.PrivateKey
	// (ParsePrivateKey reads one), or a key in a KMS or HSM.
	Signer crypto.Signer
	// AlipayKeys verify the answers; any one of them is enough, so that a
	// rotation can begin with two. They are Alipay's keys, not the app's own
	// public key, which New refuses here.
	AlipayKeys []*rsa.PublicKey
	// Certificates switches certificate mode on, in place of AlipayKeys.
	Certificates *Certificates
	// EncryptKey switches content encryption on: the app's AES key, as
	// ParseEncryptKey returns it. Empty is off.
	EncryptKey []byte
	// Timeout bounds one whole call, from dialling to the last byte of the
	// answer, together with the caller's context. 0 means 15 s.
	Timeout time.Duration
	// MaxIdleConns is how many connections are kept for the next call; set it to
	// the number of calls at a time. 0 means 128.
	MaxIdleConns int
	// RootCAs verify the gateway's TLS certificate; nil means the system's.
	RootCAs *x509.CertPool
}

// Format prints nothing but the app's number: the rest holds keys.
func (c Config) Format(f fmt.State, _ rune) {
	_, _ = fmt.Fprintf(f, "alipay.Config{AppID: %s}", c.AppID)
}

// defaultTimeout is the official client's time for one answer.
const defaultTimeout = 15 * time.Second

// Client calls Alipay. It is made by New and safe for use by many goroutines.
// It keeps no state between calls but idle connections: it never repeats a
// call, never queries by itself and never judges more than one answer.
type Client struct {
	gateway    *url.URL // nil if only V3 is configured
	v3         *url.URL // nil is v2
	appID      string
	signer     crypto.Signer
	alipayKeys []*rsa.PublicKey
	certs      *Certificates // nil in key mode
	encryptKey []byte
	timeout    time.Duration
	transport  *http.Transport
	headerV2   http.Header // the same in every request
	zone       *time.Location
	now        func() time.Time
}

// New checks the configuration and connects to nothing. Its errors name the
// member that is wrong and never a secret.
func New(cfg Config) (*Client, error) {
	gateway, v3, err := addresses(&cfg)
	if err != nil {
		return nil, fmt.Errorf("new alipay client: %w", err)
	}
	if cfg.AppID == "" || word(cfg.AppID) == "" {
		return nil, errors.New("new alipay client: app id is missing or has spaces in it")
	}
	own, err := checkSigner(cfg.Signer)
	if err != nil {
		return nil, fmt.Errorf("new alipay client: %w", err)
	}
	keys, err := alipayKeys(&cfg, own)
	if err != nil {
		return nil, fmt.Errorf("new alipay client: %w", err)
	}
	if len(cfg.EncryptKey) > 0 {
		if _, err := encrypt(cfg.EncryptKey, nil); err != nil {
			return nil, errors.New("new alipay client: encrypt key: want 16, 24 or 32 bytes")
		}
	}
	if cfg.Timeout < 0 || cfg.MaxIdleConns < 0 {
		return nil, errors.New("new alipay client: negative time-out or number of connections")
	}
	c := &Client{
		gateway:    gateway,
		v3:         v3,
		appID:      cfg.AppID,
		signer:     cfg.Signer,
		alipayKeys: keys,
		certs:      cfg.Certificates,
		encryptKey: cfg.EncryptKey,
		timeout:    cfg.Timeout,
		transport:  newTransport(&cfg),
		headerV2: http.Header{
			"Content-Type": {"application/x-www-form-urlencoded;charset=utf-8"},
			"Accept":       {"application/json"},
			"User-Agent":   {"refundd"},
		},
		zone: zone(),
		now:  time.Now,
	}
	if c.timeout == 0 {
		c.timeout = defaultTimeout
	}
	for _, address := range []*url.URL{gateway, v3} {
		if address == nil {
			continue
		}
		if _, err := c.transport.Proxy(&http.Request{URL: address}); err != nil {
			return nil, errors.New("new alipay client: the proxy in the environment is not a valid address")
		}
	}
	return c, nil
}

// CloseIdleConnections closes the connections that no call is using.
func (c *Client) CloseIdleConnections() { c.transport.CloseIdleConnections() }

func addresses(cfg *Config) (gateway, v3 *url.URL, err error) {
	if cfg.V3URL != "" {
		if v3, err = parseBase(cfg.V3URL); err != nil {
			return nil, nil, fmt.Errorf("V3 address: %w", err)
		}
	}
	if cfg.Gateway == "" && v3 != nil {
		return nil, v3, nil
	}
	if gateway, err = parseAddress(cfg.Gateway); err != nil {
		return nil, nil, fmt.Errorf("gateway: %w", err)
	}
	return gateway, v3, nil
}

// alipayKeys returns the keys that verify answers, from the one place that is
// configured.
func alipayKeys(cfg *Config, own *rsa.PublicKey) ([]*rsa.PublicKey, error) {
	if cfg.Certificates != nil {
		if len(cfg.AlipayKeys) > 0 {
			return nil, errors.New("both public keys and certificates of Alipay")
		}
		if !cfg.Certificates.appKey.Equal(own) {
			return nil, errors.New("the app certificate does not belong to the app's private key")
		}
		if err := cfg.Certificates.ValidAt(time.Now()); err != nil {
			return nil, err
		}
		return cfg.Certificates.alipayKeys, nil
	}
	if len(cfg.AlipayKeys) == 0 {
		return nil, errors.New("the public key of Alipay is missing")
	}
	for i, key := range cfg.AlipayKeys {
		if err := checkPublic(key); err != nil {
			return nil, fmt.Errorf("public key %d of Alipay: %w", i+1, err)
		}
		if key.Equal(own) {
			return nil, fmt.Errorf("public key %d of Alipay is the app's own public key; the console shows both", i+1)
		}
	}
	return cfg.AlipayKeys, nil
}

// parseAddress accepts https, and http to a loopback host.
func parseAddress(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || u.Hostname() == "" {
		return nil, errors.New("not an address such as https://openapi.alipay.com/gateway.do")
	}
	if u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, errors.New("an address with user, query or fragment")
	}
	switch u.Scheme {
	case "https":
		return u, nil
	case "http":
		host := u.Hostname()
		if ip := net.ParseIP(host); host == "localhost" || (ip != nil && ip.IsLoopback()) {
			return u, nil
		}
		return nil, errors.New("plain http is for loopback hosts only")
	default:
		return nil, errors.New("neither https nor http")
	}
}

// encodeBiz makes the JSON of a request: no HTML escapes, which Alipay's
// examples do not have either, and no text that is not UTF-8, which
// encoding/json would replace in silence.
func encodeBiz(req any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(req); err != nil {
		return nil, fmt.Errorf("encode request: %w", err)
	}
	out := bytes.TrimRight(b.Bytes(), "\n")
	for i := 0; i < len(out); i++ {
		if out[i] != '\\' {
			continue
		}
		if bytes.HasPrefix(out[i:], []byte(`\ufffd`)) {
			return nil, errors.New("encode request: text is not UTF-8")
		}
		i++
	}
	return out, nil
}

// common is what every answer of v2 begins with.
type common struct{ code, subCode, subMsg string }

func (c *common) fields() []field {
	return []field{proof("code", &c.code), proof("sub_code", &c.subCode), detail("sub_msg", &c.subMsg)}
}

// A call is one request to one of Alipay's methods.
type call struct {
	method    string
	token     string // app_auth_token; empty is none
	notifyURL string // empty is none
	biz       any    // encodes to the JSON of the request
}

// notSent is the error of a call that ends before anything is written.
func (k *call) notSent(err error) *Error {
	return &Error{Method: k.method, Class: ClassNotSent, Err: err}
}

// tradeCall makes a call that exists in both protocols.
func (c *Client) tradeCall(ctx context.Context, path string, k call, into answer) (string, error) {
	if c.v3 != nil {
		return c.callV3(ctx, path, k, into)
	}
	return c.callV2(ctx, k, into)
}

// callV2 makes one call over the v2 gateway and decodes a verified success into
// the answer. It returns Alipay's trace id. A nil error means: HTTP 200, one
// JSON object, signature verified over the node's raw bytes, code 10000.
func (c *Client) callV2(ctx context.Context, k call, into answer) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	if err := ctx.Err(); err != nil {
		return "", k.notSent(err)
	}
	address, body, err := c.requestV2(k)
	if err != nil {
		return "", k.notSent(err)
	}
	r, sent, err := roundTrip(ctx, c.transport, address, c.headerV2, body)
	if !sent {
		return "", k.notSent(err)
	}
	fail := &Error{Method: k.method, HTTPStatus: r.status, TraceID: word(r.header.Get("trace_id"))}
	switch {
	case err != nil:
		fail.Err = err
		return "", fail
	case r.status == http.StatusTooManyRequests:
		fail.Class, fail.Err = ClassLimited, ErrStatus
		return "", fail
	case r.status != http.StatusOK:
		fail.Err = fmt.Errorf("%w: %d", ErrStatus, r.status)
		return "", fail
	}
	if err := c.readV2(fail, r.body, into); err != nil {
		return "", err
	}
	return fail.TraceID, nil
}

// requestV2 signs a request: biz_content and app_auth_token go into the form,
// everything else into the query, as the official client does.
func (c *Client) requestV2(k call) (address *url.URL, form []byte, err error) {
	if c.gateway == nil {
		return nil, nil, errors.New("no v2 gateway is configured")
	}
	biz, err := encodeBiz(k.biz)
	if err != nil {
		return nil, nil, err
	}
	content := string(biz)
	params := append(make([]param, 0, 16), []param{
		{"app_id", c.appID},
		{"charset", "utf-8"},
		{"format", "JSON"},
		{"method", k.method},
		{"sign_type", "RSA2"},
		{"timestamp", c.now().In(c.zone).Format(timeLayout)},
		{"version", "1.0"},
	}...)
	if len(c.encryptKey) > 0 {
		if content, err = encrypt(c.encryptKey, biz); err != nil {
			return nil, nil, err
		}
		params = append(params, param{"encrypt_type", "AES"})
	}
	if c.certs != nil {
		params = append(params, param{"app_cert_sn", c.certs.AppSN}, param{"alipay_root_cert_sn", c.certs.RootSN})
	}
	if k.notifyURL != "" {
		params = append(params, param{"notify_url", k.notifyURL})
	}
	inQuery := len(params)
	params = append(params, param{"biz_content", content}, param{"app_auth_token", k.token})
	query := make([]byte, 0, 1024)
	for _, p := range params[:inQuery] {
		query = appendForm(query, p)
	}
	form = make([]byte, 0, 2*len(content)+128)
	for _, p := range params[inQuery:] {
		if strings.TrimSpace(p.value) != "" {
			form = appendForm(form, p)
		}
	}
	sig, err := sign(c.signer, signText(params))
	if err != nil {
		return nil, nil, err
	}
	signed := *c.gateway
	signed.RawQuery = string(appendForm(query, param{"sign", sig}))
	return &signed, form, nil
}

// appendForm adds one parameter in the form encoding of a query or body.
func appendForm(b []byte, p param) []byte {
	if len(b) > 0 {
		b = append(b, '&')
	}
	return append(append(append(b, p.key...), '='), url.QueryEscape(p.value)...)
}

// readV2 believes nothing of a body but what its signature covers. The codes of
// an unsigned refusal are read, as a hint.
func (c *Client) readV2(fail *Error, body []byte, into answer) error {
	e, err := openEnvelope(fail.Method, body, len(c.encryptKey) > 0)
	if err != nil {
		fail.Err = err
		return fail
	}
	errSign := e.verify(c.alipayKeys)
	if errors.Is(errSign, ErrBadSignature) {
		errSign = c.explainSN(e.certSN)
	}
	if errors.Is(errSign, ErrBadSignature) || (errSign != nil && e.node[0] != '{') {
		fail.Err = errSign
		return fail
	}
	node, err := e.plain(c.encryptKey)
	if err != nil {
		fail.Err = err
		return fail
	}
	var head common
	if err := decode(node, &head); err != nil {
		fail.Err = fmt.Errorf("%w: %w", ErrMalformed, err)
		return fail
	}
	fail.Code, fail.SubCode, fail.SubMsg = word(head.code), word(head.subCode), clip(head.subMsg, 256)
	switch {
	case errSign != nil && head.code == codeOK:
		fail.Err = errSign
		return fail
	case head.code == codeOK && e.own:
		if err := decode(node, into); err != nil {
			fail.Err = fmt.Errorf("%w: %w", ErrMalformed, err)
			return fail
		}
		return nil
	case head.code == codeOK:
		fail.Err = fmt.Errorf("%w: a success in %s", ErrMalformed, e.root)
		return fail
	}
	fail.Signed, fail.Err = errSign == nil, errSign
	fail.Class, fail.QueryFirst = classify(fail.Method, head.code, head.subCode)
	return fail
}

// explainSN adds to a bad signature that the answer names a certificate that is
// not configured: Alipay may have renewed its own.
func (c *Client) explainSN(sn string) error {
	if sn = word(sn); c.certs == nil || sn == "" || slices.Contains(c.certs.AlipaySNs, sn) {
		return ErrBadSignature
	}
	return fmt.Errorf("%w: it names certificate %s, which is not configured", ErrBadSignature, sn)
}

// timeLayout is how Alipay writes times, always in GMT+8.
const timeLayout = "2006-01-02 15:04:05"

func zone() *time.Location { return time.FixedZone("GMT+8", 8*60*60) }

// ParseTime reads a time of an answer or a notification, with or without
// milliseconds. Alipay's times are GMT+8 wherever they are read.
func ParseTime(s string) (time.Time, error) {
	t, err := time.ParseInLocation(timeLayout, s, zone())
	if err != nil {
		return time.Time{}, errors.New("parse time: want yyyy-MM-dd HH:mm:ss")
	}
	return t, nil
}
