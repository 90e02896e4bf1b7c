package replay

import (
	"bufio"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"

	"refundd/cmd/internal/cli"
)

// ReportFile takes rows of one kind: CSV if the file's name ends in .csv, else
// JSON lines. The nil one, for no file, takes them and forgets them.
type ReportFile[T any] struct {
	file   *os.File
	buffer *bufio.Writer
	table  *csv.Writer // nil: JSON lines
	lines  *json.Encoder
	cells  func(T) []string
}

// OpenReport makes the file, or empties it. cells gives a row's values in the
// order of the header.
func OpenReport[T any](name string, header []string, cells func(T) []string) (*ReportFile[T], error) {
	if name == "" {
		return nil, nil //nolint:nilnil // as its type says
	}
	file, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600) //nolint:gosec // the operator names the file
	if err != nil {
		return nil, cli.WrongUsage("--report: %v", err)
	}
	r := &ReportFile[T]{file: file, buffer: bufio.NewWriter(file), cells: cells}
	if !strings.HasSuffix(name, ".csv") {
		r.lines = json.NewEncoder(r.buffer)
		return r, nil
	}
	r.table = csv.NewWriter(r.buffer)
	if err := r.table.Write(header); err != nil {
		return nil, errors.Join(fmt.Errorf("--report: %w", err), file.Close())
	}
	return r, nil
}

// Write adds a row.
func (r *ReportFile[T]) Write(row T) error {
	var err error
	switch {
	case r == nil:
	case r.table != nil:
		err = r.table.Write(r.cells(row))
	default:
		err = r.lines.Encode(row)
	}
	if err != nil {
		return fmt.Errorf("--report: %w", err)
	}
	return nil
}

// Close writes what is left.
func (r *ReportFile[T]) Close() error {
	if r == nil {
		return nil
	}
	var err error
	if r.table != nil {
		r.table.Flush()
		err = r.table.Error()
	}
	if err = errors.Join(err, r.buffer.Flush(), r.file.Close()); err != nil {
		return fmt.Errorf("--report: %w", err)
	}
	return nil
}
