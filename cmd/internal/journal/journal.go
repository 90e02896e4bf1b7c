// Package journal writes down what a process does, for the judgement of runs on
// real processes: deliveries and acknowledgements, what became of claims, settles,
// releases and publishes, calls and answers. It stands between the flow and its
// parts, and is only in builds with the tag journal, never in a release.
//
// A line is written by one write, so a process that is killed loses no more than
// what it was about to write. Of what asks Redis to give a record up there is a line
// before and, if it was answered, one behind it.
package journal

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"refundd/consumer/history"
)

// Line is a fact and when it counts as having happened, in nanoseconds: one that
// takes hold of a record when it was answered, any other when it began. So what
// one process ended is never after what another one began because of it.
type Line struct {
	Nanos int64        `json:"nanos"`
	Fact  history.Fact `json:"fact"`
}

// Journal is one process's.
type Journal struct {
	process string
	named   atomic.Int64

	mu  sync.Mutex // one line at a time
	out io.Writer
}

// Open appends to the file.
func Open(path, process string) (*Journal, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600) //nolint:gosec // the test's own
	if err != nil {
		return nil, fmt.Errorf("open journal: %w", err)
	}
	return &Journal{process: process, out: file}, nil
}

// name is a new one for a delivery or a call.
func (j *Journal) name(of string) string {
	return fmt.Sprintf("%s.%s%d", j.process, of, j.named.Add(1))
}

// add writes a fact down. One that cannot be written ends the process: a journal
// with a hole proves nothing.
func (j *Journal) add(at time.Time, f history.Fact) {
	f.At, f.Process = at.UnixMilli(), j.process
	line, err := json.Marshal(Line{at.UnixNano(), f})
	if err != nil {
		panic(err)
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if _, err := j.out.Write(append(line, '\n')); err != nil {
		panic(err)
	}
}

// Read returns the lines of a journal. A last one that was cut off is left out, and
// so is a line that was written before an act whose answer is there as well.
func Read(in io.Reader) ([]Line, error) {
	var lines []Line
	begun := map[string]int{} // token and time -> index
	reader := bufio.NewReader(in)
	for {
		text, err := reader.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return lines, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read journal: %w", err)
		}
		var line Line
		if err := json.Unmarshal(text, &line); err != nil {
			return nil, fmt.Errorf("read journal: line %d: %w", len(lines)+1, err)
		}
		f := line.Fact
		if f.What == history.Settle || f.What == history.Release {
			act := fmt.Sprint(f.What, f.Token, line.Nanos)
			if i, known := begun[act]; known {
				lines[i] = line
				continue
			}
			begun[act] = len(lines)
		}
		lines = append(lines, line)
	}
}
