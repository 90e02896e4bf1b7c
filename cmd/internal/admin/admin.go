// Package admin is the HTTP server for operators and their machines: liveness, readiness, metrics, and a page for a
// person. It shows no command, no secret and nobody's personal data; of one refund that is asked for by its number it
// shows state, amount and outcome. It changes nothing.
package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"
)

// Readiness is how the service is right now.
type Readiness struct {
	Parts []Part // in the order in which a person should read them
}

// Part is one thing that readiness depends on. The contract has rocketmq, redis, alipay, draining and paused.
type Part struct {
	Name  string // PartAlipay and the like: lower case, no two the same
	State string // a few words for a person, such as "ok" or "no answer for 12s"; no secret
	OK    bool   // false makes the service not ready, except for PartAlipay
}

// PartAlipay names the part that only informs: the service goes on taking commands whatever Alipay does, because every
// replica would leave the load balancer at once, and a command that waits is safe.
const PartAlipay = "alipay"

// Ready reports whether every part but PartAlipay is fine. A Readiness without parts is not ready: nothing is known.
func (r Readiness) Ready() bool {
	for _, p := range r.Parts {
		if !p.OK && p.Name != PartAlipay {
			return false
		}
	}
	return len(r.Parts) > 0
}

// Config is what a Server needs.
type Config struct {
	Addr    string           // host:port to listen on; port 0 takes a free one
	Title   string           // heading of the page, such as program and version
	Status  func() Readiness // called for each request, from several goroutines; answers at once from what is known
	Metrics http.Handler     // answers GET /metrics
	// Page is asked for each view of the page, as Status is; nil: the parts are all it shows.
	Page func() Page
	// LookUp returns what is remembered of one refund, in a time and at a rate of its own; nil: the page offers none.
	LookUp func(context.Context, Question) Answer
	// ScopeTrade: a look-up needs the trade as well.
	ScopeTrade bool
}

// Limits of a connection and of the stop. Requests have no body and answers are small; what takes longer is broken or
// hostile.
const (
	readTimeout  = 5 * time.Second
	writeTimeout = 10 * time.Second
	idleTimeout  = 60 * time.Second
	maxHeader    = 16 << 10
	stopTimeout  = 2 * time.Second
)

// Server listens from Listen on, and answers while Run runs.
type Server struct {
	listener net.Listener
	server   *http.Server
}

// Listen takes the address. The error names it. Whoever gets a Server calls Run, which gives the address back.
func Listen(ctx context.Context, cfg Config) (*Server, error) {
	var lc net.ListenConfig
	listener, err := lc.Listen(ctx, "tcp", cfg.Addr)
	if err != nil {
		return nil, fmt.Errorf("admin: %w", err)
	}
	return &Server{
		listener: listener,
		server: &http.Server{
			Handler:        Handler(cfg),
			ReadTimeout:    readTimeout,
			WriteTimeout:   writeTimeout,
			IdleTimeout:    idleTimeout,
			MaxHeaderBytes: maxHeader,
		},
	}, nil
}

// Addr is the address that is listened on.
func (s *Server) Addr() net.Addr { return s.listener.Addr() }

// Run answers requests until ctx ends, then lets those that are being answered finish, for two seconds at most, and
// returns nil. It returns an error, at once, if the listener fails. Cancel ctx late in a stop: readiness must still be
// answered while the service drains. Run can be called once.
func (s *Server) Run(ctx context.Context) error {
	served := make(chan error, 1)
	go func() { served <- s.server.Serve(s.listener) }()
	select {
	case err := <-served:
		return fmt.Errorf("admin: serve %s: %w", s.Addr(), err)
	case <-ctx.Done():
	}
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	if err := s.server.Shutdown(stop); err != nil {
		_ = s.server.Close() // a reader that does not read must not hold up the stop
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("admin: serve %s: %w", s.Addr(), err)
	}
	return nil
}

// Handler answers GET (and HEAD) /livez, /readyz, /metrics and /: other methods 405, other paths 404.
//
//   - /livez: 200 as long as the process can answer at all. It looks at no part: restarting helps none of them.
//   - /readyz: 200 or 503 with a JSON object that names each part and its state.
//   - /metrics: what cfg.Metrics says.
//   - /: what is going on, for a person; /?number=… looks one refund up.
func Handler(cfg Config) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) {
		head(w, "text/plain; charset=utf-8", http.StatusOK)
		_, _ = w.Write([]byte("ok\n"))
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		r := cfg.Status()
		states := make(map[string]string, len(r.Parts))
		for _, p := range r.Parts {
			states[p.Name] = p.State
		}
		head(w, "application/json", statusCode(r))
		_ = json.NewEncoder(w).Encode(states) // strings always encode; a reader that went away is its own problem
	})
	mux.Handle("GET /metrics", cfg.Metrics)
	mux.HandleFunc("GET /{$}", servePage(cfg))
	return mux
}

func statusCode(r Readiness) int {
	if r.Ready() {
		return http.StatusOK
	}
	return http.StatusServiceUnavailable
}

func head(w http.ResponseWriter, contentType string, status int) {
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	if w.Header().Get("Content-Security-Policy") == "" {
		w.Header().Set("Content-Security-Policy", "default-src 'none'")
	}
	w.WriteHeader(status)
}
