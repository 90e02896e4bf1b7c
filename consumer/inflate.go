package consumer

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

// How a sender's client compressed a body, in the message's sysFlag: RocketMQ's
// MessageSysFlag. Codec 0 is what clients before 5.0 write, and means zlib.
const (
	flagCompressed = 0x1
	flagCodec      = 0x700
	codecLZ4       = 0x100
	codecZstd      = 0x200
)

var errTooLarge = errors.New("more than a command may have")

// Inflate decompresses what the SDK does not, and knows zlib alone: LZ4 and
// Zstandard frames as Java's clients write them. A body that is not compressed
// so comes back as it is. It reads no more than a command may have and never
// takes more memory than a small multiple of it; beyond that it is an error.
func Inflate(body []byte, sysFlag int32) ([]byte, error) {
	if sysFlag&flagCompressed == 0 {
		return body, nil
	}
	switch sysFlag & flagCodec {
	case codecLZ4:
		return bounded("lz4", lz4.NewReader(bytes.NewReader(body)))
	case codecZstd:
		// A window of up to 8 MiB is what level 3, Java's, declares for streams.
		z, err := zstd.NewReader(bytes.NewReader(body), zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(8<<20))
		if err != nil {
			return nil, fmt.Errorf("zstd: %w", err)
		}
		defer z.Close()
		return bounded("zstd", z)
	}
	return body, nil
}

func bounded(codec string, r io.Reader) ([]byte, error) {
	body, err := io.ReadAll(io.LimitReader(r, maxBody+1))
	switch {
	case len(body) > maxBody:
		return nil, errTooLarge
	case err != nil:
		return nil, fmt.Errorf("%s: %w", codec, err)
	}
	return body, nil
}
