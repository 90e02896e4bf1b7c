package admin_test

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"refundd/cmd/internal/admin"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func parts(redis, alipay bool) admin.Readiness {
	return admin.Readiness{Parts: []admin.Part{
		{Name: "rocketmq", State: "ok", OK: true},
		{Name: "redis", State: "<b>no answer</b>", OK: redis},
		{Name: "alipay", State: "unknown", OK: alipay},
		{Name: "draining", State: "no", OK: true},
		{Name: "paused", State: "no", OK: true},
	}}
}

func config(r admin.Readiness) admin.Config {
	return admin.Config{
		Addr:   "127.0.0.1:0",
		Title:  "refundd test",
		Status: func() admin.Readiness { return r },
		Metrics: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, "some_metric 1\n")
		}),
	}
}

func TestReadiness(t *testing.T) {
	tests := map[string]struct {
		readiness admin.Readiness
		want      int
	}{
		"all fine":                  {parts(true, true), 200},
		"one part is not":           {parts(false, true), 503},
		"Alipay alone only informs": {parts(true, false), 200},
		"nothing is known":          {admin.Readiness{}, 503},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w := httptest.NewRecorder()
			admin.Handler(config(tt.readiness)).ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), "GET", "/readyz", nil))
			if w.Code != tt.want {
				t.Errorf("status %d, want %d", w.Code, tt.want)
			}
			got := map[string]string{}
			if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
				t.Fatalf("body %q: %v", w.Body, err)
			}
			if len(got) != len(tt.readiness.Parts) {
				t.Errorf("body names %d parts, want %d", len(got), len(tt.readiness.Parts))
			}
			for _, p := range tt.readiness.Parts {
				if got[p.Name] != p.State {
					t.Errorf("%s is %q, want %q", p.Name, got[p.Name], p.State)
				}
			}
		})
	}
}

func TestPathsAndMethods(t *testing.T) {
	tests := map[string]struct {
		method, path string
		want         int
		body         string // has to be in the answer
	}{
		"live":              {"GET", "/livez", 200, "ok"},
		"live by HEAD":      {"HEAD", "/livez", 200, ""},
		"live by POST":      {"POST", "/livez", 405, ""},
		"ready by DELETE":   {"DELETE", "/readyz", 405, ""},
		"metrics":           {"GET", "/metrics", 200, "some_metric 1"},
		"metrics by PUT":    {"PUT", "/metrics", 405, ""},
		"page":              {"GET", "/", 200, "not ready"},
		"page has parts":    {"GET", "/", 200, `<td class="word">rocketmq</td><td class="text">ok</td>`},
		"page escapes":      {"GET", "/", 200, "&lt;b&gt;no answer&lt;/b&gt;"},
		"page by POST":      {"POST", "/", 405, ""},
		"other path":        {"GET", "/debug/pprof/", 404, ""},
		"other path, POST":  {"POST", "/alipay/notify", 404, ""},
		"path below a name": {"GET", "/livez/x", 404, ""},
	}
	handler := admin.Handler(config(parts(false, true)))
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w := httptest.NewRecorder()
			handler.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), tt.method, tt.path, nil))
			if w.Code != tt.want || !strings.Contains(w.Body.String(), tt.body) {
				t.Errorf("%d %q, want %d with %q", w.Code, w.Body, tt.want, tt.body)
			}
		})
	}
}

func TestLivenessLooksAtNothing(t *testing.T) {
	cfg := config(admin.Readiness{})
	cfg.Status = func() admin.Readiness { t.Error("status asked"); return admin.Readiness{} }
	w := httptest.NewRecorder()
	admin.Handler(cfg).ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), "GET", "/livez", nil))
	if w.Code != 200 {
		t.Errorf("status %d", w.Code)
	}
}

// get asks a real server and returns the status.
func get(t *testing.T, url string) (int, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		return 0, err
	}
	defer func() { _ = resp.Body.Close() }()
	_, err = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode, err
}

func TestRunAnswersUntilItsContextEnds(t *testing.T) {
	var ready atomic.Bool
	cfg := config(admin.Readiness{})
	cfg.Status = func() admin.Readiness { return parts(ready.Load(), false) }
	s, err := admin.Listen(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()

	base := "http://" + s.Addr().String()
	for _, want := range []int{503, 200} {
		ready.Store(want == 200)
		if got, err := get(t, base+"/readyz"); err != nil || got != want {
			t.Errorf("/readyz: %d %v, want %d", got, err, want)
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Run: %v", err)
	}
	if _, err := get(t, base+"/livez"); err == nil {
		t.Error("still answers after Run")
	}
}

func TestAReaderThatHangsDoesNotHoldUpTheStop(t *testing.T) {
	entered := make(chan struct{})
	release := make(chan struct{})
	defer close(release)
	cfg := config(parts(true, true))
	cfg.Metrics = http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(entered)
		select {
		case <-release:
		case <-r.Context().Done():
		}
	})
	s, err := admin.Listen(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()

	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if _, err := io.WriteString(conn, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	<-entered
	cancel()
	select {
	case err := <-done:
		if err != nil {
			t.Errorf("Run: %v", err)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("Run does not end")
	}
}

func TestListenNamesAnAddressThatIsTaken(t *testing.T) {
	s, err := admin.Listen(t.Context(), config(parts(true, true)))
	if err != nil {
		t.Fatal(err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	defer func() { _ = s.Run(ended) }()

	cfg := config(parts(true, true))
	cfg.Addr = s.Addr().String()
	if _, err := admin.Listen(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), cfg.Addr) {
		t.Errorf("error is %v, want one that names %s", err, cfg.Addr)
	}
}
