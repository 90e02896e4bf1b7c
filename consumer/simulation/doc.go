// Package simulation runs the real flow of commands in one process, under one seed
// and with virtual time. Real are consumer.Handler and Decide, dedupe's Store and
// Sweeper, producer's encodings and its judgement of what the broker says, and
// alipay's table of outcomes. Simulated is what stands outside: the broker, Redis
// (package dedupetest, held to the scripts by tests), Alipay's ledger and answers,
// the processes' lives, and the mishaps of all of them. What a run did is judged by
// package history, which knows nothing of simulations.
//
//	make sim SEEDS=10000
//	go test ./consumer/simulation -run 'TestSimulation$' -from=7 -seeds=1
//
// # How it works
//
// Everything that a delivery, the sweeper or a notification does to the outside is
// an act: it parks (op.go), and nothing happens until one scheduler (world.go) has
// drawn which act comes next, and whether something goes wrong with it. So a seed is
// one order of everything, and the same seed gives the same history, to the byte
// (TestSameSeedSameHistory). Time is testing/synctest's: it goes on when everybody
// waits. Troubles that are no act's own, such as a Redis that forgets, are planned
// at random moments of the first twenty minutes (plan.go); then it is quiet, and
// everything has to end.
//
// # How to read a failing seed
//
// A seed that breaks an invariant is made smaller first: commands and kinds of faults
// are left out as long as the same invariant breaks. What remains is printed as the
// story of one refund: the number of the fact, the seconds since its first one, what
// happened, to which process and delivery (p2, d5), with which claim (token t5) and
// message (m is one of upstream, k a copy of ours). Read it from the end: the last
// line is mostly where it shows, the first fault before it is mostly why. With
// -shrink=false the seed is printed as it was.
//
// A crash can also be put at any single act of a written story, and let the broker lose
// what was in hand: see tales in crash_test.go, which is the place for a new story, too.
//
// # What it cannot show
//
// Nothing below the seams above: the SDK, sockets, TLS, signatures, real processes.
// That is what the tests on a real stack and the chaos run are for. Outside of what
// is promised, and so outside of the worlds that are drawn: a broker that loses what
// it acknowledged, or what a dead process had in hand, together with a Redis that
// forgets, or of a command that nobody has claimed and acknowledged yet, since then
// nobody else knows the command; and a merchant whose authorisation changes while
// Redis forgets for whom it was called. Refusals of the
// simulated Alipay are lasting, and what arrives late arrives before QUERY_AFTER has
// passed, as Alipay documents.
//
// It is made of tests alone.
package simulation
