// Package contract holds refundd to its public contract, producer/CONTRACT.md.
// It has no code of its own: its tests compare what stands in the contract's
// tables and lists (topics, variables, members, event types, reasons,
// properties, metrics) with what the code and the published schemas have, no
// more and no less. Who changes the contract changes both.
package contract
