// Package contract holds refundd to its public contract, line by line. It has
// no code of its own: testdata/CONTRACT.md is the contract,
// testdata/walk.txt is the contract again, cut into its statements, each with
// the tests that hold it, and the tests of this package see to it that
//
//   - no line of the contract is left out of the walk, and none is changed in it;
//   - every statement names a test that exists, or says why there is none: a
//     heading, a duty of others, or something that is not built yet ("pending:",
//     which the test lists when it runs with -v);
//   - what stands in the contract's tables and lists (topics, variables, members,
//     event types, reasons, properties, metrics) is what the code and the
//     published schemas have, no more and no less.
//
// Who changes the contract changes all of these together. Who renames a test
// that is named in the walk renames it there too.
package contract
