// Package rocketmqtest is an embedded RocketMQ: name server and broker on one
// loopback port, speaking the remoting protocol, so that the unchanged
// rocketmq-client-go v2.1.2 runs against it as producer, push consumer and pull
// consumer. Everything is in memory and gone after [Broker.Close].
//
// It exists for tests and for the demo, so it does not import testing. Its
// second purpose is to misbehave on demand: [Broker.SetHook] decides the fate of
// each request, [Broker.Count] proves that it was carried out, and
// [Broker.Restart] is a broker that goes away and comes back.
//
// # What it copies from the Java broker
//
//   - A pull without its own subscription is refused (24) until a heartbeat of
//     the group has arrived, and the consumer list is an error (1) while the
//     group has no member. Both are the state after a restart or a reset
//     connection: a running producer is back at once, a running consumer only
//     with its next heartbeat and rebalance, some 30 to 40 seconds later.
//   - A group without a committed offset starts at 0 if the queue has messages;
//     if it is empty the answer is 22 and the client's own policy decides.
//   - A member lives as long as its connection. Joining and leaving are announced to
//     all members of the group (40).
//   - A message with DELAY 1 to 18 appears in its topic when its time has come,
//     with the born time of the original and a new store time. DELAY, REAL_TOPIC
//     and REAL_QID stay in the delivered message: the Java broker clears them
//     only in its working copy, after the properties to store were written. A
//     consumer that copies all properties into a new message therefore delays
//     that one too, here as there; copy a closed set instead.
//   - Sends add CLUSTER, MSG_REGION and TRACE_ON to the stored properties and
//     drop WAIT=true.
//   - Send-back makes a delayed copy in %RETRY%group, or in %DLQ%group when the
//     level is negative or the tries are used up.
//   - Settings (25, 26) are kept and shown, and change nothing here.
//   - A pull returns at most 32 messages or 256 KiB; a send is refused above
//     4 MiB of body or 32767 bytes of properties.
//
// # What it leaves out
//
// Transactions, orderly locks, request-reply, ACL, TLS, filtering by tag at the
// broker (the SDK filters again by itself), expiry of messages, slaves, the
// binary header encoding (the SDK writes JSON), IPv6. Such requests are answered
// with code 3, not supported. A group named in [Config.Groups] has its %RETRY%
// topic at once, like a group that was used before, so that tests need not wait
// for the SDK's next route refresh.
//
// # Using it with the SDK
//
// Pass [Broker.Addr] as the only name server. Give every producer and consumer
// its own instance name, or they share a client and outlive one another. Under
// the race detector the SDK reports races of its own.
package rocketmqtest
