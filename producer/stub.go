package producer

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
)

// stubHead is how many bytes of a body its stub shows.
const stubHead = 1024

// What a stub stands for.
const (
	StubOfCommand = "command" // a message of a command or retry topic
	StubOfEvent   = "event"   // an event about it
)

// Stub is parked in place of what the broker refuses to store for its content
// (ErrContent): CONTRACT.md §5. It is the body of a copy, with a copy's
// properties.
type Stub struct {
	Of     string `json:"stub"`   // StubOfCommand or StubOfEvent
	Head   []byte `json:"head"`   // the first 1,024 bytes
	Size   int    `json:"size"`   // bytes
	SHA256 string `json:"sha256"` // of the whole, 64 lower-case hex digits
	// Lies is where the message lies that was being worked on; nil where the
	// copy was made from the record.
	Lies *Place `json:"lies,omitempty"`
}

// Place is where a message lies. Broker is empty where it is not known.
type Place struct {
	Topic  string `json:"topic"`
	Broker string `json:"broker,omitempty"`
	Queue  int    `json:"queue"`
	Offset int64  `json:"offset"`
}

// StubOf makes the stub of a body.
func StubOf(of string, body []byte, lies *Place) Stub {
	sum := sha256.Sum256(body)
	return Stub{Of: of, Head: body[:min(len(body), stubHead)], Size: len(body), SHA256: hex.EncodeToString(sum[:]), Lies: lies}
}

// Encode is the body that is parked. It takes less than 2 KiB.
func (s Stub) Encode() ([]byte, error) {
	b, err := json.Marshal(s)
	if err != nil {
		return nil, fmt.Errorf("encode stub: %w", err)
	}
	return b, nil
}

// DecodeStub reads the body of a parked message. False: it is no stub. A
// sender cannot forge one: of upstream's messages only those are parked whole
// that are commands, or no JSON object, or over 64 KiB.
func DecodeStub(body []byte) (Stub, bool) {
	var s Stub
	if len(body) > 2*stubHead || len(body) == 0 || body[0] != '{' {
		return Stub{}, false
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(&s); err != nil {
		return Stub{}, false
	}
	if _, err := d.Token(); err != io.EOF {
		return Stub{}, false
	}
	sum, err := hex.DecodeString(s.SHA256)
	ok := err == nil && len(sum) == sha256.Size && s.Size >= len(s.Head) && (s.Of == StubOfCommand || s.Of == StubOfEvent)
	return s, ok
}
