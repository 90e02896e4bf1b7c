package alipay

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"sync/atomic"
	"time"
)

const (
	// maxAnswer bounds a body; real answers have a few kilobytes.
	maxAnswer = 1 << 20
	// maxAnswerHeader bounds the header of an answer.
	maxAnswerHeader = 64 << 10
	// connectTimeout bounds a dial and a TLS handshake each. The official
	// client allows 3 s, which one lost packet can use up.
	connectTimeout = 5 * time.Second
	// idleTimeout is how long an unused connection is kept. A connection that
	// the far end closes at the moment of use makes a call's outcome unknown, so
	// it is short.
	idleTimeout = 30 * time.Second
	// wireBuffer is what a connection reads and writes at once; requests and answers
	// have about 1 KiB, and larger ones go in parts.
	wireBuffer = 2 << 10
	// maxIdleConns is used where Config.MaxIdleConns is zero.
	maxIdleConns = 128
)

// newTransport makes the transport of one client: HTTP/1.1 with keep-alive, TLS
// verified, no redirects (nothing here follows them), no decompression, so that
// limits and signatures see the bytes of the wire. A proxy from the environment
// is used for https only, where it cannot read or change anything.
func newTransport(cfg *Config) *http.Transport {
	dialer := &net.Dialer{Timeout: connectTimeout, KeepAlive: 30 * time.Second}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	idle := cfg.MaxIdleConns
	if idle == 0 {
		idle = maxIdleConns
	}
	return &http.Transport{
		Proxy: func(r *http.Request) (*url.URL, error) {
			if r.URL.Scheme != "https" {
				return nil, nil
			}
			return http.ProxyFromEnvironment(r)
		},
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := dialer.DialContext(ctx, network, addr)
			if err != nil {
				return nil, err
			}
			return &gatedConn{Conn: conn}, nil
		},
		OnProxyConnectResponse: func(_ context.Context, proxy *url.URL, _ *http.Request, answer *http.Response) error {
			if answer.StatusCode == http.StatusOK {
				return nil
			}
			return &proxyError{proxy.Host, answer.StatusCode}
		},
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: cfg.RootCAs},
		TLSHandshakeTimeout:    connectTimeout,
		Protocols:              protocols,
		MaxIdleConns:           idle,
		MaxIdleConnsPerHost:    idle,
		IdleConnTimeout:        idleTimeout,
		MaxResponseHeaderBytes: maxAnswerHeader,
		ReadBufferSize:         wireBuffer,
		WriteBufferSize:        wireBuffer,
		DisableCompression:     true,
	}
}

// An attempt is the permission to write one request. It is used up by the first
// byte that is written, and it can be taken back before that: then the
// connection refuses the write, and "not sent" is a fact rather than a guess.
// It also ends with the deadline, so that a process that was frozen between
// signing and writing does not begin a call that its caller has given up.
type attempt struct {
	state    atomic.Int32
	deadline time.Time
}

const (
	attemptOpen int32 = iota
	attemptWritten
	attemptClosed
)

var errAttemptOver = errors.New("the call is over, nothing was written")

// write says whether bytes of the request may be written now.
func (a *attempt) write() bool {
	if a.state.Load() == attemptOpen && !time.Now().Before(a.deadline) {
		a.state.CompareAndSwap(attemptOpen, attemptClosed)
	}
	a.state.CompareAndSwap(attemptOpen, attemptWritten)
	return a.state.Load() == attemptWritten
}

// close ends the attempt and says whether it was ended unused.
func (a *attempt) close() bool {
	a.state.CompareAndSwap(attemptOpen, attemptClosed)
	return a.state.Load() == attemptClosed
}

// gatedConn lets a request through only while its attempt allows it. What is
// written before the first attempt is the handshake.
type gatedConn struct {
	net.Conn
	current atomic.Pointer[attempt]
}

func (c *gatedConn) Write(p []byte) (int, error) {
	if a := c.current.Load(); a != nil && !a.write() {
		return 0, errAttemptOver
	}
	return c.Conn.Write(p)
}

// gateOf finds the gate under the TLS layers of a connection.
func gateOf(conn net.Conn) *gatedConn {
	for {
		switch c := conn.(type) {
		case *gatedConn:
			return c
		case interface{ NetConn() net.Conn }:
			conn = c.NetConn()
		default:
			return nil
		}
	}
}

// reply is a complete HTTP answer within the limits.
type reply struct {
	status int
	header http.Header
	body   []byte
}

// roundTrip posts body once and reads the whole answer. It never writes a
// request twice: the request has a body that cannot be rewound and a method
// that is not idempotent, for which net/http does not repeat by itself. sent is
// false only if it is proven that no byte of the request was written. ctx must
// have a deadline. The address and the header are only read.
func roundTrip(ctx context.Context, rt *http.Transport, address *url.URL, header http.Header, body []byte) (r reply, sent bool, err error) {
	deadline, ok := ctx.Deadline()
	if !ok {
		return reply{}, false, errors.New("a call without a deadline")
	}
	a := &attempt{deadline: deadline}
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(info httptrace.GotConnInfo) {
			if gate := gateOf(info.Conn); gate != nil {
				gate.current.Store(a)
				return
			}
			a.write() // cannot be watched: assume the worst
		},
	})
	req := (&http.Request{
		Method: http.MethodPost, URL: address, Host: address.Host,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: header, Body: io.NopCloser(bytes.NewReader(body)), ContentLength: int64(len(body)),
	}).WithContext(ctx)

	resp, err := rt.RoundTrip(req)
	if err != nil {
		return reply{}, !a.close(), discreet(ctx, err)
	}
	defer func() { _ = resp.Body.Close() }()
	r = reply{status: resp.StatusCode, header: resp.Header}
	var b bytes.Buffer
	if n := resp.ContentLength; n > 0 && n <= maxAnswer {
		b.Grow(int(n) + bytes.MinRead)
	}
	if _, err := b.ReadFrom(io.LimitReader(resp.Body, maxAnswer+1)); err != nil {
		return r, true, discreet(ctx, err)
	}
	r.body = b.Bytes()
	if len(r.body) > maxAnswer {
		return r, true, ErrTooLarge
	}
	return r, true, nil
}

// proxyError is a proxy that does not let a call through.
type proxyError struct {
	host   string // without user and password
	status int
}

func (e *proxyError) Error() string {
	return fmt.Sprintf("proxy %s answers %d %s", e.host, e.status, http.StatusText(e.status))
}

// discreet keeps errors whose text is known not to quote what was sent or
// received (net/http quotes broken answers, which may hold anything) and
// replaces others by their type. One cause has one text: the port of this side
// is left out.
func discreet(ctx context.Context, err error) error {
	if cause := ctx.Err(); cause != nil {
		return cause
	}
	for _, known := range []error{io.EOF, io.ErrUnexpectedEOF, context.Canceled, context.DeadlineExceeded, errAttemptOver} {
		if errors.Is(err, known) {
			return known
		}
	}
	var (
		op     *net.OpError
		dns    *net.DNSError
		verify *tls.CertificateVerificationError
		host   x509.HostnameError
		alert  tls.AlertError
		proxy  *proxyError
		record tls.RecordHeaderError // its text is fixed
	)
	switch {
	case errors.As(err, &proxy):
		return proxy
	case errors.As(err, &record):
		return record
	case errors.As(err, &verify):
		return verify
	case errors.As(err, &host):
		return host
	case errors.As(err, &alert):
		return alert
	case errors.As(err, &dns):
		return dns
	case errors.As(err, &op):
		remote := *op
		remote.Source = nil
		return &remote
	}
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		return errors.New("transport: time-out")
	}
	return fmt.Errorf("transport: %T", err)
}
