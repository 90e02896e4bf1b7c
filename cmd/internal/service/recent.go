package service

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sirupsen/logrus"

	"refundd/cmd/internal/admin"
)

// tally counts words over the last minute and since the start. Its words are
// from fixed sets, as labels of metrics are. The zero value has none.
type tally struct {
	mu    sync.Mutex
	order []string // as they were first known
	words map[string]*recent
}

// recent is one word's: seconds is a ring, and newest the second that was last
// written.
type recent struct {
	seconds [60]int
	newest  int64
	ever    int
	last    time.Time
}

// know makes words count from 0.
func (t *tally) know(words ...string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, word := range words {
		t.of(word)
	}
}

// of needs the lock.
func (t *tally) of(word string) *recent {
	if t.words == nil {
		t.words = map[string]*recent{}
	}
	c := t.words[word]
	if c == nil {
		c = &recent{}
		t.words[word] = c
		t.order = append(t.order, word)
	}
	return c
}

func (t *tally) add(word string, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	c := t.of(word)
	c.roll(now.Unix())
	c.seconds[now.Unix()%60]++
	c.ever++
	c.last = now
}

// roll empties the seconds that have passed since the newest.
func (c *recent) roll(second int64) {
	for gone := max(c.newest, second-60) + 1; gone <= second; gone++ {
		c.seconds[gone%60] = 0
	}
	c.newest = max(c.newest, second)
}

// counts are the words in the order in which they were first known.
func (t *tally) counts(now time.Time) []admin.Count {
	t.mu.Lock()
	defer t.mu.Unlock()
	var all []admin.Count
	for _, word := range t.order {
		c := t.words[word]
		c.roll(now.Unix())
		count := admin.Count{Word: word, Ever: c.ever, Last: c.last}
		for _, n := range c.seconds {
			count.Minute += n
		}
		all = append(all, count)
	}
	return all
}

// mostLines are kept of the log's warnings and errors, each cut at mostText.
const (
	mostLines = 20
	mostText  = 400
)

// lastLines is a hook that keeps the newest warnings and errors for the page.
// What it keeps of a line is its message and fields with names of ours; the log
// is discreet already (R13), and so the page needs no more than the log has.
type lastLines struct {
	mu    sync.Mutex
	lines []admin.Line // the newest first, no two with the same text
}

func (l *lastLines) Levels() []logrus.Level {
	return []logrus.Level{logrus.ErrorLevel, logrus.WarnLevel}
}

func (l *lastLines) Fire(e *logrus.Entry) error {
	text := []string{e.Message}
	for _, name := range []string{
		"part", "topic", "kind", "merchant", "out_request_no", "reason", "detail", "class", "code", "sub_code", "result", "variable", "error",
	} {
		if value, ok := e.Data[name]; ok && value != "" {
			text = append(text, fmt.Sprintf("%s=%v", name, value))
		}
	}
	line := admin.Line{Level: e.Level.String(), Text: clip(strings.Join(text, " "), mostText), Times: 1, Last: e.Time}
	l.mu.Lock()
	defer l.mu.Unlock()
	if i := slices.IndexFunc(l.lines, func(o admin.Line) bool { return o.Level == line.Level && o.Text == line.Text }); i >= 0 {
		line.Times += l.lines[i].Times
		l.lines = slices.Delete(l.lines, i, i+1)
	}
	l.lines = slices.Insert(l.lines, 0, line)
	l.lines = l.lines[:min(len(l.lines), mostLines)]
	return nil
}

func (l *lastLines) all() []admin.Line {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.lines)
}

func clip(text string, most int) string {
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most], "") + "…"
}
