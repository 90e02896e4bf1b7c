package producer

import (
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/apache/rocketmq-client-go/v2/primitive"
)

// The properties of retry and parked messages, CONTRACT.md §5, besides KEYS. They are a closed set: nothing else of the original
// message travels, so that no foreign property can keep a copy from being stored.
const (
	PropertyTraceparent = "traceparent"
	PropertyReason      = "REFUNDD_REASON"
	PropertyTry         = "REFUNDD_TRY"
	PropertyTopic       = "REFUNDD_TOPIC"
	PropertyMsgID       = "REFUNDD_MSGID"
	PropertyBorn        = "REFUNDD_BORN"
	PropertyFirst       = "REFUNDD_FIRST"
	PropertyGeneration  = "REFUNDD_GEN"
	PropertyPark        = "REFUNDD_PARK"
	PropertyClaimed     = "REFUNDD_CLAIMED"
)

// Longest values, in bytes: 127 is RocketMQ's limit of a topic. All properties together stay far below the broker's 32767 bytes.
const (
	maxKey   = 128
	maxTopic = 127
	maxMsgID = 255
	maxWord  = 64
)

// Copy is a command on its way to the retry or the parked topic: the original body, untouched, and what must be known about it
// when it comes back. Zero values stand for properties that a message does not have.
type Copy struct {
	Body        []byte
	Keys        string    // one key; characters other than 0x21 to 0x7E become _
	Traceparent string    // left out unless ValidTraceparent
	Reason      string    // why it is retried or parked: a machine word
	Try         int       // tries spent
	Topic       string    // where the first message came from
	MsgID       string    // the first message's id
	Born        time.Time // when the first message was born; milliseconds
	First       time.Time // where its age counts from; a requeue sets it anew; milliseconds
	Generation  int64     // of the record: no copy is dropped unless another lives (R7)
	Park        int       // how often it has been parked
	Claimed     bool      // a claim was won for it once: once claimed, never rejected (R9)
}

// CopyFromProperties reads what Properties wrote. Properties that are not of the closed set are skipped, as the broker adds its own,
// and missing ones give zero values. One that is there and cannot be what was written is an error that names it.
// The body is kept, not copied.
func CopyFromProperties(properties map[string]string, body []byte) (Copy, error) {
	c := Copy{
		Body:        body,
		Keys:        properties[primitive.PropertyKeys],
		Traceparent: properties[PropertyTraceparent],
		Reason:      properties[PropertyReason],
		Topic:       properties[PropertyTopic],
		MsgID:       properties[PropertyMsgID],
	}
	numbers := map[string]int64{}
	for _, name := range []string{PropertyTry, PropertyPark, PropertyGeneration, PropertyBorn, PropertyFirst} {
		text, ok := properties[name]
		if !ok {
			continue
		}
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil || strconv.FormatInt(n, 10) != text || n < 0 {
			return Copy{}, fmt.Errorf("read message properties: %s is not a whole number", name)
		}
		if (name == PropertyTry || name == PropertyPark) && n > maxCount {
			return Copy{}, fmt.Errorf("read message properties: %s is out of range", name)
		}
		numbers[name] = n
	}
	c.Try, c.Park, c.Generation = int(numbers[PropertyTry]), int(numbers[PropertyPark]), numbers[PropertyGeneration]
	c.Born, c.First = fromMillis(numbers[PropertyBorn]), fromMillis(numbers[PropertyFirst])

	switch claimed, ok := properties[PropertyClaimed]; {
	case ok && claimed == "1":
		c.Claimed = true
	case ok:
		return Copy{}, fmt.Errorf("read message properties: %s is not 1", PropertyClaimed)
	}
	return c, nil
}

const maxCount = 1<<31 - 1

// Properties are the message properties of the copy. Every value is cut to a limit and freed of characters that RocketMQ cannot
// carry, so that a copy can be published whatever its message looked like.
func (c Copy) Properties() map[string]string {
	properties := map[string]string{
		PropertyTry:        strconv.Itoa(c.Try),
		PropertyGeneration: strconv.FormatInt(c.Generation, 10),
		PropertyPark:       strconv.Itoa(c.Park),
	}
	for name, value := range map[string]string{
		primitive.PropertyKeys: safeKey(c.Keys),
		PropertyReason:         safeText(c.Reason, maxWord),
		PropertyTopic:          safeText(c.Topic, maxTopic),
		PropertyMsgID:          safeText(c.MsgID, maxMsgID),
		PropertyBorn:           millis(c.Born),
		PropertyFirst:          millis(c.First),
	} {
		if value != "" {
			properties[name] = value
		}
	}
	if ValidTraceparent(c.Traceparent) {
		properties[PropertyTraceparent] = c.Traceparent
	}
	if c.Claimed {
		properties[PropertyClaimed] = "1"
	}
	return properties
}

// millis is empty for the zero time and everything up to 1970, which a foreign producer may have set as a message's time of birth.
func millis(t time.Time) string {
	if t.UnixMilli() <= 0 {
		return ""
	}
	return strconv.FormatInt(t.UnixMilli(), 10)
}

func fromMillis(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms)
}

// safeKey makes one message key: RocketMQ separates keys by spaces.
func safeKey(key string) string {
	safe := strings.Map(func(r rune) rune {
		if r < 0x21 || r > 0x7e {
			return '_'
		}
		return r
	}, key)
	return safe[:min(len(safe), maxKey)]
}

// safeText keeps a property value as it is but for what would break the encoding: RocketMQ separates properties by \x01 and \x02,
// and the client writes them into JSON, where bytes that are not UTF-8 would be changed silently.
func safeText(text string, limit int) string {
	safe := strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == unicode.ReplacementChar {
			return '_'
		}
		return r
	}, text)
	return strings.ToValidUTF8(safe[:min(len(safe), limit)], "")
}
