package alipay

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
)

// maxDepth bounds the nesting of an answer. Alipay's answers are three levels
// deep; the bound keeps a hostile body from growing the stack.
const maxDepth = 256

// errJSON says that a text is not exactly one JSON object.
var errJSON = errors.New("not one JSON object")

// members walks one JSON object from first to last byte and hands over each
// member's name, decoded, and its value exactly as received. It is strict RFC
// 8259 except for the encoding, which the caller has checked: only white space may
// stand around the object. Names are compared by nobody here, so equal names
// arrive as often as they are in the text. What visit learnt counts only if
// members returns nil, because a broken end is found last.
func members(obj []byte, visit func(name, value []byte) error) error {
	return (&scanner{data: obj}).object(visit)
}

func (s *scanner) object(visit func(name, value []byte) error) error {
	s.space()
	if !s.take('{') {
		return errJSON
	}
	if err := s.pairs(1, visit); err != nil {
		return err
	}
	s.space()
	if s.pos != len(s.data) {
		return errJSON
	}
	return nil
}

// elements walks one JSON array like members.
func elements(array []byte, visit func(value []byte) error) error {
	s := scanner{data: array}
	s.space()
	if !s.take('[') {
		return errJSON
	}
	if err := s.items(1, visit); err != nil {
		return err
	}
	s.space()
	if s.pos != len(s.data) {
		return errJSON
	}
	return nil
}

// text returns what a JSON string says, given with its quotes.
func text(raw []byte) ([]byte, error) {
	if len(raw) < 2 || raw[0] != '"' || raw[len(raw)-1] != '"' {
		return nil, errJSON
	}
	if bytes.IndexByte(raw, '\\') < 0 {
		return raw[1 : len(raw)-1], nil
	}
	var s string
	if err := json.Unmarshal(raw, &s); err != nil {
		return nil, errJSON
	}
	return []byte(s), nil
}

// scanner reads JSON where it lies; it copies and decodes nothing but names.
type scanner struct {
	data []byte
	pos  int
	gb   bool // data is in GB18030, where a backslash may be half of a character
}

func (s *scanner) space() {
	for s.pos < len(s.data) {
		switch s.data[s.pos] {
		case ' ', '\t', '\n', '\r':
			s.pos++
		default:
			return
		}
	}
}

func (s *scanner) peek() byte {
	if s.pos < len(s.data) {
		return s.data[s.pos]
	}
	return 0
}

func (s *scanner) take(c byte) bool {
	if s.pos < len(s.data) && s.data[s.pos] == c {
		s.pos++
		return true
	}
	return false
}

// value passes over one value, white space before it included.
func (s *scanner) value(depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("%w: nested deeper than %d", errJSON, maxDepth)
	}
	s.space()
	switch c := s.peek(); c {
	case '{':
		s.pos++
		return s.pairs(depth, nil)
	case '[':
		s.pos++
		return s.items(depth, nil)
	case '"':
		return s.quoted()
	case 't':
		return s.word("true")
	case 'f':
		return s.word("false")
	case 'n':
		return s.word("null")
	default:
		return s.number()
	}
}

// pairs reads the members of an object behind its opening brace.
func (s *scanner) pairs(depth int, visit func(name, value []byte) error) error {
	s.space()
	if s.take('}') {
		return nil
	}
	for {
		s.space()
		name := s.pos
		if err := s.quoted(); err != nil {
			return err
		}
		nameEnd := s.pos
		s.space()
		if !s.take(':') {
			return errJSON
		}
		s.space()
		value := s.pos
		if err := s.value(depth + 1); err != nil {
			return err
		}
		if visit != nil {
			raw := s.data[name:nameEnd]
			if s.gb {
				var err error
				if raw, err = decodeGB(raw); err != nil {
					return err
				}
			}
			n, err := text(raw)
			if err != nil {
				return err
			}
			if err := visit(n, s.data[value:s.pos]); err != nil {
				return err
			}
		}
		s.space()
		if s.take('}') {
			return nil
		}
		if !s.take(',') {
			return errJSON
		}
	}
}

// items reads the values of an array behind its opening bracket.
func (s *scanner) items(depth int, visit func(value []byte) error) error {
	s.space()
	if s.take(']') {
		return nil
	}
	for {
		s.space()
		value := s.pos
		if err := s.value(depth + 1); err != nil {
			return err
		}
		if visit != nil {
			if err := visit(s.data[value:s.pos]); err != nil {
				return err
			}
		}
		s.space()
		if s.take(']') {
			return nil
		}
		if !s.take(',') {
			return errJSON
		}
	}
}

func (s *scanner) quoted() error {
	if !s.take('"') {
		return errJSON
	}
	for s.pos < len(s.data) {
		c := s.data[s.pos]
		s.pos++
		switch {
		case s.gb && gbPair(s.data[s.pos-1:]):
			s.pos++
		case c == '"':
			return nil
		case c < 0x20:
			return errJSON
		case c == '\\':
			if err := s.escape(); err != nil {
				return err
			}
		}
	}
	return errJSON
}

func (s *scanner) escape() error {
	c := s.peek()
	s.pos++
	switch c {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return nil
	case 'u':
		for range 4 {
			h := s.peek()
			isHex := h >= '0' && h <= '9' || h >= 'a' && h <= 'f' || h >= 'A' && h <= 'F'
			if !isHex {
				return errJSON
			}
			s.pos++
		}
		return nil
	default:
		return errJSON
	}
}

func (s *scanner) word(w string) error {
	if !bytes.HasPrefix(s.data[s.pos:], []byte(w)) {
		return errJSON
	}
	s.pos += len(w)
	return nil
}

func (s *scanner) number() error {
	s.take('-')
	if !s.take('0') && !s.digits() {
		return errJSON
	}
	if s.take('.') && !s.digits() {
		return errJSON
	}
	if s.take('e') || s.take('E') {
		if !s.take('+') {
			s.take('-')
		}
		if !s.digits() {
			return errJSON
		}
	}
	return nil
}

func (s *scanner) digits() bool {
	start := s.pos
	for c := s.peek(); c >= '0' && c <= '9'; c = s.peek() {
		s.pos++
	}
	return s.pos > start
}
