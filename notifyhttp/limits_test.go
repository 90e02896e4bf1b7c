package notifyhttp_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/apache/rocketmq-client-go/v2/primitive"

	"refundd/notifyhttp"
	"refundd/producer"
)

func TestMethodsAndPaths(t *testing.T) {
	b := start(t, setup{})
	root := strings.TrimSuffix(b.url, notifyhttp.Path)
	for _, row := range []struct {
		method, address string
		status          int
	}{
		{http.MethodGet, b.url, 405},
		{http.MethodPut, b.url, 405},
		{http.MethodDelete, b.url, 405},
		{http.MethodOptions, b.url, 405},
		{"success", b.url, 405},
		{http.MethodPost, root, 404},
		{http.MethodGet, root + "/", 404},
		{http.MethodPost, b.url + "/", 404},
		{http.MethodPost, root + "//alipay/notify", 404},
		{http.MethodPost, root + "/alipay/../alipay/notify", 404},
		{http.MethodPost, root + "/alipay/NOTIFY", 404},
		{http.MethodPost, root + "/metrics", 404},
	} {
		t.Run(row.method+" "+strings.TrimPrefix(row.address, root), func(t *testing.T) {
			got, err := b.do(t.Context(), row.method, row.address, strings.NewReader(form(t, alipayKey(t))))
			if err != nil {
				t.Fatal(err)
			}
			b.want(t, got, row.status, "")
			if allow := got.header.Get("Allow"); (row.status == 405) != (allow == http.MethodPost) {
				t.Errorf("Allow: %q", allow)
			}
		})
	}
	if got := b.counts.got(); len(got) != 0 || len(b.book.told()) != 0 {
		t.Errorf("counted %v, events %v", got, b.book.told())
	}
	b.want(t, b.post(t, form(t, alipayKey(t))), 200, notifyhttp.Published)
	got, err := b.do(t.Context(), http.MethodPost, b.url+"?route=1", strings.NewReader(form(t, alipayKey(t))))
	if err != nil || got.status != http.StatusOK {
		t.Errorf("with a query: %v, %v", got, err) // which is no part of what is signed
	}
}

// TestSize: 64 KiB are taken, one byte more is not, with its length announced or not.
func TestSize(t *testing.T) {
	b := start(t, setup{})
	body := form(t, alipayKey(t))
	full := body + strings.Repeat("&", notifyhttp.MaxBody-len(body)) // pairs without name and value are none
	for _, row := range []struct {
		name   string
		body   io.Reader
		status int
		result notifyhttp.Result
	}{
		{"64 KiB", strings.NewReader(full), 200, notifyhttp.Published},
		{"64 KiB in chunks", io.MultiReader(strings.NewReader(full)), 200, notifyhttp.Published},
		{"one more", strings.NewReader(full + "&"), 413, notifyhttp.TooLarge},
		{"one more in chunks", io.MultiReader(strings.NewReader(full + "&")), 413, notifyhttp.TooLarge},
		{"much more", strings.NewReader(strings.Repeat("a", 1<<20)), 413, notifyhttp.TooLarge},
	} {
		t.Run(row.name, func(t *testing.T) {
			got, err := b.do(t.Context(), http.MethodPost, b.url, row.body)
			if err != nil && row.name != "much more" { // who still writes may see the connection closed first
				t.Fatal(err)
			}
			if err == nil {
				b.want(t, got, row.status, row.result)
			}
		})
	}
	waitFor(t, "the last one", func() bool { return b.counts.got()[notifyhttp.TooLarge] == 3 })
}

// dial is a connection to the receiver on which text was written.
func dial(t *testing.T, b *bench, text string) net.Conn {
	t.Helper()
	var d net.Dialer
	conn, err := d.DialContext(t.Context(), "tcp", b.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatal(err)
	}
	return conn
}

func readAnswer(t *testing.T, conn io.Reader) answer {
	t.Helper()
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{resp.StatusCode, string(text), resp.Header}
}

func header(length int) string {
	return fmt.Sprintf("POST %s HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n", notifyhttp.Path, length)
}

// TestBrokenBodies: what does not arrive whole in time is refused, and its connection closed.
func TestBrokenBodies(t *testing.T) {
	b := start(t, setup{cfg: notifyhttp.Config{BodyTimeout: 50 * time.Millisecond}})
	for name, text := range map[string]string{
		"silent":          header(100),
		"slow":            header(100) + "notify_id=",
		"chunk":           strings.Replace(header(0), "Content-Length: 0", "Transfer-Encoding: chunked", 1) + "xyz\r\n",
		"trailer, CANARY": strings.Replace(header(0), "Content-Length: 0", "Transfer-Encoding: chunked", 1) + "0\r\nCANARY\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			conn := dial(t, b, text)
			b.want(t, readAnswer(t, conn), 400, notifyhttp.Incomplete)
			if _, err := conn.Read(make([]byte, 1)); err == nil {
				t.Error("the connection stays open")
			}
		})
	}
	t.Run("cut", func(t *testing.T) {
		before := b.counts.got()[notifyhttp.Incomplete]
		_ = dial(t, b, header(100)+"notify").Close()
		waitFor(t, "the count", func() bool { return b.counts.got()[notifyhttp.Incomplete] == before+1 })
	})
	if strings.Contains(b.logs.String(), "CANARY") {
		t.Error(b.logs)
	}
}

// TestBodyTimeoutEnds: the time-out is of the body, not of what comes after it, nor of the next request on the connection.
func TestBodyTimeoutEnds(t *testing.T) {
	const timeout = 20 * time.Millisecond
	later := func(ctx context.Context) error {
		select {
		case <-time.After(3 * timeout):
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	b := start(t, setup{cfg: notifyhttp.Config{BodyTimeout: timeout}, refuse: later})
	body := form(t, alipayKey(t))
	conn := dial(t, b, header(len(body))+body)
	reader := bufio.NewReader(conn)
	b.want(t, readAnswer(t, reader), 200, notifyhttp.Published)
	if _, err := io.WriteString(conn, header(len(body))+body); err != nil {
		t.Fatal(err)
	}
	b.want(t, readAnswer(t, reader), 200, notifyhttp.Published)
}

// TestTooManyAtOnce: the surplus is refused at once, and there is room again afterwards.
func TestTooManyAtOnce(t *testing.T) {
	const room = 3
	entered, leave := make(chan struct{}, room), make(chan struct{})
	b := start(t, setup{cfg: notifyhttp.Config{MaxAtOnce: room}, refuse: func(context.Context) error {
		entered <- struct{}{}
		<-leave
		return nil
	}})
	body := form(t, alipayKey(t))
	var wg sync.WaitGroup
	for range room {
		wg.Go(func() { b.want(t, b.post(t, body), 200, notifyhttp.Published) })
	}
	for range room {
		<-entered
	}
	b.want(t, b.post(t, body), 503, notifyhttp.Busy)
	conn := dial(t, b, header(len(body))+body[:len(body)/2]) // refused as soon as it is whole
	if _, err := io.WriteString(conn, body[len(body)/2:]); err != nil {
		t.Fatal(err)
	}
	b.want(t, readAnswer(t, conn), 503, notifyhttp.Busy)
	close(leave)
	wg.Wait()
	waitFor(t, "room", func() bool { return b.post(t, body).status == http.StatusOK })
	if n := b.counts.got()[notifyhttp.Busy]; n < 2 {
		t.Errorf("busy counted %d times", n)
	}
}

// TestSlowSenders: bodies that do not come turn nobody away.
func TestSlowSenders(t *testing.T) {
	b := start(t, setup{cfg: notifyhttp.Config{MaxAtOnce: 2, BodyTimeout: time.Minute}})
	for range 140 {
		dial(t, b, header(1000)+"a=")
	}
	b.want(t, b.post(t, form(t, alipayKey(t))), 200, notifyhttp.Published)
	if n := b.counts.got()[notifyhttp.Busy]; n != 0 {
		t.Errorf("%d were turned away", n)
	}
}

// TestConnectionsAreBounded: one more waits until another one ends.
func TestConnectionsAreBounded(t *testing.T) {
	h, b := receiver(t, setup{})
	server := httptest.NewUnstartedServer(h)
	server.Config = notifyhttp.Server("", h)
	server.Listener = notifyhttp.Limit(server.Listener, 2)
	server.Start()
	t.Cleanup(server.Close)
	b.addr = server.Listener.Addr().String()
	body := form(t, alipayKey(t))
	post := header(len(body)) + body
	first, second := dial(t, b, post), dial(t, b, post)
	reader := bufio.NewReader(first)
	b.want(t, readAnswer(t, reader), 200, "")
	b.want(t, readAnswer(t, second), 200, "")
	third := dial(t, b, post)
	if _, err := io.WriteString(first, post); err != nil {
		t.Fatal(err)
	}
	b.want(t, readAnswer(t, reader), 200, "")
	if got := b.counts.got(); got[notifyhttp.Published]+got[notifyhttp.Repeated] != 3 {
		t.Errorf("served %v over two connections, want 3", got)
	}
	_ = first.Close()
	b.want(t, readAnswer(t, third), 200, "")
}

// TestReplay: somebody who has caught a genuine notification makes neither events nor queries of it, and a publication that
// failed is no reason to answer success.
func TestReplay(t *testing.T) {
	var broken atomic.Bool
	var told atomic.Int64
	b := start(t, setup{
		cfg: notifyhttp.Config{Verified: func(context.Context, notifyhttp.Notice) { told.Add(1) }},
		refuse: func(context.Context) error {
			if broken.Load() {
				return producer.ErrUnconfirmed
			}
			return nil
		},
	})
	key := alipayKey(t)
	body := form(t, key)
	broken.Store(true)
	for range 3 {
		b.want(t, b.post(t, body), 503, notifyhttp.Unpublished)
	}
	broken.Store(false)
	b.want(t, b.post(t, body), 200, notifyhttp.Published)
	waitFor(t, "the end of the first", func() bool { return told.Load() == 1 })
	broken.Store(true)
	for range 100 {
		b.want(t, b.post(t, body), 200, notifyhttp.Repeated)
	}
	b.want(t, b.post(t, form(t, key, "notify_id", "N2")), 503, notifyhttp.Unpublished)
	b.want(t, b.post(t, strings.Replace(body, "out_biz_no=R1", "out_biz_no=R2", 1)), 400, notifyhttp.BadSignature)
	if n := b.counts.got(); len(b.book.told()) != 1 || n[notifyhttp.Published] != 1 || n[notifyhttp.Repeated] != 100 {
		t.Errorf("%d events, %v", len(b.book.told()), n)
	}
	if n := told.Load(); n != 1 {
		t.Errorf("%d queries", n)
	}
}

func TestPublisherTrouble(t *testing.T) {
	body := form(t, alipayKey(t))
	t.Run("refuses", func(t *testing.T) {
		b := start(t, setup{refuse: func(context.Context) error { return errors.New("no route") }})
		b.want(t, b.post(t, body), 503, notifyhttp.Unpublished)
	})
	t.Run("hangs", func(t *testing.T) {
		b := start(t, setup{cfg: notifyhttp.Config{PublishTimeout: 20 * time.Millisecond}, refuse: func(ctx context.Context) error {
			<-ctx.Done()
			return ctx.Err()
		}})
		b.want(t, b.post(t, body), 503, notifyhttp.Unpublished)
	})
	t.Run("recovers", func(t *testing.T) {
		failures := 2
		b := start(t, setup{refuse: func(context.Context) error {
			if failures--; failures >= 0 {
				return producer.ErrUnconfirmed
			}
			return nil
		}})
		for _, status := range []int{503, 503, 200, 200} {
			b.want(t, b.post(t, body), status, "")
		}
	})
	t.Run("is the real one, over a client that hangs", func(t *testing.T) {
		client := &hangingClient{leave: make(chan struct{})}
		real := producer.New(client, producer.Config{EventTopic: "refund-event"})
		b := start(t, setup{cfg: notifyhttp.Config{PublishTimeout: 20 * time.Millisecond}, events: real})
		b.want(t, b.post(t, body), 503, notifyhttp.Unpublished)
		close(client.leave)
		b.want(t, b.post(t, body), 200, notifyhttp.Published)
		if err := real.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// hangingClient ignores its context, as the SDK may.
type hangingClient struct{ leave chan struct{} }

func (c *hangingClient) SendSync(context.Context, ...*primitive.Message) (*primitive.SendResult, error) {
	<-c.leave
	return &primitive.SendResult{Status: primitive.SendOK}, nil
}

// TestSenderHangsUp: the event is published all the same.
func TestSenderHangsUp(t *testing.T) {
	entered, leave := make(chan struct{}), make(chan struct{})
	b := start(t, setup{refuse: func(ctx context.Context) error {
		close(entered)
		select {
		case <-leave:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}})
	body := form(t, alipayKey(t))
	conn := dial(t, b, header(len(body))+body)
	<-entered
	_ = conn.Close()
	close(leave)
	waitFor(t, "the event", func() bool { return len(b.book.told()) == 1 })
}

func TestServerLimits(t *testing.T) {
	h, _ := receiver(t, setup{})
	s := notifyhttp.Server("127.0.0.1:1", h)
	if s.Addr != "127.0.0.1:1" || s.Handler == nil {
		t.Errorf("server %+v", s)
	}
	if min(s.ReadHeaderTimeout, s.ReadTimeout, s.WriteTimeout, s.IdleTimeout) <= 0 || s.MaxHeaderBytes <= 0 {
		t.Error("a limit is missing")
	}
	if s.WriteTimeout <= s.ReadTimeout+5*time.Second {
		t.Error("a slow body and a slow broker leave no time for the answer")
	}
	b := start(t, setup{})
	req := strings.Replace(header(0), "Host: h", "Host: h\r\nX: "+strings.Repeat("x", 32<<10), 1)
	if got := readAnswer(t, dial(t, b, req)); got.status != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("large headers: %d", got.status)
	}
}
