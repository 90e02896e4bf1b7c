package consumer

import (
	"bytes"
	"encoding/hex"
	"errors"
	"io"
	"runtime"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

// Frames of one command, made by the reference tools with what Java's clients
// set: LZ4 1.9.4 with independent blocks of up to 4 MiB and no checksums (lz4
// -B7 -BI --no-frame-crc), as LZ4FrameOutputStream; Zstandard 1.5.4 of level 3
// without a checksum, from a pipe, as ZstdOutputStream.
const (
	inflated  = `{"out_request_no":"R1","out_trade_no":"T1","refund_amount":"3.00"}`
	lz4Frame  = "04224d186040823f000000f1087b226f75745f726571756573745f6e6f223a225231222c1600527472616465140010541400f007726566756e645f616d6f756e74223a22332e3030227d00000000"
	zstdFrame = "28b52ffd0058f5010034037b226f75745f726571756573745f6e6f223a225231222c747261646554726566756e645f616d6f756e74223a22332e3030227d030020889ba3e7359b"
)

func frame(tb testing.TB, text string) []byte {
	tb.Helper()
	b, err := hex.DecodeString(text)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

func lz4Of(tb testing.TB, body []byte) []byte {
	tb.Helper()
	var out bytes.Buffer
	w := lz4.NewWriter(&out)
	if err := w.Apply(lz4.BlockSizeOption(lz4.Block4Mb), lz4.ChecksumOption(false)); err != nil {
		tb.Fatal(err)
	}
	return written(tb, &out, w, body)
}

func zstdOf(tb testing.TB, body []byte) []byte {
	tb.Helper()
	var out bytes.Buffer
	w, err := zstd.NewWriter(&out, zstd.WithEncoderCRC(false), zstd.WithEncoderConcurrency(1))
	if err != nil {
		tb.Fatal(err)
	}
	return written(tb, &out, w, body)
}

func written(tb testing.TB, out *bytes.Buffer, w io.WriteCloser, body []byte) []byte {
	tb.Helper()
	if _, err := w.Write(body); err != nil {
		tb.Fatal(err)
	}
	if err := w.Close(); err != nil {
		tb.Fatal(err)
	}
	return out.Bytes()
}

func TestInflate(t *testing.T) {
	largest := []byte(strings.Repeat("refund", maxBody)[:maxBody])
	for _, row := range []struct {
		name    string
		body    []byte
		sysFlag int32
		want    []byte
	}{
		{"lz4", frame(t, lz4Frame), 0x101, []byte(inflated)},
		{"zstd", frame(t, zstdFrame), 0x201, []byte(inflated)},
		{"lz4, and another flag", frame(t, lz4Frame), 0x111, []byte(inflated)},
		{"the largest, lz4", lz4Of(t, largest), 0x101, largest},
		{"the largest, zstd", zstdOf(t, largest), 0x201, largest},
		{"not compressed, whatever the codec", []byte(inflated), 0x200, []byte(inflated)},
		{"zlib, which the SDK has read", []byte(inflated), 0x301, []byte(inflated)},
		{"zlib of old", []byte(inflated), 0x1, []byte(inflated)},
		{"a codec to come", []byte(inflated), 0x401, []byte(inflated)},
	} {
		t.Run(row.name, func(t *testing.T) {
			got, err := Inflate(row.body, row.sysFlag)
			if err != nil || !bytes.Equal(got, row.want) {
				t.Errorf("got %.80q, %v", got, err)
			}
		})
	}
	for name, row := range map[string]struct {
		body    []byte
		sysFlag int32
		large   bool
	}{
		"lz4 cut":            {frame(t, lz4Frame)[:60], 0x101, false},
		"zstd cut":           {frame(t, zstdFrame)[:60], 0x201, false},
		"zstd called lz4":    {frame(t, zstdFrame), 0x101, false},
		"lz4 called zstd":    {frame(t, lz4Frame), 0x201, false},
		"one byte more, lz4": {lz4Of(t, append(largest, 'x')), 0x101, true},
		"one more, zstd":     {zstdOf(t, append(largest, 'x')), 0x201, true},
	} {
		t.Run(name, func(t *testing.T) {
			if got, err := Inflate(row.body, row.sysFlag); err == nil || errors.Is(err, errTooLarge) != row.large {
				t.Errorf("got %d bytes, %v", len(got), err)
			}
		})
	}
}

// TestInflateIsBounded: what is small on the wire may be anything when it is
// decompressed; the SDK's zlib has no limit, these have.
func TestInflateIsBounded(t *testing.T) {
	const size = 256 << 20
	nothing := make([]byte, size)
	bombs := map[int32][]byte{0x101: lz4Of(t, nothing), 0x201: zstdOf(t, nothing)}
	for sysFlag, bomb := range bombs {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		if _, err := Inflate(bomb, sysFlag); !errors.Is(err, errTooLarge) {
			t.Errorf("%#x: %v", sysFlag, err)
		}
		runtime.ReadMemStats(&after)
		if took := after.TotalAlloc - before.TotalAlloc; took > 32<<20 {
			t.Errorf("%#x: %d bytes were allocated for %d on the wire", sysFlag, took, len(bomb))
		}
	}
}
