package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"refundd/cmd/internal/cli"
	"refundd/cmd/internal/tap"
	"refundd/cmd/internal/tape"
)

// source gives recorded messages, from a file or from a topic.
type source interface {
	// each hands on all messages in order, until take returns an error or ctx
	// ends; being ended by ctx is no error.
	each(ctx context.Context, take func(tape.Message) error) error
	// total is how many there are, or 0 if that is not known.
	total() int64
	String() string
}

// fileSource is a recorded file; "-" is standard input.
type fileSource struct {
	name string
	in   io.Reader
}

func (s *fileSource) String() string { return s.name }
func (s *fileSource) total() int64   { return 0 }

func (s *fileSource) each(ctx context.Context, take func(tape.Message) error) error {
	r, err := tape.Open(s.name, s.in)
	if err != nil {
		return cli.WrongUsage("--file: %v", err)
	}
	defer func() { _ = r.Close() }() // it was only read
	for ctx.Err() == nil {
		m, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read: %w", err)
		}
		if err := take(m); err != nil {
			return err
		}
	}
	return nil
}

// topicSource is a part of a topic.
type topicSource struct {
	cluster tap.Cluster
	f       tap.Following
	count   int64
}

func (s *topicSource) String() string { return "topic " + s.f.Topic }
func (s *topicSource) total() int64   { return s.count }

// measure counts what will be read.
func (s *topicSource) measure(ctx context.Context) error {
	reading, cancel := context.WithCancel(ctx)
	defer cancel()
	f := s.f
	f.Merged = false
	f.Spans = func(spans []tap.Span) {
		for _, span := range spans {
			s.count += span.End - span.Next
		}
	}
	f.Ready = cancel
	if err := tap.Follow(reading, s.cluster, f, func(tap.Message) {}); err != nil {
		return err
	}
	return ctx.Err() //nolint:wrapcheck // an interrupt says enough
}

func (s *topicSource) each(ctx context.Context, take func(tape.Message) error) error {
	reading, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	err := tap.Follow(reading, s.cluster, s.f, func(m tap.Message) {
		if err := take(taped(s.f.Topic, m)); err != nil {
			cancel(err)
		}
	})
	switch {
	case ctx.Err() != nil:
		return nil
	case reading.Err() != nil:
		return context.Cause(reading)
	}
	return err
}
