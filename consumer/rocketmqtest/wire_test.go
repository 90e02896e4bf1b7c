package rocketmqtest

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// client speaks the protocol by hand, without the SDK and its data races.
type client struct {
	t      *testing.T
	net    net.Conn
	reader *bufio.Reader
	opaque int32
	told   []string // groups of which a change was told
}

func startWire(t *testing.T, cfg Config) *Broker {
	t.Helper()
	b, err := Start(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return b
}

func dial(t *testing.T, b *Broker) *client {
	t.Helper()
	var dialer net.Dialer
	c, err := dialer.DialContext(t.Context(), "tcp", b.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return &client{t: t, net: c, reader: bufio.NewReader(c)}
}

type fields = map[string]string

func (c *client) post(code int, ext fields, body []byte) int32 {
	c.t.Helper()
	c.opaque++
	f := &frame{Code: code, Opaque: c.opaque, Ext: ext, body: body}
	data, err := f.encode()
	if err != nil {
		c.t.Error(err)
		return 0
	}
	if _, err := c.net.Write(data); err != nil {
		c.t.Error(err)
	}
	return c.opaque
}

// read returns the next answer, or nil if the connection ended.
func (c *client) read() *frame {
	for {
		if err := c.net.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
			return nil
		}
		f, err := readFrame(c.reader)
		if err != nil {
			return nil
		}
		if f.Flag&flagResponse != 0 {
			return f
		}
		c.told = append(c.told, f.text("consumerGroup"))
	}
}

func (c *client) call(code int, ext fields, body []byte) *frame {
	c.t.Helper()
	opaque := c.post(code, ext, body)
	f := c.read()
	if f == nil {
		c.t.Errorf("code %d: no answer", code)
		return &frame{Code: -1}
	}
	if f.Opaque != opaque {
		c.t.Errorf("code %d: answer to %d, want %d", code, f.Opaque, opaque)
	}
	return f
}

func (c *client) expect(want, code int, ext fields, body []byte) *frame {
	c.t.Helper()
	f := c.call(code, ext, body)
	if f.Code != want {
		c.t.Errorf("code %d %v: answer %d %q, want %d", code, ext, f.Code, f.Remark, want)
	}
	return f
}

// send stores a message in topic T.
func (c *client) send(queueID, body, properties string) *frame {
	c.t.Helper()
	return c.expect(Success, CodeSend, fields{"topic": "T", "queueId": queueID, "properties": properties}, []byte(body))
}

func (c *client) beat(id, group string, topics ...string) {
	c.t.Helper()
	var subscriptions []any
	for _, topic := range topics {
		subscriptions = append(subscriptions, map[string]any{"topic": topic, "subString": "*"})
	}
	body, err := json.Marshal(map[string]any{
		"clientID":        id,
		"consumerDataSet": []any{map[string]any{"groupName": group, "subscriptionDataSet": subscriptions}},
	})
	if err != nil {
		c.t.Fatal(err)
	}
	c.expect(Success, CodeHeartbeat, nil, body)
}

// pullFields asks for queue 0 without waiting.
func pullFields(group, topic string, offset int64, more fields) fields {
	f := fields{
		"consumerGroup": group, "topic": topic, "queueId": "0", "queueOffset": strconv.FormatInt(offset, 10),
		"maxMsgNums": "32", "sysFlag": "4",
	}
	maps.Copy(f, more)
	return f
}

func records(f *frame) int {
	n := 0
	for rest := f.body; len(rest) >= 4; n++ {
		rest = rest[binary.BigEndian.Uint32(rest):]
	}
	return n
}

func TestPullAnswers(t *testing.T) {
	b := startWire(t, Config{Topics: map[string]int{"T": 1, "empty": 1}, Groups: []string{"G"}})
	c := dial(t, b)
	for i := range 40 {
		c.send("0", strconv.Itoa(i), "")
	}
	for _, tc := range []struct {
		name        string
		ext         fields
		code, count int
		next        string
	}{
		{"found", pullFields("G", "T", 0, nil), Success, 32, "32"},
		{"rest", pullFields("G", "T", 32, nil), Success, 8, "40"},
		{"no batch size means one", pullFields("G", "T", 0, fields{"maxMsgNums": "0"}), Success, 1, "1"},
		{"end", pullFields("G", "T", 40, nil), PullNotFound, 0, "40"},
		{"past the end", pullFields("G", "T", 41, nil), PullOffsetMoved, 0, "40"},
		{"before the start", pullFields("G", "T", -1, nil), PullOffsetMoved, 0, "0"},
		{"empty", pullFields("G", "empty", 0, nil), PullNotFound, 0, "0"},
		{"no topic", pullFields("G", "absent", 0, nil), TopicNotExist, 0, ""},
		{"no queue", pullFields("G", "T", 0, fields{"queueId": "1"}), SystemError, 0, ""},
		{"no group", pullFields("stranger", "T", 0, nil), SubscriptionGroupNone, 0, ""},
		{"no heartbeat yet", pullFields("G", "T", 0, fields{"sysFlag": "0"}), SubscriptionNotExist, 0, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := c.call(CodePull, tc.ext, nil)
			if f.Code != tc.code || records(f) != tc.count || f.Ext["nextBeginOffset"] != tc.next {
				t.Errorf("code %d %q, %d records, next %q", f.Code, f.Remark, records(f), f.Ext["nextBeginOffset"])
			}
		})
	}
}

func TestPullIsBoundedInBytes(t *testing.T) {
	b := startWire(t, Config{Topics: map[string]int{"T": 1}, Groups: []string{"G"}})
	for range 3 {
		if _, err := b.Append(Message{Topic: "T", Body: make([]byte, 200<<10)}); err != nil {
			t.Fatal(err)
		}
	}
	if f := dial(t, b).expect(Success, CodePull, pullFields("G", "T", 0, nil), nil); records(f) != 1 {
		t.Errorf("%d records", records(f))
	}
}

func TestLongPollWakesUp(t *testing.T) {
	b := startWire(t, Config{Topics: map[string]int{"T": 1}, Groups: []string{"G"}, DelayScale: 100})
	c, p := dial(t, b), dial(t, b)
	waiting := fields{"sysFlag": "6", "suspendTimeoutMillis": "20000"}
	for i, properties := range []string{"", "DELAY\x012\x02", "TIMER_DELAY_SEC\x011\x02"} {
		opaque := c.post(CodePull, pullFields("G", "T", int64(i), waiting), nil)
		p.send("0", "x", properties)
		if f := c.read(); f == nil || f.Opaque != opaque || f.Code != Success || records(f) != 1 {
			t.Fatalf("properties %q: answer %+v", properties, f)
		}
	}
	f := c.expect(PullNotFound, CodePull, pullFields("G", "T", 3, fields{"sysFlag": "6", "suspendTimeoutMillis": "20"}), nil)
	if f.Ext["nextBeginOffset"] != "3" {
		t.Errorf("time-out answers next %s", f.Ext["nextBeginOffset"])
	}
	c.post(CodePull, pullFields("G", "T", 3, waiting), nil)
	p.expect(Success, CodeDeleteTopic, fields{"topic": "T"}, nil)
	if f := c.read(); f == nil || f.Code != TopicNotExist {
		t.Errorf("after deletion: %+v", f)
	}
}

func TestOffsets(t *testing.T) {
	b := startWire(t, Config{Topics: map[string]int{"T": 2}, Groups: []string{"G"}})
	c := dial(t, b)
	c.send("0", "x", "")
	at := fields{"consumerGroup": "G", "topic": "T", "queueId": "0"}
	empty := fields{"consumerGroup": "G", "topic": "T", "queueId": "1"}
	if f := c.expect(Success, CodeQueryOffset, at, nil); f.Ext["offset"] != "0" {
		t.Errorf("new group starts at %s", f.Ext["offset"])
	}
	c.expect(QueryNotFound, CodeQueryOffset, empty, nil)

	c.expect(Success, CodePull, pullFields("G", "T", 0, fields{"sysFlag": "5", "commitOffset": "1"}), nil)
	if f := c.expect(Success, CodeQueryOffset, at, nil); f.Ext["offset"] != "1" {
		t.Errorf("committed by pull: %s", f.Ext["offset"])
	}
	empty["commitOffset"] = "7"
	c.expect(Success, CodeUpdateOffset, empty, nil)
	if got := b.Committed("G", "T"); len(got) != 2 || got[0] != 1 || got[1] != 7 {
		t.Errorf("committed %v", got)
	}
	for code, want := range map[int]string{CodeMaxOffset: "1", CodeMinOffset: "0"} {
		if f := c.expect(Success, code, at, nil); f.Ext["offset"] != want {
			t.Errorf("code %d: %s", code, f.Ext["offset"])
		}
	}
	stored := b.Messages("T")[0].StoreTimestamp
	for moment, want := range map[int64]string{stored - 1: "0", stored: "0", stored + 1: "1"} {
		at["timestamp"] = strconv.FormatInt(moment, 10)
		if f := c.expect(Success, CodeSearchOffset, at, nil); f.Ext["offset"] != want {
			t.Errorf("search at %+d ms: %s, want %s", moment-stored, f.Ext["offset"], want)
		}
	}
}

func TestMembership(t *testing.T) {
	b := startWire(t, Config{Topics: map[string]int{"T": 1}, Groups: []string{"G"}})
	one, two := dial(t, b), dial(t, b)
	list := fields{"consumerGroup": "G"}
	one.expect(SystemError, CodeConsumerList, list, nil)
	one.beat("one", "G", "T")
	one.beat("one", "stranger", "T")
	two.beat("two", "G", "T")
	two.beat("two", "G", "T") // no change, nobody told
	if f := one.expect(Success, CodeConsumerList, list, nil); string(f.body) != `{"consumerIdList":["one","two"]}` {
		t.Errorf("list %s", f.body)
	}
	one.expect(PullNotFound, CodePull, pullFields("G", "T", 0, fields{"sysFlag": "0"}), nil) // the heartbeat subscribes
	_ = two.net.Close()
	for len(b.Members("G")) != 1 {
		<-time.After(time.Millisecond)
	}
	for len(one.told) < 3 { // own join, two's join, two's leave
		one.expect(SystemError, CodeConsumerList, fields{"consumerGroup": "stranger"}, nil)
	}
	one.expect(Success, CodeUnregister, fields{"clientID": "one", "consumerGroup": "G"}, nil)
	one.expect(SystemError, CodeConsumerList, list, nil)
	if got := strings.Join(one.told, " "); got != "G G G" {
		t.Errorf("told of %s", got)
	}
}

func TestSends(t *testing.T) {
	b := startWire(t, Config{Topics: map[string]int{"T": 2}, Groups: []string{"G"}})
	c := dial(t, b)
	for _, tc := range []struct {
		name string
		ext  fields
		body int
		code int
	}{
		{"no topic", fields{"topic": "absent"}, 1, TopicNotExist},
		{"no queue", fields{"topic": "T", "queueId": "2"}, 1, SystemError},
		{"body too large", fields{"topic": "T"}, maxBody + 1, MessageIllegal},
		{"properties too large", fields{"topic": "T", "properties": "k\x01" + strings.Repeat("v", maxProperties) + "\x02"}, 1, MessageIllegal},
		{"timer too far", fields{"topic": "T", "properties": "TIMER_DELAY_SEC\x01999999\x02"}, 1, MessageIllegal},
		{"transactional", fields{"topic": "T", "sysFlag": "4"}, 1, NoPermission},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if f := c.call(CodeSend, tc.ext, make([]byte, tc.body)); f.Code != tc.code {
				t.Errorf("code %d %q, want %d", f.Code, f.Remark, tc.code)
			}
		})
	}
	if n := len(b.Messages("T")); n != 0 {
		t.Fatalf("%d stored", n)
	}

	f := c.send("-1", "any", "UNIQ_KEY\x01id\x02WAIT\x01true\x02")
	m := b.Messages("T")[0]
	if m.OffsetMsgID != f.Ext["msgId"] || strconv.Itoa(m.QueueID) != f.Ext["queueId"] || m.MsgID != "id" || len(m.Properties) != 4 {
		t.Errorf("stored %+v, answer %v", m, f.Ext)
	}

	item := func(body, properties string) []byte {
		data := make([]byte, 16, 64)
		data = binary.BigEndian.AppendUint32(data, wireSize(len(body)))
		data = append(data, body...)
		data = binary.BigEndian.AppendUint16(data, uint16(len(properties)))
		return append(data, properties...)
	}
	batch := append(item("a", "k\x01v\x02"), item("b", "")...)
	f = c.expect(Success, CodeSendBatch, fields{"b": "T", "e": "1"}, batch)
	if ids := strings.Split(f.Ext["msgId"], ","); len(ids) != 2 || ids[1] != b.Messages("T")[2].OffsetMsgID {
		t.Errorf("batch ids %v", ids)
	}
	c.expect(MessageIllegal, CodeSendBatch, fields{"b": "T", "e": "1"}, batch[:len(batch)-1])
	c.expect(RequestNotSupported, 324, nil, nil)
}

func TestSendBack(t *testing.T) {
	b := startWire(t, Config{Topics: map[string]int{"T": 1}, Groups: []string{"G"}})
	c := dial(t, b)
	id := c.send("0", "x", "").Ext["msgId"]
	physical, err := strconv.ParseInt(id[16:], 16, 64)
	if err != nil {
		t.Fatal(err)
	}
	back := func(group string, level int, limit string) fields {
		return fields{"group": group, "offset": strconv.FormatInt(physical, 10), "delayLevel": strconv.Itoa(level), "maxReconsumeTimes": limit}
	}
	c.expect(SubscriptionGroupNone, CodeSendBack, back("stranger", 0, "16"), nil)
	c.expect(SystemError, CodeSendBack, fields{"group": "G", "offset": "1"}, nil)
	c.expect(Success, CodeSendBack, back("G", 0, "16"), nil)
	c.expect(Success, CodeSendBack, back("G", 5, ""), nil)
	c.expect(Success, CodeSendBack, back("G", -1, "16"), nil)
	c.expect(Success, CodeSendBack, back("G", 0, "0"), nil)
	var levels []string
	for _, m := range b.Scheduled("%RETRY%G") {
		levels = append(levels, m.Properties["DELAY"])
	}
	if fmt.Sprint(levels) != "[3 5]" || len(b.Messages("%DLQ%G")) != 2 {
		t.Errorf("retries at levels %v, %d dead letters", levels, len(b.Messages("%DLQ%G")))
	}
}

func TestScheduledAndAdmin(t *testing.T) {
	b := startWire(t, Config{Topics: map[string]int{"T": 1}})
	c := dial(t, b)
	for _, level := range []string{"18", "16", "17", "99"} {
		c.send("0", level, "DELAY\x01"+level+"\x02")
	}
	var order []string
	for _, m := range b.Scheduled("T") {
		order = append(order, string(m.Body))
	}
	if got := strings.Join(order, " "); got != "16 17 18 99" {
		t.Errorf("scheduled %s", got)
	}

	c.expect(Success, CodeCreateGroup, nil, []byte(`{"groupName":"made"}`))
	c.expect(SystemError, CodeCreateGroup, nil, []byte(`{}`))
	c.expect(Success, CodeUpdateBrokerConfig, nil, []byte("fileReservedTime=48\nkey=value"))
	if f := c.expect(Success, CodeBrokerConfig, nil, nil); !strings.Contains(string(f.body), "fileReservedTime=48\n") || !strings.Contains(string(f.body), "brokerPermission=6\n") {
		t.Errorf("settings: %s", f.body)
	}
	c.expect(ConsumerNotOnline, CodeConsumerConnections, map[string]string{"consumerGroup": "nobody"}, nil)
	c.expect(Success, CodeCreateTopic, fields{"topic": "made", "readQueueNums": "2", "writeQueueNums": "2"}, nil)
	c.expect(SystemError, CodeCreateTopic, fields{"topic": "made"}, nil)
	c.expect(TopicNotExist, CodeRoute, fields{"topic": "absent"}, nil)
	for _, topic := range []string{"made", "%RETRY%made"} {
		if f := c.expect(Success, CodeRoute, fields{"topic": topic}, nil); !strings.Contains(string(f.body), b.Addr()) {
			t.Errorf("route of %s: %s", topic, f.body)
		}
	}
	c.expect(Success, CodeDeleteTopicInNamesv, fields{"topic": "made"}, nil)
	c.expect(TopicNotExist, CodeRoute, fields{"topic": "made"}, nil)
}

func TestHooksOnTheWire(t *testing.T) {
	b := startWire(t, Config{Topics: map[string]int{"T": 1}, Groups: []string{"G"}})
	c := dial(t, b)
	b.SetHook(func(r Request) Action {
		switch {
		case r.Code == CodeSend && r.Properties["fate"] == "twice":
			return Action{Kind: Duplicate}
		case r.Code == CodeSend && r.Properties["fate"] == "odd":
			return Action{Kind: Status, Code: FlushSlaveTimeout}
		case r.Code == CodeConsumerList && r.Group == "G":
			return Action{Kind: Refuse, Code: FlowControl, Remark: "later"}
		case r.Code == CodeUpdateOffset:
			return Action{Kind: StoreButStaySilent}
		case r.Code == CodeMaxOffset:
			return Action{Kind: Silent}
		case r.Code == CodeTopicList:
			return Action{Kind: ResetAfter, Delay: time.Millisecond}
		case r.Code == CodePull:
			return Action{Kind: Reorder}
		}
		return Action{}
	})
	c.send("0", "x", "fate\x01twice\x02")
	c.expect(FlushSlaveTimeout, CodeSend, fields{"topic": "T", "properties": "fate\x01odd\x02"}, []byte("y"))
	c.expect(TopicNotExist, CodeSend, fields{"topic": "absent", "properties": "fate\x01twice\x02"}, nil)
	if f := c.expect(FlowControl, CodeConsumerList, fields{"consumerGroup": "G"}, nil); f.Remark != "later" {
		t.Errorf("remark %q", f.Remark)
	}
	c.post(CodeUpdateOffset, fields{"consumerGroup": "G", "topic": "T", "queueId": "0", "commitOffset": "2"}, nil)
	c.post(CodeMaxOffset, fields{"topic": "T"}, nil)
	if f := c.expect(Success, CodePull, pullFields("G", "T", 0, nil), nil); records(f) != 3 || f.body[len(f.body)-1] == 0 {
		t.Errorf("%d records", records(f))
	}
	c.post(CodeTopicList, nil, nil)
	if f := c.read(); f != nil {
		t.Errorf("answer %+v on a reset connection", f)
	}
	if got := b.Committed("G", "T")[0]; got != 2 {
		t.Errorf("committed %d", got)
	}
	for _, want := range []struct {
		code  int
		kind  Kind
		times int
	}{
		{CodeSend, Duplicate, 1},
		{CodeSend, Status, 1},
		{CodeSend, Pass, 1},
		{CodeConsumerList, Refuse, 1},
		{CodeUpdateOffset, StoreButStaySilent, 1},
		{CodeMaxOffset, Silent, 1},
		{CodePull, Reorder, 1},
		{CodeTopicList, ResetAfter, 1},
	} {
		if got := b.Count(want.code, want.kind); got != want.times {
			t.Errorf("code %d, kind %d: counted %d, want %d", want.code, want.kind, got, want.times)
		}
	}
	if b.Delayed(CodeTopicList) != 1 {
		t.Error("delay not counted")
	}
}

func TestNoGoroutineOutlivesClose(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	b, err := Start(Config{Topics: map[string]int{"T": 4}, Groups: []string{"G"}})
	if err != nil {
		t.Fatal(err)
	}
	b.SetHook(func(r Request) Action {
		if r.Code == CodeTopicList {
			return Action{Delay: time.Hour}
		}
		return Action{}
	})
	c := dial(t, b)
	c.beat("one", "G", "T")
	c.send("0", "later", "DELAY\x0118\x02")
	c.post(CodePull, pullFields("G", "T", 0, fields{"sysFlag": "6", "suspendTimeoutMillis": "20000"}), nil)
	c.post(CodeTopicList, nil, nil)
	c.expect(Success, CodeMaxOffset, fields{"topic": "T"}, nil)

	var users sync.WaitGroup
	for range 4 { // Close while others work
		other := dial(t, b)
		users.Go(func() {
			for {
				f := &frame{Code: CodeSend, Ext: fields{"topic": "T", "queueId": "1"}, body: []byte("x")}
				data, err := f.encode()
				if err != nil {
					t.Error(err)
					return
				}
				if _, err := other.net.Write(data); err != nil || other.read() == nil {
					return
				}
			}
		})
	}
	restarted := make(chan error, 1)
	for len(b.Messages("T")) < 100 {
		<-time.After(time.Millisecond)
	}
	go func() { restarted <- b.Restart(time.Hour) }()
	users.Wait()
	if err := b.Close(); err != nil {
		t.Error(err)
	}
	if err := <-restarted; err == nil {
		t.Error("restart of a closed broker succeeded")
	}
	if err := b.Close(); err != nil {
		t.Errorf("second close: %v", err)
	}
	if n := len(b.Messages("T")); n < 100 {
		t.Errorf("%d messages after close", n)
	}
}

func TestRestartOnTheWire(t *testing.T) {
	b := startWire(t, Config{Topics: map[string]int{"T": 1}, Groups: []string{"G"}})
	c := dial(t, b)
	c.beat("one", "G", "T")
	c.send("0", "x", "")
	if err := b.Restart(10 * time.Millisecond); err != nil {
		t.Fatal(err)
	}
	if f := c.read(); f != nil {
		t.Errorf("old connection answered %+v", f)
	}
	c = dial(t, b)
	c.expect(SystemError, CodeConsumerList, fields{"consumerGroup": "G"}, nil)
	c.expect(SubscriptionNotExist, CodePull, pullFields("G", "T", 0, fields{"sysFlag": "2"}), nil)
	if f := c.send("0", "y", ""); f.Ext["queueOffset"] != "1" {
		t.Errorf("offset %s after restart", f.Ext["queueOffset"])
	}
}
