package main

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

// command is one line on its way.
type command struct {
	line int
	body []byte
	key  string // out_request_no, if one could be read
}

// batch sends lines. Every line that is not blank is counted exactly once.
type batch struct {
	kind    consumer.Kind
	force   bool
	deliver func(context.Context, command) error
	rate    int // per second; 0: no limit
	workers int
	env     cli.Env
	many    bool // progress and a closing line
	dry     bool

	mu                          sync.Mutex // guards what follows, and standard error
	read, sent, invalid, failed int
	interrupted                 int
}

// run sends until the lines or ctx end. Ending by ctx is no error of its own.
func (b *batch) run(ctx context.Context, lines io.Reader) error {
	queue := make(chan command)
	var wg sync.WaitGroup
	for range b.workers {
		wg.Go(func() {
			for c := range queue {
				b.one(ctx, c)
			}
		})
	}
	stopProgress := func() {}
	if b.many {
		stopProgress = b.env.Progress(func() string {
			b.mu.Lock()
			defer b.mu.Unlock()
			return "so far " + b.counts()
		})
	}
	err := b.feed(ctx, lines, queue)
	close(queue)
	wg.Wait()
	stopProgress()
	if b.many {
		b.mu.Lock()
		_, _ = fmt.Fprintln(b.env.Stderr, b.counts())
		b.mu.Unlock()
	}
	switch {
	case err != nil:
		return err
	case b.invalid+b.failed > 0:
		return errNotAllSent
	}
	return nil
}

// feed reads and checks the lines.
func (b *batch) feed(ctx context.Context, lines io.Reader, queue chan<- command) error {
	var tick <-chan time.Time
	if b.rate > 0 {
		ticker := time.NewTicker(time.Second / time.Duration(b.rate))
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
		c := command{line: number, body: body}
		cmd, err := consumer.DecodeCommand(b.kind, body)
		c.key = cmd.OutRequestNo
		b.count(&b.read)
		if bad, ok := errors.AsType[*consumer.BadCommand](err); ok {
			b.complain(c, "%s: %s", bad.Reason, bad.Detail)
			if !b.force {
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

func (b *batch) one(ctx context.Context, c command) {
	if ctx.Err() != nil {
		b.count(&b.interrupted)
		return
	}
	// A message that is being sent is waited for: it may be there already.
	if err := b.deliver(context.WithoutCancel(ctx), c); err != nil {
		b.complain(c, "%v", err)
		b.count(&b.failed)
		return
	}
	b.count(&b.sent)
}

func (b *batch) count(n *int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	*n++
}

func (b *batch) complain(c command, format string, args ...any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	where := ""
	if b.many {
		where = fmt.Sprintf("line %d: ", c.line)
	}
	_, _ = fmt.Fprintf(b.env.Stderr, "%s%s\n", where, fmt.Sprintf(format, args...))
}

// batchResult counts every line once.
type batchResult struct {
	Commands    int `json:"commands"`
	Sent        int `json:"sent"`
	Invalid     int `json:"invalid"`
	Failed      int `json:"failed"`
	Interrupted int `json:"interrupted"`
}

func (b *batch) result() batchResult {
	return batchResult{b.read, b.sent, b.invalid, b.failed, b.interrupted}
}

// counts is the closing line. The caller holds the lock.
func (b *batch) counts() string {
	verb := "sent"
	if b.dry {
		verb = "printed"
	}
	text := fmt.Sprintf("%d commands: %d %s, %d invalid, %d failed", b.read, b.sent, verb, b.invalid, b.failed)
	if b.interrupted > 0 {
		text += fmt.Sprintf(", %d not sent because of the interrupt", b.interrupted)
	}
	return text
}
