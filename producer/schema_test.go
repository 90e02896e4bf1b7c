package producer_test

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

const eventSchema = "schema/refund-event.v1.schema.json"

// readSchema compiles a schema file, formats checked too.
func readSchema(tb testing.TB, file string) *jsonschema.Schema {
	tb.Helper()
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	s, err := c.Compile(filepath.ToSlash(file))
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

// readJSON keeps numbers as they are written, as the schema library wants it.
func readJSON(tb testing.TB, text []byte) any {
	tb.Helper()
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		tb.Fatal(err)
	}
	return value
}

func TestEventSchemaFindsFaults(t *testing.T) {
	const good = `"specversion":"1.0","id":"00000000000000000000000000000000","source":"/refundd/1","type":"refund.rejected.v1",` +
		`"subject":"m","time":"2026-03-19T06:03:11Z","datacontenttype":"application/json","dataschema":"urn:refundd:schema:refund-event:v1"`
	const data = `"kind":"refund","outcome":"rejected","app_id":"1","reason":"invalid"`
	s := readSchema(t, eventSchema)
	for _, row := range []struct {
		name, text string
		fault      string // what is named; empty if there is none
	}{
		{"none", `{` + good + `,"x":1,"data":{` + data + `,"detail":"d"}}`, ""},
		{"needed by the outcome", `{` + good + `,"data":{` + data + `}}`, "'detail'"},
		{"unknown", `{` + good + `,"data":{` + data + `,"detail":"d","new":"1"}}`, ""},
		{"wrong type", `{` + good + `,"data":{` + data + `,"detail":"d","calls":"1"}}`, "/data/calls"},
		{"below the minimum", `{` + good + `,"data":{` + data + `,"detail":"d","calls":-1}}`, "/data/calls"},
		{"pattern", `{` + good + `,"data":{` + data + `,"detail":"d","amount":"1"}}`, "/data/amount"},
		{"format", strings.Replace(`{`+good+`,"data":{`+data+`,"detail":"d"}}`, "2026-03", "2026-13", 1), "/time"},
		{"metadata value", `{` + good + `,"data":{` + data + `,"detail":"d","metadata":{"a":1}}}`, "/data/metadata/a"},
		{"missing", `{` + good + `}`, "'data'"},
	} {
		t.Run(row.name, func(t *testing.T) {
			err := s.Validate(readJSON(t, []byte(row.text)))
			if (err == nil) != (row.fault == "") || err != nil && !strings.Contains(err.Error(), row.fault) {
				t.Errorf("error %v, want one with %q", err, row.fault)
			}
		})
	}
}

// Every published schema has its examples beside it, and each of them is valid by its schema and by no other.
func TestPublishedExamples(t *testing.T) {
	schemas := map[string]*jsonschema.Schema{
		"refund-command":        readSchema(t, "schema/refund-command.v1.schema.json"),
		"coupon-refund-command": readSchema(t, "schema/coupon-refund-command.v1.schema.json"),
		"event":                 readSchema(t, eventSchema),
		"parked-stub":           readSchema(t, "schema/parked-stub.v1.schema.json"),
	}
	files, err := filepath.Glob("schema/examples/*.json")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]int{}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			value := readJSON(t, readFile(t, file))
			for name, s := range schemas {
				own := strings.HasPrefix(filepath.Base(file), name)
				if err := s.Validate(value); (err == nil) != own {
					t.Errorf("%s: %v", name, err)
				}
				if own {
					seen[name]++
				}
			}
		})
	}
	if len(seen) != len(schemas) {
		t.Errorf("examples of %v only", seen)
	}
}
