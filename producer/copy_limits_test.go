package producer_test

import (
	"strings"
	"testing"
	"time"

	"refundd/producer"
)

// TestCopyAtItsLimits: the last value that is still carried, and the first that is
// not.
func TestCopyAtItsLimits(t *testing.T) {
	for _, row := range []struct {
		name, property string
		copy           producer.Copy
		want           string
	}{
		{"the first and the last character of a key", "KEYS", producer.Copy{Keys: " !~\x7f"}, "_!~_"},
		{"the longest key", "KEYS", producer.Copy{Keys: strings.Repeat("k", 128)}, strings.Repeat("k", 128)},
		{"the longest topic", "REFUNDD_TOPIC", producer.Copy{Topic: strings.Repeat("t", 127)}, strings.Repeat("t", 127)},
		{"the longest message id", "REFUNDD_MSGID", producer.Copy{MsgID: strings.Repeat("m", 255)}, strings.Repeat("m", 255)},
		{"the longest reason", "REFUNDD_REASON", producer.Copy{Reason: strings.Repeat("r", 64)}, strings.Repeat("r", 64)},
		{"born in 1970", "REFUNDD_BORN", producer.Copy{Born: time.UnixMilli(0)}, ""},
		{"born before", "REFUNDD_BORN", producer.Copy{Born: time.UnixMilli(-1)}, ""},
		{"born a moment later", "REFUNDD_BORN", producer.Copy{Born: time.UnixMilli(1)}, "1"},
		{"its age counts from 1970", "REFUNDD_FIRST", producer.Copy{First: time.UnixMilli(0)}, ""},
		{"never claimed", "REFUNDD_CLAIMED", producer.Copy{}, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			got, there := row.copy.Properties()[row.property]
			if got != row.want || there != (row.want != "") {
				t.Errorf("%s=%q, there %t; want %q", row.property, got, there, row.want)
			}
		})
	}
	for _, name := range []string{"REFUNDD_TRY", "REFUNDD_PARK"} {
		c, err := producer.CopyFromProperties(map[string]string{name: "2147483647"}, nil)
		if err != nil || c.Try+c.Park != 1<<31-1 || !c.Born.IsZero() || !c.First.IsZero() || c.Claimed {
			t.Errorf("%s: %+v, %v", name, c, err)
		}
	}
	c, err := producer.CopyFromProperties(map[string]string{"REFUNDD_BORN": "1", "REFUNDD_FIRST": "0"}, nil)
	if err != nil || c.Born.UnixMilli() != 1 || !c.First.IsZero() {
		t.Errorf("born %v, first %v, %v", c.Born, c.First, err)
	}
}
