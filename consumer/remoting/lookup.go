package remoting

import (
	"bytes"
	"compress/zlib"
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
)

const codeQueryMessage = 12

// MostFound is how many messages one look-up asks for.
const MostFound = 64

// Message is one that a look-up found.
type Message struct {
	ID         string // UNIQ_KEY, or the broker's offset id where there is none
	Queue      int
	Offset     int64 // in its queue
	Born       time.Time
	Properties map[string]string
	Body       []byte // decompressed where it was zlib
}

// ByKey asks the broker's index for messages of a topic that carry a key and
// were stored since a time: milliseconds, however large the topic is. The index
// follows the log a moment behind and may be switched off. MostFound messages
// mean that there may be more.
func ByKey(ctx context.Context, broker, topic, key string, since time.Time) ([]Message, error) {
	begin := int64(0)
	if !since.IsZero() {
		begin = since.UnixMilli()
	}
	body, err := call(ctx, broker, codeQueryMessage, map[string]string{
		"topic": topic, "key": key, "maxNum": strconv.Itoa(MostFound),
		"beginTimestamp": strconv.FormatInt(begin, 10),
		"endTimestamp":   strconv.FormatInt(time.Now().Add(time.Hour).UnixMilli(), 10), // clocks differ
	}, nil)
	if refused, ok := errors.AsType[*RefusedError](err); ok && refused.Code == codeQueryNotFound {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look up %s in %s: %w", key, topic, err)
	}
	var found []Message
	for len(body) > 0 {
		var m Message
		if m, body, err = readRecord(body); err != nil {
			return nil, fmt.Errorf("look up %s in %s: answer: %w", key, topic, err)
		}
		// The index knows hashes only.
		for one := range strings.SplitSeq(m.Properties["KEYS"], " ") {
			if one == key {
				found = append(found, m)
				break
			}
		}
	}
	return found, nil
}

// Magic numbers of a stored message, and bits of its sysFlag.
const (
	magicV1 = 0xDAA320A7
	magicV2 = 0xDAA320AB // the topic's length has two bytes

	flagCompressed = 0x1
	flagCodec      = 0x700 // which one; 0 and 3 are zlib
	codecZlib      = 0x300
	flagBornV6     = 0x10
	flagStoreV6    = 0x20
)

var errRecord = errors.New("a message that cannot be read")

// readRecord takes one stored message off the front.
func readRecord(data []byte) (Message, []byte, error) {
	r := reader{data}
	size := r.uint32()
	if r.data == nil || uint64(size) > uint64(len(data)) || size < 4 {
		return Message{}, nil, errRecord
	}
	r.data, data = data[4:size], data[size:]
	magic := r.uint32()
	r.take(4) // CRC
	m := Message{Queue: int(r.uint32())}
	r.take(4)                    // flag
	m.Offset = int64(r.uint64()) //nolint:gosec // as the broker has it
	physical := r.take(8)
	sysFlag := r.uint32()
	m.Born = time.UnixMilli(int64(r.uint64())) //nolint:gosec // as the broker has it
	r.take(hostSize(sysFlag&flagBornV6 != 0))
	r.take(8) // stored at
	host := r.take(hostSize(sysFlag&flagStoreV6 != 0))
	r.take(4 + 8) // consumed again, prepared offset
	m.Body = bytes.Clone(r.take(int(r.uint32())))
	switch magic {
	case magicV1:
		r.take(int(r.uint8()))
	case magicV2:
		r.take(int(r.uint16()))
	default:
		return Message{}, nil, errRecord
	}
	properties := r.take(int(r.uint16()))
	if r.data == nil {
		return Message{}, nil, errRecord
	}
	m.Properties = map[string]string{}
	for one := range strings.SplitSeq(string(properties), "\x02") {
		if name, value, ok := strings.Cut(one, "\x01"); ok {
			m.Properties[name] = value
		}
	}
	if m.ID = m.Properties["UNIQ_KEY"]; m.ID == "" {
		m.ID = strings.ToUpper(hex.EncodeToString(host) + hex.EncodeToString(physical))
	}
	if codec := sysFlag & flagCodec; sysFlag&flagCompressed != 0 && (codec == 0 || codec == codecZlib) {
		if plain, err := inflate(m.Body); err == nil {
			m.Body = plain
		}
	}
	return m, data, nil
}

func hostSize(v6 bool) int {
	if v6 {
		return 16 + 4
	}
	return 4 + 4
}

func inflate(data []byte) ([]byte, error) {
	z, err := zlib.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	plain, err := io.ReadAll(io.LimitReader(z, maxFrame))
	return plain, errors.Join(err, z.Close())
}

// reader takes pieces off the front; once it is short, data is nil and every
// piece empty.
type reader struct{ data []byte }

func (r *reader) take(n int) []byte {
	if r.data == nil || n < 0 || n > len(r.data) {
		r.data = nil
		return nil
	}
	piece := r.data[:n]
	r.data = r.data[n:]
	return piece
}

func (r *reader) uint8() uint8 {
	if piece := r.take(1); piece != nil {
		return piece[0]
	}
	return 0
}

func (r *reader) uint16() uint16 {
	if piece := r.take(2); piece != nil {
		return binary.BigEndian.Uint16(piece)
	}
	return 0
}

func (r *reader) uint32() uint32 {
	if piece := r.take(4); piece != nil {
		return binary.BigEndian.Uint32(piece)
	}
	return 0
}

func (r *reader) uint64() uint64 {
	if piece := r.take(8); piece != nil {
		return binary.BigEndian.Uint64(piece)
	}
	return 0
}
