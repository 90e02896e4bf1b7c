// Package consumer takes refund commands from RocketMQ and carries each to one end:
// an event that accounting may believe, or a person's desk. It holds the flow of one
// command, and the RocketMQ adapter that feeds and drains it.
//
// To start one, give [NewHandler] a client of package alipay, the records of package
// dedupe and a producer, and give the handler to [NewConsumer]:
//
//	handler := consumer.NewHandler(config, consumer.Dependencies{…})
//	intake := consumer.NewConsumer(rocketmq, handler, gate, health, log)
//	err := intake.Start(ctx)       // waits for the broker
//	go intake.Watch(ctx)           // suspends intake while a part is in trouble
//	<-stop
//	err = intake.Stop(ctx, soft)   // drains
//
// The package's example is a whole program with all of its surroundings. DESIGN.md,
// beside this file, has the problem, the rules, and where to begin with a change.
//
// Where the rules of DESIGN.md are kept:
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
//     the workers, or whose calls wait (fairness.go)
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
//	left_out                  what of an answer's funds could not be told
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
// What rocketmq-client-go v2.1.2 does, and what is done about it, is the appendix of
// DESIGN.md.
package consumer
