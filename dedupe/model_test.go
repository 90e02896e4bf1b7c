package dedupe_test

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"

	"refundd/dedupe"
)

// model is a record in plain Go: the state table of the package comment, written
// a second time.
type model struct {
	exists, decided bool
	fp              string
	letter, event   string // decided: S, F or C
	tok, rtok, note string
	until, luntil   int64 // ms
	gen, conf       int64
	lapses          int
	fresh, parked   bool
	expires         int64 // decided, ms; only miniredis' clock is ours to compare
}

func (m *model) claim(fp, tok string, gen int64, note string, now int64) dedupe.Claim {
	ends := now + lease.Milliseconds()
	if !m.exists {
		*m = model{exists: true, fp: fp, tok: tok, until: ends, gen: gen, note: note, fresh: true}
		return dedupe.Claim{State: dedupe.Won, Fresh: true, Generation: gen, Note: []byte(note)}
	}
	if m.fp != fp {
		return dedupe.Claim{State: dedupe.Conflict}
	}
	if m.decided {
		return dedupe.Claim{State: dedupe.Decided, Event: []byte(m.event), Contradiction: m.letter == "C"}
	}
	other := dedupe.Claim{Generation: m.gen, Parked: m.parked}
	mine := m.tok == tok
	switch {
	case m.rtok == tok:
		other.State = dedupe.Held
		return other
	case !mine && gen < m.conf:
		other.State = dedupe.Superseded
		return other
	case !mine && m.tok != "" && m.until > now:
		other.State, other.HeldFor = dedupe.Held, time.Duration(m.until-now)*time.Millisecond
		return other
	case !mine:
		if m.tok != "" {
			m.lapses++
			m.luntil = max(m.luntil, m.until)
		}
		m.fresh = false
	}
	m.tok, m.until, m.gen = tok, ends, max(m.gen, gen)
	claim := dedupe.Claim{
		State: dedupe.Won, Fresh: m.fresh, Generation: m.gen, Note: []byte(m.note), Lapses: m.lapses, Parked: m.parked,
	}
	if m.lapses > 0 {
		claim.LapsedFor = time.Duration(max(0, now-m.luntil)) * time.Millisecond
	}
	return claim
}

func (m *model) settle(fp, tok string, succeeded bool, event string) dedupe.Settlement {
	letter := "F"
	if succeeded {
		letter = "S"
	}
	switch {
	case m.decided && m.fp != fp:
		return dedupe.Settlement{State: dedupe.Foreign}
	case m.decided && m.letter == "F" && succeeded:
		letter = "C"
	case m.decided:
		return dedupe.Settlement{State: dedupe.AlreadyDecided, Event: []byte(m.event), Contradiction: m.letter == "C"}
	case !succeeded && (!m.exists || m.tok != tok):
		return dedupe.Settlement{State: dedupe.Stale}
	}
	*m = model{exists: true, decided: true, fp: fp, letter: letter, event: event}
	return dedupe.Settlement{State: dedupe.Settled, Event: []byte(event), Contradiction: letter == "C"}
}

func (m *model) release(fp, tok, note string, parked bool) dedupe.Release {
	switch {
	case m.decided && fp != "" && fp != m.fp:
		return dedupe.Release{State: dedupe.Stale}
	case m.decided:
		return dedupe.Release{State: dedupe.AlreadyDecided, Event: []byte(m.event)}
	case m.exists && m.tok == tok:
		m.gen++
		m.tok, m.rtok, m.until, m.lapses, m.luntil = "", tok, 0, 0, 0
		m.note, m.parked, m.fresh = note, parked, false
	case m.exists && m.rtok == tok:
	default:
		return dedupe.Release{State: dedupe.Stale}
	}
	return dedupe.Release{State: dedupe.Released, Generation: m.gen}
}

func (m *model) confirm(gen int64) {
	if m.exists && !m.decided && gen > m.conf {
		m.conf, m.gen = gen, max(m.gen, gen)
	}
}

// amend is true if the note was replaced.
func (m *model) amend(read, note string, now int64) bool {
	held := m.tok != "" && m.until > now
	if !m.exists || m.decided || held || m.note != read || read == note {
		return false
	}
	m.note = note
	return true
}

func (m *model) read() dedupe.Record {
	switch {
	case !m.exists:
		return dedupe.Record{}
	case m.decided:
		return dedupe.Record{
			Exists: true, Decided: true, Succeeded: m.letter != "F", Contradiction: m.letter == "C",
			Event: []byte(m.event), Fingerprint: m.fp,
		}
	}
	return dedupe.Record{
		Exists: true, Note: []byte(m.note), Fingerprint: m.fp,
		Generation: m.gen, Confirmed: m.conf, Parked: m.parked,
	}
}

// raw is what the record must look like in Redis.
func (m *model) raw() raw {
	switch {
	case !m.exists:
		return raw{}
	case m.decided:
		return raw{value: m.letter + m.fp + "\n" + m.event}
	}
	fields := map[string]string{
		"fp": m.fp, "gen": strconv.FormatInt(m.gen, 10), "conf": strconv.FormatInt(m.conf, 10), "note": m.note,
	}
	put := func(name, value string, there bool) {
		if there {
			fields[name] = value
		}
	}
	put("tok", m.tok, m.tok != "")
	put("until", strconv.FormatInt(m.until, 10), m.tok != "")
	put("fresh", "1", m.fresh)
	put("lapses", strconv.Itoa(m.lapses), m.lapses > 0)
	put("luntil", strconv.FormatInt(m.luntil, 10), m.lapses > 0)
	put("rtok", m.rtok, m.rtok != "")
	put("parked", "1", m.parked)
	return raw{fields: fields}
}

func (m *model) pass(b *bench, d time.Duration) {
	if b.mini != nil {
		if m.decided && m.expires <= b.clock.UnixMilli() {
			*m = model{}
		}
		return
	}
	m.expires -= d.Milliseconds()
	if m.decided && m.expires <= 0 {
		*m = model{}
	}
	if m.tok != "" {
		m.until -= d.Milliseconds()
	}
	if m.lapses > 0 {
		m.luntil -= d.Milliseconds()
	}
}

// run is one sequence of random steps on one record.
type modelRun struct {
	b        *bench
	rng      *rand.Rand
	id       dedupe.Identity
	key      string
	m        model
	saved    model // what Redis rolls back to
	savedRaw raw
	tokens   []dedupe.Token // every token ever used; the last of each worker is at workers[i]
	workers  [4]dedupe.Token
	trace    []string
	seen     map[string]int // answers, by operation
}

// TestModel holds the scripts to the model: random steps by four workers, with
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
			"amend true", "amend false",
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
	case dice < 34:
		if r.rng.IntN(2) == 0 {
			r.renew(worker)
		}
		tok, fp, gen := r.token(worker), r.fp(), r.generation()
		note := "note by " + string(tok)[:6] + "\x00\xff\r\n"
		for range twice {
			r.claim(t, fp, tok, gen, note)
		}
	case dice < 38 || r.m.decided && dice < 52:
		tok, fp, succeeded := r.token(worker), r.fp(), r.rng.IntN(3) == 0
		if r.rng.IntN(2) == 0 && r.m.tok != "" {
			tok = dedupe.Token(r.m.tok) // or failures would be too rare
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
		r.m.confirm(gen)
	case dice < 72:
		read := dedupe.Record{Exists: true, Note: []byte(r.m.note), Fingerprint: r.m.fp}
		if r.rng.IntN(3) == 0 {
			read.Note = []byte("note 7") // what somebody read long ago
		}
		r.amend(t, read, fmt.Sprintf("note %d", r.rng.IntN(1000)))
	case dice < 88:
		d := time.Duration(r.rng.Int64N(lease.Milliseconds())) * time.Millisecond
		if r.rng.IntN(10) == 0 {
			d = lease
		}
		switch {
		case r.m.decided:
			d = keep/3 + d // or nothing would ever begin anew
		case r.rng.IntN(6) == 0:
			d = -d // a replica whose clock is behind has taken over
		}
		r.log("pass %v", d)
		r.b.pass(t, r.key, d)
		r.m.pass(r.b, d)
	case dice < 91:
		r.log("redis forgets")
		must(t, r.b.client.Del(t.Context(), r.key).Err())
		r.m = model{}
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
	if r.b.mini != nil && r.saved.decided && r.saved.expires <= r.b.clock.UnixMilli() {
		r.saved, r.savedRaw = model{}, raw{}
	}
	if r.saved.decided && r.b.mini != nil {
		r.savedRaw.ttl = time.Duration(r.saved.expires-r.b.clock.UnixMilli()) * time.Millisecond
	}
	r.b.put(t, r.key, r.savedRaw)
	r.m = r.saved
}

// generation is near the record's, on either side.
func (r *modelRun) generation() int64 {
	return max(0, r.m.gen+r.rng.Int64N(4)-2)
}

func (r *modelRun) claim(t *testing.T, fp string, tok dedupe.Token, gen int64, note string) {
	t.Helper()
	r.log("claim %s by %.6s, generation %d", fp, tok, gen)
	before := time.Now()
	got, err := r.b.store.Claim(t.Context(), dedupe.ClaimRequest{
		ID: r.id, Fingerprint: fp, Token: tok, Generation: gen, Note: []byte(note),
	})
	must(t, err)
	if r.b.mini != nil && !got.Now.Equal(r.b.clock) {
		t.Errorf("now %v, want Redis' clock %v", got.Now, r.b.clock)
	}
	want := r.m.claim(fp, string(tok), gen, note, got.Now.UnixMilli())
	if won := got.State == dedupe.Won; won == got.Deadline.IsZero() || won && got.Deadline.Before(before.Add(lease)) {
		t.Errorf("%v with deadline %v, claim sent after %v", got.State, got.Deadline, before)
	}
	want.Now, want.Deadline = got.Now, got.Deadline
	r.compare(t, got, want)
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

func (r *modelRun) settle(t *testing.T, fp string, tok dedupe.Token, succeeded bool, event string) {
	t.Helper()
	r.log("settle %s by %.6s, succeeded %v", fp, tok, succeeded)
	got := r.b.settle(t, dedupe.SettleRequest{
		ID: r.id, Fingerprint: fp, Token: tok, Succeeded: succeeded, Event: []byte(event),
	})
	want := r.m.settle(fp, string(tok), succeeded, event)
	if want.State == dedupe.Settled {
		r.m.expires = keep.Milliseconds()
		if r.b.mini != nil {
			r.m.expires += r.b.clock.UnixMilli()
		}
	}
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
	r.compare(t, got, r.m.release(fp, string(tok), note, parked))
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
	if r.m.amend(string(read.Note), note, clock) {
		want = r.m.read()
	}
	if amended != want.Exists {
		t.Errorf("amended %v, want %v", amended, want.Exists)
	}
	r.compare(t, got, want)
	r.seen[fmt.Sprintf("amend %v", amended)]++
}

func (r *modelRun) compareRecord(t *testing.T) {
	t.Helper()
	got, want := r.b.raw(t, r.key), r.m.raw()
	if !got.equal(want) {
		t.Errorf("record\n got %q %q\nwant %q %q", got.fields, got.value, want.fields, want.value)
	}
	if r.m.exists && !r.m.decided && (got.ttl != 0 || r.m.conf > r.m.gen) {
		t.Errorf("undecided record expires in %v; confirmed %d of %d", got.ttl, r.m.conf, r.m.gen)
	}
	if r.m.decided && (got.ttl <= 0 || got.ttl > keep) {
		t.Errorf("decided record expires in %v", got.ttl)
	}
	record, err := r.b.store.Read(t.Context(), r.id)
	must(t, err)
	if left := record.HeldFor; left < 0 || left > 0 && r.m.tok == "" {
		t.Errorf("held for %v by %q", left, r.m.tok)
	}
	if r.b.mini != nil && r.m.tok != "" {
		want := time.Duration(max(0, r.m.until-r.b.clock.UnixMilli())) * time.Millisecond
		if record.HeldFor != want {
			t.Errorf("held for %v, want %v", record.HeldFor, want)
		}
	}
	record.HeldFor = 0
	r.compare(t, record, r.m.read())
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
