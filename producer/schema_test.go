package producer_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"testing"
	"time"
	"unicode/utf8"
)

// schema is the part of JSON Schema 2020-12 that the published event schema uses. Unknown keywords fail the test: a schema that is
// only half understood proves nothing.
type schema struct {
	Schema               string `json:"$schema"`
	ID                   string `json:"$id"`
	Title, Description   string
	Type, Pattern        string
	Format               string
	Const                any
	Enum                 []any
	Required             []string
	Properties           map[string]*schema
	AdditionalProperties *additional
	AllOf                []*schema
	If, Then             *schema
	MinLength            int
	MaxProperties        *int
	Minimum              *int64
}

// additional is false, or a schema.
type additional struct {
	allowed bool
	schema  *schema
}

func (a *additional) UnmarshalJSON(raw []byte) error {
	if json.Unmarshal(raw, &a.allowed) == nil {
		return nil
	}
	a.allowed = true
	return json.Unmarshal(raw, &a.schema)
}

func readSchema(tb testing.TB) *schema {
	tb.Helper()
	text, err := os.ReadFile("schema/refund-event.v1.schema.json")
	if err != nil {
		tb.Fatal(err)
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	var s schema
	if err := decoder.Decode(&s); err != nil {
		tb.Fatal(err)
	}
	return &s
}

// violations of a whole JSON text.
func (s *schema) violations(tb testing.TB, text []byte) []string {
	tb.Helper()
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	var value any
	if err := decoder.Decode(&value); err != nil {
		tb.Fatal(err)
	}
	return s.check("", value)
}

func (s *schema) check(path string, value any) []string {
	var bad []string
	fail := func(format string, args ...any) { bad = append(bad, path+": "+fmt.Sprintf(format, args...)) }
	if s.Const != nil && value != s.Const {
		fail("is not %v", s.Const)
	}
	if s.Enum != nil && !slices.Contains(s.Enum, value) {
		fail("is none of %v", s.Enum)
	}
	switch v := value.(type) {
	case string:
		bad = append(bad, s.checkString(path, v)...)
	case json.Number:
		n, err := v.Int64()
		if s.Type != "integer" || err != nil || (s.Minimum != nil && n < *s.Minimum) {
			fail("number %s", v)
		}
	case map[string]any:
		bad = append(bad, s.checkObject(path, v)...)
	default:
		fail("is a %T", value)
	}
	for _, part := range s.AllOf {
		bad = append(bad, part.check(path, value)...)
	}
	if s.If != nil && len(s.If.check(path, value)) == 0 {
		bad = append(bad, s.Then.check(path, value)...)
	}
	return bad
}

func (s *schema) checkString(path, v string) []string {
	var bad []string
	if s.Type != "" && s.Type != "string" {
		bad = append(bad, path+": is a string")
	}
	if utf8.RuneCountInString(v) < s.MinLength || !regexp.MustCompile(s.Pattern).MatchString(v) {
		bad = append(bad, path+": too short or not "+s.Pattern)
	}
	if _, err := time.Parse(time.RFC3339Nano, v); s.Format == "date-time" && err != nil {
		bad = append(bad, path+": not a date-time")
	}
	return bad
}

func (s *schema) checkObject(path string, v map[string]any) []string {
	var bad []string
	if s.Type != "" && s.Type != "object" {
		bad = append(bad, path+": is an object")
	}
	if s.MaxProperties != nil && len(v) > *s.MaxProperties {
		bad = append(bad, path+": too many members")
	}
	for _, name := range s.Required {
		if _, ok := v[name]; !ok {
			bad = append(bad, path+"."+name+": missing")
		}
	}
	for _, name := range slices.Sorted(maps.Keys(v)) {
		at := path + "." + name
		switch property, known := s.Properties[name]; {
		case known:
			bad = append(bad, property.check(at, v[name])...)
		case s.AdditionalProperties == nil:
		case s.AdditionalProperties.schema != nil:
			bad = append(bad, s.AdditionalProperties.schema.check(at, v[name])...)
		case !s.AdditionalProperties.allowed:
			bad = append(bad, at+": unknown")
		}
	}
	return bad
}

func TestSchemaCheckFindsFaults(t *testing.T) {
	const good = `"specversion":"1.0","id":"00000000000000000000000000000000","source":"/refundd/1","type":"refund.rejected.v1",` +
		`"subject":"m","time":"2026-03-19T06:03:11Z","datacontenttype":"application/json","dataschema":"urn:refundd:schema:refund-event:v1"`
	const data = `"kind":"refund","outcome":"rejected","app_id":"1","reason":"invalid"`
	s := readSchema(t)
	for _, row := range []struct {
		name, text string
		faults     int
	}{
		{"none", `{` + good + `,"x":1,"data":{` + data + `,"detail":"d"}}`, 0},
		{"needed by the outcome", `{` + good + `,"data":{` + data + `}}`, 1},
		{"unknown", `{` + good + `,"data":{` + data + `,"detail":"d","buyer_id":"2088"}}`, 1},
		{"wrong type", `{` + good + `,"data":{` + data + `,"detail":"d","calls":"1"}}`, 1},
		{"below the minimum", `{` + good + `,"data":{` + data + `,"detail":"d","calls":-1}}`, 1},
		{"pattern", `{` + good + `,"data":{` + data + `,"detail":"d","amount":"1"}}`, 1},
		{"metadata value", `{` + good + `,"data":{` + data + `,"detail":"d","metadata":{"a":1}}}`, 1},
		{"missing", `{` + good + `}`, 1},
	} {
		if got := s.violations(t, []byte(row.text)); len(got) != row.faults {
			t.Errorf("%s: %v", row.name, got)
		}
	}
}
