//go:build !race

package simulation

// One actor runs at a time, so the race detector finds little here, and takes ten
// times as long: with it there are fewer runs.
const raced = false
