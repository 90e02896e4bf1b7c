// Package send sends many commands, and counts each of them once.
package send

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"refundd/cmd/internal/cli"
	"refundd/consumer"
)

// maxLine is what a broker takes at most; the service takes 64 KiB.
const maxLine = 4 << 20

// Command is one line on its way.
type Command struct {
	line int
	Body []byte
	Key  string // out_request_no, if one could be read
}

// Batch sends lines. Every line that is not blank is counted exactly once.
type Batch struct {
	Kind    consumer.Kind
	Force   bool
	Deliver func(context.Context, Command) error
	Rate    int // per second; 0: no limit
	Workers int
	Env     cli.Env
	Many    bool // progress and a closing line
	Dry     bool

	mu                          sync.Mutex // guards what follows, and standard error
	read, sent, invalid, failed int
	interrupted                 int
}

// Run sends until the lines or ctx end. Ending by ctx is no error of its own.
func (b *Batch) Run(ctx context.Context, lines io.Reader) error {
	queue := make(chan Command)
	var wg sync.WaitGroup
	for range b.Workers {
		wg.Go(func() {
			for c := range queue {
				b.one(ctx, c)
			}
		})
	}
	stopProgress := func() {}
	if b.Many {
		stopProgress = b.Env.Progress(func() string {
			b.mu.Lock()
			defer b.mu.Unlock()
			return "so far " + b.counts()
		})
	}
	err := b.feed(ctx, lines, queue)
	close(queue)
	wg.Wait()
	stopProgress()
	if b.Many {
		b.mu.Lock()
		_, _ = fmt.Fprintln(b.Env.Stderr, b.counts())
		b.mu.Unlock()
	}
	switch {
	case err != nil:
		return err
	case b.invalid+b.failed > 0:
		return ErrNotAll
	}
	return nil
}

// feed reads and checks the lines.
func (b *Batch) feed(ctx context.Context, lines io.Reader, queue chan<- Command) error {
	var tick <-chan time.Time
	if b.Rate > 0 {
		ticker := time.NewTicker(time.Second / time.Duration(b.Rate))
		defer ticker.Stop()
		tick = ticker.C
	}
	reader := bufio.NewReaderSize(lines, 64<<10)
	for number := 1; ctx.Err() == nil; number++ {
		body, err := readLine(reader)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("line %d: %w", number, err)
		}
		if len(body) == 0 {
			continue
		}
		c := Command{line: number, Body: body}
		cmd, err := consumer.DecodeCommand(b.Kind, body)
		c.Key = cmd.OutRequestNo
		b.count(&b.read)
		if bad, ok := errors.AsType[*consumer.BadCommand](err); ok {
			b.complain(c, "%s: %s", bad.Reason, bad.Detail)
			if !b.Force {
				b.count(&b.invalid)
				continue
			}
		}
		if tick != nil {
			select {
			case <-tick:
			case <-ctx.Done():
			}
		}
		queue <- c
	}
	return nil
}

// readLine returns a line without surrounding white space.
func readLine(r *bufio.Reader) ([]byte, error) {
	var line []byte
	for {
		piece, more, err := r.ReadLine()
		if err != nil {
			return nil, err //nolint:wrapcheck // io.EOF or the reader's own words
		}
		line = append(line, piece...)
		if len(line) > maxLine {
			return nil, fmt.Errorf("more than %d bytes", maxLine)
		}
		if !more {
			return bytes.TrimSpace(line), nil
		}
	}
}

func (b *Batch) one(ctx context.Context, c Command) {
	if ctx.Err() != nil {
		b.count(&b.interrupted)
		return
	}
	// A message that is being sent is waited for: it may be there already.
	if err := b.Deliver(context.WithoutCancel(ctx), c); err != nil {
		b.complain(c, "%v", err)
		b.count(&b.failed)
		return
	}
	b.count(&b.sent)
}

func (b *Batch) count(n *int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	*n++
}

func (b *Batch) complain(c Command, format string, args ...any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	where := ""
	if b.Many {
		where = fmt.Sprintf("line %d: ", c.line)
	}
	_, _ = fmt.Fprintf(b.Env.Stderr, "%s%s\n", where, fmt.Sprintf(format, args...))
}

// Result counts every line once.
type Result struct {
	Commands    int `json:"commands"`
	Sent        int `json:"sent"`
	Invalid     int `json:"invalid"`
	Failed      int `json:"failed"`
	Interrupted int `json:"interrupted"`
}

// Result is what it came to.
func (b *Batch) Result() Result {
	return Result{b.read, b.sent, b.invalid, b.failed, b.interrupted}
}

// counts is the closing line. The caller holds the lock.
func (b *Batch) counts() string {
	verb := "sent"
	if b.Dry {
		verb = "printed"
	}
	text := fmt.Sprintf("%d commands: %d %s, %d invalid, %d failed", b.read, b.sent, verb, b.invalid, b.failed)
	if b.interrupted > 0 {
		text += fmt.Sprintf(", %d not sent because of the interrupt", b.interrupted)
	}
	return text
}

// ErrNotAll is the end of a batch whose lines were told of one by one.
var ErrNotAll = errors.New("not every command was sent")
