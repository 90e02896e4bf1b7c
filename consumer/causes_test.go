package consumer

import (
	"bufio"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"refundd/alipay"
	"refundd/alipay/alipaytest"
)

// refusingProxy answers every CONNECT as a proxy does that wants a password.
func refusingProxy(t *testing.T) (addr string) {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	check(t, err)
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer func() { _ = conn.Close() }()
				if _, err := http.ReadRequest(bufio.NewReader(conn)); err == nil {
					_, _ = io.WriteString(conn, "HTTP/1.1 407 canary\r\nProxy-Authenticate: Basic realm=\"canary\"\r\nContent-Length: 6\r\n\r\ncanary")
				}
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		wg.Wait()
	})
	return l.Addr().String()
}

// TestTheLogSaysWhyAlipayIsOutOfReach: each cause has one line at warn, however
// many calls it fails, and every call has its cause at debug.
func TestTheLogSaysWhyAlipayIsOutOfReach(t *testing.T) {
	// The variables are read once in a process; no other test here calls by https.
	proxy := refusingProxy(t)
	t.Setenv("HTTPS_PROXY", "http://canary:canary@"+proxy)
	t.Setenv("NO_PROXY", "alipay..invalid")
	page := func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusBadGateway)
		_, _ = io.WriteString(w, "<html>canary</html>")
	}
	for _, tt := range []struct {
		name    string
		gateway func(t *testing.T, b *bench) string
		want    string
	}{
		{"another CA", func(t *testing.T, b *bench) string {
			t.Helper()
			s := httptest.NewUnstartedServer(b.alipay)
			s.Config.ErrorLog = log.New(io.Discard, "", 0)
			s.StartTLS()
			t.Cleanup(s.Close)
			return s.URL
		}, "x509: certificate signed by unknown authority"},
		{"no TLS", func(t *testing.T, b *bench) string {
			t.Helper()
			return strings.Replace(b.url, "http:", "https:", 1)
		}, "tls: first record does not look like a TLS handshake"},
		{"a proxy that says 407", func(*testing.T, *bench) string { return "https://alipay.invalid" }, "proxy " + proxy + " answers 407 Proxy Authentication Required"},
		{"a page with 502", func(t *testing.T, _ *bench) string {
			t.Helper()
			s := httptest.NewServer(http.HandlerFunc(page))
			t.Cleanup(s.Close)
			return s.URL
		}, "HTTP status of no answer: 502"},
		{"an unknown host", func(*testing.T, *bench) string { return "https://alipay..invalid" }, "lookup alipay..invalid: no such host"},
		{"nobody listens", func(t *testing.T, _ *bench) string {
			t.Helper()
			s := httptest.NewServer(nil)
			s.Close()
			return s.URL
		}, "connect: connection refused"},
		{"another key", nil, "signature of the answer does not verify"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t, nil)
			if tt.gateway == nil {
				check(t, b.alipay.SetFaults(map[string]float64{"bad-sign": 1, "query-bad-sign": 1}))
			} else {
				gateway := tt.gateway(t, b)
				b.reach(func(c *alipay.Config, _ *alipaytest.Keys, _ string) { c.Gateway = gateway + "/gateway.do" })
			}
			b.handler.causes.every = time.Hour
			for _, number := range []string{"R1", "R2", "R3"} {
				b.handle(b.command(refundBody(number, "T-"+number, "5.00")))
			}
			warned, seen := 0, 0
			for line := range strings.Lines(b.log.String()) {
				if strings.Contains(line, "canary") || strings.Contains(line, "-----") {
					t.Errorf("a secret or a body is in the log: %s", line)
				}
				if !strings.Contains(line, tt.want) {
					continue
				}
				seen++
				if strings.Contains(line, "level=warning") && strings.Contains(line, "out_request_no=R1 ") {
					warned++
				} else if !strings.Contains(line, "level=debug") {
					t.Errorf("neither the first one nor at debug: %s", line)
				}
			}
			if warned != 1 || seen < 3 {
				t.Errorf("%d lines of 3 calls have the cause, %d of them at warn, want 1; log:\n%s", seen, warned, b.log)
			}
		})
	}
}

func TestCausesAreForgottenAndBounded(t *testing.T) {
	c := causes{every: time.Hour, seen: map[string]time.Time{}}
	if !c.isNew("a") || c.isNew("a") || !c.isNew("b") {
		t.Error("a cause is not new once")
	}
	c.seen["a"] = time.Now().Add(-2 * time.Hour)
	if !c.isNew("a") {
		t.Error("a cause is silent for ever")
	}
	for i := range 2 * mostCauses {
		c.isNew(strings.Repeat("x", i))
	}
	if len(c.seen) != mostCauses {
		t.Errorf("%d causes are remembered", len(c.seen))
	}
}
