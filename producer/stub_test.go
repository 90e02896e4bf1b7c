package producer_test

import (
	"bytes"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/apache/rocketmq-client-go/v2/primitive"

	"refundd/producer"
)

// TestOversizedIsNotSent: compressing it could outlast every time-out, and a
// publish that never ends would stop all others.
func TestOversizedIsNotSent(t *testing.T) {
	c := &client{answer: status(primitive.SendOK)}
	p := producer.New(c, topics())
	err := p.Park(t.Context(), producer.Copy{Body: make([]byte, 4<<20+1)})
	if !errors.Is(err, producer.ErrRefused) || !errors.Is(err, producer.ErrContent) || len(c.messages()) != 0 {
		t.Errorf("%v, sent %d", err, len(c.messages()))
	}
	if err := p.Park(t.Context(), producer.Copy{Body: make([]byte, 4<<20)}); err != nil {
		t.Error(err)
	}
}

func TestStub(t *testing.T) {
	body := bytes.Repeat([]byte{0xff, 'a'}, 3000)
	schema := part(t, "stub", "payload")
	for name, s := range map[string]producer.Stub{
		"a command": producer.StubOf(producer.StubOfCommand, body, &producer.Place{Topic: "refund-command", Broker: "broker-a", Queue: 3, Offset: 1 << 40}),
		"an event":  producer.StubOf(producer.StubOfEvent, body[:10], nil),
		"nothing":   producer.StubOf(producer.StubOfCommand, []byte{}, nil),
	} {
		t.Run(name, func(t *testing.T) {
			b, err := s.Encode()
			if err != nil || len(b) >= 2048 {
				t.Fatalf("%d bytes, %v", len(b), err)
			}
			back, ok := producer.DecodeStub(b)
			if !ok || !reflect.DeepEqual(back, s) {
				t.Errorf("read back as %+v, %v", back, ok)
			}
			if err := schema.Validate(readJSON(t, b)); err != nil {
				t.Error(err)
			}
			if len(s.Head) != min(s.Size, 1024) || !bytes.Equal(s.Head, body[:len(s.Head)]) {
				t.Errorf("head of %d bytes", len(s.Head))
			}
		})
	}
	b, err := producer.StubOf(producer.StubOfEvent, body, nil).Encode()
	if err != nil {
		t.Fatal(err)
	}
	good := string(b)
	for name, bad := range map[string]string{
		"nothing":             "",
		"no object":           `"stub"`,
		"a command":           `{"out_request_no":"R1","out_trade_no":"T1","refund_amount":"1"}`,
		"another member":      strings.Replace(good, "{", `{"x":1,`, 1),
		"stub of what":        strings.Replace(good, `"event"`, `"letter"`, 1),
		"a short sum":         strings.Replace(good, `"sha256":"`, `"sha256":"0`, 1),
		"less than its head":  strings.Replace(good, `"size":6000`, `"size":1023`, 1),
		"text after it":       good + "{}",
		"an event":            `{"specversion":"1.0"}`,
		"more than a stub is": good + strings.Repeat(" ", 2048),
	} {
		if s, ok := producer.DecodeStub([]byte(bad)); ok {
			t.Errorf("%s is taken for %+v", name, s)
		}
	}
}
