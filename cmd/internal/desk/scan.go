package desk

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"refundd/cmd/internal/story"
	"refundd/cmd/internal/tap"
	"refundd/consumer"
	"refundd/dedupe"
	"refundd/producer"
)

// Standing is what has become of a parked refund since.
type Standing string

const (
	StandsOpen          Standing = "open"          // undecided, and nobody did anything
	StandsForgotten     Standing = "forgotten"     // Redis has no record of it
	StandsForeign       Standing = "foreign"       // the record is of a command with other content
	StandsContradiction Standing = "contradiction" // succeeded after failed was published
	StandsUnreadable    Standing = "unreadable"    // claimed once, and can no longer be read
	StandsStub          Standing = "stub"          // the broker refused to store the whole
	StandsRejected      Standing = "rejected"      // never sent to Alipay; its event said so
	StandsRequeued      Standing = "requeued"      // sent again by a person, not taken up yet
	StandsWorking       Standing = "working"       // a worker holds it now
	StandsRetrying      Standing = "retrying"      // taken up: its next try will come
	StandsDecided       Standing = "decided"
	StandsDropped       Standing = "dropped" // by a person; still undecided
	StandsNewer         Standing = "newer"   // another parked copy of the same refund is newer
)

// parkedRefund is one parked message, and what is known about its refund.
type parkedRefund struct {
	message tap.Message
	copy    producer.Copy
	kind    consumer.Kind
	cmd     consumer.Command // zero if it cannot be read
	stub    *producer.Stub   // nil if the whole is here
	number  string           // the command's, else the message's key
	id      dedupe.Identity

	stands   Standing
	unmarked Standing // how it would stand without its mark
	detail   string   // of how it stands
	record   dedupe.Record
	memory   consumer.Summary // of an undecided record
	mark     *consumer.Act    // what a person did where there is no undecided record
}

// waits: a person has to do something.
func (p *parkedRefund) waits() bool {
	switch p.stands {
	case StandsOpen, StandsForgotten, StandsForeign, StandsContradiction, StandsUnreadable, StandsStub, StandsRejected:
		return true
	case StandsRequeued:
		act, ok := p.lastAct()
		return ok && time.Since(act.At) > story.LostAfter
	case StandsWorking, StandsRetrying, StandsDecided, StandsDropped, StandsNewer:
	}
	return false
}

// acts are all deeds that are known, oldest first.
func (p *parkedRefund) acts() []consumer.Act {
	if p.mark == nil {
		return p.memory.Acts
	}
	return append(slices.Clone(p.memory.Acts), *p.mark)
}

// markName is what a mark is on: one parking of one message.
func (p *parkedRefund) markName() string {
	name := fmt.Sprintf("%s %d %s", p.copy.MsgID, p.copy.Park, p.copy.Reason)
	if p.stub != nil && p.stub.Of == producer.StubOfEvent {
		name += " event"
	}
	return name
}

// lastAct is the newest deed that was done with this copy.
func (p *parkedRefund) lastAct() (consumer.Act, bool) {
	if p.mark != nil {
		return *p.mark, true
	}
	for _, act := range slices.Backward(p.memory.Acts) {
		if act.Park >= p.copy.Park {
			return act, true
		}
	}
	return consumer.Act{}, false
}

// scan reads the parked topic and, for what the filter takes, the records.
func (d *Desk) scan(ctx context.Context, f *Filter) (found []*parkedRefund, messages int, err error) {
	var all []*parkedRefund
	if err := d.read(ctx, d.parked, f.Newer, func(m tap.Message) { all = append(all, d.open(m)) }); err != nil {
		return nil, 0, err
	}
	slices.SortStableFunc(all, func(a, b *parkedRefund) int {
		return cmp.Or(cmp.Compare(a.copy.Park, b.copy.Park), a.message.Born.Compare(b.message.Born))
	})
	newest := map[string]*parkedRefund{}
	for _, p := range all {
		key := "message " + p.copy.MsgID
		if p.stub != nil {
			key = p.stub.Of + " stub of " + key
		}
		if p.id.OutRequestNo != "" {
			key = d.store.Key(p.id)
		}
		if older := newest[key]; older != nil {
			older.stands = StandsNewer
		}
		newest[key] = p
	}
	for _, p := range all {
		if f.takes(p) {
			found = append(found, p)
		}
	}
	slices.SortStableFunc(found, func(a, b *parkedRefund) int { return a.message.Born.Compare(b.message.Born) })
	if err := d.readMarks(ctx); err != nil {
		return nil, 0, err
	}
	return found, len(all), d.judgeAll(ctx, found)
}

// readMarks takes note of what was done with messages without an undecided record.
func (d *Desk) readMarks(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, redisTime)
	defer cancel()
	marks, err := d.store.Marks(ctx, d.appID)
	d.marks = marks
	return err
}

// open reads one parked message.
func (d *Desk) open(m tap.Message) *parkedRefund {
	p := &parkedRefund{message: m, number: cmp.Or(m.Properties["KEYS"], m.Properties[producer.PropertyMsgID], m.ID)}
	c, err := producer.CopyFromProperties(m.Properties, m.Body)
	if err != nil {
		p.copy = producer.Copy{Body: m.Body, Topic: m.Properties[producer.PropertyTopic], MsgID: m.ID, Reason: m.Properties[producer.PropertyReason]}
		p.stands, p.detail = StandsUnreadable, err.Error()
		return p
	}
	p.copy = c
	kind, ok := d.kinds[c.Topic]
	if s, is := producer.DecodeStub(m.Body); is {
		p.kind, p.stub, p.stands, p.detail = kind, &s, StandsStub, stubSays(s)
		return p
	}
	if !ok {
		p.stands, p.detail = StandsUnreadable, "it comes from "+cmp.Or(c.Topic, "no topic")+", which is no topic of commands here"
		return p
	}
	p.kind = kind
	cmd, err := consumer.DecodeCommand(kind, m.Body)
	switch {
	case err != nil && (c.Reason == string(producer.ReasonUnreadable) || c.Reason == string(producer.ReasonTooLarge)):
		p.stands, p.detail = StandsRejected, "never sent to Alipay, and a rejected event was published; correct it and send it again"
	case err != nil:
		p.stands, p.detail = StandsUnreadable, err.Error()
	default:
		p.cmd, p.number, p.id = cmd, cmd.OutRequestNo, d.identity(cmd)
	}
	return p
}

// stubSays tells what a stub stands for and where the whole is.
func stubSays(s producer.Stub) string {
	says := fmt.Sprintf("stands for the %s, %d bytes that the broker refuses to store", s.Of, s.Size)
	if s.Lies == nil {
		return says + "; it was made from the record"
	}
	return says + fmt.Sprintf("; the message worked on lies at %s, broker %s, queue %d, offset %d",
		s.Lies.Topic, cmp.Or(s.Lies.Broker, "unknown"), s.Lies.Queue, s.Lies.Offset)
}

// readers is how many records are asked for at once.
const readers = 8

func (d *Desk) judgeAll(ctx context.Context, refunds []*parkedRefund) error {
	todo := make(chan *parkedRefund)
	errs := make([]error, readers)
	var wg sync.WaitGroup
	for i := range readers {
		wg.Go(func() {
			for p := range todo {
				if errs[i] == nil {
					errs[i] = d.judge(ctx, p)
				}
			}
		})
	}
	for _, p := range refunds {
		todo <- p
	}
	close(todo)
	wg.Wait()
	return cmp.Or(errs...)
}

// judge finds out how a parked refund stands: by its record, else by its mark.
func (d *Desk) judge(ctx context.Context, p *parkedRefund) error {
	if p.stands == StandsNewer {
		return nil
	}
	p.mark = nil
	if p.id.OutRequestNo == "" {
		p.stands = cmp.Or(p.unmarked, p.stands) // it may be judged a second time
	} else {
		if err := d.judgeRecord(ctx, p); err != nil {
			return err
		}
	}
	p.unmarked = p.stands
	switch p.stands {
	case StandsForgotten, StandsForeign, StandsContradiction, StandsUnreadable, StandsStub, StandsRejected:
	case StandsOpen, StandsRequeued, StandsWorking, StandsRetrying, StandsDecided, StandsDropped, StandsNewer:
		return nil
	}
	m, ok := d.marks[p.markName()]
	if !ok {
		return nil
	}
	p.mark = &consumer.Act{Deed: consumer.Deed(m.Deed), By: m.By, Why: m.Why, At: m.At.UTC(), Park: p.copy.Park}
	p.stands, p.detail = StandsDropped, story.Act(*p.mark)
	if p.mark.Deed == consumer.Requeued {
		p.stands = StandsRequeued
	}
	return nil
}

func (d *Desk) judgeRecord(ctx context.Context, p *parkedRefund) error {
	ctx, cancel := context.WithTimeout(ctx, redisTime)
	defer cancel()
	var err error
	if p.record, err = d.store.Read(ctx, p.id); err != nil {
		return err
	}
	r := p.record
	p.memory, p.detail = consumer.Summary{}, ""
	if r.Exists && !r.Decided {
		if p.memory, err = consumer.Summarize(p.kind, r.Note, time.Now(), d.queryAfter); err != nil {
			p.stands, p.detail = StandsUnreadable, err.Error()
			return nil
		}
	}
	if r.Exists && r.Fingerprint != p.cmd.Fingerprint() {
		p.stands = StandsForeign
		return nil
	}
	// What has become of it since is judged as explain judges it.
	facts := story.Facts{Number: p.number, Record: r, Summary: p.memory, Copies: []story.Copy{p.copied()}}
	switch told := story.Conclude(facts, time.Now()); told.Stands {
	case story.Succeeded, story.Failed:
		p.stands, p.detail = StandsDecided, string(told.Stands)
	case story.Contradiction:
		p.stands, p.detail = StandsContradiction, "succeeded after failed was published: accounting has to be told; requeueing changes nothing"
	case story.Requeued, story.Dropped:
		act, _ := p.lastAct()
		p.stands, p.detail = Standing(told.Stands), story.Act(act)
	case story.Parked:
		p.stands = StandsOpen
	case story.Working, story.Retrying, story.Forgotten, story.Rejected, story.Unknown:
		p.stands = Standing(told.Stands)
	}
	return nil
}

// copied is what the judge wants to know of the message.
func (p *parkedRefund) copied() story.Copy {
	return story.Copy{Reason: producer.Reason(p.copy.Reason), Park: p.copy.Park, Generation: p.copy.Generation}
}

const redisTime = 10 * time.Second
