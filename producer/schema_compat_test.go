package producer_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
)

// compatibility is the judgement on a change of a published schema. There are
// two sorts of reader:
//
//   - refundd reads commands: whatever the published schema takes, the changed
//     one must take.
//   - others read events: whatever the changed schema allows to be told, the
//     published one must have allowed, but for members that are new (readers
//     skip what they do not know) and for new event types.
//
// Neither may lose a member that was published.
//
// It knows the keywords that the published schemas use, all of which mean the
// same from draft 7 on, and refuses any other: what is only half understood
// proves nothing.
type compatibility struct {
	events  bool
	refused []string
}

type node = map[string]any

// incompatibilities of a changed schema, each with its place. None: the change
// may be published under the same version.
func incompatibilities(published, changed node, events bool) []string {
	c := &compatibility{events: events}
	for _, word := range []string{"$schema", "$id"} {
		if published[word] != changed[word] {
			c.refuse("", "%s is not the published one", word)
		}
	}
	c.lost("", published, changed)
	if events {
		c.within("", changed, published)
	} else {
		c.within("", published, changed)
	}
	return c.refused
}

func (c *compatibility) refuse(path, format string, args ...any) {
	c.refused = append(c.refused, path+": "+fmt.Sprintf(format, args...))
}

// grows says where an event may take a new value: these tell what sort of event
// it is, and a reader skips the sorts that it does not know.
func (c *compatibility) grows(path string) bool {
	return c.events && (path == "/type" || path == "/data/kind" || path == "/data/outcome")
}

// lost members, and lost sorts of events.
func (c *compatibility) lost(path string, published, changed node) {
	for _, name := range names(published["properties"]) {
		member, ok := child(changed, "properties")[name].(node)
		if !ok {
			c.refuse(path+"/"+name, "the member was published and is gone")
			continue
		}
		c.lost(path+"/"+name, child(child(published, "properties"), name), member)
	}
	c.lostItems(path, published, changed)
	if !c.grows(path) {
		return
	}
	for _, value := range values(published) {
		if !slices.Contains(values(changed), value) {
			c.refuse(path, "%v was published and is gone", value)
		}
	}
}

func (c *compatibility) lostItems(path string, published, changed node) {
	if items := child(published, "items"); items != nil {
		c.lost(path+"/items", items, child(changed, "items"))
	}
}

// within refuses what could let a value pass narrow and not wide.
func (c *compatibility) within(path string, narrow, wide node) {
	for _, s := range []node{narrow, wide} {
		for _, word := range names(s) {
			c.known(path, word)
		}
	}
	c.kinds(path, narrow, wide)
	c.limits(path, narrow, wide)
	c.members(path, narrow, wide)
	if items := child(wide, "items"); items != nil {
		if child(narrow, "items") == nil {
			c.refuse(path, "items are limited on one side only")
		} else {
			c.within(path+"/items", child(narrow, "items"), items)
		}
	}
	c.alternatives(path, narrow, wide)
	c.conditions(path, narrow, wide)
}

func (c *compatibility) known(path, word string) {
	switch word {
	case "$schema", "$id", "title", "description", "type", "const", "enum", "pattern", "format", "minLength", "maxLength", "minimum",
		"maximum", "minItems", "maxItems", "minProperties", "maxProperties", "required", "properties", "additionalProperties", "items", "allOf", "anyOf",
		"if", "then":
	default:
		c.refuse(path, "the keyword %s cannot be judged here", word)
	}
}

func (c *compatibility) kinds(path string, narrow, wide node) {
	for _, word := range []string{"pattern", "format"} {
		if wide[word] != nil && wide[word] != narrow[word] {
			c.refuse(path, "%s %v against %v", word, narrow[word], wide[word])
		}
	}
	few := values(narrow)
	if want := kindsOf(wide); want != nil {
		kinds := kindsOf(narrow)
		if few != nil && kinds == nil {
			for _, value := range few {
				kinds = append(kinds, kindOf(value))
			}
		}
		if kinds == nil {
			kinds = []any{nil}
		}
		for _, kind := range kinds {
			if !slices.Contains(want, kind) && (kind != "integer" || !slices.Contains(want, "number")) {
				c.refuse(path, "type %v against %v", kind, want)
			}
		}
	}
	all := values(wide)
	if all == nil || c.grows(path) {
		return
	}
	if few == nil {
		c.refuse(path, "any value against %v", all)
	}
	for _, value := range few {
		if !slices.Contains(all, value) {
			c.refuse(path, "%v is none of %v", value, all)
		}
	}
}

func (c *compatibility) limits(path string, narrow, wide node) {
	for word, sign := range map[string]float64{
		"minLength": -1, "minimum": -1, "minItems": -1,
		"maxLength": 1, "maximum": 1, "maxItems": 1, "maxProperties": 1,
	} {
		limit, ok := wide[word].(float64)
		if !ok || (word == "minLength" || word == "minItems") && limit <= 0 {
			continue
		}
		if own, ok := narrow[word].(float64); !ok || own*sign > limit*sign {
			c.refuse(path, "%s %v against %v", word, narrow[word], limit)
		}
	}
	for _, name := range list(wide["required"]) {
		if !slices.Contains(list(narrow["required"]), name) {
			c.refuse(path, "%v is required on one side only", name)
		}
	}
}

func (c *compatibility) members(path string, narrow, wide node) {
	ours, theirs := child(narrow, "properties"), child(wide, "properties")
	for _, name := range names(theirs) {
		switch ours[name].(type) {
		case node:
			c.within(path+"/"+name, child(ours, name), child(theirs, name))
		default:
			if narrow["additionalProperties"] != false {
				c.refuse(path+"/"+name, "the member is limited on one side only")
			}
		}
	}
	for _, name := range names(ours) {
		if _, known := theirs[name]; known || c.events {
			continue
		}
		switch others := wide["additionalProperties"].(type) {
		case bool:
			if !others {
				c.refuse(path+"/"+name, "the member is known on one side only")
			}
		case node:
			c.within(path+"/"+name, child(ours, name), others)
		}
	}
	switch others := wide["additionalProperties"].(type) {
	case bool:
		if !others && narrow["additionalProperties"] != false {
			c.refuse(path, "unknown members are refused on one side only")
		}
	case node:
		switch own := narrow["additionalProperties"].(type) {
		case node:
			c.within(path+"/*", own, others)
		default:
			if own != false {
				c.refuse(path, "unknown members are limited on one side only")
			}
		}
	}
}

// alternatives: each of narrow's must be within one of wide's.
func (c *compatibility) alternatives(path string, narrow, wide node) {
	if wide["anyOf"] == nil {
		return
	}
	ours := list(narrow["anyOf"])
	if ours == nil {
		c.refuse(path, "anyOf on one side only")
	}
	for _, one := range ours {
		if !slices.ContainsFunc(list(wide["anyOf"]), func(other any) bool { return c.fits(path, one, other) }) {
			c.refuse(path, "the alternative %v has none to be within", one)
		}
	}
}

// conditions: each of wide's must be met by one of narrow's.
func (c *compatibility) conditions(path string, narrow, wide node) {
	for _, other := range list(wide["allOf"]) {
		if !slices.ContainsFunc(list(narrow["allOf"]), func(one any) bool { return c.fits(path, one, other) }) {
			c.refuse(path, "the condition %v is on one side only", other)
		}
	}
	if wide["if"] == nil && wide["then"] == nil {
		return
	}
	if !reflect.DeepEqual(narrow["if"], wide["if"]) {
		c.refuse(path, "another condition")
		return
	}
	c.within(path, child(narrow, "then"), child(wide, "then"))
}

func (c *compatibility) fits(path string, narrow, wide any) bool {
	one, _ := narrow.(node)
	other, _ := wide.(node)
	trial := compatibility{events: c.events}
	trial.within(path, one, other)
	return len(trial.refused) == 0
}

func values(s node) []any {
	if value, ok := s["const"]; ok {
		return []any{value}
	}
	return list(s["enum"])
}

func list(value any) []any {
	all, _ := value.([]any)
	return all
}

func names(value any) []string {
	s, _ := value.(node)
	return slices.Sorted(maps.Keys(s))
}

func child(s node, name string) node {
	below, _ := s[name].(node)
	return below
}

// kindsOf is the type of a schema, one or more.
func kindsOf(s node) []any {
	if one, ok := s["type"].(string); ok {
		return []any{one}
	}
	return list(s["type"])
}

func kindOf(value any) string {
	switch value.(type) {
	case string:
		return "string"
	case float64:
		return "number"
	case bool:
		return "boolean"
	}
	return fmt.Sprintf("%T", value)
}

func parse(text []byte) (node, error) {
	var s node
	err := json.Unmarshal(text, &s)
	return s, err
}
