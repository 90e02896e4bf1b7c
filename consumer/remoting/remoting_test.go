package remoting_test

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"refundd/consumer/remoting"
)

// request is what a client sent, as a test looks at it.
type request struct {
	Code   int               `json:"code"`
	Opaque int               `json:"opaque"`
	Fields map[string]string `json:"extFields"`
	body   string
}

// serve answers every connection's one request with the bytes of answer and
// returns its address.
func serve(t *testing.T, answer func(request) []byte) string {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var served sync.WaitGroup
	served.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			r, err := readRequest(conn)
			if err != nil {
				t.Errorf("read request: %v", err)
			}
			if _, err := conn.Write(answer(r)); err != nil {
				t.Errorf("answer: %v", err)
			}
			_ = conn.Close()
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		served.Wait()
	})
	return listener.Addr().String()
}

func readRequest(conn net.Conn) (request, error) {
	var sizes [8]byte
	if _, err := io.ReadFull(conn, sizes[:]); err != nil {
		return request{}, err
	}
	rest := make([]byte, binary.BigEndian.Uint32(sizes[:4])-4)
	if _, err := io.ReadFull(conn, rest); err != nil {
		return request{}, err
	}
	head := binary.BigEndian.Uint32(sizes[4:])
	var r request
	err := json.Unmarshal(rest[:head], &r)
	r.body = string(rest[head:])
	return r, err
}

// frame is an answer with this header text and body.
func frame(header, body string) []byte {
	f := binary.BigEndian.AppendUint32(nil, uint32(4+len(header)+len(body)))
	f = binary.BigEndian.AppendUint32(f, uint32(len(header)))
	return append(f, header+body...)
}

func answer(r request, code int, remark, body string) []byte {
	return frame(fmt.Sprintf(`{"code":%d,"flag":1,"language":"JAVA","opaque":%d,"remark":%q,"serializeTypeCurrentRPC":"JSON","version":493}`, code, r.Opaque, remark), body)
}

func TestRequests(t *testing.T) {
	tests := []struct {
		name string
		do   func(ctx context.Context, address string) error
		code int
		// fields are those to look for; others may be there
		fields map[string]string
		body   string
	}{
		{
			"create topic",
			func(ctx context.Context, a string) error { return remoting.CreateTopic(ctx, a, "refunds", 4) },
			17,
			map[string]string{"topic": "refunds", "readQueueNums": "4", "writeQueueNums": "4", "perm": "6"},
			"",
		},
		{
			"create group",
			func(ctx context.Context, a string) error { return remoting.CreateGroup(ctx, a, "refundd") },
			200, nil, `"groupName":"refundd"`,
		},
		{
			"delete group",
			func(ctx context.Context, a string) error { return remoting.DeleteGroup(ctx, a, "refundd") },
			207,
			map[string]string{"groupName": "refundd"},
			"",
		},
		{
			"delete topic",
			func(ctx context.Context, a string) error { return remoting.DeleteTopic(ctx, a, a, "refunds") },
			216,
			map[string]string{"topic": "refunds"},
			"",
		},
		{
			"configure",
			func(ctx context.Context, a string) error {
				return remoting.Configure(ctx, a, map[string]string{"brokerPermission": "6"})
			},
			25, nil, "brokerPermission=6\n",
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var last request
			address := serve(t, func(r request) []byte {
				last = r
				return answer(r, 0, "", "")
			})
			if err := test.do(t.Context(), address); err != nil {
				t.Fatal(err)
			}
			if last.Code != test.code {
				t.Errorf("code %d, want %d", last.Code, test.code)
			}
			for name, want := range test.fields {
				if last.Fields[name] != want {
					t.Errorf("field %s = %q, want %q", name, last.Fields[name], want)
				}
			}
			if !strings.Contains(last.body, test.body) {
				t.Errorf("body %q, want %q in it", last.body, test.body)
			}
		})
	}
}

func TestBrokersAndRoute(t *testing.T) {
	// Ids come quoted or bare; a broker whose master is gone has no id 0.
	const (
		first  = `{"brokerName":"a","brokerAddrs":{"0":"127.0.0.1:10"}}`
		second = `{"brokerName":"b","brokerAddrs":{0:"127.0.0.1:20",1:"127.0.0.1:21"}}`
		third  = `{"brokerName":"c","brokerAddrs":{1:"127.0.0.1:31"}}`
	)
	address := serve(t, func(r request) []byte {
		if r.Code == 105 {
			return answer(r, 0, "", `{"brokerDatas":[`+second+`,`+third+`,`+first+`],"queueDatas":[]}`)
		}
		return answer(r, 0, "", `{"brokerAddrTable":{"b":`+second+`,"c":`+third+`,"a":`+first+`},"clusterAddrTable":{}}`)
	})
	want := []string{"127.0.0.1:10", "127.0.0.1:20"}
	if got, err := remoting.Brokers(t.Context(), address); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("Brokers = %v, %v, want %v", got, err, want)
	}
	if got, err := remoting.Route(t.Context(), address, "refunds"); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("Route = %v, %v, want %v", got, err, want)
	}
	if got, err := remoting.WaitBroker(t.Context(), address); err != nil || got != want[0] {
		t.Errorf("WaitBroker = %q, %v, want %q", got, err, want[0])
	}
}

func TestInspect(t *testing.T) {
	address := serve(t, func(r request) []byte {
		switch r.Code {
		case 105:
			return answer(r, 0, "", `{"brokerDatas":[{"brokerName":"b","brokerAddrs":{0:"127.0.0.1:20"}}],"queueDatas":[`+
				`{"brokerName":"b","readQueueNums":8,"writeQueueNums":4,"perm":6},{"brokerName":"a","readQueueNums":1,"writeQueueNums":1,"perm":2}]}`)
		case 26:
			return answer(r, 0, "", "flushDiskType=SYNC_FLUSH\nmessageDelayLevel=1s 5s\n\n")
		case 203:
			if r.Fields["consumerGroup"] == "asleep" {
				return answer(r, 206, "the consumer group[asleep] not online", "")
			}
			return answer(r, 0, "", `{"connectionSet":[{"clientId":"two","clientAddr":"127.0.0.1:1"},{"clientId":"one"}],`+
				`"subscriptionTable":{"refund-retry":{"topic":"refund-retry"},"%RETRY%refundd":{},"refund-command":{}}}`)
		case 352:
			switch r.Fields["group"] {
			case "refundd":
				return answer(r, 0, "", `{"groupName":"refundd","consumeEnable":true}`)
			case "old":
				return answer(r, 3, "request type 352 not supported", "")
			}
			return answer(r, 26, "subscription group does not exist", "")
		case 201:
			return answer(r, 0, "", `{"subscriptionGroupTable":{"old":{"groupName":"old","consumeEnable":false}}}`)
		case 30:
			return frame(`{"code":0,"flag":1,"opaque":1,"extFields":{"offset":"100"}}`, "")
		case 14:
			if r.Fields["queueId"] == "1" {
				return answer(r, 22, "Not found", "")
			}
			return frame(`{"code":0,"flag":1,"opaque":1,"extFields":{"offset":"70"}}`, "")
		}
		return answer(r, 3, "not supported", "")
	})
	queues, err := remoting.Queues(t.Context(), address, "refunds")
	if want := []remoting.TopicQueues{{Broker: "a", Read: 1, Write: 1, Perm: 2}, {Broker: "b", Address: "127.0.0.1:20", Read: 8, Write: 4, Perm: 6}}; err != nil || !reflect.DeepEqual(queues, want) {
		t.Errorf("Queues = %v, %v, want %v", queues, err, want)
	}
	settings, err := remoting.Settings(t.Context(), address)
	if want := map[string]string{"flushDiskType": "SYNC_FLUSH", "messageDelayLevel": "1s 5s"}; err != nil || !reflect.DeepEqual(settings, want) {
		t.Errorf("Settings = %v, %v, want %v", settings, err, want)
	}
	members, err := remoting.Members(t.Context(), address, "refundd")
	if want := (remoting.Membership{Clients: []string{"one", "two"}, Topics: []string{"refund-command", "refund-retry"}}); err != nil || !reflect.DeepEqual(members, want) {
		t.Errorf("Members = %v, %v, want %v", members, err, want)
	}
	if members, err := remoting.Members(t.Context(), address, "asleep"); err != nil || members.Clients != nil {
		t.Errorf("Members of a group that sleeps = %v, %v", members, err)
	}
	for name, want := range map[string]remoting.Group{"refundd": {Exists: true, Consume: true}, "nobody": {}, "old": {Exists: true}} {
		if got, err := remoting.GroupOf(t.Context(), address, name); err != nil || got != want {
			t.Errorf("GroupOf %s = %+v, %v, want %+v", name, got, err, want)
		}
	}
	if behind, known, err := remoting.Lag(t.Context(), address, "refundd", "refunds", 2); err != nil || behind != 130 || !known {
		t.Errorf("Lag = %d, %t, %v, want 30 of the first queue and 100 of the second", behind, known, err)
	}
}

// TestSigned: what RocketMQ's own clients would send. The signature was made by
// openssl, by the rule in the SDK: the values in the order of their names.
func TestSigned(t *testing.T) {
	var last request
	address := serve(t, func(r request) []byte {
		last = r
		return answer(r, 0, "", `{"brokerDatas":[]}`)
	})
	ctx := remoting.Signed(t.Context(), "ak", "sk")
	if _, err := remoting.Route(ctx, address, "refunds"); err != nil {
		t.Fatal(err)
	}
	if last.Fields["AccessKey"] != "ak" || last.Fields["Signature"] != "XPmdyrgGOw2w8siCfrZRAFcmK/k=" || last.Fields["topic"] != "refunds" {
		t.Errorf("fields %v", last.Fields)
	}
	if _, err := remoting.Route(remoting.Signed(t.Context(), "", ""), address, "refunds"); err != nil || last.Fields["Signature"] != "" {
		t.Errorf("without an access key: %v, %v", last.Fields, err)
	}
}

func TestWaitRouteUntilThere(t *testing.T) {
	asked := 0
	address := serve(t, func(r request) []byte {
		asked++
		switch asked {
		case 1:
			return answer(r, 17, "no topic route info", "")
		case 2:
			return answer(r, 0, "", `{"brokerDatas":[]}`)
		default:
			return answer(r, 0, "", `{"brokerDatas":[{"brokerAddrs":{0:"127.0.0.1:1"}}]}`)
		}
	})
	if err := remoting.WaitRoute(t.Context(), address, "refunds"); err != nil {
		t.Fatal(err)
	}
	if asked != 3 {
		t.Errorf("asked %d times, want 3", asked)
	}
}

func TestWaitRouteGivesUp(t *testing.T) {
	address := serve(t, func(r request) []byte { return answer(r, 17, "no topic route info", "") })
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	err := remoting.WaitRoute(ctx, address, "refunds")
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v, want the context's", err)
	}
	refused, ok := errors.AsType[*remoting.RefusedError](err)
	if !ok || refused.Code != remoting.CodeTopicNotExist {
		t.Errorf("error %v, want the last refusal in it", err)
	}
}

func TestRefusal(t *testing.T) {
	address := serve(t, func(r request) []byte { return answer(r, 1, "no permission\n\tat java.lang", "") })
	err := remoting.CreateTopic(t.Context(), address, "refunds", 1)
	if want := "create topic refunds: refused with code 1: no permission"; err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
}

func TestBadAnswers(t *testing.T) {
	tests := []struct {
		name   string
		answer []byte
		want   string
	}{
		{"nothing", nil, "EOF"},
		{"cut off", frame(`{"flag":1,"opaque":1}`, "")[:12], "EOF"},
		{"length of gigabytes", []byte{0xff, 0xff, 0xff, 0xff, 0, 0, 0, 2}, "frame of"},
		{"header longer than the frame", []byte{0, 0, 0, 8, 0, 0, 0, 9}, "frame of"},
		{"length below its own", []byte{0, 0, 0, 0, 0, 0, 0, 0}, "frame of"},
		{"binary header", []byte{0, 0, 0, 4, 1, 0, 0, 0}, "header encoding 1"},
		{"no JSON", frame("hello", ""), "decode header"},
		{"another request's", frame(`{"flag":1,"opaque":2}`, ""), "something else"},
		{"a request", frame(`{"flag":0,"opaque":1}`, ""), "something else"},
		{"bad body", frame(`{"flag":1,"opaque":1}`, "{"), "answer"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			address := serve(t, func(request) []byte { return test.answer })
			_, err := remoting.Brokers(t.Context(), address)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want %q in it", err, test.want)
			}
		})
	}
}

func TestContextEndsBlockedRequest(t *testing.T) {
	release := make(chan struct{})
	address := serve(t, func(request) []byte {
		<-release
		return nil
	})
	defer close(release)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := remoting.Brokers(ctx, address); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v, want the context's", err)
	}
}
