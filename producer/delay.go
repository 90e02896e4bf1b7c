package producer

import "time"

// delayLevels are RocketMQ's default levels 1 to 18 (messageDelayLevel of the broker).
func delayLevels() [18]time.Duration {
	return [...]time.Duration{
		1 * time.Second, 5 * time.Second, 10 * time.Second, 30 * time.Second,
		1 * time.Minute, 2 * time.Minute, 3 * time.Minute, 4 * time.Minute, 5 * time.Minute,
		6 * time.Minute, 7 * time.Minute, 8 * time.Minute, 9 * time.Minute, 10 * time.Minute,
		20 * time.Minute, 30 * time.Minute, 1 * time.Hour, 2 * time.Hour,
	}
}

// DelayLevel is the RocketMQ delay level, 1 to 18, of exactly d. It reports false where there is none.
func DelayLevel(d time.Duration) (level int, ok bool) {
	for i, delay := range delayLevels() {
		if delay == d {
			return i + 1, true
		}
	}
	return 0, false
}

// DelayAtLeast is the smallest delay level that is not shorter than d, and its delay. Nothing is longer than two hours, so more
// than that gives two hours; 0 and less give level 0, no delay.
func DelayAtLeast(d time.Duration) (level int, actual time.Duration) {
	if d <= 0 {
		return 0, 0
	}
	levels := delayLevels()
	for i, delay := range levels {
		if delay >= d {
			return i + 1, delay
		}
	}
	return len(levels), levels[len(levels)-1]
}
