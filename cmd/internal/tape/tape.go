// Package tape is the file form of recorded messages: JSON lines, one message a
// line, compressed with gzip if the file's name ends in .gz. What was recorded
// can be sent again: body, keys and properties are kept byte for byte, and with
// them when and where the message was stored.
//
// Writer and Reader hold one message at a time. A file that was cut off, by a
// crash or a full disk, is read up to the cut and then told to be cut.
package tape

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
	"unicode/utf8"
)

// maxLine bounds a line: a broker's largest message, 4 MiB, in base64 or with
// every byte escaped, and its properties.
const maxLine = 32 << 20

// Message is one recorded message.
type Message struct {
	Topic      string            `json:"topic"`
	Queue      string            `json:"queue"` // broker name and number
	Offset     int64             `json:"offset"`
	ID         string            `json:"id"` // UNIQ_KEY, or the broker's offset id where there is none
	Born       time.Time         `json:"born"`
	Stored     time.Time         `json:"stored"`
	Properties map[string]string `json:"properties,omitempty"` // KEYS and TAGS among them
	Body       []byte            `json:"-"`
}

// line is a message as it stands in the file. A body of valid UTF-8 is text, so
// that grep and jq find it.
type line struct {
	Message
	Text   *string `json:"body,omitempty"`
	Binary []byte  `json:"body_base64,omitempty"`
}

// Writer writes a file.
type Writer struct {
	file *os.File
	zip  *gzip.Writer
	out  *bufio.Writer
	json *json.Encoder
}

// Create makes a new file, readable by its owner alone, and does not touch one
// that exists.
func Create(name string) (*Writer, error) {
	file, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600) //nolint:gosec // the operator names the file
	if err != nil {
		return nil, err
	}
	w := &Writer{file: file}
	var under io.Writer = file
	if strings.HasSuffix(name, ".gz") {
		// Level 1 writes as fast as a broker reads; the others save little more.
		w.zip, err = gzip.NewWriterLevel(file, gzip.BestSpeed)
		if err != nil {
			return nil, errors.Join(err, file.Close())
		}
		under = w.zip
	}
	w.out = bufio.NewWriterSize(under, 256<<10)
	w.json = json.NewEncoder(w.out)
	w.json.SetEscapeHTML(false)
	return w, nil
}

// Write adds a message.
func (w *Writer) Write(m Message) error {
	l := line{Message: m}
	l.Born, l.Stored = m.Born.UTC(), m.Stored.UTC()
	if utf8.Valid(m.Body) {
		l.Text = new(string(m.Body))
	} else {
		l.Binary = m.Body
	}
	if err := w.json.Encode(l); err != nil {
		return fmt.Errorf("write message: %w", err)
	}
	return nil
}

// Close writes what is left and tells whether all of it is in the file.
func (w *Writer) Close() error {
	err := w.out.Flush()
	if w.zip != nil {
		err = errors.Join(err, w.zip.Close())
	}
	if err = errors.Join(err, w.file.Sync(), w.file.Close()); err != nil {
		return fmt.Errorf("write %s: %w", w.file.Name(), err)
	}
	return nil
}

// Reader reads a file line by line.
type Reader struct {
	name  string
	close func() error
	in    *bufio.Reader
	lines int
}

// Open opens a file; "-" is stdin. Whether it is compressed shows in its bytes.
func Open(name string, stdin io.Reader) (*Reader, error) {
	r := &Reader{name: name, close: func() error { return nil }}
	in := stdin
	if name != "-" {
		file, err := os.Open(name) //nolint:gosec // the operator names the file
		if err != nil {
			return nil, err
		}
		in, r.close = file, file.Close
	}
	r.in = bufio.NewReaderSize(in, 256<<10)
	if head, err := r.in.Peek(2); err == nil && head[0] == 0x1f && head[1] == 0x8b {
		zip, err := gzip.NewReader(r.in)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("%s: %w", name, err), r.close())
		}
		r.in = bufio.NewReaderSize(zip, 256<<10)
	}
	return r, nil
}

// Line returns the next line that is not blank, which is good until the next
// call, or io.EOF.
func (r *Reader) Line() ([]byte, error) {
	for {
		text, err := r.in.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) {
			text, err = r.long(bytes.Clone(text))
		}
		ended := errors.Is(err, io.EOF)
		if err != nil && !ended {
			return nil, fmt.Errorf("%s is cut off after line %d: %w", r.name, r.lines, err)
		}
		r.lines++
		if text = bytes.TrimSpace(text); len(text) > 0 {
			return text, nil
		}
		if ended {
			return nil, io.EOF
		}
	}
}

// long reads the rest of a line that is longer than the buffer.
func (r *Reader) long(text []byte) ([]byte, error) {
	for {
		piece, err := r.in.ReadSlice('\n')
		text = append(text, piece...)
		if len(text) > maxLine {
			return nil, fmt.Errorf("a line of more than %d bytes", maxLine)
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return text, err //nolint:wrapcheck // the caller names the file
		}
	}
}

// Next returns the next message, or io.EOF.
func (r *Reader) Next() (Message, error) {
	text, err := r.Line()
	if err != nil {
		return Message{}, err
	}
	m, err := Decode(text)
	if err != nil {
		return Message{}, fmt.Errorf("%s line %d: %w", r.name, r.lines, err)
	}
	return m, nil
}

// Decode reads a line. Its error quotes nothing of it.
func Decode(text []byte) (Message, error) {
	var l line
	if err := json.Unmarshal(text, &l); err != nil {
		return Message{}, errors.New("not a recorded message")
	}
	switch {
	case l.Topic == "" || l.Text == nil && l.Binary == nil:
		return Message{}, errors.New("not a recorded message: no topic or no body")
	case l.Text != nil:
		l.Body = []byte(*l.Text)
	default:
		l.Body = l.Binary
	}
	return l.Message, nil
}

// Lines is how many lines have been read.
func (r *Reader) Lines() int { return r.lines }

// Close closes the file.
func (r *Reader) Close() error { return r.close() }
