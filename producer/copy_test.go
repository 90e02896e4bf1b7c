package producer_test

import (
	"maps"
	"reflect"
	"strings"
	"testing"
	"time"

	"refundd/producer"
)

func fullCopy() producer.Copy {
	return producer.Copy{
		Body: []byte("{}"), Keys: "HZ01RF001", Traceparent: traceparent, Reason: "rate_limited", Try: 3,
		Topic: "refund-command", MsgID: "7F00000100002A9F0000000000000A5C",
		Born: time.UnixMilli(1773900191250), First: time.UnixMilli(1773900191999), Generation: 1 << 40, Park: 2, Claimed: true,
	}
}

func fullProperties() map[string]string {
	return map[string]string{
		"KEYS": "HZ01RF001", "traceparent": traceparent, "REFUNDD_REASON": "rate_limited", "REFUNDD_TRY": "3",
		"REFUNDD_TOPIC": "refund-command", "REFUNDD_MSGID": "7F00000100002A9F0000000000000A5C",
		"REFUNDD_BORN": "1773900191250", "REFUNDD_FIRST": "1773900191999", "REFUNDD_GEN": "1099511627776", "REFUNDD_PARK": "2",
		"REFUNDD_CLAIMED": "1",
	}
}

func TestCopyProperties(t *testing.T) {
	for _, row := range []struct {
		name string
		copy producer.Copy
		want map[string]string
	}{
		{"all", fullCopy(), fullProperties()},
		{"none", producer.Copy{}, map[string]string{"REFUNDD_TRY": "0", "REFUNDD_GEN": "0", "REFUNDD_PARK": "0"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			got := row.copy.Properties()
			if !maps.Equal(got, row.want) {
				t.Errorf("got  %v\nwant %v", got, row.want)
			}
			back, err := producer.CopyFromProperties(got, row.copy.Body)
			if err != nil || !reflect.DeepEqual(back, row.copy) {
				t.Errorf("read back as %+v, %v", back, err)
			}
		})
	}
}

func TestCopyPropertiesAreSafe(t *testing.T) {
	for _, row := range []struct {
		name, property string
		change         func(c *producer.Copy, value string)
		value, want    string
	}{
		{"key with spaces", "KEYS", func(c *producer.Copy, v string) { c.Keys = v }, "a b\tc\x01d退e\xff", "a_b_c_d_e_"},
		{"long key", "KEYS", func(c *producer.Copy, v string) { c.Keys = v }, strings.Repeat("k", 129), strings.Repeat("k", 128)},
		{"separators in the message id", "REFUNDD_MSGID", func(c *producer.Copy, v string) { c.MsgID = v }, "a b\x01c\x02\x00\x7f\u0085", "a b_c____"},
		{"long message id", "REFUNDD_MSGID", func(c *producer.Copy, v string) { c.MsgID = v }, strings.Repeat("m", 256), strings.Repeat("m", 255)},
		{"message id cut between characters", "REFUNDD_MSGID", func(c *producer.Copy, v string) { c.MsgID = v }, strings.Repeat("退", 86), strings.Repeat("退", 85)},
		{"message id cut within a character", "REFUNDD_MSGID", func(c *producer.Copy, v string) { c.MsgID = v }, "a" + strings.Repeat("退", 85), "a" + strings.Repeat("退", 84)},
		{"message id that is not UTF-8", "REFUNDD_MSGID", func(c *producer.Copy, v string) { c.MsgID = v }, "a\xffb", "a_b"},
		{"long topic", "REFUNDD_TOPIC", func(c *producer.Copy, v string) { c.Topic = v }, strings.Repeat("t", 128), strings.Repeat("t", 127)},
		{"long reason", "REFUNDD_REASON", func(c *producer.Copy, v string) { c.Reason = v }, strings.Repeat("r", 65), strings.Repeat("r", 64)},
		{"foreign traceparent", "traceparent", func(c *producer.Copy, v string) { c.Traceparent = v }, "x\x01y", ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			c := fullCopy()
			row.change(&c, row.value)
			want := fullProperties()
			want[row.property] = row.want
			maps.DeleteFunc(want, func(_, value string) bool { return value == "" })
			if got := c.Properties(); !maps.Equal(got, want) {
				t.Errorf("got  %q\nwant %q", got, want)
			}
		})
	}
}

func TestCopyFromPropertiesRefuses(t *testing.T) {
	numbers := []string{"", " 1", "+1", "-1", "01", "1.0", "1e3", "0x1", "9223372036854775808", "退"}
	for name, values := range map[string][]string{
		"REFUNDD_TRY": append(numbers, "2147483648"), "REFUNDD_PARK": append(numbers, "2147483648"),
		"REFUNDD_GEN": numbers, "REFUNDD_BORN": numbers, "REFUNDD_FIRST": numbers,
		"REFUNDD_CLAIMED": {"", "0", "true", "11"},
	} {
		for _, value := range values {
			properties := fullProperties()
			properties[name] = value
			if _, err := producer.CopyFromProperties(properties, nil); err == nil || !strings.Contains(err.Error(), name) {
				t.Errorf("%s=%q: error %v does not name it", name, value, err)
			}
		}
	}
}

func TestCopyFromPropertiesSkipsForeignOnes(t *testing.T) {
	properties := fullProperties()
	properties["MIN_OFFSET"], properties["DELAY"], properties["refundd_try"], properties["REFUNDD_OTHER"] = "x", "3", "9", "y"
	got, err := producer.CopyFromProperties(properties, []byte("{}"))
	if err != nil || !reflect.DeepEqual(got, fullCopy()) {
		t.Errorf("%+v, %v", got, err)
	}
}

func FuzzCopyProperties(f *testing.F) {
	f.Add("R1", traceparent, "held", "refund-command", "7F", int64(1773900191250), uint16(3), true)
	f.Add("a b", "\x01", "\x02", "\xff", strings.Repeat("退", 200), int64(0), uint16(0), false)
	f.Fuzz(func(t *testing.T, keys, trace, reason, topic, msgID string, ms int64, n uint16, claimed bool) {
		ms = max(ms, 0)
		c := producer.Copy{
			Keys: keys, Traceparent: trace, Reason: reason, Topic: topic, MsgID: msgID,
			Born: time.UnixMilli(ms), Try: int(n), Generation: ms, Park: int(n), Claimed: claimed,
		}
		properties := c.Properties()
		size := 0
		for name, value := range properties {
			size += len(name) + len(value) + 2
			if value == "" || strings.ContainsAny(name+value, "\x00\x01\x02") || value != strings.ToValidUTF8(value, "") {
				t.Errorf("%s=%q", name, value)
			}
		}
		if size > 2048 || strings.Contains(properties["KEYS"], " ") {
			t.Errorf("%d bytes, KEYS %q", size, properties["KEYS"])
		}
		back, err := producer.CopyFromProperties(properties, nil)
		if err != nil {
			t.Fatal(err)
		}
		if !maps.Equal(back.Properties(), properties) {
			t.Errorf("read back as %v, want %v", back.Properties(), properties)
		}
	})
}
