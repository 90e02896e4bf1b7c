package dedupe

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

const (
	// markText is how long the texts of a mark may be, in bytes.
	markText = 512
	// markKeep is how long a mark stays: longer than any broker keeps the message.
	markKeep = 90 * 24 * time.Hour
)

// Mark is what a person did with a message that has no undecided record to hold
// it: one that could never be read, one whose record was lost or is decided.
type Mark struct {
	Deed string
	By   string
	Why  string
	At   time.Time
}

type markValue struct {
	Deed string `json:"deed"`
	By   string `json:"by"`
	Why  string `json:"why"`
	At   int64  `json:"at"` // ms
}

// SetMark writes a mark in place of an older one on the same message. Marks of
// more than 90 days ago go with it.
func (s *Store) SetMark(ctx context.Context, appID, message string, mark Mark) error {
	key := s.markKey(appID)
	if appID == "" || message == "" {
		return fmt.Errorf("dedupe: mark in %s: %w", key, errors.New("no app id or no message"))
	}
	if len(mark.By) > markText || len(mark.Why) > markText || len(message) > markText {
		return fmt.Errorf("dedupe: mark in %s: a text is longer than %d bytes", key, markText)
	}
	value, err := json.Marshal(markValue{mark.Deed, mark.By, mark.Why, mark.At.UnixMilli()})
	if err != nil {
		return fmt.Errorf("dedupe: mark in %s: %w", key, err)
	}
	marks, err := s.Marks(ctx, appID)
	if err != nil {
		return err
	}
	defer s.observe("mark", time.Now())
	var old []string
	for field, m := range marks {
		if field != message && mark.At.Sub(m.At) > markKeep {
			old = append(old, field)
		}
	}
	if err := s.client.HSet(ctx, key, message, value).Err(); err != nil {
		return fmt.Errorf("dedupe: mark in %s: %w", key, err)
	}
	if len(old) > 0 {
		if err := s.client.HDel(ctx, key, old...).Err(); err != nil {
			return fmt.Errorf("dedupe: take old marks from %s: %w", key, err)
		}
	}
	return nil
}

// Marks returns the marks of an application, by message. One that cannot be read
// is a mark all the same, without words and time.
func (s *Store) Marks(ctx context.Context, appID string) (map[string]Mark, error) {
	key := s.markKey(appID)
	defer s.observe("mark", time.Now())
	fields, err := s.client.HGetAll(ctx, key).Result()
	if err != nil {
		return nil, fmt.Errorf("dedupe: read marks %s: %w", key, err)
	}
	marks := make(map[string]Mark, len(fields))
	for message, text := range fields {
		var value markValue
		var mark Mark
		if err := json.Unmarshal([]byte(text), &value); err == nil {
			mark = Mark{Deed: value.Deed, By: value.By, Why: value.Why, At: time.UnixMilli(value.At)}
		}
		marks[message] = mark
	}
	return marks, nil
}

func (s *Store) markKey(appID string) string { return s.cfg.Prefix + "m:" + escape(appID) }
