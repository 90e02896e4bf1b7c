package history

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"
	"sync"
)

// Writer writes facts as JSON lines. It is safe for concurrent use: the order of
// the calls is the order of the facts.
type Writer struct {
	mu  sync.Mutex
	out io.Writer
	err error
}

// NewWriter writes to out, one Write for each fact.
func NewWriter(out io.Writer) *Writer { return &Writer{out: out} }

// Add writes one fact. After an error nothing more is written, and every Add
// returns it: a history with a hole proves nothing.
func (w *Writer) Add(f Fact) error {
	line, err := encode(f)
	if err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil {
		return w.err
	}
	if _, err := w.out.Write(line); err != nil {
		w.err = fmt.Errorf("write history: %w", err)
	}
	return w.err
}

func encode(f Fact) ([]byte, error) {
	if _, known := needs(f.What); !known {
		return nil, fmt.Errorf("write history: field %q: %q is no kind of fact", "what", f.What)
	}
	if missing := f.lacks(); missing != "" {
		return nil, fmt.Errorf("write history: a %s needs field %q", f.What, missing)
	}
	line, err := json.Marshal(f)
	if err != nil {
		return nil, fmt.Errorf("write history: %w", err)
	}
	return append(line, '\n'), nil
}

// longestLine is far above what a fact needs.
const longestLine = 1 << 20

// Read yields the facts of JSON lines one by one, so that a file may be larger than
// memory. It ends at the first error, which names the line and, where there is
// one, the field.
func Read(in io.Reader) iter.Seq2[Fact, error] {
	return func(yield func(Fact, error) bool) {
		lines := bufio.NewScanner(in)
		lines.Buffer(make([]byte, 0, 64<<10), longestLine)
		n := 0
		for lines.Scan() {
			n++
			line := bytes.TrimSpace(lines.Bytes())
			if len(line) == 0 {
				continue
			}
			f, err := decode(line)
			if err != nil {
				yield(Fact{}, fmt.Errorf("read history: line %d: %w", n, err))
				return
			}
			if !yield(f, nil) {
				return
			}
		}
		if err := lines.Err(); err != nil {
			yield(Fact{}, fmt.Errorf("read history: line %d: %w", n+1, err))
		}
	}
}

// ReadAll is Read into memory.
func ReadAll(in io.Reader) ([]Fact, error) {
	var facts []Fact
	for f, err := range Read(in) {
		if err != nil {
			return nil, err
		}
		facts = append(facts, f)
	}
	return facts, nil
}

func decode(line []byte) (Fact, error) {
	d := json.NewDecoder(bytes.NewReader(line))
	d.DisallowUnknownFields()
	var f Fact
	if err := d.Decode(&f); err != nil {
		if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
			return Fact{}, fmt.Errorf("field %q: a %s cannot stand here", wrong.Field, wrong.Value)
		}
		if field, ok := strings.CutPrefix(err.Error(), "json: unknown field "); ok {
			return Fact{}, fmt.Errorf("field %s is not known", field)
		}
		return Fact{}, fmt.Errorf("not a JSON object: %w", err)
	}
	if d.More() {
		return Fact{}, errors.New("more than one JSON object")
	}
	if _, known := needs(f.What); !known {
		return Fact{}, fmt.Errorf("field %q: %q is no kind of fact", "what", f.What)
	}
	if missing := f.lacks(); missing != "" {
		return Fact{}, fmt.Errorf("field %q: a %s needs it", missing, f.What)
	}
	return f, nil
}

// Hash is a digest of facts and their order: two runs with the same hash did the
// same. Facts that cannot be written have the hash of an empty line.
func Hash(facts []Fact) string {
	h := sha256.New()
	for _, f := range facts {
		line, err := encode(f)
		if err != nil {
			line = []byte("\n")
		}
		_, _ = h.Write(line)
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}
