package match

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// fanOut is how many files each level of partitioning has.
const fanOut = 64

// maxDepth bounds the levels: 64^4 partitions hold more rows than disks do. What
// is still too large there are repeats of few keys, and those merge in memory.
const maxDepth = 4

// entry is one row on disk: a command or an event.
type entry struct {
	tag    byte
	key    [16]byte
	id     [16]byte // of a command its fingerprint, of an event its id
	at     int64    // milliseconds since 1970
	amount int64    // fen; 0 where unknown
	text   string   // of a command what a person knows it by; at most 255 bytes
}

const headSize = 1 + 16 + 16 + 8 + 8 + 1

func (e entry) append(b []byte) []byte {
	text := e.text[:min(len(e.text), 255)]
	b = append(append(append(b, e.tag), e.key[:]...), e.id[:]...)
	b = binary.LittleEndian.AppendUint64(b, uint64(e.at))     //nolint:gosec // the same bits come back
	b = binary.LittleEndian.AppendUint64(b, uint64(e.amount)) //nolint:gosec // the same bits come back
	return append(append(b, byte(len(text))), text...)        //nolint:gosec // at most 255
}

func readEntry(r *bufio.Reader) (entry, error) {
	var head [headSize]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return entry{}, err //nolint:wrapcheck // io.EOF at an entry's border is the end
	}
	e := entry{tag: head[0], key: [16]byte(head[1:17]), id: [16]byte(head[17:33])}
	e.at = int64(binary.LittleEndian.Uint64(head[33:41]))     //nolint:gosec // the same bits went in
	e.amount = int64(binary.LittleEndian.Uint64(head[41:49])) //nolint:gosec // the same bits went in
	text := make([]byte, head[49])
	if _, err := io.ReadFull(r, text); err != nil {
		return entry{}, io.ErrUnexpectedEOF
	}
	e.text = string(text)
	return e, nil
}

// parts are the files of one level.
type parts struct {
	depth int
	files [fanOut]*os.File
	out   [fanOut]*bufio.Writer
	size  [fanOut]int64
	line  []byte
}

func newParts(dir string, depth, buffer int) (*parts, error) {
	p := &parts{depth: depth}
	for i := range p.files {
		file, err := os.OpenFile(filepath.Join(dir, fmt.Sprintf("%d-%d", depth, i)), os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600) //nolint:gosec // our own folder
		if err != nil {
			return nil, errors.Join(fmt.Errorf("spill: %w", err), p.close())
		}
		p.files[i], p.out[i] = file, bufio.NewWriterSize(file, buffer)
	}
	return p, nil
}

func (p *parts) add(e entry) error {
	p.line = e.append(p.line[:0])
	i := e.key[p.depth] % fanOut
	p.size[i] += int64(len(p.line))
	if _, err := p.out[i].Write(p.line); err != nil {
		return fmt.Errorf("spill: %w", err)
	}
	return nil
}

func (p *parts) flush() error {
	for _, out := range p.out {
		if err := out.Flush(); err != nil {
			return fmt.Errorf("spill: %w", err)
		}
	}
	return nil
}

// close closes and removes the files.
func (p *parts) close() error {
	var errs []error
	for _, file := range p.files {
		if file != nil {
			errs = append(errs, file.Close(), os.Remove(file.Name()))
		}
	}
	return errors.Join(errs...)
}

// part is a readable piece of a partition: what was flushed when it was taken.
type part struct {
	depth int
	file  *os.File
	size  int64
}

func (p part) each(do func(entry) error) error {
	r := bufio.NewReaderSize(io.NewSectionReader(p.file, 0, p.size), 64<<10)
	for {
		e, err := readEntry(r)
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("spill: read %s: %w", filepath.Base(p.file.Name()), err)
		}
		if err := do(e); err != nil {
			return err
		}
	}
}
