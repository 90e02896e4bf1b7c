package alipay

import (
	"strings"
)

// Class is what an answer to a call means for the money. The zero value is the
// safe one: unknown, the refund may or may not have happened.
type Class int

// The classes. Only ClassRefused is a refusal that a repeat cannot change; the
// blocked ones were not executed and may succeed under the same number once a
// person has repaired the cause.
const (
	// ClassUnknown: nothing is proven. Query, then repeat with the same number
	// and the same amount; never with a new number.
	ClassUnknown Class = iota
	// ClassOK: the call itself went well. It is never the class of an *Error.
	ClassOK
	// ClassNotSent: it is proven that no byte of the request was written.
	ClassNotSent
	// ClassLimited: Alipay's rate limit; the call was not executed.
	ClassLimited
	// ClassBlockedConfiguration: keys, permissions, authorisation or parameters
	// of the app are wrong; refused before the refund was looked at.
	ClassBlockedConfiguration
	// ClassBlockedMerchant: funds or an account are in the way, such as a
	// balance that is too low.
	ClassBlockedMerchant
	// ClassRefused: a definite refusal.
	ClassRefused
	// ClassNotFound: the answer of a query that the trade or operation does not
	// exist for this app and merchant.
	ClassNotFound
	// ClassConflict: the number is already used with another amount.
	ClassConflict
)

// String returns the class as a lower-case word, as in metrics.
func (c Class) String() string {
	switch c {
	case ClassUnknown:
		return "unknown"
	case ClassOK:
		return "ok"
	case ClassNotSent:
		return "not_sent"
	case ClassLimited:
		return "limited"
	case ClassBlockedConfiguration:
		return "blocked_configuration"
	case ClassBlockedMerchant:
		return "blocked_merchant"
	case ClassRefused:
		return "refused"
	case ClassNotFound:
		return "not_found"
	case ClassConflict:
		return "conflict"
	}
	return "unknown"
}

// Error is every way in which a call did not go well. Its text names method,
// class and codes, never a body, a parameter or a key.
type Error struct {
	// Method is Alipay's name of the call, such as alipay.trade.refund.
	Method string
	// Class is what is known about the execution.
	Class Class
	// QueryFirst marks refusals that may mean "already refunded": query before
	// believing them.
	QueryFirst bool
	// Signed says that the refusal itself was verified. A refusal that is not
	// signed keeps its class and proves nothing.
	Signed bool
	// Code and SubCode are Alipay's; V3 has only one, which is SubCode. Both are
	// empty if nothing readable came back, or its signature was wrong.
	Code, SubCode string
	// SubMsg is Alipay's explanation for a person, at most 256 bytes; it may be
	// Chinese, and it is not in Error's text.
	SubMsg string
	// TraceID is Alipay's number of the call, for its support.
	TraceID string
	// HTTPStatus is 0 if there was no HTTP answer.
	HTTPStatus int
	// Err is the cause where there is one: a context's error, a network error,
	// ErrUnsigned and its like.
	Err error
}

// Error names what happened without quoting what was sent or received.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Method)
	b.WriteString(": ")
	b.WriteString(e.Class.String())
	if e.Code != "" {
		b.WriteString(", code ")
		b.WriteString(e.Code)
	}
	if e.SubCode != "" {
		b.WriteString(", sub_code ")
		b.WriteString(e.SubCode)
	}
	if e.Err != nil {
		b.WriteString(": ")
		b.WriteString(e.Err.Error())
	}
	return b.String()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// word returns s if it can be one of Alipay's codes or numbers, else nothing:
// what is unsigned may hold anything, and codes go into logs.
func word(s string) string {
	if len(s) > 128 {
		return ""
	}
	for _, c := range []byte(s) {
		if c <= ' ' || c >= 0x7f {
			return ""
		}
	}
	return s
}

// clip shortens text for a person to n bytes at a character's border and takes
// control characters out.
func clip(s string, n int) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, s)
	if len(s) <= n {
		return s
	}
	for n > 0 && s[n]&0xc0 == 0x80 {
		n--
	}
	return s[:n]
}
