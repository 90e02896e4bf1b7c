package consumer

import (
	"fmt"
	"strings"
	"time"
	"unicode"
)

// Deed is what a person did with a parked command.
type Deed string

const (
	// Requeued: it was sent to the retry topic again, with a new age and no try spent.
	Requeued Deed = "requeued"
	// Dropped: nobody means to try it again. It says nothing about the money:
	// the refund stays undecided, and its record stays.
	Dropped Deed = "dropped"
)

// Act is one deed, as the record of an undecided refund keeps it.
type Act struct {
	Deed Deed      `json:"deed"`
	By   string    `json:"by"`
	Why  string    `json:"why"`
	At   time.Time `json:"at"`
	// Park is the park number of the copy that it was done with, so that a
	// refund that is parked once more waits for a person again.
	Park int `json:"park"`
}

const (
	mostActs = 16  // a record keeps the newest
	mostBy   = 64  // bytes
	mostWhy  = 256 // bytes
)

// WithAct returns the stored note with a deed written into it; what is known
// about the money is left alone. Requeued lets its copies made from the record
// begin anew as well. Write it with dedupe's Amend before the copy is sent.
func WithAct(stored []byte, a Act) ([]byte, error) {
	n, err := decodeNote(stored)
	if err != nil {
		return nil, fmt.Errorf("write down that it was %s: %w", a.Deed, err)
	}
	a.By, a.Why, a.At = oneLine(a.By, mostBy), oneLine(a.Why, mostWhy), a.At.UTC().Truncate(time.Millisecond)
	n.Acts = append(n.Acts, a)
	n.Acts = n.Acts[max(0, len(n.Acts)-mostActs):]
	if a.Deed == Requeued {
		n.Try, n.Park, n.Origin.First = 0, max(n.Park, a.Park), a.At.UnixMilli()
	}
	return n.encode()
}

func oneLine(text string, most int) string {
	line := strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, text)
	return strings.ToValidUTF8(line[:min(len(line), most)], "")
}

// Summary is what a record's note says, for a person to read. Nothing is
// decided by it: that is Decide's, which reads the note itself.
type Summary struct {
	// Command is the first message's; its zero value if it can no longer be read.
	Command     Command
	MsgID       string
	Topic       string
	Traceparent string
	Born, First time.Time // of the first message; where its age counts from

	Tries, Parks   int
	Calls, Queries int
	CallStart      time.Time // of the newest call
	LastCall       time.Time // end of the newest call that may have arrived; zero if there is none
	Ended          string    // how the newest call ended: unknown, refused, blocked, config, limited, not_sent
	LastQuery      time.Time // of the newest query since the newest call
	Found          string    // what it showed: ours, old, absent, unproven, other, closed, pending, config, limited; or nothing
	QueryOnly      bool      // Redis may have forgotten its past: it is never called
	OperationID    string
	// Code, SubCode, SubMsg and TraceID are of the newest answer that had any.
	Code, SubCode, SubMsg, TraceID string
	// Next is what a delivery would do first, now, with the same authorisation:
	// call, query, wait, park, succeed or fail.
	Next string
	Acts []Act // oldest first
}

// Summarize reads a stored note. The kind is the record's.
func Summarize(kind Kind, stored []byte, now time.Time, queryAfter time.Duration) (Summary, error) {
	n, err := decodeNote(stored)
	if err != nil {
		return Summary{}, err
	}
	cmd, err := DecodeCommand(kind, n.Origin.Body)
	if err != nil {
		cmd = Command{}
	}
	r := Summary{
		Command: cmd, MsgID: n.Origin.MsgID, Topic: n.Origin.Topic, Traceparent: n.Origin.Traceparent,
		Born: fromMilli(n.Origin.Born), First: fromMilli(n.Origin.First),
		Tries: n.Try, Parks: n.Park, Calls: n.Calls, Queries: n.Queries,
		CallStart: fromMilli(n.CallStart), LastCall: fromMilli(n.LastCall), Ended: string(n.Ended), LastQuery: fromMilli(n.LastQuery), Found: string(n.Found),
		QueryOnly: n.QueryOnly, OperationID: n.OperationID,
		Code: n.Last.Code, SubCode: n.Last.SubCode, SubMsg: n.Last.SubMsg, TraceID: n.Last.TraceID, Acts: n.Acts,
	}
	n.askAnew()
	d := Decide(n, situation{
		Now: now, QueryAfter: queryAfter, Queryable: err == nil && operationFor(nil, cmd, "", Additions{}).queryable(n), Authorised: n.Authorised,
	})
	switch d.Do {
	case actCall:
		r.Next = "call"
	case actQuery:
		r.Next = "query"
	case actSucceed:
		r.Next = "succeed"
	case actFail:
		r.Next = "fail"
	case actPark:
		r.Next = "park"
	case actWait:
		r.Next = "wait"
	}
	return r, nil
}

func fromMilli(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}
