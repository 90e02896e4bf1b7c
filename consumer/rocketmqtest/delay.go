package rocketmqtest

import (
	"cmp"
	"container/heap"
	"maps"
	"slices"
	"strconv"
	"time"
)

// delayOf is the delay of level 1 to 18; higher levels count as 18, lower ones
// as none.
func delayOf(level int) time.Duration {
	levels := [...]time.Duration{
		0, time.Second, 5 * time.Second, 10 * time.Second, 30 * time.Second,
		time.Minute, 2 * time.Minute, 3 * time.Minute, 4 * time.Minute, 5 * time.Minute,
		6 * time.Minute, 7 * time.Minute, 8 * time.Minute, 9 * time.Minute, 10 * time.Minute,
		20 * time.Minute, 30 * time.Minute, time.Hour, 2 * time.Hour,
	}
	return levels[min(max(level, 0), len(levels)-1)]
}

// maxTimerDelay is the Java broker's limit for TIMER_* properties.
const maxTimerDelay = 3 * 24 * time.Hour

// delayIn reads the delay a message asks for. DELAY wins over TIMER_*.
func delayIn(properties map[string]string) time.Duration {
	number := func(key string) int64 {
		n, err := strconv.ParseInt(properties[key], 10, 64)
		if err != nil {
			return 0
		}
		return n
	}
	switch {
	case number(propDelay) > 0:
		return delayOf(int(number(propDelay)))
	case properties[propTimerDelaySec] != "":
		return time.Duration(number(propTimerDelaySec)) * time.Second
	case properties[propTimerDelayMS] != "":
		return time.Duration(number(propTimerDelayMS)) * time.Millisecond
	case properties[propTimerDeliver] != "":
		return time.Until(time.UnixMilli(number(propTimerDeliver)))
	}
	return 0
}

// delayedRecord waits for its time.
type delayedRecord struct {
	record *record
	due    time.Time
	seq    int64
}

// delayHeap orders by due time, then by arrival.
type delayHeap []delayedRecord

func (h delayHeap) Len() int           { return len(h) }
func (h delayHeap) Less(i, j int) bool { return h[i].compare(h[j]) < 0 }
func (h delayHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *delayHeap) Push(x any)        { *h = append(*h, x.(delayedRecord)) }

func (h *delayHeap) Pop() any {
	old := *h
	last := old[len(old)-1]
	*h = old[:len(old)-1]
	return last
}

func (d delayedRecord) compare(other delayedRecord) int {
	return cmp.Or(d.due.Compare(other.due), cmp.Compare(d.seq, other.seq))
}

// putLater stores a record when the delay its properties ask for has passed,
// or at once. Like the Java broker it answers for a delayed message with the
// place the message has while it waits, not the one it will have.
func (s *store) putLater(r *record) *frame {
	delay := delayIn(r.properties)
	if delay <= 0 {
		return s.put(r)
	}
	if delay > maxTimerDelay {
		return refusal(MessageIllegal, "timer message illegal, the delay time should not be bigger than the max delay")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if no := s.accept(r); no != nil {
		return no
	}
	r.properties = maps.Clone(r.properties)
	r.properties[propRealTopic] = r.topic
	r.properties[propRealQueue] = strconv.Itoa(int(r.queueID))
	r.physical, r.storeHost, r.stored = s.physical, s.host, time.Now().UnixMilli()
	s.physical += int64(r.size())
	s.delayedSeq++
	heap.Push(&s.delayed, delayedRecord{
		record: r,
		due:    time.Now().Add(delay / time.Duration(s.delayScale)),
		seq:    s.delayedSeq,
	})
	select {
	case s.wake <- struct{}{}:
	default:
	}
	return nil
}

// deliverDue stores what is due and returns how long until the next is, or a
// minute if nothing waits.
func (s *store) deliverDue() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.delayed) > 0 {
		if wait := time.Until(s.delayed[0].due); wait > 0 {
			return wait
		}
		due := heap.Pop(&s.delayed).(delayedRecord).record
		copied := *due
		if s.accept(&copied) == nil { // the topic may be gone
			s.place(&copied)
		}
	}
	return time.Minute
}

// schedule delivers delayed messages until done is closed.
func (s *store) schedule(done <-chan struct{}) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-done:
			return
		case <-s.wake:
		case <-timer.C:
		}
		timer.Reset(s.deliverDue())
	}
}

func (s *store) scheduled(topic string) []Message {
	s.mu.Lock()
	waiting := slices.Clone(s.delayed)
	s.mu.Unlock()
	slices.SortFunc(waiting, delayedRecord.compare)
	var all []Message
	for _, d := range waiting {
		if d.record.topic == topic {
			all = append(all, d.record.message())
		}
	}
	return all
}
