package alipay

// Refusal is the error that Client returns for a verified (signed) or unverified
// answer over v2 with these codes: what the table of outcomes says of them. It is
// for whoever stands in for Alipay, so that there is one table.
func Refusal(method, code, subCode string, signed bool) *Error {
	class, queryFirst := classify(method, code, subCode)
	return &Error{Method: method, Class: class, QueryFirst: queryFirst, Signed: signed, Code: code, SubCode: subCode}
}
