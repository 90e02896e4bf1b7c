// Package alipay is a client for refunds on Alipay's mainland open platform. It
// needs the standard library only.
//
// It is built around one question, "did the money move?", and one answer that is
// the default: unknown. A call that timed out, a page of a proxy, an answer
// without a valid signature, a code that nobody documented: all of them leave
// the refund unknown, and an *Error of ClassUnknown says so. What is known is
// known because Alipay signed it:
//
//   - a nil error means that Alipay answered code 10000 and that the signature
//     was verified over the bytes as received; what is decoded is those bytes
//     and nothing beside them (design rule R13);
//   - RefundResponse.FundChange "Y" means that this call moved the money;
//   - an *Error carries a Class from one table (classify.go), whether the refusal
//     was signed, and whether it may mean "already refunded" (rule R1).
//
// To use it for money, keep to this: the number (OutRequestNo) and the amount of
// a refund never change; after an unknown end ask QueryRefund, at the earliest
// ten seconds later, and repeat the identical request only if that finds
// nothing. The client itself never repeats anything, and its transport cannot: a
// request is written at most once, not after its deadline, and an Error of
// ClassNotSent is a proof that no byte of it was written (rule R8).
//
// Requests and answers travel over the v2 gateway, signed with RSA2 (RSA PKCS#1
// v1.5, SHA-256). Keys are pinned, several at a time for rotation; nothing is
// fetched over the network to verify an answer, and nothing in an answer chooses
// a key. Amounts are int64 fen and pass through no float. Buyers' ids are of
// type Personal, which prints a placeholder; errors quote neither bodies nor
// parameters nor keys.
package alipay
