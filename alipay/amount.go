package alipay

import (
	"errors"
	"math"
	"strconv"
)

// Amount is a sum of money in fen, a hundredth of a yuan. It never passes
// through a floating-point number on its way in or out.
type Amount int64

// The smallest and the largest amount that one refund may ask for.
const (
	MinAmount Amount = 1              // 0.01 yuan
	MaxAmount Amount = 10_000_000_000 // 100000000.00 yuan
)

// ParseAmount reads the amount of a request: yuan, digits without a leading
// zero, optionally a point and one or two digits, from 0.01 to 100000000.00.
// Signs, exponents, spaces and thousands marks are refused, so that what a
// person reads in a command is what is sent.
func ParseAmount(s string) (Amount, error) {
	a, err := parseYuan(s)
	if err != nil {
		return 0, err
	}
	if a < MinAmount || a > MaxAmount {
		return 0, errors.New("amount: outside 0.01 to 100000000.00")
	}
	return a, nil
}

// String returns the amount in yuan with exactly two decimals, the spelling
// that is sent to Alipay.
func (a Amount) String() string {
	return string(a.append(make([]byte, 0, 24)))
}

// MarshalJSON encodes the amount as a JSON string with two decimals.
func (a Amount) MarshalJSON() ([]byte, error) {
	b := append(make([]byte, 0, 24), '"')
	return append(a.append(b), '"'), nil
}

func (a Amount) append(b []byte) []byte {
	yuan, fen := int64(a/100), int64(a%100)
	if a < 0 {
		yuan, fen, b = -yuan, -fen, append(b, '-')
	}
	b = append(strconv.AppendInt(b, yuan, 10), '.')
	if fen < 10 {
		b = append(b, '0')
	}
	return strconv.AppendInt(b, fen, 10)
}

// UnmarshalJSON decodes an amount as Alipay's answers spell it: a JSON string
// or a JSON number, read digit by digit. Zero is allowed and the limit is what
// fits 64 bits; more than two decimals, signs, exponents and the empty string
// are errors. A JSON null changes nothing.
func (a *Amount) UnmarshalJSON(raw []byte) error {
	if string(raw) == "null" {
		return nil
	}
	digits := raw
	if len(raw) > 0 && raw[0] == '"' {
		t, err := text(raw)
		if err != nil {
			return errors.New("amount: not a JSON string")
		}
		digits = t
	}
	v, err := parseYuan(string(digits))
	if err != nil {
		return err
	}
	*a = v
	return nil
}

var errAmountForm = errors.New("amount: not digits with at most two decimals")

// parseYuan reads ^(0|[1-9][0-9]*)(\.[0-9]{1,2})?$ without any other limit
// than the range of an int64. The text is not quoted in the error: answers may
// carry anything.
func parseYuan(s string) (Amount, error) {
	whole := len(s)
	for i := range len(s) {
		if s[i] == '.' {
			whole = i
			break
		}
	}
	if whole == 0 || (s[0] == '0' && whole > 1) {
		return 0, errAmountForm
	}
	decimals := 0
	if whole < len(s) {
		decimals = len(s) - whole - 1
		if decimals < 1 || decimals > 2 {
			return 0, errAmountForm
		}
	}
	var n int64
	push := func(digit byte) error {
		if digit < '0' || digit > '9' {
			return errAmountForm
		}
		d := int64(digit - '0')
		if n > (math.MaxInt64-d)/10 {
			return errors.New("amount: too large")
		}
		n = n*10 + d
		return nil
	}
	for i := range len(s) {
		if i == whole {
			continue
		}
		if err := push(s[i]); err != nil {
			return 0, err
		}
	}
	for range 2 - decimals {
		if err := push('0'); err != nil {
			return 0, err
		}
	}
	return Amount(n), nil
}
