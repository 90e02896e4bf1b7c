// Package dedupetest is package dedupe's Redis in plain Go: the record as its
// scripts keep it (Record), and a Redis in memory that carries out the commands and
// scripts that a dedupe.Store sends (Redis), on a clock that the test owns. It is
// for tests that must know every step: the exhaustive walk through the record's
// states, and the simulation of the whole flow.
//
// There is one model, and it is held to the scripts from two sides. The test of
// package dedupe walks Record and the scripts side by side, on miniredis and on a
// real Redis, and compares the answers and every field. The test of this package
// sends the same calls through one Store on miniredis and another on Redis, limits
// and index included, and compares what they answer.
//
// A script is recognised by the sentence it begins with. One that is not known is
// an error that says so: it has to be written here, too.
package dedupetest
