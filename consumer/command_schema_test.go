package consumer

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// examples are the published ones, as readFile is to find them.
const examples = "../../../producer/schema/examples/"

// published are the schemas that others read; they stand with the rest of
// what is published.
func published(kind Kind) string {
	if kind == KindCouponRefund {
		return "../producer/schema/coupon-refund-command.v1.schema.json"
	}
	return "../producer/schema/refund-command.v1.schema.json"
}

func readSchema(tb testing.TB, kind Kind) schema {
	tb.Helper()
	text, err := os.ReadFile(published(kind))
	if err != nil {
		tb.Fatal(err)
	}
	var s schema
	if err := json.Unmarshal(text, &s); err != nil {
		tb.Fatal(err)
	}
	return s
}

// schema is the part of JSON Schema that the command schemas use.
type schema struct {
	Type       kinds
	Properties map[string]schema
	Required   []string
	Items      *schema
	Enum       []string
	Pattern    string
	MaxLength  int
	MaxItems   int
	Maximum    int
}

// kinds is one type or several.
type kinds []string

func (k *kinds) UnmarshalJSON(text []byte) error {
	if text[0] != '[' {
		text = slices.Concat([]byte("["), text, []byte("]"))
	}
	return json.Unmarshal(text, (*[]string)(k))
}

func (k kinds) are(kind string) bool { return slices.Contains(k, kind) }

// probe is one member of a command that is wrong in one way or right.
type probe struct {
	path    string // of the member
	members string // `"name":value`
	offends string // the path that must be named; empty if the command must be taken
}

// probes are right and wrong values for everything that the schema tells about a member.
func (s schema) probes(path string) []probe {
	name := path[strings.LastIndexByte(path, '.')+1:]
	at := func(value any) string {
		text, err := json.Marshal(map[string]any{name: value})
		if err != nil {
			panic(err)
		}
		return strings.TrimSuffix(strings.TrimPrefix(string(text), "{"), "}")
	}
	right := func(value any) probe { return probe{path, at(value), ""} }
	wrong := func(value any) probe { return probe{path, at(value), path} }

	all := []probe{wrong(true), wrong(nil)}
	if s.Type.are("null") && name != "out_trade_no" { // that one or another is needed
		all[1] = right(nil)
	}
	switch {
	case s.Enum != nil:
		all = append(all, wrong("a"), wrong(1))
		for _, word := range s.Enum {
			all = append(all, right(word))
		}
	case s.Type.are("integer"):
		all = append(all, right(1), wrong(0), wrong(-1), wrong(1.5), wrong("1"))
		if s.Maximum > 0 {
			all = append(all, right(s.Maximum), wrong(s.Maximum+1))
		}
	case s.Type.are("string") && strings.Contains(s.Pattern, "A-Z"):
		all = append(all, right("CNY"), wrong("CN"), wrong("cny"), wrong("CNY "), wrong(1))
	case s.Type.are("string") && strings.Contains(s.Pattern, "0-9"):
		all = append(all, right("0.01"), right("100000000"), wrong("0"), wrong("01"), wrong("1."), wrong("+1"), wrong("1e2"), wrong(1), wrong(""))
	case s.Type.are("string"):
		char, other := "退", " "
		if s.Pattern != "" {
			char, other = "~", "!"
			all = append(all, wrong("a b"), wrong("退"))
		}
		all = append(all, right(strings.Repeat(char, s.MaxLength)), right(other), wrong(strings.Repeat(char, s.MaxLength+1)), wrong(""), wrong(1), wrong([]string{"a"}))
	case s.Type.are("object"): // metadata
		all = append(all, right(map[string]string{}), wrong("a"), wrong([]string{}))
	case s.Type.are("array"):
		all = append(all, wrong([]string{}), wrong("a"), wrong(map[string]string{}))
		all = append(all, s.itemProbes(path, name)...)
	}
	return all
}

func (s schema) itemProbes(path, name string) []probe {
	var all []probe
	wrap := func(items, offends string) {
		all = append(all, probe{path, fmt.Sprintf(`"%s":[%s]`, name, items), offends})
	}
	if s.Items.Properties == nil {
		for _, p := range s.Items.probes("item") {
			_, value, _ := strings.Cut(p.members, ":")
			if p.offends == "" {
				wrap(value, "")
				wrap(strings.Repeat(value+",", s.MaxItems-1)+value, "")
				wrap(strings.Repeat(value+",", s.MaxItems)+value, path)
				continue
			}
			wrap(value, path+"[0]")
		}
		return all
	}
	wrap(`"a"`, path+"[0]")
	for _, member := range slices.Sorted(maps.Keys(s.Items.Properties)) {
		for _, p := range s.Items.Properties[member].probes(path + "[0]." + member) {
			item := p.members
			for _, needed := range s.Items.Required {
				if needed != member {
					item += `,"` + needed + `":"1"`
				}
			}
			wrap("{"+item+"}", p.offends)
			if p.offends == "" {
				all[len(all)-1].path = p.path
			}
		}
	}
	return all
}

// base is a command with what is needed, but for the member that is probed.
func base(kind Kind, without string) string {
	members := map[string]string{"out_request_no": `"R1"`, "out_trade_no": `"T1"`, "refund_amount": `"3"`}
	if kind == KindCouponRefund {
		members = map[string]string{"out_request_no": `"R1"`, "auth_no": `"A1"`, "amount": `"3"`}
	}
	delete(members, without)
	var all []string
	for _, name := range slices.Sorted(maps.Keys(members)) {
		all = append(all, `"`+name+`":`+members[name])
	}
	return strings.Join(all, ",")
}

func eachProbe(t *testing.T, run func(t *testing.T, kind Kind, body string, p probe)) {
	t.Helper()
	for _, kind := range []Kind{KindRefund, KindCouponRefund} {
		s := readSchema(t, kind)
		for _, name := range slices.Sorted(maps.Keys(s.Properties)) {
			for i, p := range s.Properties[name].probes(name) {
				t.Run(fmt.Sprintf("%s/%s/%d", kind, name, i), func(t *testing.T) {
					run(t, kind, "{"+p.members+","+base(kind, name)+"}", p)
				})
			}
		}
	}
}

func TestDecodeCommandFollowsTheSchemas(t *testing.T) {
	eachProbe(t, func(t *testing.T, kind Kind, body string, p probe) {
		t.Helper()
		_, err := DecodeCommand(kind, []byte(body))
		if p.offends == "" {
			if err != nil {
				t.Errorf("%.200s\nrefused: %v", body, err)
			}
			return
		}
		var bad *BadCommand
		if !errors.As(err, &bad) || !strings.HasPrefix(bad.Detail, `"`+p.offends+`" `) {
			t.Errorf("%.200s\nerror %v does not name %s", body, err, p.offends)
		}
	})
}

// What upstream finds valid by the published schema and what is taken here are
// the same, but for the amounts of which no pattern can tell that they are too
// small or too large.
func TestSchemasTakeWhatIsTaken(t *testing.T) {
	compiled := map[Kind]*jsonschema.Schema{}
	for _, kind := range []Kind{KindRefund, KindCouponRefund} {
		s, err := jsonschema.NewCompiler().Compile(published(kind))
		if err != nil {
			t.Fatal(err)
		}
		compiled[kind] = s
	}
	eachProbe(t, func(t *testing.T, kind Kind, body string, p probe) {
		t.Helper()
		value, err := jsonschema.UnmarshalJSON(strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		zero := strings.Contains(p.members, `:"0"`)
		if err := compiled[kind].Validate(value); (err == nil) != (p.offends == "" || zero) {
			t.Errorf("%.200s\nby the schema: %v", body, err)
		}
	})
}

func TestDecodeCommandKnowsNoMoreThanTheSchemas(t *testing.T) {
	names := func(members []member) []string {
		var all []string
		for _, m := range members {
			all = append(all, m.name)
		}
		slices.Sort(all)
		return all
	}
	refund, coupon := readSchema(t, KindRefund), readSchema(t, KindCouponRefund)
	var c Command
	for _, row := range []struct {
		name    string
		members []member
		schema  map[string]schema
	}{
		{"refund", refundMembers(&c), refund.Properties},
		{"coupon refund", couponMembers(&c), coupon.Properties},
	} {
		if got, want := names(row.members), slices.Sorted(maps.Keys(row.schema)); !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", row.name, got, want)
		}
	}
}

func TestFingerprintCoversWhatIsSent(t *testing.T) {
	outside := []string{"out_request_no", "merchant", "metadata", "out_order_no"}
	seen := map[string]string{}
	eachProbe(t, func(t *testing.T, kind Kind, body string, p probe) {
		t.Helper()
		if p.offends != "" {
			return
		}
		plain, err := DecodeCommand(kind, []byte("{"+base(kind, "")+"}"))
		if err != nil {
			t.Fatal(err)
		}
		c, err := DecodeCommand(kind, []byte(body))
		if err != nil {
			t.Fatal(err)
		}
		got := c.Fingerprint()
		if strings.Contains(p.members, `":null`) { // in a list it is an entry all the same
			if listed := strings.Contains(p.members, "["); (got == plain.Fingerprint()) == listed {
				t.Errorf("%.200s does not count as not sent", p.members)
			}
			return
		}
		if slices.Contains(outside, p.path) {
			if got != plain.Fingerprint() {
				t.Errorf("%s changes the fingerprint", p.path)
			}
			return
		}
		if got == plain.Fingerprint() {
			t.Errorf("%.200s does not change the fingerprint", p.members)
		}
		if other, again := seen[got]; again {
			t.Errorf("%.200s has the fingerprint of %.200s", body, other)
		}
		seen[got] = body
	})
}

func TestFingerprint(t *testing.T) {
	for _, row := range []struct {
		name, want string
		kind       Kind
		bodies     []string // all with this fingerprint
	}{
		{"refund", "1:f47e2721ee9b197df683854123c13c25", KindRefund, []string{
			refundText,
			`{"refund_amount":"3.00","out_trade_no":"T1","out_request_no":"R1"}`,
			`{"refund_amount":"3.0","out_trade_no":"T1","out_request_no":"R2","merchant":"m","metadata":{"a":"b"}}`,
		}},
		{"refund by trade_no", "1:2233fc2ceebe838b92e1d1b28eb50d72", KindRefund, []string{`{"out_request_no":"R1","trade_no":"T1","refund_amount":"3"}`}},
		{"a default not sent is not the same text given", "1:c7a3a311c435d52cb68f9ccb28aaf656", KindRefund, []string{with(`"refund_currency":"CNY"`)}},
		{"arrays are ordered", "1:4cf21e062936c6d5325714d5277238af", KindRefund, []string{with(`"query_options":["deposit_back_info","refund_detail_item_list"]`)}},
		{"arrays are ordered, turned round", "1:dd7d28c2615a024e09b570b41965c0b2", KindRefund, []string{with(`"query_options":["refund_detail_item_list","deposit_back_info"]`)}},
		{"nested", "1:7518378fe9de26c0c30da704b3dd35c7", KindRefund, []string{
			with(`"goods_detail":[{"goods_id":"1","price":"1.5","quantity":2}],"refund_royalty_parameters":[{"amount":"1","amount_percentage":7}]`),
			with(`"refund_royalty_parameters":[{"amount_percentage":7.0,"amount":"1.00"}],"goods_detail":[{"quantity":2,"price":"1.50","goods_id":"1"}]`),
		}},
		{"one item of two members is not two items", "1:00eaec7b4fdff38a2633a92d506d1b1c", KindRefund, []string{with(`"refund_goods_detail":[{"goods_id":"1","out_item_id":"2"}]`)}},
		{"two items", "1:025a3308c3939cf6f3d52c1bbaa0e3d6", KindRefund, []string{with(`"refund_goods_detail":[{"goods_id":"1"},{"out_item_id":"2"}]`)}},
		{"every member", "1:9ee1cf15bef1bc160315a584e70caa12", KindRefund, []string{string(readFile(t, "full-refund-command.json"))}},
		{"coupon refund", "1:5fa5011b02cb22b4fcf13041f56f7d11", KindCouponRefund, []string{
			couponText,
			withCoupon(`"remark":"红包退回"`),
			withCoupon(`"remark":"\u7ea2包退回","out_order_no":"O1","merchant":"m","metadata":{}`),
		}},
		{"coupon refund with another remark", "1:d0eed5e58c7727575ab4555dfae67b51", KindCouponRefund, []string{withCoupon(`"remark":"a"`)}},
	} {
		t.Run(row.name, func(t *testing.T) {
			for _, body := range row.bodies {
				c, err := DecodeCommand(row.kind, []byte(body))
				if err != nil {
					t.Fatal(err)
				}
				if got := c.Fingerprint(); got != row.want {
					t.Errorf("%s\ngot %s, want %s", body, got, row.want)
				}
			}
		})
	}
}

func TestTrade(t *testing.T) {
	for _, row := range []struct {
		name string
		c    Command
		want string
	}{
		{"trade_no first", Command{Kind: KindRefund, TradeNo: "1", OutTradeNo: "2"}, "1"},
		{"else out_trade_no", Command{Kind: KindRefund, OutTradeNo: "2"}, "2"},
		{"coupon", Command{Kind: KindCouponRefund, AuthNo: "3"}, "3"},
	} {
		if got := row.c.Trade(); got != row.want {
			t.Errorf("%s: %q, want %q", row.name, got, row.want)
		}
	}
}

func FuzzDecodeCommand(f *testing.F) {
	for _, file := range []string{examples + "refund-command.json", examples + "coupon-refund-command.json"} {
		f.Add(true, readFile(f, file))
		f.Add(false, readFile(f, file))
	}
	f.Add(true, []byte(with(`"goods_detail":[{"goods_id":"\ud83d\ude00","quantity":1.0e1}],"metadata":{"a":"\u0000"}`)))
	f.Add(true, []byte(with(`"query_options":["deposit_back_info"],"x":{"y":["]","\""]}`)))
	f.Fuzz(func(t *testing.T, coupon bool, body []byte) {
		kind := KindRefund
		if coupon {
			kind = KindCouponRefund
		}
		c, err := DecodeCommand(kind, body)
		if err != nil {
			var bad *BadCommand
			if !errors.As(err, &bad) || bad.Reason == "" || bad.Detail == "" {
				t.Fatalf("error %#v", err)
			}
			return
		}
		again, err := DecodeCommand(kind, commandJSON(t, c))
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(c, again) {
			t.Errorf("got  %+v\nwant %+v", again, c)
		}
		if c.Fingerprint() != again.Fingerprint() {
			t.Error("another fingerprint")
		}
	})
}

// commandJSON writes the members of the command that are not empty.
func commandJSON(t *testing.T, c Command) []byte {
	t.Helper()
	members := map[string]any{"merchant": c.Merchant, "out_request_no": c.OutRequestNo, "auth_no": c.AuthNo, "out_order_no": c.OutOrderNo, "remark": c.Remark}
	if c.Kind == KindCouponRefund {
		members["amount"] = c.Amount.String()
	} else {
		text, err := json.Marshal(c.Refund)
		if err != nil {
			t.Fatal(err)
		}
		decoder := json.NewDecoder(strings.NewReader(string(text)))
		decoder.UseNumber()
		if err := decoder.Decode(&members); err != nil {
			t.Fatal(err)
		}
	}
	maps.DeleteFunc(members, func(_ string, value any) bool { return value == "" })
	if c.Metadata != nil {
		members["metadata"] = c.Metadata
	}
	text, err := json.Marshal(members)
	if err != nil {
		t.Fatal(err)
	}
	return text
}
