package remoting

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"
)

// A frame is: length of what follows (4 bytes) | header encoding (1 byte) and
// header length (3 bytes) | header | body. All big-endian.
const (
	maxFrame      = 16 << 20 // RocketMQ's own limit, com.rocketmq.remoting.frameMaxLength
	headerJSON    = 0
	clientVersion = 317 // V4_5_2_SNAPSHOT: what rocketmq-client-go announces
	flagResponse  = 1
)

type header struct {
	Code     int               `json:"code"`
	Language string            `json:"language"`
	Version  int               `json:"version"`
	Opaque   int               `json:"opaque"`
	Flag     int               `json:"flag"`
	Remark   string            `json:"remark,omitempty"`
	Fields   map[string]string `json:"extFields,omitempty"`
}

// call sends one request on a connection of its own and returns the answer's
// body. An answer other than success is a *RefusedError.
func call(ctx context.Context, address string, code int, fields map[string]string, body []byte) ([]byte, error) {
	_, answer, err := exchange(ctx, address, code, fields, body)
	return answer, err
}

// exchange is call for answers whose header says something, too.
func exchange(ctx context.Context, address string, code int, fields map[string]string, body []byte) (header, []byte, error) {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return header{}, nil, err
	}
	defer conn.Close()
	// Ending the context ends a blocked read or write at once.
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()

	request := header{Code: code, Language: "GO", Version: clientVersion, Opaque: 1, Fields: sign(ctx, fields, body)}
	if err := writeFrame(conn, request, body); err != nil {
		return header{}, nil, causeOf(ctx, err)
	}
	response, answer, err := readFrame(conn)
	if err != nil {
		return header{}, nil, causeOf(ctx, err)
	}
	if response.Opaque != request.Opaque || response.Flag&flagResponse == 0 {
		return header{}, nil, fmt.Errorf("%s answered something else than request %d", address, request.Opaque)
	}
	if response.Code != codeSuccess {
		remark, _, _ := strings.Cut(response.Remark, "\n")
		return header{}, nil, &RefusedError{Code: response.Code, Remark: remark}
	}
	return response, answer, nil
}

// causeOf names the context's end where that is what broke the connection.
func causeOf(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return errors.Join(cause, err)
	}
	return err
}

func writeFrame(w io.Writer, h header, body []byte) error {
	head, err := json.Marshal(h)
	if err != nil {
		return fmt.Errorf("encode header: %w", err)
	}
	frame := make([]byte, 0, 8+len(head)+len(body))
	frame = binary.BigEndian.AppendUint32(frame, uint32(4+len(head)+len(body))) //nolint:gosec // a few kilobytes
	frame = binary.BigEndian.AppendUint32(frame, uint32(len(head)))             //nolint:gosec // high byte 0 is headerJSON
	frame = append(frame, head...)
	frame = append(frame, body...)
	if _, err := w.Write(frame); err != nil {
		return fmt.Errorf("send: %w", err)
	}
	return nil
}

func readFrame(r io.Reader) (header, []byte, error) {
	var sizes [8]byte
	if _, err := io.ReadFull(r, sizes[:]); err != nil {
		return header{}, nil, fmt.Errorf("receive: %w", err)
	}
	total := int64(binary.BigEndian.Uint32(sizes[:4])) - 4
	encoding, headLength := sizes[4], int64(binary.BigEndian.Uint32(sizes[4:])&0xffffff)
	if total < headLength || total > maxFrame {
		return header{}, nil, fmt.Errorf("frame of %d bytes with a header of %d", total, headLength)
	}
	if encoding != headerJSON {
		return header{}, nil, fmt.Errorf("header encoding %d, want JSON", encoding)
	}
	frame := make([]byte, total)
	if _, err := io.ReadFull(r, frame); err != nil {
		return header{}, nil, fmt.Errorf("receive: %w", err)
	}
	var h header
	if err := json.Unmarshal(frame[:headLength], &h); err != nil {
		return header{}, nil, fmt.Errorf("decode header: %w", err)
	}
	return h, frame[headLength:], nil
}
