// Package simulation runs the real flow of commands in one process, under one seed
// and with virtual time: consumer.Handler and Decide, dedupe's Store and Sweeper,
// producer's encodings and its judgement of what the broker says, alipay's client with
// its verification and classification. What stands outside is simulated: the broker,
// Redis (package dedupetest, held to the scripts by tests), Alipay's ledger, the
// processes, and the mishaps of all of them.
//
// It is made of tests alone; see TestSimulation.
package simulation
