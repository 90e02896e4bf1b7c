package dedupe

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// ClaimRequest asks for a record.
type ClaimRequest struct {
	ID          Identity
	Fingerprint string // of the command, versioned by the caller; not empty, no line feed
	Token       Token  // a new one for each claim
	// Generation is what the delivery carries; zero for a first delivery.
	Generation int64
	// Message is the id of the message that brought the command. One that was
	// rejected is not claimed, unless a copy says that it was claimed before: then
	// Redis had forgotten that, and the rejection is.
	Message string
	Claimed bool
	// Note is stored if the claim makes the record; otherwise the stored one stays.
	Note []byte
	// Authorisation names for whom the holder may call. It is written by the claim
	// itself, since its maker may die calling. Empty: the holder does not call.
	Authorisation string
	// Born is when the command's first message was born, as far as its delivery knows,
	// and Fen its amount: they are in its entry in the index.
	Born time.Time
	Fen  int64
}

// Answer is what the record said to a ClaimRequest.
type Answer struct {
	State State
	// Fresh says of a Won claim that no record was there: this claim made it.
	// On a delivery that was tried before, Redis has forgotten (DESIGN R10).
	Fresh bool
	// Note is the stored note of a Won or Held record.
	Note []byte
	// Generation is the record's, when it is undecided and not a Conflict.
	Generation int64
	// Lapses counts the claims of a Won record that ended without a release
	// since the last release: each may have a call in flight (DESIGN R3). A release
	// that Redis forgot, as a copy newer than the record shows, counts as one.
	Lapses int
	// LapsedFor is, with Lapses above zero, how long ago by Redis' clock the
	// newest of their leases ended, or the loss was noticed; never negative.
	LapsedFor time.Duration
	// LapsedAuthorisation is, with Lapses above zero, for whom those claims may have
	// called. Empty: none of them called.
	LapsedAuthorisation string
	// HeldFor is how long a Held record stays held, at most its holder's lease. Zero:
	// try again at once.
	HeldFor time.Duration
	// Event is what a Decided record holds.
	Event []byte
	// Reason is why a Rejected message was.
	Reason string
	// Contradiction says that the Event of a Decided record is a success that
	// replaced a stored failure. Who stored it may have died before calling a person.
	Contradiction bool
	// Now is Redis' clock when the claim was answered.
	Now time.Time
	// Deadline of a Won claim is when its lease ends at the earliest, by the
	// local monotonic clock: the time before the claim was sent, plus the lease.
	Deadline time.Time
	// Parked says that an undecided record waits for a person.
	Parked bool
}

// Claim is one asked for, with its Answer. If it is Won, it holds the record: one of
// Settle, Release, Park and KeepParked gives that up, and Published is written when
// the broker has what follows from it. Each of them may be repeated after an error.
// It is not safe for concurrent use.
type Claim struct {
	Answer
	// Refund and Token are the request's. Where the Note names another birth than the
	// request did, Refund.Born is to be set to it: an entry keeps its name.
	Refund Refund
	Token  Token

	store     *Store
	writer    Writer
	tried     bool // an earlier delivery has claimed it
	settling  bool // Settle was called
	indexed   bool // its entry is written before it is settled
	published []Write
}

// Claim takes the record of an identity for one lease, or says why not. Claims
// that run at the same time have at most one winner. A claim that the client
// sent twice gets the same answer twice.
func (s *Store) Claim(ctx context.Context, req ClaimRequest) (Claim, error) {
	key := s.Key(req.ID)
	if err := checkClaim(req); err != nil {
		return Claim{}, fmt.Errorf("dedupe: claim %s: %w", key, err)
	}
	began := time.Now()
	r, err := s.run(ctx, "claim", scriptCall{script: s.scripts.claim, key: key, args: s.claimArgs(req)})
	if err != nil {
		return Claim{}, fmt.Errorf("dedupe: claim %s: %w", key, err)
	}
	claim, err := s.readClaim(req, r, began)
	if err != nil {
		return Claim{}, fmt.Errorf("dedupe: claim %s: %w", key, err)
	}
	return claim, nil
}

// Writer is what a claim is given up through: a Store, or what stands before one.
type Writer interface {
	Settle(ctx context.Context, req SettleRequest) (Settlement, error)
	Release(ctx context.Context, req ReleaseRequest) (Release, error)
}

// Through returns the claim with its Settle and Release going through w.
func (c Claim) Through(w Writer) Claim {
	c.writer = w
	return c
}

// Settle stores the event that ends the refund; see Store.Settle. Unless the claim
// is the only one that the command ever had, the index knows it first: somebody has
// to publish the event if this process dies before it does and the broker loses the
// copy (DESIGN R10). Whoever has outlived its lease may contradict what another
// published, and its entry has left the index by then.
func (c *Claim) Settle(ctx context.Context, succeeded bool, event []byte) (Settlement, error) {
	req := SettleRequest{ID: c.Refund.Identity, Fingerprint: c.Refund.Fingerprint, Token: c.Token, Succeeded: succeeded, Event: event}
	if !c.settling {
		c.settling, c.indexed = true, !c.Fresh || c.tried || time.Now().After(c.Deadline)
	}
	if c.indexed {
		req.Entry = c.entry()
	}
	settlement, err := c.writer.Settle(ctx, req)
	if err != nil {
		return settlement, err
	}
	stored := event
	if settlement.Event != nil {
		stored = settlement.Event
	}
	c.published = nil // the broker holds the message until it is
	if c.indexed {
		c.published = []Write{func(ctx context.Context) error { return c.store.MarkPublished(ctx, c.Refund, stored) }}
	}
	return settlement, nil
}

// Release gives the record back undecided, with a note for the next try, which is
// due then; see Store.Release.
func (c *Claim) Release(ctx context.Context, note []byte, due time.Time) (Release, error) {
	return c.release(ctx, ReleaseRequest{Note: note, Entry: c.entry(), Due: due})
}

// Park is Release for a person. Its entry is due at once, until Published.
func (c *Claim) Park(ctx context.Context, note []byte) (Release, error) {
	return c.release(ctx, ReleaseRequest{Note: note, Entry: c.entry(), Parked: true})
}

// KeepParked gives a record back as parked as it was: its entry is left alone.
func (c *Claim) KeepParked(ctx context.Context, note []byte) (Release, error) {
	return c.release(ctx, ReleaseRequest{Note: note, Parked: true})
}

func (c *Claim) release(ctx context.Context, req ReleaseRequest) (Release, error) {
	req.ID, req.Token, req.Fingerprint = c.Refund.Identity, c.Token, c.Refund.Fingerprint
	release, err := c.writer.Release(ctx, req)
	if err != nil {
		return release, err
	}
	c.published = []Write{func(ctx context.Context) error { return c.store.Confirm(ctx, req.ID, release.Generation) }}
	if req.Parked { // from then on the sweeper need not park it once more
		c.published = append(c.published, func(ctx context.Context) error {
			return c.store.Reschedule(ctx, req.ID.AppID, c.entry(), time.Time{})
		})
	}
	return release, nil
}

// Write is one write to Redis.
type Write func(context.Context) error

// Published returns what is to be written, in this order, once everything that
// follows from the last Settle, Release or Park is published. If one of them fails,
// the sweeper publishes it once more, or older copies live longer.
func (c *Claim) Published() []Write { return c.published }

func (c *Claim) entry() string { return c.store.Entry(c.Refund.Born, c.Refund.Fen, c.Refund.Identity) }

func checkClaim(req ClaimRequest) error {
	return errors.Join(checkIdentity(req.ID), checkFingerprint(req.Fingerprint), checkToken(req.Token))
}

func (s *Store) claimArgs(req ClaimRequest) []any {
	claimed := 0
	if req.Claimed {
		claimed = 1
	}
	return []any{req.Fingerprint, string(req.Token), s.cfg.Lease.Milliseconds(), clamp(req.Generation), req.Note, req.Authorisation, req.Message, claimed}
}

func (s *Store) readClaim(req ClaimRequest, r *reply, began time.Time) (Claim, error) {
	claim := Claim{
		Refund: Refund{Identity: req.ID, Fingerprint: req.Fingerprint, Born: req.Born, Fen: req.Fen},
		Token:  req.Token, store: s, writer: s, tried: req.Claimed,
	}
	claim.Answer = Answer{
		Now:           time.UnixMilli(r.int(1)),
		Fresh:         r.bool(2),
		Generation:    r.int(3),
		Lapses:        int(r.int(4)),
		LapsedFor:     r.millis(5),
		HeldFor:       r.millis(6),
		Parked:        r.bool(7),
		Contradiction: r.bool(8),
	}
	switch word := r.text(0); word {
	case "won":
		claim.State, claim.Note, claim.Deadline = Won, r.bytes(9), began.Add(s.cfg.Lease)
		claim.LapsedAuthorisation = r.text(10)
	case "held":
		claim.State, claim.Note = Held, r.bytes(9)
	case "decided":
		claim.State, claim.Event = Decided, r.bytes(9)
	case "rejected":
		claim.State, claim.Reason = Rejected, r.text(9)
	case "superseded":
		claim.State = Superseded
	case "conflict":
		claim.State = Conflict
	default:
		r.err = errors.Join(r.err, errReply)
	}
	if r.err != nil {
		return Claim{}, r.err
	}
	return claim, nil
}
