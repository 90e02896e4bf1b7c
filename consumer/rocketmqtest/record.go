package rocketmqtest

import (
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"hash/crc32"
	"io"
	"maps"
	"net/netip"
	"slices"
	"strings"
)

// Message is one stored message, or one to store with [Broker.Append].
type Message struct {
	Topic       string
	QueueID     int
	QueueOffset int64             // set by the broker
	Body        []byte            // decompressed; as stored if that fails
	Properties  map[string]string // as the consumer sees them
	SysFlag     int32             // bit 0: the body is stored zlib-compressed

	BornTimestamp  int64 // milliseconds since 1970; a copy keeps its original's
	StoreTimestamp int64 // milliseconds since 1970; set by the broker
	ReconsumeTimes int

	MsgID       string // property UNIQ_KEY, or OffsetMsgID without it
	OffsetMsgID string // address and physical offset; set by the broker
}

// record is a message as the store keeps it. It is never changed once stored.
type record struct {
	topic       string
	queueID     int32
	queueOffset int64
	physical    int64
	flag        int32
	sysFlag     int32
	born        int64
	bornHost    host
	stored      int64
	storeHost   host
	reconsumes  int32
	body        []byte
	properties  map[string]string
}

// host is an IPv4 address and port as records and message ids carry them.
type host struct {
	IP   [4]byte
	Port int32
}

func hostOf(addr netip.AddrPort) host {
	return host{IP: addr.Addr().Unmap().As4(), Port: int32(addr.Port())}
}

// recordHead is the fixed part of a record on the wire, up to the body.
type recordHead struct {
	Size, Magic, BodyCRC, QueueID, Flag int32
	QueueOffset, Physical               int64
	SysFlag                             int32
	Born                                int64
	BornHost                            host
	Stored                              int64
	StoreHost                           host
	Reconsumes                          int32
	Prepared                            int64
	BodySize                            int32
}

// recordOverhead is what a record takes besides body, topic and properties.
const recordOverhead = 88 + 1 + 2

const recordMagic = -626843481 // 0xDAA320A7

func (r *record) size() int {
	return recordOverhead + len(r.body) + len(r.topic) + propertiesSize(r.properties)
}

// appendTo encodes the record at the end of a pull answer's body.
func (r *record) appendTo(data []byte) ([]byte, error) {
	properties := encodeProperties(r.properties)
	data, err := binary.Append(data, binary.BigEndian, recordHead{
		Size: int32(r.size()), Magic: recordMagic, //nolint:gosec // put bounds body, topic and properties
		BodyCRC: int32(crc32.ChecksumIEEE(r.body) & 0x7fffffff),
		QueueID: r.queueID, Flag: r.flag,
		QueueOffset: r.queueOffset, Physical: r.physical,
		SysFlag: r.sysFlag,
		Born:    r.born, BornHost: r.bornHost,
		Stored: r.stored, StoreHost: r.storeHost,
		Reconsumes: r.reconsumes,
		BodySize:   int32(len(r.body)), //nolint:gosec // put bounds the body
	})
	if err != nil {
		return nil, err
	}
	data = append(data, r.body...)
	data = append(data, byte(len(r.topic))) //nolint:gosec // put bounds the topic
	data = append(data, r.topic...)
	data = binary.BigEndian.AppendUint16(data, uint16(len(properties))) //nolint:gosec // put bounds properties
	return append(data, properties...), nil
}

func (r *record) offsetMsgID() string {
	id, err := binary.Append(nil, binary.BigEndian, struct {
		Host     host
		Physical int64
	}{r.storeHost, r.physical})
	if err != nil {
		return ""
	}
	return strings.ToUpper(hex.EncodeToString(id))
}

func (r *record) message() Message {
	m := Message{
		Topic:          r.topic,
		QueueID:        int(r.queueID),
		QueueOffset:    r.queueOffset,
		Body:           bytes.Clone(r.body),
		Properties:     maps.Clone(r.properties),
		SysFlag:        r.sysFlag,
		BornTimestamp:  r.born,
		StoreTimestamp: r.stored,
		ReconsumeTimes: int(r.reconsumes),
		OffsetMsgID:    r.offsetMsgID(),
	}
	m.MsgID = m.Properties[propUniqKey]
	if m.MsgID == "" {
		m.MsgID = m.OffsetMsgID
	}
	if r.sysFlag&sysFlagCompressed != 0 {
		if plain, err := inflate(r.body); err == nil {
			m.Body = plain
		}
	}
	return m
}

// inflate decompresses a body of at most maxFrame bytes.
func inflate(data []byte) ([]byte, error) {
	r, err := zlib.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(io.LimitReader(r, maxFrame))
}

// Properties are written as key 0x01 value 0x02, nothing escaped.
const (
	keyEnd   = "\x01"
	valueEnd = "\x02"
)

func propertiesSize(properties map[string]string) int {
	size := 0
	for k, v := range properties {
		size += len(k) + len(v) + len(keyEnd) + len(valueEnd)
	}
	return size
}

func encodeProperties(properties map[string]string) string {
	var b strings.Builder
	for _, k := range slices.Sorted(maps.Keys(properties)) {
		b.WriteString(k + keyEnd + properties[k] + valueEnd)
	}
	return b.String()
}

func decodeProperties(text string) map[string]string {
	properties := make(map[string]string)
	for item := range strings.SplitSeq(text, valueEnd) {
		if k, v, ok := strings.Cut(item, keyEnd); ok {
			properties[k] = v
		}
	}
	return properties
}

// batchItem is one message inside a batch send.
type batchItem struct {
	flag       int32
	body       []byte
	properties map[string]string
}

var errBadBatch = errors.New("malformed batch")

// decodeBatch splits the body of a batch send. An item is: size, magic, crc and
// flag, 4 bytes each; body length 4, body; properties length 2, properties.
func decodeBatch(data []byte) ([]batchItem, error) {
	var items []batchItem
	for len(data) > 0 {
		var head struct{ Size, Magic, CRC, Flag, BodySize int32 }
		n, err := binary.Decode(data, binary.BigEndian, &head)
		if err != nil || head.BodySize < 0 || int64(len(data)-n) < int64(head.BodySize)+2 {
			return nil, errBadBatch
		}
		data = data[n:]
		body := data[:head.BodySize]
		data = data[head.BodySize:]
		size := int(binary.BigEndian.Uint16(data))
		if len(data) < 2+size {
			return nil, errBadBatch
		}
		items = append(items, batchItem{head.Flag, body, decodeProperties(string(data[2 : 2+size]))})
		data = data[2+size:]
	}
	return items, nil
}
