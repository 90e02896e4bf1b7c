package consumer

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// checkJSON tells in one sentence why text is not exactly one JSON object in UTF-8, or nothing if it is. Half of a surrogate pair,
// written as an escape, is JSON's grammar and no reason here; whoever reads that string sees it. Objects and arrays nested more
// than 10000 deep, encoding/json's limit, count as unreadable.
func checkJSON(text []byte) string {
	switch {
	case len(bytes.TrimLeft(text, " \t\r\n")) == 0:
		return "the body is empty"
	case bytes.HasPrefix(text, []byte("\uFEFF")):
		return "the body begins with a byte order mark"
	}
	if !utf8.Valid(text) {
		return fmt.Sprintf("the body is not UTF-8 at byte %d", firstInvalid(text))
	}
	var whole json.RawMessage
	if err := json.Unmarshal(text, &whole); err != nil {
		if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
			return fmt.Sprintf("the body is not one JSON text: it goes wrong at byte %d", syntax.Offset)
		}
		return "the body is not one JSON text"
	}
	if bytes.TrimLeft(text, " \t\r\n")[0] != '{' {
		return "the body is not a JSON object"
	}
	return ""
}

func firstInvalid(text []byte) int {
	at := 0
	for at < len(text) {
		r, size := utf8.DecodeRune(text[at:])
		if r == utf8.RuneError && size == 1 {
			return at
		}
		at += size
	}
	return at
}

// jsonCursor walks through text that checkJSON passed, in the order of the text and with every name as it is written:
// encoding/json would match names whatever their case and let the last duplicate win. It does not recurse, whatever the text is.
type jsonCursor struct {
	text []byte
	at   int
}

// next is the first byte of what comes after white space.
func (c *jsonCursor) next() byte {
	for strings.IndexByte(" \t\r\n", c.text[c.at]) >= 0 {
		c.at++
	}
	return c.text[c.at]
}

// members calls each with the name of every member of the object that comes next; each must read or skip the value.
// Exact is as of str.
func (c *jsonCursor) members(each func(name string, exact bool)) {
	c.list('}', func() {
		name, exact := c.str()
		c.next()
		c.at++ // the colon
		each(name, exact)
	})
}

// items calls each for every item of the array that comes next; each must read or skip it.
func (c *jsonCursor) items(each func()) {
	c.list(']', each)
}

func (c *jsonCursor) list(end byte, each func()) {
	c.next()
	c.at++
	for c.next() != end {
		if c.text[c.at] == ',' {
			c.at++
			continue
		}
		each()
	}
	c.at++
}

// str reads the string that comes next. Exact is false if it holds half of a surrogate pair, which stands for no character; the
// half is then read as U+FFFD.
func (c *jsonCursor) str() (s string, exact bool) {
	c.next()
	c.at++
	var out []byte
	exact = true
	for {
		char := c.text[c.at]
		switch {
		case char == '"':
			c.at++
			return string(out), exact
		case char != '\\':
			out = append(out, char)
			c.at++
		case c.text[c.at+1] == 'u':
			r, ok := c.escapedRune()
			out = utf8.AppendRune(out, r)
			exact = exact && ok
		default:
			out = append(out, unescaped(c.text[c.at+1]))
			c.at += 2
		}
	}
}

// escapedRune reads \uXXXX, or two of them that make a pair.
func (c *jsonCursor) escapedRune() (r rune, ok bool) {
	first := c.hex4()
	switch {
	case first < 0xD800 || first > 0xDFFF:
		return first, true
	case first > 0xDBFF || c.text[c.at] != '\\' || c.text[c.at+1] != 'u':
		return utf8.RuneError, false
	}
	before := c.at
	second := c.hex4()
	if second < 0xDC00 || second > 0xDFFF {
		c.at = before
		return utf8.RuneError, false
	}
	return (first-0xD800)<<10 + (second - 0xDC00) + 0x10000, true
}

func (c *jsonCursor) hex4() rune {
	n, _ := strconv.ParseUint(string(c.text[c.at+2:c.at+6]), 16, 16) // four hex digits: checkJSON passed them
	c.at += 6
	return rune(n)
}

func unescaped(char byte) byte {
	switch char {
	case 'b':
		return '\b'
	case 'f':
		return '\f'
	case 'n':
		return '\n'
	case 'r':
		return '\r'
	case 't':
		return '\t'
	}
	return char // a quote, a slash or a backslash
}

// number reads the number that comes next as it is written.
func (c *jsonCursor) number() string {
	c.next()
	begin := c.at
	for strings.IndexByte("+-.0123456789eE", c.text[c.at]) >= 0 {
		c.at++
	}
	return string(c.text[begin:c.at])
}

// skip passes over the value that comes next, whatever it is.
func (c *jsonCursor) skip() {
	depth := 0
	for {
		switch char := c.next(); char {
		case '"':
			c.skipString()
		case '{', '[':
			depth++
			c.at++
		case '}', ']':
			depth--
			c.at++
		case ',', ':':
			c.at++
			continue
		default:
			for strings.IndexByte(",:}] \t\r\n", c.text[c.at]) < 0 {
				c.at++
			}
		}
		if depth == 0 {
			return
		}
	}
}

func (c *jsonCursor) skipString() {
	c.at++
	for c.text[c.at] != '"' {
		if c.text[c.at] == '\\' {
			c.at++
		}
		c.at++
	}
	c.at++
}

// wholeNumber is the value of a JSON number that is written in any way (3, 3.0, 30e-1) but is whole and between -10^18 and 10^18.
func wholeNumber(number string) (n int64, ok bool) {
	mantissa, exponent, _ := strings.Cut(strings.ToLower(number), "e")
	whole, fraction, _ := strings.Cut(mantissa, ".")
	digits := strings.TrimRight(whole+fraction, "0")
	if strings.Trim(digits, "-0") == "" {
		return 0, true
	}
	shift := len(whole) - len(digits) // where the point is, counted from the end of the digits
	if exponent != "" {
		e, err := strconv.Atoi(exponent)
		if err != nil || e > 1000 || e < -len(number) {
			return 0, false
		}
		shift += e
	}
	if shift < 0 || shift > 18 {
		return 0, false
	}
	n, err := strconv.ParseInt(digits+strings.Repeat("0", shift), 10, 64)
	return n, err == nil && n > -1e18 && n < 1e18
}
