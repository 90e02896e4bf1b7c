// Package dedupe remembers what became of each refund, in Redis. Its record is a
// fence (one worker at a time calls Alipay) and a memory (an ended refund is
// published again, byte for byte). It is never the only guard: Redis may forget all
// of it at any moment, and then Alipay's own idempotency and the caller's query
// keep the money right. It never talks to Alipay or to the broker, and it does
// not log.
//
// # States
//
// A record is changed only by scripts (*.lua), each on one key and on Redis'
// clock. "Free" is an undecided record without a lease that runs. "Own" is the
// token of the request, "fp" its fingerprint, "gen" its generation.
//
//	operation            none          free              held by own     held by another   decided, same fp     decided, other fp
//	Claim                -> held       -> held           -> held, longer -                 -                    -
//	                     Won Fresh     Won               Won, as before  Held              Decided, event       Conflict
//	Settle(succeeded)    -> succeeded  -> succeeded      -> succeeded    -> succeeded      failed -> succeeded  -
//	                     Settled       Settled           Settled         Settled           see below            Foreign
//	Settle(failed)       -             - (own lapsed:    -> failed       -                 -                    -
//	                                   as held by own)
//	                     Stale         Stale             Settled         Stale             AlreadyDecided       Foreign
//	Release              -             -                 -> free, gen+1  -                 -                    -
//	                     Stale         Stale             Released        Stale             AlreadyDecided       AlreadyDecided
//	Confirm              -             conf, gen raised  same            same              -                    -
//	Amend                -             note replaced     -               -                 -                    -
//	Read                 -             -                 -               -                 -                    -
//
// Every state that two workers, a crash, a script sent twice and a Redis that
// forgets can reach from this table is visited by a test of package dedupetest, which
// holds the table's plain Go to the scripts.
//
// What the table has no room for:
//   - Claim of an undecided record with another fp: Conflict. With gen below the
//     confirmed one, by anyone but the holder: Superseded.
//   - A lease that ended keeps its token until somebody else claims: that claim
//     is Won and counts a lapse, because a call may still be in flight (R3), and is
//     said for whom. A release counts lapses anew. Until then the late holder may
//     settle, release, and claim again. A lease ends at most one lease from now,
//     however far Redis' clock was set back.
//   - A copy of a newer generation than the record's, seen by its claim or by its
//     confirmation, shows that Redis forgot a release and what its note knew of calls.
//     The next claim that is Won, by that copy or by another, counts it as a lapse;
//     until then Settle(failed) is Stale.
//   - A script may arrive twice, since clients send again what they got no answer
//     to. The second Claim of a token answers like the first; after the token was
//     released it is Held for no time, and holds nothing. The second Release of a
//     token answers like the first. The second Settle is AlreadyDecided.
//   - Settle(succeeded) on a stored failure is Settled with Contradiction, which
//     stays with the record; on a stored success it is AlreadyDecided. So decided
//     absorbs everything, with that one exception, which must scream.
//   - Reject writes the message down beside what is there if that is no record; it
//     then is rejected by every claim, whoever holds the record since. Where there is
//     a record it changes nothing. A decision forgets what was rejected.
//   - Amend replaces the note only if it is still the one that its caller read,
//     also where the lease of a holder has ended. It changes nothing else.
//   - Confirm raises gen to at least what it confirms. So what a release returns,
//     and what the sweeper finds in the record, is never below what is confirmed,
//     even if Redis was rolled back in between.
//
// Undecided records, parked ones included, never expire. Decided ones expire
// Config.Keep after they were decided; reading or repeating does not prolong that.
//
// # The index
//
// A sorted set per application names every record that was released undecided, or
// whose message was acknowledged undecided (Enter), with its due time, until what
// became of it is published. The sweeper publishes from the record what is overdue.
// The set is a hint, and the record is the truth: since a script touches one key, on
// a Cluster the two may be on different nodes. It is written by ordinary commands
// around the scripts, so that each crash is harmless:
//   - Release: entry first, then record. A crash between them leaves an entry of
//     a record that is still held; it comes due, and the sweeper reads the record.
//   - Settle: the same, due at once. The entry stays until MarkPublished. A crash in
//     between leaves an entry of a decided record; the sweeper publishes its event,
//     the same bytes.
//   - A release that parks is due at once as well, until its person was called; then
//     Reschedule makes it due never. A crash in between: the sweeper parks it again.
//   - MarkPublished looks at the record behind the removal. What it does not know,
//     such as a contradiction that was settled while the failure was published, brings
//     the entry back.
//   - A stale release or settle moves the due time of an entry that another holder
//     owns. That holder's own release or settle puts it right, and the sweeper
//     believes the record. Only a finite time is ever written before it is known
//     whose the record is.
//
// Entry and script go in one exchange. On a Cluster an exchange has one part for
// each node, and these have no order. That is safe as well, because the delivery is
// acknowledged only after both were answered: until then the broker holds the
// message, and its next delivery writes both again. Only MarkPublished may then miss
// what is settled in the very moment in which it asks.
//
// A Claim that is Won knows its refund, token and entry, and keeps this order:
// Settle, Release, Park, and behind them Published.
//
// The fast path touches no index: of what a first try proves, the broker has the
// only copy until the event is published, in a message that is not acknowledged.
//
// # Limits
//
// A Slot asks for one call to Alipay: apart from other calls on its trade, and
// within the rate of its application. Each limit is a sorted set of its own that
// all instances share. A reservation is a member of it, so undoing one is taking
// the member out; what is denied writes nothing. ClaimWithSlot asks for claim and
// slot in one exchange, before it is known whether the claim is won, and undoes
// what then is of no use. A reservation that is never undone, by a crash or a
// lost answer, only delays: never longer than after a call. The times:
//   - A grant is usable for 250 ms. Since its call may begin that late, the next
//     call on the trade is granted the spacing and 250 ms after it.
//   - The rate is GCRA with a burst of a tenth of a second's calls, at least one.
//     A fifth of it, at least one call a second, is the queries' share: it is
//     there when refund calls have used up the rest, and during a back-off. A
//     query takes from the common rate first. What the share adds to the burst is
//     a fifth of it, at least one call; over any window there are no more grants
//     than rate and both bursts allow.
//   - A back-off (Throttled) ends and is forgotten by time alone.
//   - A merchant's pace is a set like the application's, asked for only by who
//     knows of it (Slot.Merchant): it costs nothing where Alipay limits nobody.
//
// Redis may forget limits as well: they begin anew, and Alipay's refusals, which
// move no money, are what remains. If its clock is set back, a limit waits for
// what it would have waited anyway, or begins anew; never for the difference.
//
// # Brakes
//
// A person's pause is a field of one hash per application, without expiry.
// BrakeWatch keeps what every instance knows of it, at most a moment old.
//
// # Marks
//
// What a person did with a parked refund stands in its record's note. Where there
// is no undecided record, it is a field of one hash per application instead,
// for 90 days. Nothing is decided by it, and nothing is lost with it but the words.
//
// # Rules
//
// DESIGN R5 (the fence): claim.lua, settle.lua, release.lua, confirm.lua; (one
// exchange with the reservations, void if the claim is not won): ClaimWithSlot.
// R6 (settle, then publish what is stored): Settlement.Event, Claim.Event,
// Release.Event, Store.MarkPublished. R7 (no copy dropped unless another lives): release.lua and
// confirm.lua for the generation, "superseded" in claim.lua. R10 (what Redis no
// longer knows): Claim.Fresh, the index, and Sweeper.
package dedupe
