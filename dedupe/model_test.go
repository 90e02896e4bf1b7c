package dedupe_test

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"

	"refundd/dedupe"
	"refundd/dedupe/dedupetest"
)

// pass moves the model as bench.pass moves the record.
func (r *modelRun) pass(d time.Duration) {
	m := &r.m
	if r.b.mini != nil {
		if expires(m) && m.Expires <= r.b.clock.UnixMilli() {
			*m = dedupetest.Record{}
		}
		return
	}
	m.Expires -= d.Milliseconds()
	if expires(m) && m.Expires <= 0 {
		*m = dedupetest.Record{}
	}
	if m.Token != "" {
		m.Until -= d.Milliseconds()
	}
	if m.Lapses > 0 {
		m.LapsedUntil -= d.Milliseconds()
	}
}

func expires(m *dedupetest.Record) bool { return m.Decided || !m.Exists && m.Rejections != "" }

// run is one sequence of random steps on one record.
type modelRun struct {
	b        *bench
	rng      *rand.Rand
	id       dedupe.Identity
	key      string
	m        dedupetest.Record
	saved    dedupetest.Record // what Redis rolls back to
	savedRaw raw
	tokens   []dedupe.Token // every token ever used; the last of each worker is at workers[i]
	workers  [4]dedupe.Token
	trace    []string
	seen     map[string]int // answers, by operation
}

// TestModel holds the scripts to the model, dedupetest.Record: random steps by four workers, with
// scripts sent twice and late, another command under the same number, and a Redis
// that forgets or is rolled back. After each step the answer and all of the
// record are compared.
func TestModel(t *testing.T) {
	steps, seeds := 600, uint64(6)
	onEveryRedis(t, func(t *testing.T, b *bench) {
		seen := map[string]int{}
		for seed := range seeds {
			t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
				r := &modelRun{
					b: b, rng: rand.New(rand.NewPCG(seed, 3)), id: refund(fmt.Sprintf("R%d", seed)), seen: seen,
				}
				r.key = b.store.Key(r.id)
				for i := range r.workers {
					r.renew(i)
				}
				for range steps {
					r.step(t)
					if t.Failed() {
						t.Fatalf("the last steps, newest last:\n%s", strings.Join(r.trace[max(0, len(r.trace)-25):], "\n"))
					}
				}
			})
		}
		for _, answer := range []string{
			"claim won", "claim won fresh", "claim won after a lapse", "claim held", "claim held for no time",
			"claim decided", "claim superseded", "claim conflict",
			"settle settled", "settle settled in contradiction", "settle already decided", "settle stale", "settle foreign",
			"amend true", "amend false", "claim rejected", "reject", "reject again", "reject where a record is",
			"release released", "release already decided", "release stale",
		} {
			if seen[answer] == 0 {
				t.Errorf("%q never came up: the steps do not explore enough", answer)
			}
		}
	})
}

func (r *modelRun) renew(worker int) {
	r.workers[worker] = dedupe.NewToken()
	r.tokens = append(r.tokens, r.workers[worker])
}

// token is mostly a worker's own, and sometimes one of the last ten of anybody.
func (r *modelRun) token(worker int) dedupe.Token {
	if r.rng.IntN(4) == 0 {
		last := r.tokens[max(0, len(r.tokens)-10):]
		return last[r.rng.IntN(len(last))]
	}
	return r.workers[worker]
}

func (r *modelRun) fp() string {
	if r.rng.IntN(12) == 0 {
		return "v1:other"
	}
	return "v1:first"
}

func (r *modelRun) step(t *testing.T) {
	t.Helper()
	worker := r.rng.IntN(len(r.workers))
	twice := 1
	if r.rng.IntN(5) == 0 {
		twice = 2 // the answer was lost, the client sends the script again
	}
	switch dice := r.rng.IntN(100); {
	case dice < 34 && (r.m.Exists || dice < 17):
		if r.rng.IntN(2) == 0 {
			r.renew(worker)
		}
		tok, fp, gen := r.token(worker), r.fp(), r.generation()
		note := "note by " + string(tok)[:6] + "\x00\xff\r\n"
		for range twice {
			r.claim(t, fp, tok, gen, note)
		}
	case dice < 38 || r.m.Decided && dice < 52:
		tok, fp, succeeded := r.token(worker), r.fp(), r.rng.IntN(3) == 0
		if r.rng.IntN(2) == 0 && r.m.Token != "" {
			tok = dedupe.Token(r.m.Token) // or failures would be too rare
		}
		event := fmt.Sprintf("{\"by\":%q}\n\x00%v", string(tok)[:6], succeeded)
		for range twice {
			r.settle(t, fp, tok, succeeded, event)
		}
	case dice < 58:
		tok, fp, parked := r.token(worker), r.fp(), r.rng.IntN(8) == 0
		if r.rng.IntN(4) == 0 {
			fp = ""
		}
		note := fmt.Sprintf("note %d", r.rng.IntN(1000))
		for range twice {
			r.release(t, fp, tok, note, parked)
		}
	case dice < 66:
		gen := r.generation()
		r.log("confirm %d", gen)
		must(t, r.b.store.Confirm(t.Context(), r.id, gen))
		r.m.Confirm(gen, r.b.clock.UnixMilli())
		if lost := r.b.raw(t, r.key).fields["lost"]; r.b.mini == nil && r.m.Lost && lost != "" {
			at, err := strconv.ParseInt(lost, 10, 64) // a real Redis' clock is not ours
			must(t, err)
			r.m.LostAt = at
		}
	case dice < 72:
		read := dedupe.Record{Exists: true, Note: []byte(r.m.Note), Fingerprint: r.m.Fingerprint}
		if r.rng.IntN(3) == 0 {
			read.Note = []byte("note 7") // what somebody read long ago
		}
		r.amend(t, read, fmt.Sprintf("note %d", r.rng.IntN(1000)))
	case dice < 76 || !r.m.Exists && dice < 85:
		message, reason := r.message(), fmt.Sprintf("reason_%d", r.rng.IntN(3))
		for range twice {
			r.reject(t, message, reason)
		}
	case dice < 88:
		d := time.Duration(r.rng.Int64N(lease.Milliseconds())) * time.Millisecond
		if r.rng.IntN(10) == 0 {
			d = lease
		}
		switch {
		case expires(&r.m):
			d = keep/3 + d // or nothing would ever begin anew
		case r.rng.IntN(6) == 0:
			d = -4 * d // a replica whose clock is behind has taken over
		}
		r.log("pass %v", d)
		r.b.pass(t, r.key, d)
		r.pass(d)
	case dice < 91:
		r.log("redis forgets")
		must(t, r.b.client.Del(t.Context(), r.key).Err())
		r.m = dedupetest.Record{}
	case dice < 96:
		r.log("snapshot")
		r.saved, r.savedRaw = r.m, r.b.raw(t, r.key)
	default:
		r.log("rolled back")
		r.rollBack(t)
	}
	r.compareRecord(t)
}

func (r *modelRun) rollBack(t *testing.T) {
	t.Helper()
	if r.b.mini != nil && expires(&r.saved) && r.saved.Expires <= r.b.clock.UnixMilli() {
		r.saved, r.savedRaw = dedupetest.Record{}, raw{}
	}
	if expires(&r.saved) && r.b.mini != nil {
		r.savedRaw.ttl = time.Duration(r.saved.Expires-r.b.clock.UnixMilli()) * time.Millisecond
	}
	r.b.put(t, r.key, r.savedRaw)
	r.m = r.saved
}

// generation is near the record's, on either side.
func (r *modelRun) generation() int64 {
	return max(0, r.m.Generation+r.rng.Int64N(4)-2)
}

func (r *modelRun) claim(t *testing.T, fp string, tok dedupe.Token, gen int64, note string) {
	t.Helper()
	r.log("claim %s by %.6s, generation %d", fp, tok, gen)
	before := time.Now()
	whom := []string{"a", "b", ""}[r.rng.IntN(3)]
	req := dedupe.ClaimRequest{
		ID: r.id, Fingerprint: fp, Token: tok, Generation: gen, Note: []byte(note), Authorisation: whom, Message: r.message(), Claimed: r.rng.IntN(4) == 0,
	}
	got, err := r.b.store.Claim(t.Context(), req)
	must(t, err)
	if r.b.mini != nil && !got.Now.Equal(r.b.clock) {
		t.Errorf("now %v, want Redis' clock %v", got.Now, r.b.clock)
	}
	want := r.m.Claim(req, got.Now.UnixMilli(), lease)
	if won := got.State == dedupe.Won; won == got.Deadline.IsZero() || won && got.Deadline.Before(before.Add(lease)) {
		t.Errorf("%v with deadline %v, claim sent after %v", got.State, got.Deadline, before)
	}
	want.Now, want.Deadline = got.Now, got.Deadline
	r.compare(t, got.Answer, want)
	answer := "claim " + got.State.String()
	switch {
	case got.Fresh:
		answer += " fresh"
	case got.Lapses > 0:
		answer += " after a lapse"
	case got.State == dedupe.Held && got.HeldFor == 0:
		answer += " for no time"
	}
	r.seen[answer]++
}

// message is often the one that was rejected last, else one of eighteen: the oldest
// rejections are forgotten.
func (r *modelRun) message() string {
	if at := strings.LastIndex(r.m.Rejections, " "); at >= 0 && r.rng.IntN(3) == 0 {
		last, _, _ := strings.Cut(r.m.Rejections[at+1:], "=")
		return last
	}
	return fmt.Sprintf("M%d", r.rng.IntN(18))
}

func (r *modelRun) reject(t *testing.T, message, reason string) {
	t.Helper()
	r.log("reject %s for %s", message, reason)
	got, stands, err := r.b.store.Reject(t.Context(), r.id, message, reason)
	must(t, err)
	now := int64(0)
	if r.b.mini != nil {
		now = r.b.clock.UnixMilli()
	}
	before := r.m.Rejections
	if want := r.m.Reject(message, reason, now, keep); stands != want {
		t.Errorf("rejected for %q, want %q", stands, want)
	}
	switch {
	case got.Exists != (r.m.Exists && stands == ""):
		t.Errorf("the record is there: %t; rejected for %q", got.Exists, stands)
	case got.Exists:
		r.seen["reject where a record is"]++
	case before == r.m.Rejections:
		r.seen["reject again"]++
	default:
		r.seen["reject"]++
	}
}

func (r *modelRun) settle(t *testing.T, fp string, tok dedupe.Token, succeeded bool, event string) {
	t.Helper()
	r.log("settle %s by %.6s, succeeded %v", fp, tok, succeeded)
	got := r.b.settle(t, dedupe.SettleRequest{
		ID: r.id, Fingerprint: fp, Token: tok, Succeeded: succeeded, Event: []byte(event),
	})
	now := int64(0) // a real Redis' clock is not ours: only what is left is compared
	if r.b.mini != nil {
		now = r.b.clock.UnixMilli()
	}
	want := r.m.Settle(dedupe.SettleRequest{Fingerprint: fp, Token: tok, Succeeded: succeeded, Event: []byte(event)}, now, keep)
	r.compare(t, got, want)
	answer := "settle " + got.State.String()
	if got.State == dedupe.Settled && got.Contradiction {
		answer += " in contradiction"
	}
	r.seen[answer]++
}

func (r *modelRun) release(t *testing.T, fp string, tok dedupe.Token, note string, parked bool) {
	t.Helper()
	r.log("release %s by %.6s, parked %v", fp, tok, parked)
	got := r.b.release(t, dedupe.ReleaseRequest{
		ID: r.id, Fingerprint: fp, Token: tok, Note: []byte(note), Parked: parked,
	})
	r.compare(t, got, r.m.Release(fp, string(tok), note, parked))
	r.seen["release "+got.State.String()]++
}

func (r *modelRun) amend(t *testing.T, read dedupe.Record, note string) {
	t.Helper()
	r.log("amend %q to %q", read.Note, note)
	clock := time.Now().UnixMilli()
	if r.b.mini != nil {
		clock = r.b.clock.UnixMilli()
	}
	got, amended, err := r.b.store.Amend(t.Context(), r.id, read, []byte(note))
	must(t, err)
	want := dedupe.Record{}
	if string(read.Note) != note && r.m.Amend(string(read.Note), note, clock) {
		want = r.m.Read(clock)
		want.HeldFor = 0
	}
	if amended != want.Exists {
		t.Errorf("amended %v, want %v", amended, want.Exists)
	}
	r.compare(t, got, want)
	r.seen[fmt.Sprintf("amend %v", amended)]++
}

func (r *modelRun) compareRecord(t *testing.T) {
	t.Helper()
	got, want := r.b.raw(t, r.key), raw{}
	want.fields, want.value = r.m.Raw()
	if !got.equal(want) {
		t.Errorf("record\n got %q %q\nwant %q %q", got.fields, got.value, want.fields, want.value)
	}
	if r.m.Exists && !r.m.Decided && (got.ttl != 0 || r.m.Confirmed > r.m.Generation) {
		t.Errorf("undecided record expires in %v; confirmed %d of %d", got.ttl, r.m.Confirmed, r.m.Generation)
	}
	if expires(&r.m) && (got.ttl <= 0 || got.ttl > keep) {
		t.Errorf("what is decided or rejected expires in %v", got.ttl)
	}
	record, err := r.b.store.Read(t.Context(), r.id)
	must(t, err)
	if left := record.HeldFor; left < 0 || left > 0 && r.m.Token == "" {
		t.Errorf("held for %v by %q", left, r.m.Token)
	}
	if r.b.mini != nil {
		if want := r.m.Read(r.b.clock.UnixMilli()).HeldFor; record.HeldFor != want || want > lease {
			t.Errorf("held for %v, want %v, at most %v", record.HeldFor, want, lease)
		}
	}
	wanted := r.m.Read(0)
	record.HeldFor, wanted.HeldFor = 0, 0
	r.compare(t, record, wanted)
}

func (r *modelRun) compare(t *testing.T, got, want any) {
	t.Helper()
	if g, w := fmt.Sprintf("%+v", got), fmt.Sprintf("%+v", want); g != w {
		t.Errorf("%s\n got %s\nwant %s", r.trace[len(r.trace)-1], g, w)
	}
}

func (r *modelRun) log(format string, args ...any) {
	r.trace = append(r.trace, fmt.Sprintf(format, args...))
}
