package alipay

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// Paths of the V3 protocol. Red packets have none.
const (
	pathRefund      = "/v3/alipay/trade/refund"
	pathQueryRefund = "/v3/alipay/trade/fastpay/refund/query"
)

// requestV3 is what the Authorization header of one V3 request covers.
type requestV3 struct {
	appID     string
	certSN    string // empty in key mode
	nonce     string
	timestamp string // milliseconds since 1970
	method    string
	path      string // with its raw query, as on the wire
	body      string // as on the wire: cipher text if encrypted
	token     string // empty is none
}

func (r *requestV3) authText() string {
	parts := []string{"app_id=" + r.appID}
	if r.certSN != "" {
		parts = append(parts, "app_cert_sn="+r.certSN)
	}
	return strings.Join(append(parts, "nonce="+r.nonce, "timestamp="+r.timestamp), ",")
}

// signText ends every line with a line feed, that of an empty body too.
func (r *requestV3) signText() string {
	text := r.authText() + "\n" + r.method + "\n" + r.path + "\n" + r.body + "\n"
	if r.token != "" {
		text += r.token + "\n"
	}
	return text
}

// callV3 is callV2 over V3, with the same types and the same outcomes.
func (c *Client) callV3(ctx context.Context, path string, k call, into answer) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	if err := ctx.Err(); err != nil {
		return "", k.notSent(err)
	}
	header, body, err := c.signV3(path, k)
	if err != nil {
		return "", k.notSent(err)
	}
	address := *c.v3
	address.Path = path
	r, sent, err := roundTrip(ctx, c.transport, &address, header, []byte(body))
	if !sent {
		return "", k.notSent(err)
	}
	fail := &Error{Method: k.method, HTTPStatus: r.status, TraceID: word(r.header.Get("alipay-trace-id"))}
	if err != nil {
		fail.Err = err
		return "", fail
	}
	if err := c.readV3(fail, r, into); err != nil {
		return "", err
	}
	return fail.TraceID, nil
}

// signV3 makes the header and the body of one request, with a nonce of its own.
func (c *Client) signV3(path string, k call) (http.Header, string, error) {
	biz, err := encodeBiz(k.biz)
	if err != nil {
		return nil, "", err
	}
	nonce, err := randomHex()
	if err != nil {
		return nil, "", err
	}
	id, err := randomHex()
	if err != nil {
		return nil, "", err
	}
	r := requestV3{
		appID:     c.appID,
		nonce:     nonce,
		timestamp: strconv.FormatInt(c.now().UnixMilli(), 10),
		method:    http.MethodPost,
		path:      path,
		body:      string(biz),
		token:     strings.TrimSpace(k.token),
	}
	header := http.Header{
		"Accept":            {"application/json"},
		"Content-Type":      {"application/json; charset=utf-8"},
		"User-Agent":        {"refundd"},
		"Alipay-Request-Id": {id},
	}
	if len(c.encryptKey) > 0 {
		if r.body, err = encrypt(c.encryptKey, biz); err != nil {
			return nil, "", err
		}
		header.Set("Content-Type", "text/plain; charset=utf-8")
		header.Set("alipay-encrypt-type", "AES")
	}
	if c.certs != nil {
		r.certSN = c.certs.AppSN
		header.Set("alipay-root-cert-sn", c.certs.RootSN)
	}
	if r.token != "" {
		header.Set("alipay-app-auth-token", r.token)
	}
	sig, err := sign(c.signer, []byte(r.signText()))
	if err != nil {
		return nil, "", err
	}
	header.Set("Authorization", "ALIPAY-SHA256withRSA "+r.authText()+",sign="+sig)
	return header, r.body, nil
}

// readV3 is readV2 for V3: a success is a signed 200 without a code, a refusal
// is judged by its code and never by its HTTP status, because business errors
// of every kind, SYSTEM_ERROR among them, come under 400.
func (c *Client) readV3(fail *Error, r reply, into answer) error {
	node, errSign := openV3(r.header, r.body, c.alipayKeys, c.encryptKey)
	if node == nil {
		if r.status == http.StatusTooManyRequests && !errors.Is(errSign, ErrBadSignature) {
			fail.Class = ClassLimited
		}
		if errors.Is(errSign, ErrBadSignature) {
			errSign = c.explainSN(r.header.Get("alipay-sn"))
		}
		fail.Err = errSign
		return fail
	}
	var code, message string
	_, err := decodeFields(node, []field{proof("code", &code), detail("message", &message)})
	if err != nil {
		fail.Err = fmt.Errorf("%w: %w", ErrMalformed, err)
		return fail
	}
	fail.SubCode, fail.SubMsg = word(code), clip(message, 256)
	switch {
	case r.status == http.StatusOK && errSign != nil:
		fail.Err = errSign
		return fail
	case r.status == http.StatusOK && code == "":
		if err := decode(node, into); err != nil {
			fail.Err = fmt.Errorf("%w: %w", ErrMalformed, err)
			return fail
		}
		return nil
	case r.status == http.StatusOK:
		fail.Err = fmt.Errorf("%w: a code under status 200", ErrMalformed)
		return fail
	case r.status < 400 || r.status >= 500:
		fail.Err = fmt.Errorf("%w: %d", ErrStatus, r.status)
		return fail
	}
	fail.Signed, fail.Err = errSign == nil, errSign
	fail.Class, fail.QueryFirst = classifyV3(fail.Method, code)
	if r.status == http.StatusTooManyRequests && fail.Class == ClassUnknown {
		fail.Class = ClassLimited
	}
	return fail
}

// openV3 verifies an answer over its header and its bytes as received and
// returns its JSON object in UTF-8, decrypted where a key is given and the body is not an
// object by itself. With an object, the error is nil or ErrUnsigned.
func openV3(header http.Header, body []byte, keys []*rsa.PublicKey, aesKey []byte) ([]byte, error) {
	for _, name := range []string{"alipay-signature", "alipay-timestamp", "alipay-nonce"} {
		if len(header.Values(name)) > 1 {
			return nil, fmt.Errorf("%w: header %s stands twice", ErrMalformed, name)
		}
	}
	errSign := ErrUnsigned
	if sig := header.Get("alipay-signature"); sig != "" && sig != "null" {
		text := header.Get("alipay-timestamp") + "\n" + header.Get("alipay-nonce") + "\n" + string(body) + "\n"
		if !verified(keys, []byte(text), sig) {
			return nil, ErrBadSignature
		}
		errSign = nil
	}
	node := body
	if len(aesKey) > 0 && errSign == nil && !strings.HasPrefix(strings.TrimLeft(string(body), " \t\r\n"), "{") {
		plain, err := decrypt(aesKey, string(body))
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
		}
		node = plain
	}
	node, err := utf8Of(node)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	if err := members(node, func(_, _ []byte) error { return nil }); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return node, errSign
}

// parseBase is parseAddress for V3, whose paths are signed and so are fixed.
func parseBase(s string) (*url.URL, error) {
	u, err := parseAddress(s)
	if err != nil {
		return nil, err
	}
	if u.Path != "" && u.Path != "/" {
		return nil, errors.New("an address with a path")
	}
	u.Path = ""
	return u, nil
}

// randomHex returns 128 random bits as 32 digits.
func randomHex() (string, error) {
	var b [16]byte
	if _, err := rand.Read(b[:]); err != nil {
		return "", fmt.Errorf("random number: %w", err)
	}
	return hex.EncodeToString(b[:]), nil
}
