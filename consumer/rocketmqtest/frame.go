package rocketmqtest

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
)

// flagResponse marks a frame as an answer.
const flagResponse = 1

// frame is one remoting command, request or answer.
type frame struct {
	Code    int               `json:"code"`
	Lang    string            `json:"language"`
	Version int               `json:"version"`
	Opaque  int32             `json:"opaque"`
	Flag    int32             `json:"flag"`
	Remark  string            `json:"remark"`
	Ext     map[string]string `json:"extFields"`

	body []byte
}

// readFrame reads one frame: length, header type and length, JSON header, body.
func readFrame(r io.Reader) (*frame, error) {
	var lengths [8]byte
	if _, err := io.ReadFull(r, lengths[:]); err != nil {
		return nil, err
	}
	total := int64(binary.BigEndian.Uint32(lengths[:4])) - 4
	header := int64(binary.BigEndian.Uint32(lengths[4:]))
	if header>>24 != 0 {
		return nil, errors.New("read frame: header is not JSON")
	}
	if total < header || total > maxFrame {
		return nil, fmt.Errorf("read frame: bad lengths %d and %d", total, header)
	}
	data := make([]byte, total)
	if _, err := io.ReadFull(r, data); err != nil {
		return nil, fmt.Errorf("read frame: %w", err)
	}
	f := new(frame)
	if err := json.Unmarshal(data[:header], f); err != nil {
		return nil, fmt.Errorf("read frame header: %w", err)
	}
	f.body = data[header:]
	return f, nil
}

// encode returns the frame as it goes over the wire.
func (f *frame) encode() ([]byte, error) {
	f.Lang, f.Version = "JAVA", 317
	header, err := json.Marshal(f)
	if err != nil {
		return nil, fmt.Errorf("encode frame %d: %w", f.Code, err)
	}
	data := make([]byte, 0, 8+len(header)+len(f.body))
	data = binary.BigEndian.AppendUint32(data, wireSize(4+len(header)+len(f.body)))
	data = binary.BigEndian.AppendUint32(data, wireSize(len(header)))
	data = append(data, header...)
	return append(data, f.body...), nil
}

// wireSize is a length on the wire. Every length here is far below 2^31.
func wireSize(n int) uint32 {
	return uint32(n) //nolint:gosec // bounded by maxFrame
}

// text returns the first of the named fields that is present.
func (f *frame) text(names ...string) string {
	for _, name := range names {
		if v, ok := f.Ext[name]; ok {
			return v
		}
	}
	return ""
}

// long returns a numeric field; absent or malformed counts as 0.
func (f *frame) long(names ...string) int64 {
	n, err := strconv.ParseInt(f.text(names...), 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// integer is long for 32-bit fields.
func (f *frame) integer(names ...string) int32 {
	n, err := strconv.ParseInt(f.text(names...), 10, 32)
	if err != nil {
		return 0
	}
	return int32(n)
}

// answer builds a successful response.
func answer(ext map[string]string, body []byte) *frame {
	return &frame{Code: Success, Ext: ext, body: body}
}

// refusal builds a response that says no.
func refusal(code int, format string, args ...any) *frame {
	return &frame{Code: code, Remark: fmt.Sprintf(format, args...)}
}
