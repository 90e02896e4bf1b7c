package dedupe

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// maxGeneration is what Lua's numbers count exactly, with room to add.
const maxGeneration = 1 << 52

// SettleRequest decides a record.
type SettleRequest struct {
	ID          Identity
	Fingerprint string
	Token       Token // may be empty for a success, which needs none
	Succeeded   bool
	Event       []byte // not empty; what every later delivery gets
	// Entry is put in the index, due at once, before the record is decided: until
	// MarkPublished takes it out, the sweeper publishes the Event. From Store.Entry; empty:
	// the index is left alone, as for a first try that proves at once.
	Entry string
}

// Settlement is the answer to a SettleRequest.
type Settlement struct {
	State Outcome // Settled, AlreadyDecided, Stale or Foreign
	Event []byte  // what is stored for this command now, when Settled or AlreadyDecided
	// Contradiction says that Event is a success that replaced a stored failure.
	// Repeats say it again, so that it cannot get lost with an answer.
	Contradiction bool
}

// Settle stores the event that ends a refund. Success is stored whoever holds
// the record, and over a stored failure, because the money has moved; failure
// only by the holder (DESIGN R5). Publish what the answer holds, not what was
// asked (DESIGN R6), and then say so with MarkPublished.
func (s *Store) Settle(ctx context.Context, req SettleRequest) (Settlement, error) {
	key := s.Key(req.ID)
	err := errors.Join(checkIdentity(req.ID), checkFingerprint(req.Fingerprint))
	if !req.Succeeded {
		err = errors.Join(err, checkToken(req.Token))
	}
	if len(req.Event) == 0 {
		err = errors.Join(err, errors.New("empty event"))
	}
	if err != nil {
		return Settlement{}, fmt.Errorf("dedupe: settle %s: %w", key, err)
	}
	var index redis.Cmder
	if req.Entry != "" {
		index = s.announce(ctx, req.ID.AppID, req.Entry, time.Time{})
	}
	succeeded := 0
	if req.Succeeded {
		succeeded = 1
	}
	r, err := s.run(ctx, "settle", scriptCall{
		script: s.scripts.settle, key: key, before: index,
		args: []any{req.Fingerprint, string(req.Token), succeeded, s.cfg.Keep.Milliseconds(), req.Event},
	})
	if err != nil {
		return Settlement{}, fmt.Errorf("dedupe: settle %s: %w", key, err)
	}
	settlement := Settlement{Contradiction: r.bool(1), Event: r.bytes(2)}
	switch word := r.text(0); word {
	case "settled":
		settlement.State = Settled
	case "already":
		settlement.State = AlreadyDecided
	case "stale":
		settlement.State = Stale
	case "foreign":
		settlement.State = Foreign
	default:
		r.err = errors.Join(r.err, errReply)
	}
	if r.err != nil {
		return Settlement{}, fmt.Errorf("dedupe: settle %s: %w", key, r.err)
	}
	return settlement, nil
}

// ReleaseRequest gives a record back undecided.
type ReleaseRequest struct {
	ID    Identity
	Token Token
	// Fingerprint guards the answer: if Redis forgot the record and it was
	// decided for a command with another one, that event is not ours, and the
	// release is Stale. Empty: not compared.
	Fingerprint string
	Note        []byte // replaces the stored one
	Entry       string // from Store.Entry; empty: the index is left alone
	// Due is when the command should have been tried again; after a grace the
	// sweeper asks why it was not. Zero: at once.
	Due time.Time
	// Parked says whether the record waits for a person from now on. When that
	// person was called, Reschedule makes its entry due never.
	Parked bool
}

// Release is the answer to a ReleaseRequest.
type Release struct {
	State Outcome // Released, AlreadyDecided or Stale
	// Generation is what the copy that is published now must carry, when Released.
	Generation int64
	Event      []byte // what is stored, when AlreadyDecided
}

// Release gives back a record that could not be decided, with a note for the
// next try. The delivery may be acknowledged only after Release has answered
// without an error and its copy was published (DESIGN R7): until then the broker
// keeps what a crash between record and index would lose.
func (s *Store) Release(ctx context.Context, req ReleaseRequest) (Release, error) {
	key := s.Key(req.ID)
	if err := errors.Join(checkIdentity(req.ID), checkToken(req.Token)); err != nil {
		return Release{}, fmt.Errorf("dedupe: release %s: %w", key, err)
	}
	var index redis.Cmder
	if req.Entry != "" {
		index = s.announce(ctx, req.ID.AppID, req.Entry, req.Due)
	}
	parked := 0
	if req.Parked {
		parked = 1
	}
	r, err := s.run(ctx, "release", scriptCall{
		script: s.scripts.release, key: key, before: index, args: []any{string(req.Token), req.Note, parked, req.Fingerprint},
	})
	if err != nil {
		return Release{}, fmt.Errorf("dedupe: release %s: %w", key, err)
	}
	release := Release{Generation: r.int(1), Event: r.bytes(2)}
	switch word := r.text(0); word {
	case "released":
		release.State = Released
	case "already":
		release.State = AlreadyDecided
	case "stale":
		release.State = Stale
	default:
		r.err = errors.Join(r.err, errReply)
	}
	if r.err != nil {
		return Release{}, fmt.Errorf("dedupe: release %s: %w", key, r.err)
	}
	return release, nil
}

// Confirm writes down that a copy of this generation was published. From now on
// deliveries of older generations are Superseded. It does nothing if the record
// is decided, gone, or knows of a newer copy.
func (s *Store) Confirm(ctx context.Context, id Identity, generation int64) error {
	key := s.Key(id)
	if err := checkIdentity(id); err != nil {
		return fmt.Errorf("dedupe: confirm %s: %w", key, err)
	}
	if _, err := s.run(ctx, "confirm", scriptCall{script: s.scripts.confirm, key: key, args: []any{clamp(generation)}}); err != nil {
		return fmt.Errorf("dedupe: confirm %s: %w", key, err)
	}
	return nil
}

// Amend replaces the note of an undecided record that nobody holds, if it is
// still the one that was read before. It reports whether it did, and returns the
// record as it is then. Two that amend the same note have one winner.
func (s *Store) Amend(ctx context.Context, id Identity, read Record, note []byte) (now Record, amended bool, err error) {
	key := s.Key(id)
	if err := checkIdentity(id); err != nil {
		return Record{}, false, fmt.Errorf("dedupe: amend %s: %w", key, err)
	}
	if !read.Exists || read.Decided || bytes.Equal(read.Note, note) {
		return Record{}, false, nil
	}
	r, err := s.run(ctx, "amend", scriptCall{script: s.scripts.amend, key: key, args: []any{read.Note, note}})
	if err != nil {
		return Record{}, false, fmt.Errorf("dedupe: amend %s: %w", key, err)
	}
	amended = r.bool(0)
	now = Record{
		Exists: amended, Note: note, Fingerprint: read.Fingerprint, Generation: r.int(1), Confirmed: r.int(2), Parked: r.bool(3),
	}
	if r.err != nil {
		return Record{}, false, fmt.Errorf("dedupe: amend %s: %w", key, r.err)
	}
	if !amended {
		return Record{}, false, nil
	}
	return now, true, nil
}

// Record is what is stored about a refund. Its zero value means that nothing is.
type Record struct {
	Exists        bool
	Decided       bool
	Succeeded     bool          // how it was decided
	Contradiction bool          // a success that replaced a stored failure
	Event         []byte        // decided only
	Note          []byte        // undecided only
	Fingerprint   string        // of the command that made the record
	Generation    int64         // undecided only: how often it was released
	Confirmed     int64         // undecided only: newest generation known to be published
	HeldFor       time.Duration // undecided only: how long its holder has left
	Parked        bool          // undecided, and waiting for a person
}

// Read returns the record of an identity without touching it.
func (s *Store) Read(ctx context.Context, id Identity) (Record, error) {
	if err := checkIdentity(id); err != nil {
		return Record{}, fmt.Errorf("dedupe: read %s: %w", s.Key(id), err)
	}
	return s.ReadKey(ctx, s.Key(id))
}

// ReadKey is Read for a key that was taken from the index.
func (s *Store) ReadKey(ctx context.Context, key string) (Record, error) {
	return s.readKey(ctx, "read", key, nil)
}

func (s *Store) readKey(ctx context.Context, op, key string, before redis.Cmder) (Record, error) {
	r, err := s.run(ctx, op, scriptCall{script: s.scripts.read, key: key, before: before})
	if err != nil {
		return Record{}, fmt.Errorf("dedupe: read %s: %w", key, err)
	}
	record, err := readRecord(r)
	if err != nil {
		return Record{}, fmt.Errorf("dedupe: read %s: %w", key, err)
	}
	return record, nil
}

// Reject writes down that a message is rejected, so that no delivery of it wins a
// claim for as long as a decided record is kept. Where there is a record, nothing is
// written and the record is returned: the message must not be rejected. Rejected
// again, it keeps its first reason, which stands is. A reason has no space.
func (s *Store) Reject(ctx context.Context, id Identity, message, reason string) (rec Record, stands string, err error) {
	key := s.Key(id)
	if err := checkIdentity(id); err != nil {
		return Record{}, "", fmt.Errorf("dedupe: reject %s: %w", key, err)
	}
	if reason == "" || strings.Contains(reason, " ") {
		return Record{}, "", fmt.Errorf("dedupe: reject %s: the reason %q is empty or has a space", key, reason)
	}
	r, err := s.run(ctx, "reject", scriptCall{script: s.scripts.reject, key: key, args: []any{message, reason, s.cfg.Keep.Milliseconds()}})
	if err != nil {
		return Record{}, "", fmt.Errorf("dedupe: reject %s: %w", key, err)
	}
	if r.text(0) == "rejected" {
		return Record{}, r.text(8), r.err
	}
	if rec, err = readRecord(r); err != nil {
		return Record{}, "", fmt.Errorf("dedupe: reject %s: %w", key, err)
	}
	return rec, "", nil
}

func readRecord(r *reply) (Record, error) {
	record := Record{
		Fingerprint:   r.text(1),
		Succeeded:     r.bool(2),
		Contradiction: r.bool(3),
		Generation:    r.int(4),
		Confirmed:     r.int(5),
		HeldFor:       r.millis(6),
		Parked:        r.bool(7),
	}
	switch word := r.text(0); word {
	case "none":
	case "decided":
		record.Exists, record.Decided, record.Event = true, true, r.bytes(8)
	case "undecided":
		record.Exists, record.Note = true, r.bytes(8)
	default:
		r.err = errors.Join(r.err, errReply)
	}
	return record, r.err
}

func checkIdentity(id Identity) error {
	if id.AppID == "" || id.Kind == "" || id.OutRequestNo == "" {
		return errors.New("identity lacks app id, kind or out_request_no")
	}
	return nil
}

func checkFingerprint(fingerprint string) error {
	if fingerprint == "" || strings.Contains(fingerprint, "\n") {
		return errors.New("fingerprint is empty or has a line feed")
	}
	return nil
}

func checkToken(token Token) error {
	if token == "" {
		return errors.New("no token")
	}
	return nil
}

// clamp keeps a generation, which comes from a message, within what scripts count exactly.
func clamp(generation int64) int64 {
	return min(max(generation, 0), maxGeneration)
}
