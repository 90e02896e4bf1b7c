package alipay

import (
	"errors"
	"fmt"
	"slices"
)

// Personal is text about a person: a buyer's user id or masked log-on id. It
// prints and encodes as "[personal]", so that it does not reach a log by
// accident; string(p) is the text itself.
type Personal string

// String returns a placeholder, or nothing where there is nothing to hide.
func (p Personal) String() string {
	if p == "" {
		return ""
	}
	return "[personal]"
}

// GoString is String, for the verb %#v.
func (p Personal) GoString() string { return p.String() }

// MarshalText is String, for JSON and the like.
func (p Personal) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// A field ties one member of an answer to the place where its value goes:
// *string, *Personal, **Amount, or a func([]byte) error for nested ones.
type field struct {
	name string
	dst  any
	// proof marks what outcomes are judged by. A proof of an unexpected shape
	// makes the whole answer unreadable; any other is left empty, because a
	// detail that we do not understand must not hide that money moved.
	proof bool
	seen  bool
}

func proof(name string, dst any) field { return field{name: name, dst: dst, proof: true} }

func detail(name string, dst any) field { return field{name: name, dst: dst} }

// An answer lists the members that it wants to know.
type answer interface{ fields() []field }

// decode fills an answer from one JSON object. Names are compared byte by byte
// (encoding/json would take Code for code), a name that is wanted and comes
// twice is an error, and members that nobody wants are passed over.
func decode(object []byte, into answer) error {
	return decodeFields(object, into.fields())
}

func decodeFields(object []byte, fields []field) error {
	return members(object, func(name, value []byte) error {
		i := slices.IndexFunc(fields, func(f field) bool { return f.name == string(name) })
		if i < 0 {
			return nil
		}
		f := &fields[i]
		if f.seen {
			return fmt.Errorf("member %s stands twice", f.name)
		}
		f.seen = true
		if err := f.set(value); err != nil && f.proof {
			return fmt.Errorf("member %s: %w", f.name, err)
		}
		return nil
	})
}

func (f *field) set(value []byte) error {
	if string(value) == "null" {
		return nil
	}
	switch dst := f.dst.(type) {
	case *string:
		s, err := scalar(value)
		if err == nil {
			*dst = s
		}
		return err
	case *Personal:
		s, err := scalar(value)
		if err == nil {
			*dst = Personal(s)
		}
		return err
	case **Amount:
		if string(value) == `""` {
			return nil
		}
		var a Amount
		if err := a.UnmarshalJSON(value); err != nil {
			return err
		}
		*dst = &a
		return nil
	case func([]byte) error:
		return dst(value)
	default:
		return errors.New("no place for it")
	}
}

// scalar returns a JSON string, number or boolean as text, numbers with their
// digits as written.
func scalar(value []byte) (string, error) {
	switch value[0] {
	case '"':
		t, err := text(value)
		return string(t), err
	case '{', '[':
		return "", errors.New("not a string or number")
	default:
		return string(value), nil
	}
}

// answerOf is a pointer to T that lists its fields.
type answerOf[T any] interface {
	*T
	answer
}

// object decodes a nested object into a new T.
func object[T any, P answerOf[T]](dst **T) func([]byte) error {
	return func(raw []byte) error {
		v := new(T)
		if err := decode(raw, P(v)); err != nil {
			return err
		}
		*dst = v
		return nil
	}
}

// list decodes an array of objects. One object that stands alone is a list of
// one: Alipay is not consistent there.
func list[T any, P answerOf[T]](dst *[]T) func([]byte) error {
	return func(raw []byte) error {
		var out []T
		add := func(element []byte) error {
			var v T
			if err := decode(element, P(&v)); err != nil {
				return err
			}
			out = append(out, v)
			return nil
		}
		if raw[0] == '{' {
			if err := add(raw); err != nil {
				return err
			}
		} else if err := elements(raw, add); err != nil {
			return err
		}
		*dst = out
		return nil
	}
}

// amounts decodes an array of amounts.
func amounts(dst *[]Amount) func([]byte) error {
	return func(raw []byte) error {
		var out []Amount
		err := elements(raw, func(element []byte) error {
			var a Amount
			if err := a.UnmarshalJSON(element); err != nil {
				return err
			}
			out = append(out, a)
			return nil
		})
		if err == nil {
			*dst = out
		}
		return err
	}
}
