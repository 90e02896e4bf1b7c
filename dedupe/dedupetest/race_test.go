//go:build race

package dedupetest_test

// One goroutine walks through the states: the race detector finds nothing there, and
// takes ten times as long.
const raced = true
