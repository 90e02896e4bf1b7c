package config

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/kelseyhightower/envconfig"
)

// Load returns the configuration that environ describes: a list of NAME=value, as os.Environ returns it, where of two
// with the same name the last counts. Space around a value does not belong to it. Variables whose names do not begin
// with REFUNDD_ or OTEL_ are not looked at.
//
// Load reads the files that are named and connects to nothing. Its error, if any, is an [*Error] with everything that
// is wrong at once; the Config is then of no use.
func Load(environ []string) (Config, error) {
	env := parseEnviron(environ)
	cfg := Config{given: map[string]bool{}, contents: map[string]string{}}
	v := reflect.ValueOf(&cfg).Elem()
	var p problems
	for _, f := range variableFields() {
		text, given := env[f.name]
		cfg.given[f.name] = given
		switch {
		case text == "" && f.required:
			p.add(f.name, "is required")
			continue
		case text == "" && given && !f.mayBeOff:
			p.add(f.name, "is set to nothing; give a value, or unset it for its default %s", f.standard)
			continue
		case !given:
			text = f.standard
		}
		if err := f.decode(v.FieldByIndex(f.index), text); err != nil {
			p.add(f.name, "%v", err)
		}
	}
	p.addUnknown(env)
	cfg.validate(&p)
	cfg.Traces = wantsTraces(env, &p)
	cfg.readSecrets(&p)
	return cfg, p.err()
}

// parseEnviron keeps the variables with our prefix and OpenTelemetry's.
func parseEnviron(environ []string) map[string]string {
	env := map[string]string{}
	for _, line := range environ {
		name, value, ok := strings.Cut(line, "=")
		if ok && (strings.HasPrefix(name, "REFUNDD_") || strings.HasPrefix(name, "OTEL_")) {
			env[name] = strings.TrimSpace(value)
		}
	}
	return env
}

// variableField is a field of Config that is one variable.
type variableField struct {
	name     string // the variable's
	meaning  string
	standard string // what counts when the variable is not set
	required bool
	mayBeOff bool // set to nothing is off, not a mistake
	index    []int
	kind     reflect.Type
}

// variableFields lists the fields of Config in their order.
func variableFields() []variableField {
	var fields []variableField
	for _, sf := range reflect.VisibleFields(reflect.TypeFor[Config]()) {
		name := sf.Tag.Get("envconfig")
		if name == "" {
			continue
		}
		f := variableField{
			name:     name,
			meaning:  sf.Tag.Get("desc"),
			standard: sf.Tag.Get("default"),
			required: sf.Tag.Get("required") == "true",
			mayBeOff: sf.Tag.Get("default") == "" || sf.Tag.Get("empty") == "off",
			index:    sf.Index,
			kind:     sf.Type,
		}
		fields = append(fields, f)
	}
	return fields
}

// decode sets target, which has the field's type, to what text says.
//
// envconfig does the conversion, one variable at a time: by itself it ends at the first mistake, prints the value that
// it could not convert, cannot distinguish empty from unset, and also takes the variable without its prefix. So it gets a
// struct of this one field, whose default is the text and whose name no environment can hold.
func (f variableField) decode(target reflect.Value, text string) error {
	tag := `envconfig:"=" default:` + strconv.Quote(f.tidy(text))
	one := reflect.New(reflect.StructOf([]reflect.StructField{{Name: "Value", Type: f.kind, Tag: reflect.StructTag(tag)}}))
	if err := envconfig.Process("", one.Interface()); err != nil {
		return fmt.Errorf("is not %s", f.wanted()) // err would print the value
	}
	target.Set(one.Elem().Field(0))
	return nil
}

// tidy removes the space around the elements of a list.
func (f variableField) tidy(text string) string {
	if f.kind.Kind() != reflect.Slice {
		return text
	}
	elements := strings.Split(text, ",")
	for i := range elements {
		elements[i] = strings.TrimSpace(elements[i])
	}
	return strings.Join(elements, ",")
}

// wanted describes the text that decode accepts.
func (f variableField) wanted() string {
	switch f.kind {
	case reflect.TypeFor[int]():
		return "a whole number"
	case reflect.TypeFor[time.Duration]():
		return "a duration such as 10s, 5m or 72h"
	case reflect.TypeFor[[]time.Duration]():
		return "a comma-separated list of durations such as 10s,5m,2h"
	default:
		return "a text"
	}
}
