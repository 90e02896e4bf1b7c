// Package alipaytest is a local Alipay: it speaks Alipay's wire protocol for
// refunds, checks the caller's signatures, signs its own answers, and keeps a
// ledger that shows how often the money of each refund really moved. Tests run
// it in process; cmd/alipaysim runs it as a program.
//
// It speaks v2 (alipay.trade.refund, alipay.trade.fastpay.refund.query,
// alipay.fund.coupon.order.refund, alipay.fund.coupon.operation.query) and, for
// the first two, V3; key mode and certificate mode, plain and AES, as each
// request asks for; and it notifies, signed and repeated as Alipay does. What
// Alipay's documents say about each is followed; where they are silent or
// contradict each other, answers vary with the seed.
//
// It exists to make a caller fail. Its fault menu (see [Menu]) loses answers
// before or after the money moved, cuts and forges them, hides refunds from
// queries for a while, refuses for good, and more, by probability with a seed
// or for one request number whose name begins with fault-NAME-. Every fault is
// counted when it really happened, and not before, so a test can demand that
// the whole menu was reached.
//
// Rules of the ledger:
//
//   - A trade or red packet that is first named in a call exists from then on
//     with the paid amount of [Config].TradeTotal. out_trade_no beginning with
//     nosuch, closed or finished are the exceptions: such a trade is unknown,
//     closed or finished. A trade is known under two numbers; the one that was
//     not given is derived from the other ([TradeNo], [OutTradeNo]).
//   - A trade was paid from the buyer's balance; one whose out_trade_no begins
//     with card by bank card, with mixed by both and a voucher. Where the money
//     of a refund went is answered when the query_options ask for it, and only
//     what a card takes is notified by the bank.
//   - A refund is (app id, app_auth_token, trade, out_request_no). Its money
//     moves at most once, by construction. The same amount again answers
//     fund_change=N, another amount ACQ.DISCORDANT_REPEAT_REQUEST.
//   - A coupon refund's money moves at once and is answered by SUCCESS, also
//     when it is repeated; INIT, CLOSED, 10003 and UNIQUE_VIOLATION are on the
//     fault menu. A number cannot be used again for another amount.
//   - A definite refusal from the menu stays: a number that was refused is
//     refused for ever, as Alipay's own verdict would be.
//   - Requests are held to the letter. An unknown or repeated biz_content
//     member, a timestamp in the wrong zone, a second spelling of a parameter
//     are bugs of the caller and are answered as such. There is no switch that
//     turns the signature check off.
//
// The package shares no code with the client it tests: signing text, RSA calls
// and amounts are written a second time, so that each side checks the other.
// It uses the standard library and, for the GBK of Alipay's bills and answers,
// golang.org/x/text; it never opens a connection except to a configured notify
// URL, and never logs.
package alipaytest
