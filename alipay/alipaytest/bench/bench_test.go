package main

import (
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"refundd/alipay/alipaytest"
)

func testKeys(t *testing.T) *alipaytest.Keys {
	t.Helper()
	keys, err := alipaytest.NewKeys()
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

// The contenders do the same work: each reads the refund, and each refuses an
// answer whose signature belongs to another one.
func TestRefundsVerify(t *testing.T) {
	keys := testKeys(t)
	good, err := signedAnswer(keys)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(nil)
	defer s.Close()
	contenders, err := refunds(keys, s.URL)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range contenders {
		t.Run(c.name, func(t *testing.T) {
			s.Config.Handler = answering(good)
			if err := c.work(t.Context()); err != nil {
				t.Errorf("good answer: %v", err)
			}
			s.Config.Handler = answering(strings.Replace(good, "12.50", "12.51", 1))
			if err := c.work(t.Context()); err == nil {
				t.Error("no error for a changed answer")
			}
		})
	}
}

func TestNotificationsVerify(t *testing.T) {
	keys := testKeys(t)
	text, body, err := signedNotification(keys)
	if err != nil {
		t.Fatal(err)
	}
	good, err := notifications(keys, text, body)
	if err != nil {
		t.Fatal(err)
	}
	changed := strings.NewReplacer("refund_fee=12.50", "refund_fee=12.51")
	bad, err := notifications(keys, changed.Replace(text), changed.Replace(body))
	if err != nil {
		t.Fatal(err)
	}
	for i, c := range good {
		t.Run(c.name, func(t *testing.T) {
			if err := c.work(t.Context()); err != nil {
				t.Errorf("good notification: %v", err)
			}
			if err := bad[i].work(t.Context()); err == nil {
				t.Error("no error for a changed notification")
			}
		})
	}
}

// A whole run: the gateway is a process of its own and ends with the run.
func TestRun(t *testing.T) {
	var out strings.Builder
	if err := run(t.Context(), &out, 1, time.Millisecond); err != nil {
		t.Fatal(err)
	}
	if rows := strings.Count(out.String(), "| refundd/alipay |"); rows != 2 {
		t.Errorf("%d rows of ours in:\n%s", rows, out.String())
	}
}

// TestMain lets the test's own program be the gateway, as main does.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == serveArg {
		main()
		return
	}
	m.Run()
}
