// Package alipay is a client for refunds on Alipay's mainland open platform:
// trade refunds and their query, over the v2 gateway or V3, refunds of red
// packets (coupons) and their query, and the notifications about them. It needs
// the standard library, and golang.org/x/text to read GBK.
//
// # One question
//
// It is built around one question, "did the money move?", and one answer that is
// the default: unknown. A call that timed out, a page of a proxy, an answer
// without a valid signature, a code that nobody documented: all of them leave
// the refund unknown, and an *Error of ClassUnknown says so (rule R1 of
// consumer/DESIGN.md). What is known is known because Alipay signed it:
//
//   - a nil error means that Alipay answered and that the signature was verified
//     over the bytes as received; what is decoded is those bytes and nothing
//     beside them (rule R13);
//   - RefundResponse.FundChange "Y" means that this call moved the money;
//   - an *Error carries a Class from one table (classify.go), whether the refusal
//     was signed, and whether it may mean "already refunded".
//
// To use it for money, keep to this: the number (OutRequestNo) and the amount of
// a refund never change; after an unknown end ask QueryRefund, at the earliest
// ten seconds later, and repeat the identical request only if that finds
// nothing. The client itself never repeats anything, and its transport cannot: a
// request is written at most once, never begins after its deadline, and an Error
// of ClassNotSent is a proof that no byte of it was written (rule R8).
//
// # Keys
//
// Requests are signed with RSA2 (RSA PKCS#1 v1.5, SHA-256) by an *rsa.PrivateKey
// or any crypto.Signer. In key mode Config.AlipayKeys verify answers, in
// certificate mode those of Config.Certificates; several at a time are fine for
// a rotation. All of them are pinned: nothing is fetched over the network to
// verify an answer, and nothing in an answer chooses a key. An answer under a
// certificate that is not known here is believed if a pinned key fits, and is
// unknown otherwise. Config.EncryptKey adds AES content encryption.
//
// Amounts are int64 fen and pass through no float. Buyers' ids are of type
// Personal, which prints a placeholder; errors quote neither bodies nor
// parameters nor keys. One leak is not ours to close: net/http itself writes to
// the standard logger, with a few bytes of it, when a server sends data that
// nobody asked for; a program that logs should send package log elsewhere.
//
// # What others do
//
// Differences to widely used clients that matter for money, as read in their
// code (official Java 4.40, smartwalle/alipay v3.2.28, go-pay/gopay v1.5.115):
//
//	                           here              Java v2                  smartwalle    gopay
//	outcome of a failed call   class, per code   none                     none          none
//	success without signature  unknown           error                    error         success by default
//	what is decoded            the signed bytes  what stands beside, too  -             not verified by default
//	signed part found by       JSON scanner      matching braces          -             the first ,"sign":
//	unknown certificate        pinned keys       download                 download      error
//	default time limit         15 s in all       3 s + 15 s               none          60 s
//	size limit of an answer    1 MiB             none                     none          10 MB
//	cut POST sent again        never             possible                 never         never
//	zone of the timestamp      GMT+8             GMT+8                    the process'  the process'
//	TLS verified               yes               yes                      yes           off by default
//	connections kept           yes               yes                      yes           no
//	deposit_back_info          object            object                   array, fails  untyped
//	red packet calls           yes               yes                      no            no
package alipay
