package alipay

import (
	"bytes"
	"errors"
	"fmt"
	"unicode/utf8"

	"golang.org/x/text/encoding/simplifiedchinese"
)

// errCharset says that a text is in neither of Alipay's charsets.
var errCharset = errors.New("neither UTF-8 nor GB18030")

// checkCharset reports whether text is in GB18030, of which GBK and GB2312 are
// parts, rather than in UTF-8: utf-8 is what is asked for, and some of Alipay's
// systems answer in GBK all the same. Text that was cut within a character is
// still in its charset; the byte 0xff is in none.
func checkCharset(text []byte) (gb bool, err error) {
	switch {
	case utf8.Valid(text):
		return false, nil
	case bytes.IndexByte(text, 0xff) >= 0:
		return false, errCharset
	}
	return true, nil
}

// utf8Of returns text in UTF-8, which is text itself where it is that already.
// It is for what was verified, or is no more than a hint: a signature covers the
// bytes as they came. What is no character becomes U+FFFD.
func utf8Of(text []byte) ([]byte, error) {
	gb, err := checkCharset(text)
	if !gb || err != nil {
		return text, err
	}
	return decodeGB(text)
}

func decodeGB(text []byte) ([]byte, error) {
	out, err := simplifiedchinese.GB18030.NewDecoder().Bytes(text)
	if err != nil {
		return nil, fmt.Errorf("read as GB18030: %w", err)
	}
	return out, nil
}

// gbPair reports whether text begins with a character of two bytes in GB18030.
// Its second byte may be a backslash; it is never a quote or a control character.
// (The two halves of a character of four bytes hold neither.)
func gbPair(text []byte) bool {
	return len(text) > 1 && text[0] > 0x80 && text[0] < 0xff &&
		text[1] >= 0x40 && text[1] != 0x7f && text[1] < 0xff
}

// unescapeSlashes writes `\/` as `/`.
func unescapeSlashes(text []byte, gb bool) []byte {
	out := make([]byte, 0, len(text))
	for i := 0; i < len(text); i++ {
		switch {
		case gb && gbPair(text[i:]):
			out = append(out, text[i])
			i++
		case text[i] == '\\' && i+1 < len(text) && text[i+1] == '/':
			i++
		}
		out = append(out, text[i])
	}
	return out
}
