package main

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"refundd/alipay/alipaytest"
	"refundd/alipay/openssl"
)

// gateway is Alipay for refunds that succeed: it verifies, keeps a ledger, and
// signs, as cheaply as it can.
type gateway struct {
	keys    *alipaytest.Keys
	signer  crypto.Signer
	latency time.Duration
	server  *http.Server
	url     string
	opened  atomic.Int64 // connections
	held    atomic.Int64 // calls that wait for their answer
	most    atomic.Int64 // of them at once
	limit   *allowance   // nil: it takes all calls

	mu    sync.Mutex
	moved map[string]movement // by number
	calls []call
}

type movement struct {
	trade, amount string
	times         int
}

type call struct {
	at    time.Time
	name  string // of the refund
	query bool
}

func startGateway(ctx context.Context, keys *alipaytest.Keys, latency time.Duration) (*gateway, error) {
	g := &gateway{keys: keys, signer: keys.AlipayPrivate, latency: latency, moved: map[string]movement{}}
	if fast, err := openssl.New(keys.AlipayPrivate); err == nil {
		g.signer = fast
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	g.url = "http://" + listener.Addr().String() + "/gateway.do"
	g.server = &http.Server{
		Handler: http.HandlerFunc(g.answer), ReadHeaderTimeout: 10 * time.Second,
		ConnState: func(_ net.Conn, s http.ConnState) {
			if s == http.StateNew {
				g.opened.Add(1)
			}
		},
	}
	go func() { _ = g.server.Serve(listener) }()
	return g, nil
}

func (g *gateway) answer(w http.ResponseWriter, r *http.Request) {
	now := g.held.Add(1)
	defer g.held.Add(-1)
	for most := g.most.Load(); now > most && !g.most.CompareAndSwap(most, now); most = g.most.Load() {
	}
	if err := r.ParseForm(); err != nil || !g.genuine(r.Form) {
		http.Error(w, "not signed", http.StatusForbidden)
		return
	}
	var biz struct {
		Number string `json:"out_request_no"`
		Trade  string `json:"out_trade_no"`
		Amount string `json:"refund_amount"`
	}
	if err := json.Unmarshal([]byte(r.Form.Get("biz_content")), &biz); err != nil {
		http.Error(w, "not JSON", http.StatusBadRequest)
		return
	}
	method := r.Form.Get("method")
	taken := g.limit.takes()
	if !g.wait(r.Context()) {
		return // the caller has given up, so it has not happened
	}
	node := `{"code":"40005","msg":"Insufficient Token Permissions","sub_code":"isv.app-call-limited","sub_msg":"too many calls"}`
	if taken {
		node = g.book(method, biz.Number, biz.Trade, biz.Amount)
	}
	sum := sha256.Sum256([]byte(node))
	signature, err := g.signer.Sign(rand.Reader, sum[:], crypto.SHA256)
	if err != nil {
		http.Error(w, "cannot sign", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html;charset=utf-8")
	_, _ = fmt.Fprintf(w, `{"%s_response":%s,"sign":"%s"}`,
		strings.ReplaceAll(method, ".", "_"), node, base64.StdEncoding.EncodeToString(signature))
}

// wait lets Alipay's time pass. False: the caller has gone.
func (g *gateway) wait(ctx context.Context) bool {
	if g.latency == 0 {
		return true
	}
	timer := time.NewTimer(g.latency)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// book moves the money, at most once for a number.
func (g *gateway) book(method, number, trade, amount string) string {
	g.mu.Lock()
	defer g.mu.Unlock()
	query := strings.HasSuffix(method, ".query")
	g.calls = append(g.calls, call{at: time.Now(), name: number, query: query})
	m, known := g.moved[number]
	tradeNo := fmt.Sprintf("2026112622001%015d", len(trade)*1_000_000+len(g.calls))
	if query {
		if !known {
			return `{"code":"10000","msg":"Success"}`
		}
		return fmt.Sprintf(`{"code":"10000","msg":"Success","out_request_no":%q,"out_trade_no":%q,"refund_amount":%q,"refund_status":"REFUND_SUCCESS","total_amount":"1000.00"}`,
			number, m.trade, m.amount)
	}
	change := "N"
	if !known {
		m, change = movement{trade: trade, amount: amount, times: 1}, "Y"
		g.moved[number] = m
	}
	return fmt.Sprintf(`{"code":"10000","msg":"Success","buyer_logon_id":"159****5620","buyer_user_id":"2088101117955611","fund_change":%q,"gmt_refund_pay":%q,"out_trade_no":%q,"refund_fee":%q,"trade_no":%q}`,
		change, time.Now().In(time.FixedZone("", 8*60*60)).Format(time.DateTime), m.trade, m.amount, tradeNo)
}

func (g *gateway) called() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.calls)
}

func (g *gateway) genuine(form map[string][]string) bool {
	var keys []string
	for key := range form {
		if key != "sign" && form[key][0] != "" {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	var text strings.Builder
	for i, key := range keys {
		if i > 0 {
			text.WriteByte('&')
		}
		text.WriteString(key + "=" + form[key][0])
	}
	if len(form["sign"]) != 1 {
		return false
	}
	signature, err := base64.StdEncoding.DecodeString(form["sign"][0])
	sum := sha256.Sum256([]byte(text.String()))
	return err == nil && rsa.VerifyPKCS1v15(&g.keys.AppPrivate.PublicKey, crypto.SHA256, sum[:], signature) == nil
}

func (g *gateway) close() { _ = g.server.Close() }
