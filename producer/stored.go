package producer

import (
	"bytes"
	"encoding/hex"
	"errors"
	"strings"
	"time"
)

// A decided event is kept for a week and more, so it is stored in a form of about
// a fifth of its size. It is not the event's facts, from which a later version of
// Encode might make other bytes: it is the text itself, with its usual phrases,
// numbers and times written shortly. So what is published again is what was
// published first, whatever Encode has become in between (DESIGN R6).
//
// The first byte is the version of the form, or '{' where the text is stored as
// it is. Versions are read for ever: a change of anything below is a new one.
// Version 1 is a sequence of
//
//	code of a phrase              the phrase
//	codeHex, n, n bytes           2n lower-case hexadecimal digits
//	codeUTC, 6 bytes              a time in UTC, from its milliseconds since 1970
//	codeZone8, 5 bytes            a time in +08:00, from its seconds since 1970
//	codeAgain, i                  what stood after the phrase number i, up to the next phrase
//	any other byte                itself
//
// Codes are bytes that no JSON text in UTF-8 has.
const storedV1 = 1

const (
	codeHex   = 0x00
	codeUTC   = 0x01
	codeZone8 = 0x02
	codeAgain = 0x03

	layoutUTC   = "2006-01-02T15:04:05.000Z"
	layoutZone8 = "2006-01-02T15:04:05+08:00"
	zone8       = 8 * 60 * 60

	minHex   = 6   // digits that are worth a code
	maxHex   = 510 // digits that one code holds
	minAgain = 4   // bytes that are worth repeating by a code
	maxAgain = 256 // phrases that codeAgain can name

	maxEvent = 64 << 10 // bytes; far more than an event can have
)

// phrases returns version 1's phrases in the order of their codes.
func phrases() [lowPhrases + highPhrases]string {
	return [...]string{
		`{"specversion":"1.0","id":"`,
		`","source":"/refundd/`,
		`","type":"refund.succeeded.v1","subject":"`,
		`","type":"refund.failed.v1","subject":"`,
		`","type":"coupon_refund.succeeded.v1","subject":"`,
		`","type":"coupon_refund.failed.v1","subject":"`,
		`","time":"`,
		`","datacontenttype":"application/json","dataschema":"urn:refundd:schema:refund-event:v1`,
		`","traceparent":"00-`,
		`","data":{"kind":"refund","outcome":"succeeded","app_id":"`,
		`","data":{"kind":"refund","outcome":"failed","app_id":"`,
		`","data":{"kind":"coupon_refund","outcome":"succeeded","app_id":"`,
		`","data":{"kind":"coupon_refund","outcome":"failed","app_id":"`,
		`","merchant":"`,
		`","out_request_no":"`,
		`","out_trade_no":"`,
		`","trade_no":"`,
		`","auth_no":"`,
		`","out_order_no":"`,
		`","operation_id":"`,
		`","amount":"`,
		`","currency":"CNY","total_refunded":"`,
		`","currency":"`,
		`","total_refunded":"`,
		`","confirmed_by":"response","refunded_at":"`,
		`","confirmed_by":"response`,
		`","confirmed_by":"query`,
		`","refunded_at":"`,
		`","reason":"refused","detail":"Alipay refused the refund (`,
		`","reason":"closed","detail":"`,
		`), and a query shows that it was not carried out`,
		`","alipay_code":"10000`,
		`","alipay_code":"`,
		`","alipay_sub_code":"ACQ.`,
		`","alipay_sub_msg":"`,
		`","trace_id":"`,
		`","calls":`,
		`,"metadata":{"`,
		`}}`,
	}
}

// The first phrases have codes below the space, the others those that UTF-8 does not use at its end.
const (
	lowCode, lowPhrases   = 0x04, 28
	highCode, highPhrases = 0xf5, 11
)

func codeOf(phrase int) byte {
	code := lowCode + phrase
	if phrase >= lowPhrases {
		code = highCode + phrase - lowPhrases
	}
	return byte(code) //nolint:gosec // the highest is 0xff
}

// phraseOf is the reverse; false if no phrase has the code.
func phraseOf(code byte) (int, bool) {
	switch {
	case code >= highCode:
		return lowPhrases + int(code) - highCode, true
	case code >= lowCode && code < lowCode+lowPhrases:
		return int(code) - lowCode, true
	}
	return 0, false
}

// Stored is the form of the event that is kept; DecodeEncoded reads it. What
// cannot be read back as the same bytes is stored as it is.
func (e Encoded) Stored() []byte {
	packed := packV1(string(e.Body))
	if text, err := unpackV1(packed[1:]); err != nil || !bytes.Equal(text, e.Body) {
		return e.Body
	}
	return packed
}

// published returns the event's text from its stored form.
func published(stored []byte) ([]byte, error) {
	switch {
	case len(stored) == 0:
		return nil, errors.New("it is empty")
	case stored[0] == '{':
		return stored, nil
	case stored[0] == storedV1:
		return unpackV1(stored[1:])
	}
	return nil, errors.New("its form is not known to this version")
}

func packV1(text string) []byte {
	out := append(make([]byte, 0, len(text)/2), storedV1)
	table := phrases()
	after := make([]string, 0, 32) // what stood after each phrase
	start := 0                     // of what stands after the last one
	for i := 0; i < len(text); {
		rest := text[i:]
		if phrase := longest(table[:], rest); phrase >= 0 {
			after = append(after, text[start:i])
			out = append(out, codeOf(phrase))
			i += len(table[phrase])
			start = i
			continue
		}
		if i == start {
			if n, same := again(after, rest); same != "" {
				out = append(out, codeAgain, byte(n)) //nolint:gosec // below maxAgain
				i += len(same)
				continue
			}
		}
		if at, ok := timeOf(rest, layoutUTC); ok {
			out = append(out, codeUTC)
			out = appendNumber(out, at.UnixMilli(), 6)
			i += len(layoutUTC)
			continue
		}
		if at, ok := timeOf(rest, layoutZone8); ok {
			out = append(out, codeZone8)
			out = appendNumber(out, at.Unix(), 5)
			i += len(layoutZone8)
			continue
		}
		digits := 0
		for digits < min(len(rest), maxHex) && isHex(rest[digits]) {
			digits++
		}
		if digits >= minHex {
			digits -= digits % 2
			out = append(out, codeHex, byte(digits/2))
			out, _ = hex.AppendDecode(out, []byte(rest[:digits])) // only such digits
			i += digits
			continue
		}
		// A short run of digits at once, or its parts would be looked at again.
		digits = max(digits, 1)
		out = append(out, rest[:digits]...)
		i += digits
	}
	return out
}

// longest finds the longest phrase that the text begins with; -1 if there is none.
func longest(table []string, text string) int {
	found, size := -1, 0
	if strings.IndexByte(`",{})`, text[0]) < 0 {
		return found
	}
	for i, phrase := range table {
		if len(phrase) > size && strings.HasPrefix(text, phrase) {
			found, size = i, len(phrase)
		}
	}
	return found
}

// again finds a whole value of before that the text begins with.
func again(after []string, text string) (n int, same string) {
	for n, value := range after[:min(len(after), maxAgain)] {
		if len(value) >= minAgain && strings.HasPrefix(text, value) && strings.HasPrefix(text[len(value):], `"`) {
			return n, value
		}
	}
	return 0, ""
}

// timeOf reads the time that the text begins with, if it is not before 1970 and
// is written as the layout writes it.
func timeOf(text, layout string) (time.Time, bool) {
	if len(text) < len(layout) || text[4] != '-' || text[10] != 'T' || text[19] != layout[19] {
		return time.Time{}, false
	}
	text = text[:len(layout)]
	at, err := time.Parse(layout, text)
	if err != nil {
		return time.Time{}, false
	}
	if layout == layoutZone8 {
		at = at.Add(-zone8 * time.Second)
	}
	return at, at.Unix() >= 0 && at.Year() <= 9998 && writeTime(at, layout) == text
}

func writeTime(at time.Time, layout string) string {
	if layout == layoutZone8 {
		at = at.Add(zone8 * time.Second)
	}
	return at.UTC().Format(layout)
}

func isHex(b byte) bool { return b >= '0' && b <= '9' || b >= 'a' && b <= 'f' }

func unpackV1(stored []byte) ([]byte, error) {
	text := make([]byte, 0, 5*len(stored))
	table := phrases()
	after := make([][2]int, 0, 32) // where that begins and ends
	start := 0
	for len(stored) > 0 {
		code := stored[0]
		stored = stored[1:]
		size := operandSize(code)
		if len(stored) < size {
			return nil, errors.New("it is cut off")
		}
		operand := stored[:size]
		stored = stored[size:]
		switch code {
		case codeHex:
			n := int(operand[0])
			if len(stored) < n {
				return nil, errors.New("it is cut off")
			}
			text = hex.AppendEncode(text, stored[:n])
			stored = stored[n:]
		case codeUTC:
			text = append(text, writeTime(time.UnixMilli(number(operand)), layoutUTC)...)
		case codeZone8:
			text = append(text, writeTime(time.Unix(number(operand), 0), layoutZone8)...)
		case codeAgain:
			if int(operand[0]) >= len(after) {
				return nil, errors.New("it repeats what is not there")
			}
			at := after[operand[0]]
			text = append(text, text[at[0]:at[1]]...)
		default:
			phrase, ok := phraseOf(code)
			if !ok {
				text = append(text, code)
				break
			}
			after = append(after, [2]int{start, len(text)})
			text = append(text, table[phrase]...)
			start = len(text)
		}
		if len(text) > maxEvent {
			return nil, errors.New("it is too large for an event")
		}
	}
	return text, nil
}

func operandSize(code byte) int {
	switch code {
	case codeHex, codeAgain:
		return 1
	case codeUTC:
		return 6
	case codeZone8:
		return 5
	}
	return 0
}

// appendNumber writes a number that is not negative in so many bytes.
func appendNumber(to []byte, n int64, size int) []byte {
	for i := size - 1; i >= 0; i-- {
		to = append(to, byte(n>>(8*i))) //nolint:gosec // its lowest byte is meant
	}
	return to
}

func number(digits []byte) int64 {
	var n int64
	for _, d := range digits {
		n = n<<8 | int64(d)
	}
	return n
}
