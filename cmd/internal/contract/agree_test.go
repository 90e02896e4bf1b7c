package contract

import (
	"encoding/json"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"refundd/cmd/internal/config"
	"refundd/cmd/internal/metrics"
	"refundd/notifyhttp"
	"refundd/producer"
)

const root = "../../.." // of the repository

func read(tb testing.TB, path string) string {
	tb.Helper()
	text, err := os.ReadFile(filepath.Clean(path))
	if err != nil {
		tb.Fatal(err)
	}
	return string(text)
}

// section is the text of the contract below the heading with the number.
func section(tb testing.TB, number string) string {
	tb.Helper()
	_, rest, ok := strings.Cut(read(tb, root+"/producer/CONTRACT.md"), "\n## "+number+". ")
	if !ok {
		tb.Fatalf("no section %s", number)
	}
	text, _, _ := strings.Cut(rest, "\n## ")
	return text
}

// rows of the tables whose first heading is the word: their cells, without code marks.
func rows(tb testing.TB, text, heading string) [][]string {
	tb.Helper()
	var all [][]string
	in := false
	for line := range strings.Lines(text) {
		line = strings.ReplaceAll(strings.TrimSpace(line), `\|`, "\x00")
		cells := strings.Split(strings.Trim(line, "|"), "|")
		for i := range cells {
			cells[i] = strings.ReplaceAll(strings.TrimSpace(cells[i]), "`", "")
		}
		switch {
		case !strings.HasPrefix(line, "|"):
			in = false
		case cells[0] == heading:
			in = true
		case in && !strings.HasPrefix(line, "|--"):
			all = append(all, cells)
		}
	}
	if len(all) == 0 {
		tb.Fatalf("no table of %s", heading)
	}
	return all
}

func words(cell string) []string {
	return strings.Split(strings.ReplaceAll(cell, "[]", ""), ", ")
}

func same(tb testing.TB, what string, got, contract []string) {
	tb.Helper()
	got, contract = slices.Clone(got), slices.Clone(contract)
	slices.Sort(got)
	slices.Sort(contract)
	if !slices.Equal(got, contract) {
		tb.Errorf("%s:\nhere     %q\ncontract %q", what, got, contract)
	}
}

func readJSON[T any](tb testing.TB, path string) T {
	tb.Helper()
	var into T
	if err := json.Unmarshal([]byte(read(tb, root+"/"+path)), &into); err != nil {
		tb.Fatal(err)
	}
	return into
}

// schema is what the tests ask of a published one.
type schema struct {
	Enum        []string
	Pattern     string
	Description string
	Properties  map[string]schema
	Required    []string
}

func names[T any](of map[string]T) []string {
	var all []string
	for name := range of {
		all = append(all, name)
	}
	return all
}

// TestTopics: variable, default and direction, in the configuration and in the AsyncAPI document.
func TestTopics(t *testing.T) {
	defaults := map[string]string{}
	for _, v := range config.Variables() {
		defaults[v.Name] = v.Default
	}
	document := readJSON[struct {
		Channels map[string]struct {
			Address  string
			Variable string `json:"x-refundd-variable"`
		}
		Operations map[string]struct {
			Action  string
			Channel struct {
				Ref string `json:"$ref"`
			}
		}
	}](t, "producer/asyncapi.json")
	var told, want []string
	for name, c := range document.Channels {
		if defaults[c.Variable] != c.Address {
			t.Errorf("%s is %q by default, the document has %q", c.Variable, defaults[c.Variable], c.Address)
		}
		for _, o := range document.Operations {
			if o.Channel.Ref == "#/channels/"+name {
				told = append(told, c.Variable+" "+c.Address+" "+o.Action)
			}
		}
	}
	for _, row := range rows(t, section(t, "2"), "variable") {
		from, to, _ := strings.Cut(row[2], " → ")
		if from == "refundd" {
			want = append(want, row[0]+" "+row[1]+" send")
		}
		if strings.HasPrefix(to, "refundd") {
			want = append(want, row[0]+" "+row[1]+" receive")
		}
	}
	same(t, "topics", told, want)
}

// TestVariables: every variable with its default. What the contract leaves empty is required, or one of the two ways to give keys.
func TestVariables(t *testing.T) {
	var here, want []string
	for _, v := range config.Variables() {
		if v.Default == "required" || v.Name == "REFUNDD_ALIPAY_PUBLIC_KEY_FILE" || strings.HasSuffix(v.Name, "_CERT_FILE") {
			v.Default = ""
		}
		here = append(here, v.Name+" "+v.Default)
	}
	for _, row := range rows(t, section(t, "6"), "variable") {
		if row[0] == "REFUNDD_TOPIC_…" {
			for _, topic := range rows(t, section(t, "2"), "variable") {
				want = append(want, topic[0]+" "+topic[1])
			}
			continue
		}
		variables, defaults := words(row[0]), words(row[1])
		for i, name := range variables {
			value := row[1]
			if len(variables) == len(defaults) {
				value = defaults[i]
			}
			want = append(want, name+" "+value)
		}
	}
	same(t, "variables", here, want)
}

// TestMembersOfCommands: the members of both tables are those of the published schemas, and so is what is required.
func TestMembersOfCommands(t *testing.T) {
	refund, coupon, ok := strings.Cut(section(t, "3"), "**coupon refund**")
	if !ok {
		t.Fatal("no coupon refunds")
	}
	for file, text := range map[string]string{"refund-command": refund, "coupon-refund-command": coupon} {
		s := readJSON[schema](t, "producer/schema/"+file+".v1.schema.json")
		var members []string
		for _, row := range rows(t, text, "member") {
			members = append(members, words(row[0])...)
			for _, name := range words(row[0]) {
				// Of out_request_no the second table says "as above".
				required := strings.HasPrefix(row[2], "required") || name == "out_request_no"
				if slices.Contains(s.Required, name) != required {
					t.Errorf("%s: %s is required by one of both only", file, name)
				}
			}
		}
		same(t, file, names(s.Properties), members)
	}
}

func eventSchema(tb testing.TB) schema {
	tb.Helper()
	return readJSON[schema](tb, "producer/schema/refund-event.v1.schema.json")
}

// TestEventTypes: the types of the table are those of the published schema, and the code makes each of them of its kind and outcome.
func TestEventTypes(t *testing.T) {
	var types []string
	for _, row := range rows(t, section(t, "4"), "type") {
		types = append(types, words(row[0])...)
	}
	s := eventSchema(t)
	explained := s.Properties["data"].Properties["outcome"].Description
	outcome := regexp.MustCompile(`^[a-z_]+[.]([a-z_]+)[.]v1$`)
	var outcomes []string
	for _, typ := range types {
		word := outcome.FindStringSubmatch(typ)[1]
		if !slices.Contains(outcomes, word) {
			outcomes = append(outcomes, word)
		}
		if !strings.Contains(explained, word) || !regexp.MustCompile(s.Properties["type"].Pattern).MatchString(typ) {
			t.Errorf("the schema does not explain %s", typ)
		}
	}
	var made []string
	for _, kind := range s.Properties["data"].Properties["kind"].Enum {
		for _, outcome := range outcomes {
			if typ := (producer.Event{Kind: producer.Kind(kind), Outcome: producer.Outcome(outcome)}).Type(); typ != "" {
				made = append(made, string(typ))
			}
		}
	}
	same(t, "types of kinds and outcomes", made, types)
}

// TestDataOfEvents: the members of the table are those of the published schema, with the words of kind and proof.
func TestDataOfEvents(t *testing.T) {
	data := eventSchema(t).Properties["data"]
	var members []string
	for _, row := range rows(t, section(t, "4"), "member") {
		members = append(members, words(row[0])...)
		switch row[0] {
		case "kind", "confirmed_by":
			same(t, row[0], data.Properties[row[0]].Enum, strings.Fields(strings.ReplaceAll(row[2], " or ", " ")))
		}
	}
	same(t, "members", names(data.Properties), members)
}

// TestReasons: the words of each outcome's line are what its events may have, and all that the published schema explains.
func TestReasons(t *testing.T) {
	text := section(t, "5")
	code := regexp.MustCompile("`([a-z_]+)`")
	var all []string
	for _, outcome := range []producer.Outcome{producer.Rejected, producer.Failed, producer.Unresolved} {
		_, line, ok := strings.Cut(text, "\n"+string(outcome)+": ")
		if !ok {
			t.Fatalf("no line of %s", outcome)
		}
		line, _, _ = strings.Cut(line, ".\n")
		for _, match := range code.FindAllStringSubmatch(line, -1) {
			all = append(all, match[1])
			for _, other := range []producer.Outcome{producer.Rejected, producer.Failed, producer.Unresolved} {
				e := producer.Event{
					ID: strings.Repeat("0", 32), Subject: "R", Time: time.UnixMilli(1), Kind: producer.KindRefund, Outcome: other, AppID: "A",
					OutRequestNo: "R", AmountFen: 1, Reason: producer.Reason(match[1]), Detail: "d",
				}
				if other != producer.Rejected {
					e.RefundKey = strings.Repeat("0", 32)
				}
				if other == producer.Failed {
					e.ConfirmedBy = producer.ByQuery
				}
				if _, err := e.Encode(); (err == nil) != (other == outcome) {
					t.Errorf("%s, which is %s, in a %s event: %v", match[1], outcome, other, err)
				}
			}
		}
	}
	for _, reason := range all {
		if !regexp.MustCompile(`\b` + reason + `\b`).MatchString(eventSchema(t).Properties["data"].Properties["reason"].Description) {
			t.Errorf("the schema does not explain %s", reason)
		}
	}
}

// TestPropertiesOfCopies: a copy with everything has the properties that the contract lists.
func TestPropertiesOfCopies(t *testing.T) {
	_, list, ok := strings.Cut(section(t, "5"), "only these properties: KEYS, ")
	if !ok {
		t.Fatal("no list of properties")
	}
	want := []string{"KEYS"}
	for _, match := range regexp.MustCompile("`([A-Za-z_]+)`").FindAllStringSubmatch(list, -1) {
		want = append(want, match[1])
	}
	full := producer.Copy{
		Keys: "R", Traceparent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", Reason: "held", Try: 1, Topic: "t", MsgID: "m",
		Born: time.UnixMilli(1), First: time.UnixMilli(2), Generation: 1, Park: 1, Claimed: true,
	}
	same(t, "properties", names(full.Properties()), want)
}

// TestMetrics: names and labels are the contract's, no more and no less, and so are the classes of calls.
func TestMetrics(t *testing.T) {
	m, err := metrics.NewMetrics()
	if err != nil {
		t.Fatal(err)
	}
	m.Command("refund", "succeeded", time.Now())
	m.Call("alipay.trade.refund", "ok", time.Second)
	m.Published("refund.succeeded.v1")
	m.PublishFailed("refund-event")
	m.Notification(notifyhttp.Published)
	m.Retried("held")
	m.Parked("too_old")
	m.SetLag(map[string]int64{"refund-command": 1})
	m.RedisCall("claim", time.Millisecond)
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), "GET", "/metrics", nil))

	label := regexp.MustCompile(`([a-z]+)="([^"]*)"`)
	here, classes := map[string]bool{}, map[string]bool{}
	for line := range strings.Lines(w.Body.String()) {
		series, _, _ := strings.Cut(line, " ")
		name, braced, _ := strings.Cut(series, "{")
		for _, suffix := range []string{"_bucket", "_sum", "_count"} {
			name = strings.TrimSuffix(name, suffix)
		}
		if !strings.HasPrefix(name, "refundd_") {
			continue
		}
		var labels []string
		for _, pair := range label.FindAllStringSubmatch(braced, -1) {
			if pair[1] == "class" {
				classes[pair[2]] = true
			}
			if pair[1] != "le" {
				labels = append(labels, pair[1])
			}
		}
		slices.Sort(labels)
		here[name+" "+strings.Join(labels, ",")] = true
	}

	text := strings.ReplaceAll(section(t, "8"), "\n", " ")
	var want []string
	for _, match := range regexp.MustCompile("`(refundd_[a-z_]+)(?:{([a-z,]+)})?`").FindAllStringSubmatch(text, -1) {
		labels := strings.Split(match[2], ",")
		slices.Sort(labels)
		want = append(want, match[1]+" "+strings.Join(labels, ","))
	}
	same(t, "metrics", names(here), want)
	match := regexp.MustCompile(`class: ([a-z_, ]+)\)`).FindStringSubmatch(text)
	if match == nil {
		t.Fatal("no classes")
	}
	same(t, "classes", names(classes), words(match[1]))
}

// TestNothingForTestsIsInTheService: the local Alipay and the embedded parts are never linked into it.
func TestNothingForTestsIsInTheService(t *testing.T) {
	list := exec.CommandContext(t.Context(), "go", "list", "-deps", "refundd/cmd/refundd")
	out, err := list.Output()
	if err != nil {
		t.Fatal(err)
	}
	packages := strings.Fields(string(out))
	if !slices.Contains(packages, "refundd/consumer") {
		t.Fatalf("%d packages, and the consumer is none of them", len(packages))
	}
	for _, name := range packages {
		for _, never := range []string{"refundd/alipay/alipaytest", "refundd/consumer/rocketmqtest", "refundd/cmd/alipaysim", "refundd/cmd/internal/journal", "refundd/consumer/history", "miniredis", "jsonschema", "testing"} {
			if name == never || strings.HasPrefix(name, never+"/") || strings.Contains(name, "/"+never) {
				t.Errorf("%s is linked in", name)
			}
		}
	}
}

// TestBrokerKeepsMessagesForWeeks: the production broker's example.
func TestBrokerKeepsMessagesForWeeks(t *testing.T) {
	match := regexp.MustCompile(`(?m)^fileReservedTime=(\d+)$`).FindStringSubmatch(read(t, root+"/deploy/broker.conf"))
	if match == nil {
		t.Fatal("deploy/broker.conf does not say how long messages are kept")
	}
	if hours, err := strconv.Atoi(match[1]); err != nil || hours < 14*24 {
		t.Errorf("messages are kept for %s h, want two weeks at least", match[1])
	}
}
