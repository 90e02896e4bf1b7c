package producer_test

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// The schemas as they were first published stand in testdata and never change: a compatible change of a schema is made in
// schema/ alone, an incompatible one gets a new version, a new topic or a new dataschema, and a baseline of its own.
func TestPublishedSchemasStayCompatible(t *testing.T) {
	for _, row := range []struct {
		file, sum string // the baseline's SHA-256
		events    bool
	}{
		{"refund-command.v1.schema.json", "aac3eccf5ced69e34866fbb2bf4844f57ad18e311a86d7468c86de1441f5bac1", false},
		{"coupon-refund-command.v1.schema.json", "a9706841593164ea5a9059f2faec194be3ef067f5ca665ee85db50ef315b09ed", false},
		{"refund-event.v1.schema.json", "c3c9ff05ef1f2e13f68a26f847307cecb3e20b159f1fb46b27d42b8fbb79dd03", true},
	} {
		t.Run(row.file, func(t *testing.T) {
			baseline := readFile(t, filepath.Join("testdata/published/v1", row.file))
			if sum := sha256.Sum256(baseline); hex.EncodeToString(sum[:]) != row.sum {
				t.Errorf("the baseline was changed: its SHA-256 is %x", sum)
			}
			published, changed := parsed(t, baseline), parsed(t, readFile(t, filepath.Join("schema", row.file)))
			for _, refused := range incompatibilities(published, changed, row.events) {
				t.Error(refused)
			}
		})
	}
}

func parsed(tb testing.TB, text []byte) node {
	tb.Helper()
	s, err := parse(text)
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

func TestIncompatibilities(t *testing.T) {
	const command = `{"$id":"a","title":"t","type":"object","additionalProperties":false,"required":["no"],
		"anyOf":[{"required":["x"]},{"required":["y"]}],
		"properties":{
			"no":{"type":"string","minLength":1,"maxLength":64,"pattern":"^a"},
			"x":{"type":"integer","minimum":1,"maximum":9},
			"y":{"enum":["a","b"]},
			"list":{"type":"array","minItems":1,"maxItems":9,"items":{"type":"object","additionalProperties":false,"required":["id"],
				"properties":{"id":{"type":"string"},"other":{"type":"string"}}}},
			"metadata":{"type":"object","maxProperties":32,"additionalProperties":{"type":"string"}}}}`
	const event = `{"$id":"a","type":"object","required":["type","time","data"],"properties":{
		"type":{"enum":["r.done","r.failed"]},
		"time":{"type":"string","format":"date-time"},
		"note":{"type":"string"},
		"data":{"type":"object","additionalProperties":false,"required":["kind","outcome"],
			"properties":{
				"kind":{"enum":["refund"]},
				"outcome":{"enum":["done","failed"]},
				"amount":{"type":"string","pattern":"^a"},
				"by":{"enum":["x","y"]},
				"calls":{"type":"integer","minimum":0}},
			"allOf":[{"if":{"properties":{"outcome":{"const":"done"}}},"then":{"required":["amount","by"]}}]}}}`
	for _, row := range []struct {
		name, schema string
		old, new     string // pairs of texts to replace, divided by |
		place        string // of what is refused; empty if the change is compatible
	}{
		{"nothing", command, ``, ``, ``},
		{"a description", command, `"title":"t"`, `"title":"u","description":"d"`, ``},
		{"an optional member more", command, `"x":{`, `"z":{"type":"string"},"x":{`, ``},
		{"an optional nested member more", command, `"other":{`, `"z":{"type":"string"},"other":{`, ``},
		{"wider limits", command, `"minLength":1,"maxLength":64`, `"maxLength":65`, ``},
		{"wider limits of a number", command, `"minimum":1,"maximum":9`, `"minimum":0`, ``},
		{"an integer becomes a number", command, `"type":"integer"`, `"type":"number"`, ``},
		{"no pattern any more", command, `,"pattern":"^a"`, ``, ``},
		{"a word more", command, `["a","b"]`, `["a","b","c"]`, ``},
		{"any word", command, `{"enum":["a","b"]}`, `{"type":"string"}`, ``},
		{"less is required", command, `["no"]`, `[]`, ``},
		{"an alternative more", command, `{"required":["y"]}]`, `{"required":["y"]},{"required":["list"]}]`, ``},
		{"no alternatives", command, `"anyOf":[{"required":["x"]},{"required":["y"]}],`, ``, ``},
		{"longer lists", command, `"minItems":1,"maxItems":9`, `"maxItems":10`, ``},
		{"any metadata", command, `"maxProperties":32,"additionalProperties":{"type":"string"}`, `"maxProperties":64`, ``},
		{"unknown members", command, `"type":"object","additionalProperties":false,"required":["no"]`, `"type":"object","required":["no"]`, ``},

		{"another name", command, `"$id":"a"`, `"$id":"b"`, `: $id`},
		{"a member less", command, `"x":{"type":"integer","minimum":1,"maximum":9},`, ``, `/x: the member was published`},
		{
			"a member less, and unknown ones taken", command, `"additionalProperties":false,"required":["no"]|"x":{"type":"integer","minimum":1,"maximum":9},`,
			`"required":["no"]|`, `/x: the member was published`,
		},
		{"a member of another name", command, `"x":{"type"`, `"X":{"type"`, `/x: the member was published`},
		{"a nested member less", command, `,"other":{"type":"string"}`, ``, `/list/items/other: the member`},
		{"more is required", command, `["no"]`, `["no","metadata"]`, `: metadata is required`},
		{"a new member is required", command, `["no"]|"x":{`, `["no","z"]|"z":{"type":"string"},"x":{`, `: z is required`},
		{"more is required, nested", command, `["id"]`, `["id","other"]`, `/list/items: other is required`},
		{"a higher least length", command, `"minLength":1`, `"minLength":2`, `/no: minLength`},
		{"a lower greatest length", command, `"maxLength":64`, `"maxLength":63`, `/no: maxLength`},
		{"a least value", command, `"minimum":1`, `"minimum":2`, `/x: minimum`},
		{"a greatest value", command, `"maximum":9`, `"maximum":8`, `/x: maximum`},
		{"a limit where none was", command, `"id":{"type":"string"}`, `"id":{"type":"string","maxLength":9}`, `/list/items/id: maxLength`},
		{"shorter lists", command, `"maxItems":9`, `"maxItems":8`, `/list: maxItems`},
		{"longer least lists", command, `"minItems":1`, `"minItems":2`, `/list: minItems`},
		{"less metadata", command, `"maxProperties":32`, `"maxProperties":31`, `/metadata: maxProperties`},
		{"no metadata", command, `"additionalProperties":{"type":"string"}`, `"additionalProperties":false`, `/metadata: unknown members`},
		{"other metadata", command, `"additionalProperties":{"type":"string"}`, `"additionalProperties":{"type":"integer"}`, `/metadata/*: type`},
		{"a known key of metadata", command, `"maxProperties":32,`, `"maxProperties":32,"properties":{"k":{"type":"integer"}},`, `/metadata/k: the member is limited`},
		{"another pattern", command, `"^a"`, `"^b"`, `/no: pattern`},
		{"a pattern where none was", command, `"id":{"type":"string"}`, `"id":{"type":"string","pattern":"a"}`, `/list/items/id: pattern`},
		{"a format where none was", command, `"id":{"type":"string"}`, `"id":{"type":"string","format":"date"}`, `/list/items/id: format`},
		{"another type", command, `"type":"integer"`, `"type":"string"`, `/x: type`},
		{"a word less", command, `["a","b"]`, `["a"]`, `/y: b is none of`},
		{"a word becomes fixed", command, `{"enum":["a","b"]}`, `{"const":"a"}`, `/y: b is none of`},
		{"words where any were taken", command, `"id":{"type":"string"}`, `"id":{"enum":["a"]}`, `/list/items/id: any value`},
		{"words become numbers", command, `{"enum":["a","b"]}`, `{"type":"integer"}`, `/y: type`},
		{"an alternative less", command, `,{"required":["y"]}]`, `]`, `: the alternative`},
		{"alternatives where none were", command, `"required":["id"],`, `"required":["id"],"anyOf":[{"required":["other"]}],`, `/list/items: anyOf`},
		{"a condition where none was", command, `"required":["id"],`, `"required":["id"],"allOf":[{"required":["other"]}],`, `/list/items: the condition`},
		{"items where any were taken", command, `"metadata":{`, `"metadata":{"items":{"type":"string"},`, `/metadata: items`},
		{"a keyword that is not known here", command, `"pattern":"^a"`, `"pattern":"^a","not":{"const":"ab"}`, `/no: the keyword not`},

		{"nothing", event, ``, ``, ``},
		{"a member more", event, `"amount":{`, `"z":{"type":"string"},"amount":{`, ``},
		{"a member more outside", event, `"note":{`, `"z":{"type":"string"},"note":{`, ``},
		{"a type of event more", event, `["r.done","r.failed"]|["done","failed"]`, `["r.done","r.failed","r.lost"]|["done","failed","lost"]`, ``},
		{"a kind more", event, `["refund"]`, `["refund","payout"]`, ``},
		{"a word less", event, `["x","y"]`, `["x"]`, ``},
		{"more is promised", event, `"required":["kind","outcome"]`, `"required":["kind","outcome","calls"]`, ``},
		{"more is promised of a type", event, `["amount","by"]`, `["amount","by","calls"]`, ``},
		{"a promise more", event, `"allOf":[`, `"allOf":[{"if":{"properties":{"outcome":{"const":"failed"}}},"then":{"required":["by"]}},`, ``},
		{"closer limits", event, `"minimum":0`, `"minimum":1,"maximum":9`, ``},

		{"a member less", event, `"calls":{"type":"integer","minimum":0}`, `"called":{"type":"integer","minimum":0}`, `/data/calls: the member was published`},
		{"a member less outside", event, `"note":{"type":"string"},`, ``, `/note: the member was published`},
		{"a type of event less", event, `["r.done","r.failed"]`, `["r.done"]`, `/type: r.failed was published`},
		{"an outcome less", event, `["done","failed"]`, `["done"]`, `/data/outcome: failed was published`},
		{"a word more", event, `["x","y"]`, `["x","y","z"]`, `/data/by: z is none of`},
		{"any word", event, `{"enum":["x","y"]}`, `{"type":"string"}`, `/data/by: any value`},
		{"another type", event, `"type":"integer"`, `"type":"string"`, `/data/calls: type`},
		{"a wider type", event, `"type":"integer"`, `"type":"number"`, `/data/calls: type`},
		{"no type", event, `"type":"string","pattern"`, `"pattern"`, `/data/amount: type`},
		{"another pattern", event, `"^a"`, `"^b"`, `/data/amount: pattern`},
		{"no pattern", event, `,"pattern":"^a"`, ``, `/data/amount: pattern`},
		{"no format", event, `,"format":"date-time"`, ``, `/time: format`},
		{"a lower least value", event, `"minimum":0`, `"minimum":-1`, `/data/calls: minimum`},
		{"less is promised", event, `["type","time","data"]`, `["type","data"]`, `: time is required`},
		{"less is promised within", event, `"required":["kind","outcome"]`, `"required":["kind"]`, `/data: outcome is required`},
		{"less is promised of a type", event, `["amount","by"]`, `["amount"]`, `/data: the condition`},
		{"a promise less", event, `,
			"allOf":[{"if":{"properties":{"outcome":{"const":"done"}}},"then":{"required":["amount","by"]}}]`, ``, `/data: the condition`},
		{"a promise for others", event, `{"const":"done"}`, `{"const":"failed"}`, `/data: the condition`},
		{"any other member", event, `"additionalProperties":false,`, ``, `/data: unknown members`},
		{"a keyword that is not known here", event, `"minimum":0`, `"minimum":0,"multipleOf":2`, `/data/calls: the keyword multipleOf`},
	} {
		sort := map[bool]string{true: "event", false: "command"}[row.schema == event]
		t.Run(sort+"/"+row.name, func(t *testing.T) {
			text := row.schema
			news := strings.Split(row.new, "|")
			for i, old := range strings.Split(row.old, "|") {
				if old != "" && strings.Count(text, old) != 1 {
					t.Fatalf("%s stands there %d times", old, strings.Count(text, old))
				}
				text = strings.Replace(text, old, news[i], 1)
			}
			got := incompatibilities(parsed(t, []byte(row.schema)), parsed(t, []byte(text)), row.schema == event)
			if row.place == "" && got != nil || row.place != "" && !slices.ContainsFunc(got, func(r string) bool { return strings.HasPrefix(r, row.place) }) {
				t.Errorf("refused %q, want %q", got, row.place)
			}
		})
	}
}

// Whatever member, word, limit or promise the published schemas have: to change it to the readers' harm is refused.
func TestNoPartOfThePublishedSchemasIsLeftOut(t *testing.T) {
	tried := 0
	for file, events := range map[string]bool{
		"refund-command.v1.schema.json": false, "coupon-refund-command.v1.schema.json": false, "refund-event.v1.schema.json": true,
	} {
		text := readFile(t, filepath.Join("testdata/published/v1", file))
		for _, harm := range harms(parsed(t, text), "", events) {
			tried++
			t.Run(file+harm.name, func(t *testing.T) {
				changed := parsed(t, text)
				harm.do(changed)
				if incompatibilities(parsed(t, text), changed, events) == nil {
					after, _ := json.Marshal(changed)
					t.Errorf("taken: %.300s", after)
				}
			})
		}
	}
	if tried < 300 {
		t.Errorf("%d changes were tried", tried)
	}
}

// harm is one change of a whole schema.
type harm struct {
	name string
	do   func(s node)
}

// harms has the changes of s alone, and of everything below it.
func harms(s node, path string, events bool) []harm {
	var all []harm
	add := func(name string, do func(s node)) { all = append(all, harm{path + " " + name, do}) }
	limit := 1.0 // to the harm of who writes commands
	if events {
		limit = -1
	}
	for _, word := range names(s) {
		switch word {
		case "type", "pattern":
			add("another "+word, func(s node) { s[word] = "boolean" })
		case "minLength", "minItems", "minimum":
			add(word, func(s node) { s[word] = s[word].(float64) + limit })
		case "maxLength", "maxItems", "maximum", "maxProperties":
			add(word, func(s node) { s[word] = s[word].(float64) - limit })
		case "const":
			add("another const", func(s node) { s[word] = "other" })
		case "enum":
			for i, value := range list(s[word]) {
				add(fmt.Sprintf("%v renamed", value), func(s node) { list(s[word])[i] = "other" })
			}
		case "required":
			for i, value := range list(s[word]) {
				add(fmt.Sprintf("%v required", value), func(s node) {
					if events {
						s[word] = slices.Delete(list(s[word]), i, i+1)
					} else {
						s[word] = append(list(s[word]), "other")
					}
				})
			}
		case "properties":
			for _, name := range names(s[word]) {
				add(name+" gone", func(s node) { delete(child(s, word), name) })
				all = append(all, below(harms(child(child(s, word), name), path+"/"+name, events), word, name)...)
			}
		case "items":
			all = append(all, below(harms(child(s, word), path+"/items", events), word)...)
		case "allOf":
			for i, one := range list(s[word]) {
				condition, _ := one.(node)
				if then := child(condition, "then"); then != nil {
					for _, h := range harms(then, fmt.Sprintf("%s/then%d", path, i), events) {
						all = append(all, harm{h.name, func(s node) { h.do(child(list(s[word])[i].(node), "then")) }})
					}
				}
			}
		}
	}
	return all
}

func below(all []harm, path ...string) []harm {
	for i, h := range all {
		all[i].do = func(s node) {
			for _, name := range path {
				s = child(s, name)
			}
			h.do(s)
		}
	}
	return all
}
