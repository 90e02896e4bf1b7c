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
// *string, *Personal, **Amount, or a nested one.
type field struct {
	name   string
	dst    any
	weight weight
	value  []byte // as received; nil where the member is absent
	again  bool   // the member stands twice
}

// weight is what a member of an unexpected shape, or one that stands twice, does
// to its answer.
type weight int

const (
	// proofWeight: outcomes are judged by it, so the whole answer is unreadable.
	proofWeight weight = iota
	// fundWeight: it tells where money went. It is left empty and named in
	// Funds.LeftOut, because a detail that we do not understand must not hide
	// that money moved.
	fundWeight
	// detailWeight: it is left empty, and nobody misses it.
	detailWeight
)

func proof(name string, dst any) field { return field{name: name, dst: dst, weight: proofWeight} }

func fund(name string, dst any) field { return field{name: name, dst: dst, weight: fundWeight} }

func detail(name string, dst any) field { return field{name: name, dst: dst, weight: detailWeight} }

// An answer lists the members that it wants to know.
type answer interface{ fields() []field }

// decode fills an answer from one JSON object. Names are compared byte by byte
// (encoding/json would take Code for code), and members that nobody wants are
// passed over.
func decode(object []byte, into answer) error {
	leftOut, err := decodeFields(object, into.fields())
	if f, ok := into.(interface{ funds() *Funds }); ok && err == nil {
		f.funds().LeftOut = leftOut
	}
	return err
}

// decodeFields names the members of fundWeight that are not there in full.
func decodeFields(object []byte, fields []field) (leftOut []string, err error) {
	err = members(object, func(name, value []byte) error {
		if i := slices.IndexFunc(fields, func(f field) bool { return f.name == string(name) }); i >= 0 {
			fields[i].again = fields[i].value != nil
			fields[i].value = value
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	for _, f := range fields {
		if f.value == nil {
			continue
		}
		err := errTwice
		if !f.again {
			err = f.set(f.value)
		}
		switch {
		case err == nil || f.weight == detailWeight:
		case f.weight == fundWeight:
			leftOut = append(leftOut, f.name)
		default:
			return nil, fmt.Errorf("member %s: %w", f.name, err)
		}
	}
	return leftOut, nil
}

var (
	errTwice = errors.New("it stands twice")
	errPart  = errors.New("a part of it cannot be read")
)

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
	case nested:
		return dst.set(value)
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

// A nested place takes an object or an array. The types below are the places
// themselves under another name, so that listing them costs nothing.
type nested interface{ set(value []byte) error }

// answerOf is a pointer to T that lists its fields.
type answerOf[T any] interface {
	*T
	answer
}

type objectPlace[T any, P answerOf[T]] struct{ dst **T }

type listPlace[T any, P answerOf[T]] []T

type amountsPlace []Amount

// list is the place of an array of objects. One object that stands alone is a
// list of one: Alipay is not consistent there.
func list[T any, P answerOf[T]](dst *[]T) nested { return (*listPlace[T, P])(dst) }

func (l *listPlace[T, P]) set(raw []byte) error {
	var out []T
	var empty T
	var part error
	add := func(element []byte) error {
		out = append(out, empty)
		leftOut, err := decodeFields(element, P(&out[len(out)-1]).fields())
		if len(leftOut) > 0 {
			part = errPart
		}
		return err
	}
	if raw[0] == '{' {
		if err := add(raw); err != nil {
			return err
		}
	} else if err := elements(raw, add); err != nil {
		return err
	}
	*l = out
	return part
}

// object is the place of a nested object, which is new.
func object[T any, P answerOf[T]](dst **T) nested { return objectPlace[T, P]{dst} }

func (o objectPlace[T, P]) set(raw []byte) error {
	v := new(T)
	leftOut, err := decodeFields(raw, P(v).fields())
	if err != nil {
		return err
	}
	*o.dst = v
	if len(leftOut) > 0 {
		return errPart
	}
	return nil
}

// amounts is the place of an array of amounts.
func amounts(dst *[]Amount) nested { return (*amountsPlace)(dst) }

func (a *amountsPlace) set(raw []byte) error {
	var out []Amount
	err := elements(raw, func(element []byte) error {
		var v Amount
		if err := v.UnmarshalJSON(element); err != nil {
			return err
		}
		out = append(out, v)
		return nil
	})
	if err == nil {
		*a = out
	}
	return err
}
