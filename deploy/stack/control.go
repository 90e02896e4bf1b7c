package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"syscall"
	"time"
)

// control is the address through which a test stops and starts parts.
type control struct {
	url    string
	server *http.Server
	served chan struct{}
}

func serveControl(s *stack) (*control, error) {
	// The listener lives as long as the server, not as long as a context.
	listener, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("control address: %w", err)
	}
	c := &control{
		url:    "http://" + listener.Addr().String(),
		server: &http.Server{Handler: controlHandler(s), ReadHeaderTimeout: 10 * time.Second},
		served: make(chan struct{}),
	}
	go func() {
		defer close(c.served)
		_ = c.server.Serve(listener)
	}()
	return c, nil
}

func (c *control) close() {
	_ = c.server.Close()
	<-c.served
}

// changer is what the control address needs of a stack.
type changer interface {
	startPart(ctx context.Context, part string) error
	stopPart(ctx context.Context, part string, signal syscall.Signal) error
}

func controlHandler(s changer) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /{part}/{action}", func(w http.ResponseWriter, r *http.Request) {
		part, action := r.PathValue("part"), r.PathValue("action")
		if part != partNameServer && !isBroker(part) && part != partRedis {
			http.Error(w, "no such part", http.StatusNotFound)
			return
		}
		signal, err := stopSignal(r.URL.Query().Get("signal"))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		// A test that goes away must not leave a part half started.
		ctx := context.WithoutCancel(r.Context())
		switch action {
		case "start":
			err = s.startPart(ctx, part)
		case "stop":
			err = s.stopPart(ctx, part, signal)
		case "restart":
			if err = s.stopPart(ctx, part, signal); err == nil {
				err = s.startPart(ctx, part)
			}
		default:
			http.Error(w, "no such action", http.StatusNotFound)
			return
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	})
	return mux
}

func stopSignal(name string) (syscall.Signal, error) {
	switch name {
	case "", "KILL":
		return syscall.SIGKILL, nil
	case "TERM":
		return syscall.SIGTERM, nil
	default:
		return 0, errors.New("signal is KILL or TERM")
	}
}
