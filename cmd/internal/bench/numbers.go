package main

import (
	"math"
	"slices"
	"time"
)

func median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	if n%2 == 0 {
		return (sorted[n/2-1] + sorted[n/2]) / 2
	}
	return sorted[n/2]
}

// quantile is the value that this share of them does not exceed.
func quantile(sorted []time.Duration, q float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[max(int(math.Ceil(q*float64(len(sorted))))-1, 0)]
}

// steady is how many a second there were between the first tenth and the last,
// where neither the start nor the end counts; 0 if there are too few to tell.
func steady(sorted []time.Time) float64 {
	low, high := len(sorted)/10, len(sorted)*9/10
	if high <= low {
		return 0
	}
	took := sorted[high].Sub(sorted[low])
	if took <= 0 {
		return 0
	}
	return float64(high-low) / took.Seconds()
}

// leastShare is how much the idlest of several did of what each would have done
// had all done the same.
func leastShare(each []time.Duration) float64 {
	sum := time.Duration(0)
	for _, one := range each {
		sum += one
	}
	if sum == 0 {
		return 0
	}
	return float64(slices.Min(each)) * float64(len(each)) / float64(sum)
}

func milliseconds(d time.Duration) float64 { return d.Seconds() * 1000 }
