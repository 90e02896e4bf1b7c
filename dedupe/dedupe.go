package dedupe

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// Config says where the records are and how long they last.
type Config struct {
	// Prefix is before every key. A Cluster hash tag in it ("{refundd}:") puts
	// all records on one node; without one they spread.
	Prefix string
	// Lease is how long a claim holds its record, at least 1 ms.
	Lease time.Duration
	// Keep is how long a decided record stays, counted from its decision, at
	// least 1 ms. Undecided and parked records stay until they are decided.
	Keep time.Duration
	// Observe is called after every exchange with Redis, from the goroutine
	// that made it, with a fixed name (claim, settle, release, confirm, amend, read, probe,
	// probe_failed, index, lock, limit, brake, mark) and how long it took, errors included.
	// It may be nil.
	Observe func(op string, took time.Duration)
}

// Store keeps one record per refund, and an index of those that are undecided or
// whose end was not published yet.
// Its methods may be called from many goroutines at once. Every method may be
// repeated after an error: what it did the first time is recognised.
type Store struct {
	client  redis.UniversalClient
	cfg     Config
	scripts scripts

	lastSlots atomic.Pointer[[]redis.ClusterSlot] // of a Cluster
}

// New returns a Store on a standalone, Sentinel or Cluster client. It sends
// nothing. Set ContextTimeoutEnabled on the client, or contexts' deadlines do
// not bound its reads; leave ReadOnly off, or a replica may answer.
func New(client redis.UniversalClient, cfg Config) (*Store, error) {
	if client == nil {
		return nil, errors.New("dedupe: no redis client")
	}
	if cfg.Lease < time.Millisecond {
		return nil, fmt.Errorf("dedupe: lease %v is below 1ms", cfg.Lease)
	}
	if cfg.Keep < time.Millisecond {
		return nil, fmt.Errorf("dedupe: keep %v is below 1ms", cfg.Keep)
	}
	return &Store{client: client, cfg: cfg, scripts: loadScripts()}, nil
}

// Identity says which refund a record is about (CONTRACT §3).
type Identity struct {
	AppID        string
	Merchant     string // empty: the application's own
	Kind         string // refund or coupon_refund
	OutRequestNo string
	Trade        string // trade or auth_no; set only under scope trade
}

// Refund is a refund as its record and the index know it.
type Refund struct {
	Identity
	Fingerprint string    // of the command
	Born        time.Time // its first message
	Fen         int64     // its amount
}

// Key returns the Redis key of the identity's record (CONTRACT §9). Within one
// scope two identities never share a key: wherever a colon could be taken for a
// separator, '%' and ':' are written as %25 and %3A, and a merchant that is
// really called "-" as %2D.
func (s *Store) Key(id Identity) string {
	merchant := escape(id.Merchant)
	switch merchant {
	case "":
		merchant = "-"
	case "-":
		merchant = "%2D"
	}
	parts := []string{escape(id.AppID), merchant, escape(id.Kind), id.OutRequestNo}
	if id.Trade != "" {
		parts[3] = escape(id.OutRequestNo)
		parts = append(parts, id.Trade)
	}
	return s.cfg.Prefix + "r:" + strings.Join(parts, ":")
}

func escape(part string) string {
	if !strings.ContainsAny(part, "%:") {
		return part // a Replacer that is not needed would cost more than the rest of a key
	}
	return strings.NewReplacer("%", "%25", ":", "%3A").Replace(part)
}

// Token names one claim: 128 random bits in hexadecimal. It is made by the
// claimer and not by Redis, so that it stays unique when Redis forgets. Make a
// new one for every claim; one that was released can never claim again.
type Token string

// NewToken returns a token that nobody else has.
func NewToken() Token {
	var bits [16]byte
	// crypto/rand.Read never fails: where there is no randomness it ends the program.
	_, _ = rand.Read(bits[:])
	return Token(hex.EncodeToString(bits[:]))
}

// State is how a claim ended. Its zero value is none of them.
type State int

const (
	// Won means that the record is held by the claim's token until Claim.Deadline.
	Won State = iota + 1
	// Held means that another token holds the record for Claim.HeldFor.
	Held
	// Decided means that the refund has ended; Claim.Event is what is stored.
	Decided
	// Superseded means that a copy of a newer generation is known to live, and
	// this delivery may be dropped (DESIGN R7).
	Superseded
	// Conflict means that the record belongs to a command with another fingerprint.
	Conflict
	// Rejected means that the message was rejected, for Claim.Reason.
	Rejected
)

// String returns the state in lower case.
func (s State) String() string {
	switch s {
	case Won:
		return "won"
	case Held:
		return "held"
	case Decided:
		return "decided"
	case Superseded:
		return "superseded"
	case Conflict:
		return "conflict"
	case Rejected:
		return "rejected"
	default:
		return fmt.Sprintf("state(%d)", int(s))
	}
}

// Outcome is how a settle or a release ended. Its zero value is none of them.
type Outcome int

const (
	// Settled means that the settle's own event is stored now.
	Settled Outcome = iota + 1
	// Released means that the record is undecided and free.
	Released
	// AlreadyDecided means that nothing was written: the record was decided
	// before, maybe by this very request whose answer was lost. The event of
	// the answer is what is stored and must be published.
	AlreadyDecided
	// Stale means that nothing was written: the token does not hold the record.
	// Its delivery is treated as held by another.
	Stale
	// Foreign means that nothing was written: the record was decided for a
	// command with another fingerprint.
	Foreign
)

// String returns the outcome in lower case.
func (o Outcome) String() string {
	switch o {
	case Settled:
		return "settled"
	case Released:
		return "released"
	case AlreadyDecided:
		return "already decided"
	case Stale:
		return "stale"
	case Foreign:
		return "foreign"
	default:
		return fmt.Sprintf("outcome(%d)", int(o))
	}
}

// observe reports one exchange; call it with defer and the time it began.
func (s *Store) observe(op string, began time.Time) {
	if s.cfg.Observe != nil {
		s.cfg.Observe(op, time.Since(began))
	}
}
