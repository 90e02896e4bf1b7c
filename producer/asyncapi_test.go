package producer_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"refundd/producer"
)

const asyncAPI = "asyncapi.json"

// document is what the tests ask of the AsyncAPI document.
type document struct {
	Channels   map[string]channel
	Operations map[string]operation
	Components struct {
		Messages map[string]message
	}
}

type reference struct {
	Ref string `json:"$ref"`
}

type channel struct {
	Address  string
	Messages map[string]reference
}

type operation struct {
	Action   string
	Channel  reference
	Messages []reference
}

type message struct {
	ContentType string
	Examples    []struct {
		Name    string
		Headers json.RawMessage
		Payload json.RawMessage
	}
}

func readDocument(tb testing.TB) document {
	tb.Helper()
	var d document
	if err := json.Unmarshal(readFile(tb, asyncAPI), &d); err != nil {
		tb.Fatal(err)
	}
	return d
}

// part compiles the headers or the payload of a message.
func part(tb testing.TB, message, part string) *jsonschema.Schema {
	tb.Helper()
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	c.DefaultDraft(jsonschema.Draft7) // AsyncAPI's own
	s, err := c.Compile(asyncAPI + "#/components/messages/" + message + "/" + part)
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

func TestAsyncAPIStructure(t *testing.T) {
	if err := readSchema(t, "testdata/asyncapi-3.schema.json").Validate(readJSON(t, readFile(t, asyncAPI))); err != nil {
		t.Error(err)
	}
}

func TestAsyncAPIReferencesResolve(t *testing.T) {
	seen := 0
	var walk func(path string, value any)
	walk = func(path string, value any) {
		switch v := value.(type) {
		case node:
			if ref, ok := v["$ref"].(string); ok {
				seen++
				if err := resolves(t, ref); err != nil {
					t.Errorf("%s: %s: %v", path, ref, err)
				}
			}
			for _, name := range names(v) {
				if name != "examples" { // these are values
					walk(path+"/"+name, v[name])
				}
			}
		case []any:
			for i, one := range v {
				walk(fmt.Sprintf("%s/%d", path, i), one)
			}
		}
	}
	walk("", any(parsed(t, readFile(t, asyncAPI))))
	if seen < 50 {
		t.Errorf("%d references", seen)
	}
	for _, bad := range []string{"#/channels/none", "./schema/none.json", "./schema/refund-event.v1.schema.json#/properties/none"} {
		if resolves(t, bad) == nil {
			t.Errorf("%s resolves", bad)
		}
	}
}

// resolves looks a reference up that stands in the document.
func resolves(tb testing.TB, ref string) error {
	tb.Helper()
	file, pointer, _ := strings.Cut(ref, "#")
	if file == "" {
		file = asyncAPI
	} else if files, err := filepath.Glob(file); err != nil || len(files) != 1 {
		return errors.New("no such file")
	}
	var at any = parsed(tb, readFile(tb, file))
	for name := range strings.SplitSeq(strings.TrimPrefix(pointer, "/"), "/") {
		if name == "" {
			break
		}
		s, _ := at.(node)
		below, ok := s[name]
		if !ok {
			return fmt.Errorf("nothing at %s", name)
		}
		at = below
	}
	return nil
}

// An operation speaks of a channel of the document and of messages of that channel, and nothing stands there unused.
func TestAsyncAPIOperations(t *testing.T) {
	d := readDocument(t)
	const messages = "#/components/messages/"
	used := map[string]int{}
	for name, c := range d.Channels {
		for key, m := range c.Messages {
			if m.Ref != messages+key {
				t.Errorf("%s: the message %s is %s", name, key, m.Ref)
			}
			used[key]++
		}
	}
	for name := range d.Components.Messages {
		if used[name] == 0 {
			t.Errorf("no channel has %s", name)
		}
	}
	got := map[string][]string{}
	for name, o := range d.Operations {
		channel := strings.TrimPrefix(o.Channel.Ref, "#/channels/")
		got[channel] = append(got[channel], o.Action)
		var told []string
		for _, m := range o.Messages {
			key, ok := strings.CutPrefix(m.Ref, o.Channel.Ref+"/messages/")
			if !ok {
				t.Errorf("%s: %s is not a message of its channel", name, m.Ref)
			}
			told = append(told, key)
		}
		if slices.Sort(told); !slices.Equal(told, slices.Sorted(maps.Keys(d.Channels[channel].Messages))) {
			t.Errorf("%s has the messages %v", name, told)
		}
	}
	for _, actions := range got {
		slices.Sort(actions)
	}
	if want := map[string][]string{
		"refundCommand": {"receive"}, "couponRefundCommand": {"receive"}, "refundEvent": {"send"},
		"refundRetry": {"receive", "send"}, "refundParked": {"send"},
	}; !reflect.DeepEqual(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
}

func TestAsyncAPIExamples(t *testing.T) {
	shown := 0
	for name, m := range readDocument(t).Components.Messages {
		for _, example := range m.Examples {
			t.Run(name+"/"+example.Name, func(t *testing.T) {
				shown++
				if err := part(t, name, "headers").Validate(readJSON(t, example.Headers)); err != nil {
					t.Error(err)
				}
				if err := part(t, name, "payload").Validate(readJSON(t, example.Payload)); err != nil {
					t.Error(err)
				}
				files, err := filepath.Glob("schema/examples/" + strings.TrimSuffix(example.Name, "-copy") + ".json")
				if err != nil || (len(files) == 0 && m.ContentType == "application/json") {
					t.Fatal("not one of the published examples")
				}
				for _, file := range files {
					if !reflect.DeepEqual(readJSON(t, readFile(t, file)), readJSON(t, example.Payload)) {
						t.Errorf("not as in %s", file)
					}
				}
			})
		}
	}
	if shown != 12 {
		t.Errorf("%d examples", shown)
	}
}

// Every event is published with the properties and the body that its message in the document has, and no other message fits it.
func TestAsyncAPIEvents(t *testing.T) {
	type schemas struct{ headers, payload *jsonschema.Schema }
	told := map[string]schemas{}
	for name := range readDocument(t).Channels["refundEvent"].Messages {
		told[name] = schemas{part(t, name, "headers"), part(t, name, "payload")}
	}
	fits := map[string]int{}
	for typ, event := range events() {
		encoded, err := event.Encode()
		if err != nil {
			t.Fatal(err)
		}
		c := &client{answer: status(primitive.SendOK)}
		if err := producer.New(c, topics()).Publish(t.Context(), encoded); err != nil {
			t.Fatal(err)
		}
		sent := c.messages()[0]
		for name, message := range told {
			headers := message.headers.Validate(asValue(t, sent.GetProperties()))
			payload := message.payload.Validate(readJSON(t, sent.Body))
			if (headers == nil) != (payload == nil) {
				t.Errorf("%s as %s: %v, %v", typ, name, headers, payload)
			}
			if headers == nil {
				fits[name]++
				if want := strings.ReplaceAll(strings.TrimSuffix(string(typ), ".v1"), ".", "_"); snake(name) != want {
					t.Errorf("%s fits %s", typ, name)
				}
			}
		}
	}
	if len(told) != len(events()) || len(fits) != len(told) {
		t.Errorf("%d messages, fitting events: %v", len(told), fits)
	}
}

// The properties of copies are those of the document: all of them, no others, and none of them left out that is always there.
func TestAsyncAPICopies(t *testing.T) {
	var d struct {
		Components struct {
			Schemas map[string]struct {
				Properties map[string]any
				Required   []string
			}
		}
	}
	if err := json.Unmarshal(readFile(t, asyncAPI), &d); err != nil {
		t.Fatal(err)
	}
	told := d.Components.Schemas["copyProperties"]
	if got, want := names(told.Properties), slices.Sorted(maps.Keys(fullCopy().Properties())); !slices.Equal(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
	slices.Sort(told.Required)
	if want := slices.Sorted(maps.Keys(producer.Copy{}.Properties())); !slices.Equal(told.Required, want) {
		t.Errorf("required %v, want %v", told.Required, want)
	}
	for _, name := range []string{"copyOfRefundCommand", "copyOfCouponRefundCommand", "copyOfAnythingElse", "stub"} {
		headers := part(t, name, "headers")
		for _, c := range []producer.Copy{{}, fullCopy(), {Try: 1<<31 - 1, Generation: 1<<63 - 1, Born: time.UnixMilli(1<<53 - 1)}} {
			if err := headers.Validate(asValue(t, c.Properties())); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

func asValue(tb testing.TB, properties map[string]string) any {
	tb.Helper()
	text, err := json.Marshal(properties)
	if err != nil {
		tb.Fatal(err)
	}
	return readJSON(tb, text)
}

// snake gives couponRefundFailed as coupon_refund_failed.
func snake(name string) string {
	var text strings.Builder
	for _, r := range name {
		if 'A' <= r && r <= 'Z' {
			text.WriteByte('_')
			r += 'a' - 'A'
		}
		text.WriteRune(r)
	}
	return text.String()
}
