//go:build !race

package dedupetest_test

const raced = false
