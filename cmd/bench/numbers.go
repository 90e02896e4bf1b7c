package main

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"math"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"refundd/alipay/alipaytest"
)

// quantile is NaN where one of the values is, or there are none.
func quantile(values []float64, q float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	if len(sorted) == 0 || math.IsNaN(sorted[0]) { // NaN sorts before all numbers
		return math.NaN()
	}
	at := q * float64(len(sorted)-1)
	low, high := sorted[int(at)], sorted[int(math.Ceil(at))]
	return low + (at-math.Floor(at))*(high-low)
}

// signature is the CPU time of one crypto/rsa signature with every core at work,
// as in a run.
func signature(keys *alipaytest.Keys) time.Duration {
	sum := sha256.Sum256([]byte("refund"))
	var made atomic.Int64
	var wg sync.WaitGroup
	begin, end := ownCPU(), time.Now().Add(400*time.Millisecond)
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for time.Now().Before(end) {
				if _, err := rsa.SignPKCS1v15(nil, keys.AppPrivate, crypto.SHA256, sum[:]); err == nil {
					made.Add(1)
				}
			}
		})
	}
	wg.Wait()
	return (ownCPU() - begin) / time.Duration(max(made.Load(), 1))
}

func ownCPU() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
