package tap

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/admin"
	rmqconsumer "github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"

	"refundd/consumer"
)

// Message is one message of a followed topic.
type Message struct {
	ID         string // UNIQ_KEY, or the broker's offset id where there is none
	Queue      string // broker name and number
	Offset     int64  // in its queue
	Properties map[string]string
	Body       []byte // the caller's
	Born       time.Time
	Stored     time.Time // by the broker's clock
}

// Following says what to read. The zero start is now.
type Following struct {
	Topic string
	// Group reads; default ToolsGroup. It must exist at the broker and must not
	// be one that consumes: that one would lose a share of its queues.
	Group string
	// Beginning starts with the oldest message there is, Since with the first
	// one that was stored at or after a time, From with an offset in every queue.
	Beginning bool
	Since     time.Time
	From      *int64
	// UntilNow ends Follow after what is there when it begins. Until and To end it
	// earlier: before the first message that was stored at or after a time, or
	// before an offset in every queue.
	UntilNow bool
	Until    time.Time
	To       *int64
	// Queue, if set, is the only one to read, by the name that Message.Queue has.
	Queue string
	// Merged hands messages of different queues in the order of their Stored time,
	// as far as every queue keeps it. It needs an end: UntilNow, Until or To.
	Merged bool
	// Spans, if set, is told before Ready which offsets will be read.
	Spans func([]Span)
	// Ready, if set, is called when the starting point of every queue is fixed:
	// what is stored from then on will be told.
	Ready func()
	// Trouble, if set, is told when reading a queue begins to fail. It goes on trying.
	Trouble func(error)
}

// beyond is an offset that no queue reaches. The broker answers it at once with
// the real limits; a good offset at a queue's end would wait for 20 seconds.
const beyond = 1 << 62

const (
	pullCount = 32 // the broker's own limit
	pullPause = time.Second
)

// Follow reads every queue of the topic and hands each message to tell, one at a
// time, in the order of its queue; between queues there is none. It ends with
// nil at UntilNow's end or when ctx ends, and with an error if it cannot begin.
// It may leave pulls behind that the broker answers within 20 seconds; they tell
// nobody. Queues that are added later are not read. After a lost connection it
// goes on within half a minute, when the SDK gives the pull up.
func Follow(ctx context.Context, c Cluster, f Following, tell func(Message)) error {
	if f.Group == "" {
		f.Group = ToolsGroup
	}
	queues, err := c.queues(ctx, f.Topic)
	if err == nil && f.Queue != "" {
		if queues = only(queues, f.Queue); len(queues) == 0 {
			err = fmt.Errorf("there is no queue %s", f.Queue)
		}
	}
	if err != nil {
		return fmt.Errorf("follow %s: %w", f.Topic, err)
	}
	opts := []rmqconsumer.Option{
		rmqconsumer.WithGroupName(f.Group),
		rmqconsumer.WithInstance(instance("follow")),
		rmqconsumer.WithNsResolver(c.resolver()),
		// The SDK would pull every queue that it is assigned a second time, in the
		// background, and write offsets of the group. So it is assigned none.
		rmqconsumer.WithStrategy(func(string, string, []*primitive.MessageQueue, []string) []*primitive.MessageQueue { return nil }),
	}
	if credentials, ok := c.credentials(); ok {
		opts = append(opts, rmqconsumer.WithCredentials(credentials))
	}
	sdk, err := rocketmq.NewPullConsumer(opts...)
	if err != nil {
		return fmt.Errorf("follow %s: new pull consumer: %w", f.Topic, err)
	}
	if err := sdk.Subscribe(f.Topic, rmqconsumer.MessageSelector{}); err != nil {
		return fmt.Errorf("follow %s: subscribe: %w", f.Topic, err)
	}
	if err := sdk.Start(); err != nil {
		return fmt.Errorf("follow %s: start: %w", f.Topic, err)
	}
	r := &reader{f: f, sdk: sdk, tell: tell}
	defer r.close()

	spans := make([]Span, len(queues))
	for i, queue := range queues {
		if spans[i], err = r.begin(ctx, queue); err != nil {
			return fmt.Errorf("follow %s as group %s: queue %d of %s: %w", f.Topic, f.Group, queue.QueueId, queue.BrokerName, err)
		}
	}
	if f.Spans != nil {
		f.Spans(spans)
	}
	if f.Ready != nil {
		f.Ready()
	}
	if f.Merged {
		r.merge(ctx, queues, spans)
		return nil
	}
	var wg sync.WaitGroup
	for i, queue := range queues {
		wg.Go(func() { r.read(ctx, queue, spans[i], r.hand) })
	}
	wg.Wait()
	return nil
}

// merge reads all queues at once and hands on the oldest of their next messages.
func (r *reader) merge(ctx context.Context, queues []*primitive.MessageQueue, spans []Span) {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	next := make([]chan Message, len(queues))
	for i, queue := range queues {
		next[i] = make(chan Message, 2*pullCount)
		wg.Go(func() {
			defer close(next[i])
			r.read(ctx, queue, spans[i], func(ctx context.Context, m Message) {
				select {
				case next[i] <- m:
				case <-ctx.Done():
				}
			})
		})
	}
	heads := make([]*Message, len(queues))
	for {
		oldest := -1
		for i := range heads {
			if heads[i] == nil {
				m, more := <-next[i]
				if !more {
					continue
				}
				heads[i] = &m
			}
			if oldest < 0 || heads[i].Stored.Before(heads[oldest].Stored) {
				oldest = i
			}
		}
		if oldest < 0 || ctx.Err() != nil {
			return
		}
		r.hand(ctx, *heads[oldest])
		heads[oldest] = nil
	}
}

// queues asks the name server. The SDK's pull consumer knows them too, but does
// not tell.
func (c Cluster) queues(ctx context.Context, topic string) ([]*primitive.MessageQueue, error) {
	opts := []admin.AdminOption{admin.WithResolver(c.resolver())}
	if credentials, ok := c.credentials(); ok {
		opts = append(opts, admin.WithCredentials(credentials))
	}
	a, err := admin.NewAdmin(opts...)
	if err != nil {
		return nil, fmt.Errorf("new admin client: %w", err)
	}
	defer func() { _ = a.Close() }() // nothing is pending
	queues, err := a.FetchPublishMessageQueues(ctx, topic)
	if err == nil && len(queues) == 0 {
		err = errors.New("the topic has no queue")
	}
	if err != nil {
		return nil, fmt.Errorf("list queues: %w", err)
	}
	return queues, nil
}

func queueName(q *primitive.MessageQueue) string {
	return fmt.Sprintf("%s/%d", q.BrokerName, q.QueueId)
}

func only(queues []*primitive.MessageQueue, name string) []*primitive.MessageQueue {
	return slices.DeleteFunc(queues, func(q *primitive.MessageQueue) bool { return queueName(q) != name })
}

type reader struct {
	f   Following
	sdk rocketmq.PullConsumer

	mu   sync.Mutex // one message at a time, and none after the end
	tell func(Message)
}

func (r *reader) close() {
	r.mu.Lock()
	r.tell = nil
	r.mu.Unlock()
	_ = r.sdk.Shutdown() // it holds nothing that could be lost
}

// Span is a part of a queue: from the next offset to read up to, but not
// including, the end at the time of asking.
type Span struct {
	Queue     string
	Next, End int64
}

// begin finds where reading starts and ends.
func (r *reader) begin(ctx context.Context, queue *primitive.MessageQueue) (Span, error) {
	limits, err := r.pull(ctx, queue, beyond, 1)
	if err != nil {
		return Span{}, err
	}
	s := Span{Queue: queueName(queue), Next: limits.MaxOffset, End: limits.MaxOffset}
	switch {
	case r.f.Beginning:
		s.Next = limits.MinOffset
	case r.f.From != nil:
		s.Next = min(max(*r.f.From, limits.MinOffset), limits.MaxOffset)
	case !r.f.Since.IsZero():
		if s.Next, err = r.search(ctx, queue, r.f.Since, limits.MinOffset, limits.MaxOffset); err != nil {
			return Span{}, err
		}
	}
	switch {
	case r.f.To != nil:
		s.End = max(min(*r.f.To, limits.MaxOffset), s.Next)
	case !r.f.Until.IsZero():
		if s.End, err = r.search(ctx, queue, r.f.Until, s.Next, limits.MaxOffset); err != nil {
			return Span{}, err
		}
	}
	return s, nil
}

// ends reports whether reading ends by itself.
func (f Following) ends() bool { return f.UntilNow || f.To != nil || !f.Until.IsZero() }

// search finds the first message at or after a time between two offsets.
func (r *reader) search(ctx context.Context, queue *primitive.MessageQueue, at time.Time, low, high int64) (int64, error) {
	since := at.UnixMilli()
	for low < high {
		middle := low + (high-low)/2
		result, err := r.pull(ctx, queue, middle, 1)
		if err != nil {
			return 0, err
		}
		found := result.GetMessageExts()
		if len(found) > 0 && found[0].StoreTimestamp < since {
			low = middle + 1
		} else {
			high = middle
		}
	}
	return low, nil
}

func (r *reader) read(ctx context.Context, queue *primitive.MessageQueue, s Span, hand func(context.Context, Message)) {
	failing := false
	for ctx.Err() == nil && (!r.f.ends() || s.Next < s.End) {
		result, err := r.pull(ctx, queue, s.Next, pullCount)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			if !failing && r.f.Trouble != nil {
				r.f.Trouble(fmt.Errorf("read queue %d of %s: %w", queue.QueueId, queue.BrokerName, err))
			}
			failing = true
			select {
			case <-ctx.Done():
			case <-time.After(pullPause):
			}
			continue
		}
		failing = false
		for _, m := range result.GetMessageExts() {
			if r.f.ends() && m.QueueOffset >= s.End {
				break
			}
			hand(ctx, message(s.Queue, m))
		}
		s.Next = max(result.NextBeginOffset, result.MinOffset)
	}
}

func message(queue string, m *primitive.MessageExt) Message {
	out := Message{
		ID: m.MsgId, Queue: queue, Offset: m.QueueOffset,
		Properties: m.GetProperties(), Born: time.UnixMilli(m.BornTimestamp), Stored: time.UnixMilli(m.StoreTimestamp),
		Body: append([]byte(nil), m.Body...), // the SDK's is a piece of the whole answer
	}
	if body, err := consumer.Inflate(out.Body, m.SysFlag); err == nil {
		out.Body = body
	}
	if out.ID == "" {
		out.ID = m.OffsetMsgId
	}
	return out
}

func (r *reader) hand(ctx context.Context, m Message) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.tell != nil && ctx.Err() == nil {
		r.tell(m)
	}
}

// pull returns when the broker has answered or ctx has ended; the SDK itself
// does not heed it.
func (r *reader) pull(ctx context.Context, queue *primitive.MessageQueue, offset int64, count int) (*primitive.PullResult, error) {
	type pulled struct {
		result *primitive.PullResult
		err    error
	}
	done := make(chan pulled, 1)
	go func() {
		own := *queue // the SDK writes into it
		result, err := r.sdk.PullFrom(ctx, &own, offset, count)
		done <- pulled{result, err}
	}()
	select {
	case <-ctx.Done():
		return nil, fmt.Errorf("pull: %w", ctx.Err())
	case p := <-done:
		if p.err != nil {
			return nil, fmt.Errorf("pull: %w", p.err)
		}
		return p.result, nil
	}
}
