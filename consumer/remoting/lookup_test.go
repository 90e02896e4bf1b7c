package remoting_test

import (
	"strings"
	"testing"
	"time"

	"refundd/consumer/remoting"
	"refundd/consumer/rocketmqtest"
)

func TestByKey(t *testing.T) {
	b, err := rocketmqtest.Start(rocketmqtest.Config{Topics: map[string]int{"events": 3, "others": 1}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = b.Close() }()
	for _, m := range []rocketmqtest.Message{
		{Topic: "events", QueueID: 2, Body: []byte("one"), Properties: map[string]string{"KEYS": "R-1", "a": "b"}},
		{Topic: "events", QueueID: 0, Body: []byte("two"), Properties: map[string]string{"KEYS": "R-2 R-1", "UNIQ_KEY": "U"}},
		{Topic: "events", QueueID: 1, Body: []byte("no"), Properties: map[string]string{"KEYS": "R-11"}},
		{Topic: "others", QueueID: 0, Body: []byte("no"), Properties: map[string]string{"KEYS": "R-1"}},
	} {
		if _, err := b.Append(m); err != nil {
			t.Fatal(err)
		}
	}
	found, err := remoting.ByKey(t.Context(), b.Addr(), "events", "R-1", time.Time{})
	if err != nil || len(found) != 2 {
		t.Fatalf("found %+v, %v", found, err)
	}
	one, two := found[0], found[1]
	if string(one.Body) != "one" || one.Queue != 2 || one.Offset != 0 || one.Properties["a"] != "b" || len(one.ID) != 32 || time.Since(one.Born) > time.Hour {
		t.Errorf("the first: %+v", one)
	}
	if string(two.Body) != "two" || two.ID != "U" {
		t.Errorf("the second: %+v", two)
	}
	for key, since := range map[string]time.Time{"R-3": {}, "R-1": time.Now().Add(time.Minute)} {
		if found, err := remoting.ByKey(t.Context(), b.Addr(), "events", key, since); err != nil || found != nil {
			t.Errorf("%s since %s: %+v, %v", key, since, found, err)
		}
	}
}

// TestByKeyOfGarbage: an answer that is no list of messages is an error, however long it says it is.
func TestByKeyOfGarbage(t *testing.T) {
	for name, body := range map[string]string{
		"short": "\x00\x00", "longer than it is": "\xff\xff\xff\xff" + strings.Repeat("x", 100),
		"zeros": strings.Repeat("\x00", 100), "another magic": "\x00\x00\x00\x64" + strings.Repeat("\x01", 96),
		"a body longer than it is": "\x00\x00\x00\x64\xda\xa3\x20\xa7" + strings.Repeat("\xff", 92),
	} {
		address := serve(t, func(r request) []byte { return answer(r, 0, "", body) })
		if found, err := remoting.ByKey(t.Context(), address, "events", "R-1", time.Time{}); err == nil || !strings.Contains(err.Error(), "cannot be read") {
			t.Errorf("%s: %+v, %v", name, found, err)
		}
	}
}
