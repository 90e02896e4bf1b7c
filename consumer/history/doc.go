// Package history is the one account of what a run of the service did, and the
// one checker that holds it to what was promised. The simulation, the chaos run
// on real processes and the load test write the same facts, as JSON lines, and
// Check judges them without knowing who wrote them.
//
// A fact is written by whoever knows it for sure: what Alipay's ledger moved by the
// ledger, what the broker stored by the broker. So facts are what happened, and
// not what the service believes; where the two differ, the checker finds it.
// Facts stand in the order in which they happened.
//
// # What the invariants need
//
// A history need not have everything. An invariant whose facts are not there is
// reported as not checked, with what it lacks, and never as held. Check's comment
// on each invariant is in checks.go, beside its name.
//
// # What is excused
//
// What a lost Redis excuses is what the contract excuses, and nothing more: a
// refund that had failed may be carried out by a late copy, and what is published
// again may differ in how it was learnt. Money never moves twice. A loss excuses
// only the refunds whose records it touched, and only what begins behind it; a
// history that cannot say which those were, as that of a run on a real Redis, means
// all that had a record then. That KEEP has passed is the same for a decided
// record, and nothing for an undecided one. What the broker lost has no end where
// Redis lost it, too, or had not heard of it from anybody who acknowledged it.
// TestExcuses shows of each excuse what it does not excuse.
package history
