package rocketmqtest

import (
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"
)

// store keeps topics, messages, delayed messages and committed offsets. It
// outlives a restart.
type store struct {
	host       host
	delayScale int64
	wake       chan struct{} // capacity 1; wakes the scheduler of a new earliest

	mu         sync.Mutex
	topics     map[string][]*queue
	log        map[string][]*record // also of deleted topics
	byPhysical map[int64]*record
	physical   int64
	offsets    map[offsetKey]int64
	delayed    delayHeap
	delayedSeq int64
}

type queue struct {
	records []*record
	changed chan struct{} // made by a waiting pull, closed by the next put
}

type offsetKey struct {
	group, topic string
	queueID      int
}

func newStore(h host, delayScale int) *store {
	return &store{
		host:       h,
		delayScale: int64(max(delayScale, 1)),
		wake:       make(chan struct{}, 1),
		topics:     make(map[string][]*queue),
		log:        make(map[string][]*record),
		byPhysical: make(map[int64]*record),
		offsets:    make(map[offsetKey]int64),
	}
}

// createTopic makes a topic, or grows it; queues are never taken away.
func (s *store) createTopic(name string, queues int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.topics[name]) < queues {
		s.topics[name] = append(s.topics[name], new(queue))
	}
}

func (s *store) deleteTopic(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, q := range s.topics[name] {
		q.notify()
	}
	delete(s.topics, name)
	maps.DeleteFunc(s.offsets, func(k offsetKey, _ int64) bool { return k.topic == name })
}

// queueCount is 0 for a topic that does not exist.
func (s *store) queueCount(topic string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.topics[topic])
}

func (s *store) topicNames() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Sorted(maps.Keys(s.topics))
}

// put stores a record now. It sets queue offset, physical offset, store time and
// store host, and a random queue if queueID is negative.
func (s *store) put(r *record) *frame {
	s.mu.Lock()
	defer s.mu.Unlock()
	if no := s.accept(r); no != nil {
		return no
	}
	s.place(r)
	return nil
}

// accept checks what the broker checks before storing; s.mu is held.
func (s *store) accept(r *record) *frame {
	queues := len(s.topics[r.topic])
	switch {
	case queues == 0:
		return refusal(TopicNotExist, "topic[%s] not exist", r.topic)
	case int(r.queueID) >= queues:
		return refusal(SystemError, "request queueId[%d] is illegal, topic[%s] has %d queues", r.queueID, r.topic, queues)
	case len(r.topic) > maxTopicLength || len(r.body) > maxBody:
		return refusal(MessageIllegal, "the message is illegal, topic length %d, body length %d", len(r.topic), len(r.body))
	case propertiesSize(r.properties) > maxProperties:
		return refusal(MessageIllegal, "the message is illegal, properties length %d", propertiesSize(r.properties))
	}
	if r.queueID < 0 {
		r.queueID = rand.Int32N(int32(queues)) //nolint:gosec // any queue will do; few queues
	}
	return nil
}

// place appends an accepted record to its queue; s.mu is held.
func (s *store) place(r *record) {
	q := s.topics[r.topic][r.queueID]
	r.queueOffset = int64(len(q.records))
	r.physical = s.physical
	r.stored = time.Now().UnixMilli()
	r.storeHost = s.host
	s.physical += int64(r.size())
	q.records = append(q.records, r)
	s.log[r.topic] = append(s.log[r.topic], r)
	s.byPhysical[r.physical] = r
	q.notify()
}

func (q *queue) notify() {
	if q.changed != nil {
		close(q.changed)
		q.changed = nil
	}
}

// find returns the record at a physical offset, or nil.
func (s *store) find(physical int64) *record {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.byPhysical[physical]
}

// slice is what a read of a queue found.
type slice struct {
	records []*record
	maximum int64
	exists  bool
	changed <-chan struct{} // closed when the queue changes
}

// read returns up to limit records and maxPullBytes from offset on.
func (s *store) read(topic string, queueID int32, offset int64, limit int) slice {
	s.mu.Lock()
	defer s.mu.Unlock()
	q := s.queue(topic, queueID)
	if q == nil {
		return slice{}
	}
	if q.changed == nil {
		q.changed = make(chan struct{})
	}
	found := slice{maximum: int64(len(q.records)), exists: true, changed: q.changed}
	if offset < 0 || offset >= found.maximum {
		return found
	}
	bytes := 0
	for _, r := range q.records[offset:] {
		bytes += r.size()
		if len(found.records) == limit || (len(found.records) > 0 && bytes > maxPullBytes) {
			break
		}
		found.records = append(found.records, r)
	}
	return found
}

// queue is nil if there is none; s.mu is held.
func (s *store) queue(topic string, queueID int32) *queue {
	queues := s.topics[topic]
	if queueID < 0 || int(queueID) >= len(queues) {
		return nil
	}
	return queues[queueID]
}

// offsetAt is the first offset stored at or after a time in milliseconds, or
// the end of the queue.
func (s *store) offsetAt(topic string, queueID int32, millis int64) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	q := s.queue(topic, queueID)
	if q == nil {
		return 0
	}
	n, _ := slices.BinarySearchFunc(q.records, millis, func(r *record, at int64) int {
		if r.stored < at {
			return -1
		}
		return 1
	})
	return int64(n)
}

func (s *store) maxOffset(topic string, queueID int32) int64 {
	return s.read(topic, queueID, -1, 0).maximum
}

func (s *store) commit(group, topic string, queueID int32, offset int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.offsets[offsetKey{group, topic, int(queueID)}] = offset
}

// committed is the stored offset, or 0 for a group without one if the queue has
// messages, or false: the Java broker's answer, which skips nothing it can see.
func (s *store) committed(group, topic string, queueID int32) (int64, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if offset, ok := s.offsets[offsetKey{group, topic, int(queueID)}]; ok {
		return offset, true
	}
	q := s.queue(topic, queueID)
	return 0, q != nil && len(q.records) > 0
}

func (s *store) allCommitted(group, topic string) map[int]int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make(map[int]int64)
	for k, offset := range s.offsets {
		if k.group == group && k.topic == topic {
			all[k.queueID] = offset
		}
	}
	return all
}

func (s *store) records(topic string) []*record {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.log[topic])
}

func (s *store) messages(topic string) []Message {
	records := s.records(topic)
	all := make([]Message, 0, len(records))
	for _, r := range records {
		all = append(all, r.message())
	}
	return all
}
