package dedupetest

import (
	"strconv"
	"strings"
	"time"

	"refundd/dedupe"
)

// Record is the record of one refund: the state table of package dedupe, written a
// second time. Its zero value is a record that is not there. It is comparable, so
// that a walk can tell which states it has seen. Times are milliseconds of Redis'
// clock.
type Record struct {
	Exists, Decided bool
	Fingerprint     string

	// Of a decided record. Letter is S (succeeded), F (failed), or C (succeeded
	// although a failure was stored).
	Letter, Event string
	Expires       int64

	// Of an undecided one. Token holds it until Until, or held it; RToken made the
	// last release.
	Token, RToken, Note string
	Until, Lease        int64
	// Authorisation is of the newest claim, LapsedAuthorisation of the first that
	// lapsed since the last release.
	Authorisation, LapsedAuthorisation string
	Generation                         int64
	Confirmed                          int64
	Lapses, LapsedUntil                int64
	Fresh, Parked                      bool
	// Lost: Redis forgot a newer state, which was noticed at LostAt and told to nobody.
	Lost   bool
	LostAt int64

	// Rejections are messages that were rejected, each " message=reason", the newest
	// 16. Without a record they are over at Expires.
	Rejections string
}

// Claim is claim.lua.
func (r *Record) Claim(req dedupe.ClaimRequest, now int64, lease time.Duration) dedupe.Answer {
	token, generation := string(req.Token), req.Generation
	ends := now + lease.Milliseconds()
	reason := r.rejected(req.Message)
	switch {
	case r.Decided && r.Fingerprint != req.Fingerprint:
		return dedupe.Answer{State: dedupe.Conflict}
	case r.Decided:
		return dedupe.Answer{State: dedupe.Decided, Event: []byte(r.Event), Contradiction: r.Letter == "C"}
	case reason != "" && !req.Claimed:
		return dedupe.Answer{State: dedupe.Rejected, Reason: reason}
	case reason != "":
		r.Rejections = strings.Replace(r.Rejections, " "+req.Message+"="+reason, "", 1)
	}
	switch {
	case !r.Exists:
		*r = Record{
			Exists: true, Fingerprint: req.Fingerprint, Token: token, Until: ends, Lease: lease.Milliseconds(), Authorisation: req.Authorisation,
			Generation: generation, Note: string(req.Note), Fresh: true, Rejections: r.Rejections,
		}
		return dedupe.Answer{State: dedupe.Won, Fresh: true, Generation: generation, Note: req.Note}
	case r.Fingerprint != req.Fingerprint:
		return dedupe.Answer{State: dedupe.Conflict}
	}
	other := dedupe.Answer{Generation: r.Generation, Parked: r.Parked}
	mine := r.Token == token
	until := r.until(now)
	switch {
	case r.RToken == token:
		other.State, other.Note = dedupe.Held, []byte(r.Note)
		return other
	case !mine && generation < r.Confirmed:
		other.State = dedupe.Superseded
		return other
	case !mine && r.Token != "" && until > now:
		r.Until = until
		other.State, other.Note, other.HeldFor = dedupe.Held, []byte(r.Note), time.Duration(until-now)*time.Millisecond
		return other
	case !mine:
		if r.Token != "" {
			r.lapse(until)
		}
		r.Fresh = false
	}
	if generation > r.Generation {
		r.Lost, r.LostAt = true, now
	}
	if r.Lost {
		r.lapse(r.LostAt)
		r.Lost, r.LostAt = false, 0
	}
	r.Token, r.Until, r.Lease, r.Authorisation = token, ends, lease.Milliseconds(), req.Authorisation
	r.Generation = max(r.Generation, generation)
	claim := dedupe.Answer{
		State: dedupe.Won, Fresh: r.Fresh, Generation: r.Generation, Note: []byte(r.Note), Lapses: int(r.Lapses), Parked: r.Parked,
		LapsedAuthorisation: r.LapsedAuthorisation,
	}
	if r.Lapses > 0 {
		claim.LapsedFor = time.Duration(max(0, now-r.LapsedUntil)) * time.Millisecond
	}
	return claim
}

// until is when the lease ends: at most one lease from now, or the clock was set
// back.
func (r *Record) until(now int64) int64 { return min(r.Until, now+r.Lease) }

func (r *Record) lapse(at int64) {
	r.Lapses++
	r.LapsedUntil = max(r.LapsedUntil, at)
	if r.LapsedAuthorisation == "" {
		r.LapsedAuthorisation = r.Authorisation
	}
}

// Settle is settle.lua.
func (r *Record) Settle(req dedupe.SettleRequest, now int64, keep time.Duration) dedupe.Settlement {
	token, succeeded, letter := string(req.Token), req.Succeeded, "F"
	if succeeded {
		letter = "S"
	}
	switch {
	case r.Decided && r.Fingerprint != req.Fingerprint:
		return dedupe.Settlement{State: dedupe.Foreign}
	case r.Decided && r.Letter == "F" && succeeded:
		letter = "C"
	case r.Decided:
		return dedupe.Settlement{State: dedupe.AlreadyDecided, Event: []byte(r.Event), Contradiction: r.Letter == "C"}
	case !succeeded && (!r.Exists || r.Token != token || r.Lost):
		return dedupe.Settlement{State: dedupe.Stale}
	}
	*r = Record{
		Exists: true, Decided: true, Fingerprint: req.Fingerprint, Letter: letter, Event: string(req.Event),
		Expires: now + keep.Milliseconds(),
	}
	return dedupe.Settlement{State: dedupe.Settled, Event: req.Event, Contradiction: letter == "C"}
}

// Release is release.lua. An empty fingerprint is not compared.
func (r *Record) Release(fingerprint, token, note string, parked bool) dedupe.Release {
	switch {
	case r.Decided && fingerprint != "" && fingerprint != r.Fingerprint:
		return dedupe.Release{State: dedupe.Stale}
	case r.Decided:
		return dedupe.Release{State: dedupe.AlreadyDecided, Event: []byte(r.Event)}
	case r.Exists && r.Token == token:
		r.Generation++
		r.Token, r.RToken, r.Until, r.Lease = "", token, 0, 0
		r.Lapses, r.LapsedUntil, r.LapsedAuthorisation = 0, 0, ""
		r.Note, r.Parked, r.Fresh = note, parked, false
	case r.Exists && r.RToken == token:
	default:
		return dedupe.Release{State: dedupe.Stale}
	}
	return dedupe.Release{State: dedupe.Released, Generation: r.Generation}
}

// Confirm is confirm.lua.
func (r *Record) Confirm(generation, now int64) {
	if r.Exists && !r.Decided && generation > r.Confirmed {
		if generation > r.Generation {
			r.Lost, r.LostAt = true, now
		}
		r.Confirmed, r.Generation = generation, max(r.Generation, generation)
	}
}

// Amend is amend.lua: it tells whether the note was replaced.
func (r *Record) Amend(read, note string, now int64) bool {
	held := r.Token != "" && r.until(now) > now
	if !r.Exists || r.Decided || held || r.Note != read {
		return false
	}
	r.Note = note
	return true
}

// Reject is reject.lua: it returns the reason that stands, or none where there is a
// record.
func (r *Record) Reject(message, reason string, now int64, keep time.Duration) string {
	if before := r.rejected(message); before != "" || r.Exists {
		return before
	}
	all := append(strings.Split(r.Rejections, " "), message+"="+reason)[1:]
	if r.Rejections == "" {
		all = []string{message + "=" + reason}
	}
	r.Rejections, r.Expires = " "+strings.Join(all[max(0, len(all)-16):], " "), now+keep.Milliseconds()
	return reason
}

// rejected is why a message was rejected, or "".
func (r *Record) rejected(message string) string {
	_, after, _ := strings.Cut(r.Rejections, " "+message+"=")
	reason, _, _ := strings.Cut(after, " ")
	return reason
}

// Read is read.lua.
func (r *Record) Read(now int64) dedupe.Record {
	switch {
	case !r.Exists:
		return dedupe.Record{}
	case r.Decided:
		return dedupe.Record{
			Exists: true, Decided: true, Succeeded: r.Letter != "F", Contradiction: r.Letter == "C",
			Event: []byte(r.Event), Fingerprint: r.Fingerprint,
		}
	}
	read := dedupe.Record{
		Exists: true, Note: []byte(r.Note), Fingerprint: r.Fingerprint,
		Generation: r.Generation, Confirmed: r.Confirmed, Parked: r.Parked,
	}
	if r.Token != "" {
		read.HeldFor = time.Duration(max(0, r.until(now)-now)) * time.Millisecond
	}
	return read
}

// Raw is what the record looks like in Redis: the fields of an undecided one's
// hash, or a decided one's string.
func (r *Record) Raw() (fields map[string]string, value string) {
	switch {
	case !r.Exists && r.Rejections != "":
		return map[string]string{"rej": r.Rejections}, ""
	case !r.Exists:
		return nil, ""
	case r.Decided:
		return nil, r.Letter + r.Fingerprint + "\n" + r.Event
	}
	number := func(n int64) string { return strconv.FormatInt(n, 10) }
	fields = map[string]string{
		"fp": r.Fingerprint, "gen": number(r.Generation), "conf": number(r.Confirmed), "note": r.Note,
	}
	put := func(name, value string, there bool) {
		if there {
			fields[name] = value
		}
	}
	put("tok", r.Token, r.Token != "")
	put("until", number(r.Until), r.Token != "")
	put("lease", number(r.Lease), r.Token != "")
	put("auth", r.Authorisation, true)
	put("fresh", "1", r.Fresh)
	put("lapses", number(r.Lapses), r.Lapses > 0)
	put("luntil", number(r.LapsedUntil), r.Lapses > 0)
	put("lauth", r.LapsedAuthorisation, r.Lapses > 0)
	put("rtok", r.RToken, r.RToken != "")
	put("parked", "1", r.Parked)
	put("lost", number(r.LostAt), r.Lost)
	put("rej", r.Rejections, r.Rejections != "")
	return fields, ""
}
