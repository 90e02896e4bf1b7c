// Package simulation runs the real flow of package consumer, the real record
// store of package dedupe and the real encodings of package producer in one
// process, under one seed, with virtual time. Around them is a world that
// misbehaves in every way the design speaks of: it loses answers, kills and
// freezes processes, forgets Redis, delivers twice and out of order. What
// happened is written as a history and judged by its checker.
package simulation
