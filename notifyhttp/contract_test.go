package notifyhttp_test

import (
	"context"
	"net/http"
	"testing"
	"time"

	"refundd/notifyhttp"
)

// TestPublishWithinFiveSeconds: the contract's time, which the other tests shorten.
func TestPublishWithinFiveSeconds(t *testing.T) {
	const within = 5 * time.Second
	begin := time.Now()
	b := start(t, setup{refuse: func(ctx context.Context) error {
		end, ok := ctx.Deadline()
		if !ok || end.Before(begin.Add(within)) || end.After(time.Now().Add(within)) {
			t.Errorf("publishing may last until %v after the begin, limited %t", end.Sub(begin), ok)
		}
		return nil
	}})
	b.want(t, b.post(t, form(t, alipayKey(t))), http.StatusOK, notifyhttp.Published)
}
