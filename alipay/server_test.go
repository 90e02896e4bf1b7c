package alipay

import (
	"bufio"
	"io"
	"log"
	"net"
	"net/http"
	"sync"
	"testing"
)

func nullLog() *log.Logger { return log.New(io.Discard, "", 0) }

// rawServer serves connections by hand, for answers that net/http would not
// give. Each connection is closed when handle returns.
func rawServer(t *testing.T, handle func(net.Conn)) (addr string) {
	t.Helper()
	l := listen(t)
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer func() { _ = c.Close() }()
				handle(c)
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		wg.Wait()
	})
	return l.Addr().String()
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func readRequest(c net.Conn) bool {
	_, ok := requestBody(c)
	return ok
}

func requestBody(c net.Conn) (string, bool) {
	req, err := http.ReadRequest(bufio.NewReader(c))
	if err != nil {
		return "", false
	}
	body, err := io.ReadAll(req.Body)
	return string(body), err == nil
}
