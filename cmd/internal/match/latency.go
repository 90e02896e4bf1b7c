package match

import (
	"encoding/json"
	"math/bits"
	"time"
)

// Latency is how long final events took, in buckets: milliseconds are exact up
// to 256 and within one percent beyond, whatever the number of rows.
type Latency struct {
	counts map[int]int64
	n, max int64
}

const exact = 8 // bits

func bucket(ms int64) int {
	shift := max(bits.Len64(uint64(ms))-exact, 0) //nolint:gosec // never below zero
	return shift<<exact + int(ms>>shift)
}

// upper is the largest value of a bucket.
func upper(bucket int) int64 {
	shift := bucket >> exact
	if shift == 0 {
		return int64(bucket)
	}
	// From shift 1 on the first half of the numbers is not used.
	return int64(bucket-shift<<exact+1)<<shift - 1
}

func (l *Latency) add(ms int64) {
	if l.counts == nil {
		l.counts = map[int]int64{}
	}
	l.counts[bucket(ms)]++
	l.n++
	l.max = max(l.max, ms)
}

// Count is how many there are.
func (l Latency) Count() int64 { return l.n }

// Quantile is what this part of all is not above, such as 0.99; 1 is the maximum.
func (l Latency) Quantile(q float64) time.Duration {
	if l.n == 0 {
		return 0
	}
	left := int64(q * float64(l.n))
	for b := 0; b <= bucket(l.max); b++ {
		if left -= l.counts[b]; left < 0 {
			return time.Duration(min(upper(b), l.max)) * time.Millisecond
		}
	}
	return time.Duration(l.max) * time.Millisecond
}

// MarshalJSON gives seconds.
func (l Latency) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Count int64   `json:"count"`
		P50   float64 `json:"p50_seconds"`
		P90   float64 `json:"p90_seconds"`
		P99   float64 `json:"p99_seconds"`
		Max   float64 `json:"max_seconds"`
	}{l.n, l.Quantile(0.5).Seconds(), l.Quantile(0.9).Seconds(), l.Quantile(0.99).Seconds(), l.Quantile(1).Seconds()})
}
