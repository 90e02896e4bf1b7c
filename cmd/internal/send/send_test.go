package send

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"

	"refundd/cmd/internal/cli"
	"refundd/consumer"
)

const good = `{"out_request_no":"R","trade_no":"T","refund_amount":"1.00"}`

func TestBatchCountsEveryLineOnce(t *testing.T) {
	var lines strings.Builder
	for range 200 {
		lines.WriteString(good + "\n{}\n")
	}
	var mu sync.Mutex
	n := 0
	var errs strings.Builder
	b := &Batch{
		Kind: consumer.KindRefund, Workers: 7, Many: true, Rate: 100_000, Env: cli.Env{Stderr: &errs},
		Deliver: func(context.Context, Command) error {
			mu.Lock()
			defer mu.Unlock()
			if n++; n%4 == 0 {
				return errors.New("broker says no")
			}
			return nil
		},
	}
	if err := b.Run(t.Context(), strings.NewReader(lines.String())); !errors.Is(err, ErrNotAll) {
		t.Errorf("error is %v", err)
	}
	if want := "400 commands: 150 sent, 200 invalid, 50 failed\n"; !strings.HasSuffix(errs.String(), want) {
		t.Errorf("closing line is not %q", want)
	}
}

func TestBatchStopsWhenAsked(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	var errs strings.Builder
	b := &Batch{
		Kind: consumer.KindRefund, Workers: 1, Many: true, Env: cli.Env{Stderr: &errs},
		Deliver: func(ctx context.Context, _ Command) error {
			cancel()
			return ctx.Err() // a message in flight is not cut
		},
	}
	if err := b.Run(ctx, strings.NewReader(strings.Repeat(good+"\n", 1000))); err != nil {
		t.Errorf("error is %v", err)
	}
	if b.sent != 1 || b.read != b.sent+b.interrupted || b.read > 3 {
		t.Errorf("read %d, sent %d, interrupted %d", b.read, b.sent, b.interrupted)
	}
}
