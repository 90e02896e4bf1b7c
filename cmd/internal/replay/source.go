package replay

import (
	"context"
	"errors"
	"fmt"
	"io"

	"refundd/cmd/internal/cli"
	"refundd/cmd/internal/tap"
	"refundd/cmd/internal/tape"
)

// Source gives recorded messages, from a file or from a topic.
type Source interface {
	// Each hands on all messages in order, until take returns an error or ctx
	// ends; being ended by ctx is no error.
	Each(ctx context.Context, take func(tape.Message) error) error
	// Total is how many there are, or 0 if that is not known.
	Total() int64
	String() string
}

// FileSource is a recorded file; "-" is standard input.
type FileSource struct {
	Name string
	In   io.Reader
}

// String names it.
func (s *FileSource) String() string { return s.Name }

// Total is not known of a file.
func (s *FileSource) Total() int64 { return 0 }

// Each reads the file.
func (s *FileSource) Each(ctx context.Context, take func(tape.Message) error) error {
	r, err := tape.Open(s.Name, s.In)
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

// TopicSource is a part of a topic.
type TopicSource struct {
	Cluster tap.Cluster
	Part    tap.Following
	count   int64
}

// String names it.
func (s *TopicSource) String() string { return "topic " + s.Part.Topic }

// Total is what was measured.
func (s *TopicSource) Total() int64 { return s.count }

// Measure counts what will be read.
func (s *TopicSource) Measure(ctx context.Context) error {
	reading, cancel := context.WithCancel(ctx)
	defer cancel()
	f := s.Part
	f.Merged = false
	f.Spans = func(spans []tap.Span) {
		for _, span := range spans {
			s.count += span.End - span.Next
		}
	}
	f.Ready = cancel
	if err := tap.Follow(reading, s.Cluster, f, func(tap.Message) {}); err != nil {
		return err
	}
	return ctx.Err() //nolint:wrapcheck // an interrupt says enough
}

// Each reads the part.
func (s *TopicSource) Each(ctx context.Context, take func(tape.Message) error) error {
	reading, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	err := tap.Follow(reading, s.Cluster, s.Part, func(m tap.Message) {
		if err := take(taped(s.Part.Topic, m)); err != nil {
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
