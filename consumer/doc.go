// Package consumer takes refund commands in and carries each to one end: an
// event that accounting may believe, or a person's desk. It holds the flow of
// one command, and the RocketMQ adapter that feeds and drains it.
//
// Where the rules of the design are:
//
//   - R1 what proves success and failure: Decide and failureProven in decide.go;
//     what one answer of Alipay means: operation.go
//   - R2 same number, amount and authorisation for ever: Decide (Authorised),
//     DecodeCommand and Command.Fingerprint in command.go
//   - R3 ask before repeating: Decide and replay; a claim that was never
//     released: claimedDelivery.mergeHistory in claim.go
//   - R4 four ends of a delivery: Ending (ending.go), carried out by Handler.finish
//     (finish.go), which alone publishes; nothing else acknowledges:
//     Consumer.deliver in rocketmq.go
//   - R5 the fence: package dedupe; used by Handler.claim, Handler.settle
//   - R6 settle, publish, acknowledge: Handler.settle, Handler.republishDecided; what
//     a dead worker settled and did not publish: Handler.endingOf
//   - R7 copies merge: Handler.undecided, Handler.retryWhenFree, dedupe.Claim.Published;
//     copies made from the record: republish.go, for the sweeper and for notifications
//   - R8 a call fits its lease: Handler.fits, Handler.ask
//   - R9 once claimed, never rejected: Handler.recordOf, Handler.unknownMerchant
//     (merchant.go), the conflict branch of Handler.unclaimed
//   - R10 what Redis no longer knows: Handler.tooOld, Handler.enter, Handler.Republish for
//     dedupe's sweeper
//   - R11 a stop is not a failure: Consumer.Stop, Gate, Handler.releaseForShutdown,
//     Handler.withFinalContext
//   - R12 trouble suspends intake: Health, Consumer.Watch, Handler.retryRedis,
//     Handler.publishUntilConfirmed; waits that spend no try: Handler.awaitSlot in
//     limits.go, Decide (Free), Handler.deferUnclaimed for a merchant with its share of
//     the workers or in a pause (share.go)
//   - R13 bounded and exact commands: json.go, members.go; a discreet SDK: sdklog.go
//   - R14 loud ends: Handler.parked, Handler.contradicting; what a person then did
//     with it: operatornote.go
//
// # The log
//
// Each end of a delivery writes one line, which has the field outcome: succeeded,
// failed, rejected or unresolved as in the event, retried, or duplicate (its event
// is published again, or a newer copy lives). A contradiction is a success and an
// unresolved. A command that is retried writes one for each try. Lines without
// outcome say what happens meanwhile, at warning and error of what a person
// may have to mend. These are all the fields of the program; none
// holds a body, a name of a person or a secret:
//
//	message_id                of the command's first message
//	kind                      refund or coupon_refund; empty where it is not known
//	out_request_no, merchant  once the command could be read, and if it has one
//	traceparent               if its message has a valid one
//	outcome                   see above
//	reason                    contract §5; retried: why it waits
//	detail                    what is wrong with which member
//	event_id                  of the event that was published
//	calls                     refund calls and queries that are known to have been made
//	code, sub_code            Alipay's, of the newest answer
//	class, found              what a call and what a query proved
//	try, delay                tries spent, and how long until the next one
//	generation, park          of the copy, and how often it was parked
//	state                     an answer of the record that this program does not know
//	part                      what it is about: redis, rocketmq, receiver or tracing
//	of                        which piece of the part: a topic, a broker, a master
//	topic                     where a message is to go, or came from
//	stub, size, digest, lies  what a stub stands for, and where the message lies
//	panic, stack              the type of what panicked, and where
//	component                 rocketmq-client, whose own fields begin with sdk_
//	error                     what failed, without bodies and secrets
//
// Those of the service around this package, and of its notifications:
//
//	result, notify_id              a notification's: how it ended, and Alipay's number of it
//	key, due, first_born           an overdue record's
//	variable                       of the configuration, that is wrong
//	group, instance, topics, addr  at the start
//	budget, took                   at a stop
//	what, asked, merchants         files that are read again
//	spans                          that could not be exported
//
// What a production consumer must do with rocketmq-client-go v2.1.2, and where
// it is done (the numbers are those of the facts this was built on):
//
//  1. Pinned and wrapped: rocketmq.go is the only file that imports the SDK.
//  2. Its retry is never used: Handler.scheduleRetry publishes to a retry topic.
//  3. Idempotent on the business key: the record of package dedupe.
//  4. Concurrent duplicates expected: claims with leases and tokens.
//  5. Explicit results, nil errors: Consumer.deliver.
//  6. Panics recovered and recorded: Consumer.handle; RedirectSDK sets the SDK's.
//  7. Each delivery is bounded by its lease, far below 120 s, from a root that
//     Stop cancels: Handler.ask, Handler.retryRedis.
//  8. Batch size 1, concurrent, no interceptors, no trace: Consumer.startOnce.
//  9. ConsumeFromFirstOffset, explicit MaxReconsumeTimes; a dead-letter topic
//     stays empty because nothing is ever sent back, so there is no reader.
//  10. Unique instance names: RocketMQ.Instance.
//  11. Sizes: PullThresholdForQueue and its size in startOnce.
//  12. Subscribed before Start, a new object for each try, never a Shutdown of
//     one that did not start: Consumer.Start.
//  13. Gate, settle, shutdown: Consumer.Stop.
//  14. Instead of a transactional outbox the settled event is kept in the
//     record and published from there until confirmed: Handler.settle, and
//     Handler.Republish where whoever settled it has died.
//  15. Never SendAsync, one-way, batch, orderly, request: package producer.
//  16. The first send is bounded by package producer's own deadline. No health
//     event is sent at start: the event topic belongs to accounting.
//  17. Properties are a closed, cut and cleaned set: package producer.
//  18. Name servers as http://host:port: NameServerURLs.
//  19. No TLS in this SDK: a private network or a tunnel; commands are
//     validated member by member, and dearer ones are the broker ACL's matter.
//  20. The SDK's log: sdklog.go.
//  21. Watched: Consumer.Lag, Metrics; queue drops are warnings in sdklog.go.
//  22. Liveness of membership: the assembly asks the broker for the group.
//  23. The body is copied: delivery.
//  24. CONSUME_MESSAGE_DIRECTLY and offset resets run outside the SDK's limits,
//     but not outside ours: every delivery passes the Gate and the claim.
//  25. Tested with a broker that misbehaves on the wire: package rocketmqtest.
//  26. Reconciled: the checker of the tests, and events against Alipay's bills.
package consumer
