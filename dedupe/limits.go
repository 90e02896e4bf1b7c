package dedupe

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	// usable is how long after its turn a call may begin.
	usable = 250 * time.Millisecond
	// lead is how far ahead a turn is given.
	lead = 400 * time.Millisecond
)

// MaxRate is the highest Slot.Rate.
const MaxRate = 10_000

// Slot says what one call to Alipay has to share with others. All instances have
// to agree on its numbers; where they differ, each call keeps its own.
type Slot struct {
	// Trade is what to space on: the merchant and the trade or auth_no, joined so
	// that no two pairs look alike. Empty: the call is not spaced.
	Trade string
	// Spacing is the least time between the beginnings of two calls on a Trade.
	// Zero: the call is not spaced.
	Spacing time.Duration
	// Rate is how many calls a second the application may make, up to MaxRate.
	// Zero: as many as Alipay takes. Where Alipay takes fewer, it is those.
	Rate int
	// Merchant, if not empty, is one whose authorisation Alipay limits: the call
	// waits for a turn of its pace as well. Alipay limits few, so callers name only
	// those of which they know it by a refusal.
	Merchant string
	// Query tells of a query: it is not spaced, and it may use the share of
	// the rate that refund calls leave.
	Query bool
}

func (s Slot) spaced() bool { return s.Trade != "" && s.Spacing > 0 && !s.Query }

// The reasons of a Grant that is not OK.
const (
	ReasonSpacing   = "spacing"   // the last call on the trade is too recent
	ReasonRate      = "rate"      // the application has made enough calls
	ReasonThrottled = "throttled" // Alipay takes no more calls of the application
)

// Grant is the answer to a Slot. Its times are by the local monotonic clock.
type Grant struct {
	// OK reports whether the call may be made, if it begins between Start and
	// Deadline.
	OK bool
	// Start, when OK, is the call's turn, at most 0.4 s ahead.
	Start time.Time
	// Deadline, when OK, is a quarter of a second after Start at the latest.
	// After it: Undo, and Reserve anew.
	Deadline time.Time
	// Wait, when not OK, is above zero: after this long by Redis' clock it would
	// have been OK, had nobody else asked.
	Wait time.Duration
	// Reason, when not OK, is ReasonSpacing, ReasonRate or ReasonThrottled.
	Reason string

	// Asked is when the grant was asked for.
	Asked time.Time
	// Turns are the application's, Merchant those of Slot.Merchant.
	Turns
	Merchant Turns
}

// Turns say how fast calls may be made.
type Turns struct {
	// Pace is what Alipay is believed to let through, in calls a second; zero:
	// nothing shows that it limits them.
	Pace float64
	// Next is the next turn of a refund call, and Every how long one takes; zero
	// where no rate limits them. Who asks long before Next is denied.
	Next  time.Time
	Every time.Duration
}

// ClaimWithSlot is Claim and, in the same exchange, Reserve with the claim's
// token. The Grant has a meaning only if the claim is Won. If it is not, or if
// the Slot is denied in part, what was reserved is undone by one exchange more.
func (s *Store) ClaimWithSlot(ctx context.Context, req ClaimRequest, slot Slot) (Claim, Grant, error) {
	key := s.Key(req.ID)
	if err := errors.Join(checkClaim(req), checkSlot(req.ID.AppID, slot, req.Token)); err != nil {
		return Claim{}, Grant{}, fmt.Errorf("dedupe: claim %s: %w", key, err)
	}
	began := time.Now()
	claiming := &scriptCall{script: s.scripts.claim, key: key, args: s.claimArgs(req)}
	asked := s.reservations(req.ID.AppID, slot, req.Token)
	if err := s.exchange(ctx, "claim", append([]*scriptCall{claiming}, asked...)); err != nil {
		return Claim{}, Grant{}, fmt.Errorf("dedupe: claim %s: %w", key, err)
	}
	claim, err := s.readClaim(req, claiming.answer, began)
	if err != nil {
		return Claim{}, Grant{}, fmt.Errorf("dedupe: claim %s: %w", key, err)
	}
	grant, granted, err := readGrant(asked, slot, began)
	if err != nil {
		return Claim{}, Grant{}, fmt.Errorf("dedupe: reserve in %s: %w", s.rateKey(req.ID.AppID), err)
	}
	if claim.State != Won {
		grant = Grant{}
	}
	if !grant.OK {
		s.giveBack(ctx, granted, req.Token)
	}
	return claim, grant, nil
}

// Reserve asks for one call. The token names that call: a new one for each. The
// same token asked again while its grant is fresh gets the same grant, since a
// client may send a script twice; later, or 64 grants later, it counts as another
// call, and the first one stands in its way. A denied Reserve changes nothing: what one limit
// granted while the other denied is undone at once by one exchange more; if that
// gets lost, the next call waits as after a call.
func (s *Store) Reserve(ctx context.Context, appID string, slot Slot, token Token) (Grant, error) {
	if err := checkSlot(appID, slot, token); err != nil {
		return Grant{}, fmt.Errorf("dedupe: reserve in %s: %w", s.rateKey(appID), err)
	}
	began := time.Now()
	asked := s.reservations(appID, slot, token)
	if err := s.exchange(ctx, "limit", asked); err != nil {
		return Grant{}, fmt.Errorf("dedupe: reserve in %s: %w", s.rateKey(appID), err)
	}
	grant, granted, err := readGrant(asked, slot, began)
	if err != nil {
		return Grant{}, fmt.Errorf("dedupe: reserve in %s: %w", s.rateKey(appID), err)
	}
	if !grant.OK {
		s.giveBack(ctx, granted, token)
	}
	return grant, nil
}

// Undo gives back what was reserved for a call that was not begun and will not
// be. A trade is free at once, however old the reservation. Of the rate only a
// fresh one of the latest 64 is given back; an older one has been worked off, or
// soon is.
func (s *Store) Undo(ctx context.Context, appID string, slot Slot, token Token) error {
	if err := checkSlot(appID, slot, token); err != nil {
		return fmt.Errorf("dedupe: undo in %s: %w", s.rateKey(appID), err)
	}
	if err := s.undo(ctx, s.reservations(appID, slot, token), token); err != nil {
		return fmt.Errorf("dedupe: undo in %s: %w", s.rateKey(appID), err)
	}
	return nil
}

// Throttled learns that Alipay refused a call as one too many (40005, 429,
// call-limited), for which asked was granted; where none was asked for, its Asked
// is when the call began and the rest is empty. Merchant is whose calls are too
// many; empty: the application's, of which rate is as in Slot. All instances
// together slow down to what Alipay seems to let through, and soon try for more;
// Pace says how. A refusal of what was asked for before they slowed down says
// nothing new. Queries keep their share meanwhile.
func (s *Store) Throttled(ctx context.Context, appID, merchant string, asked Grant, rate int) error {
	key, turns := s.rateKey(appID), asked.Turns
	if merchant != "" {
		key, turns = s.merchantKey(appID, merchant), asked.Merchant
	}
	if appID == "" {
		return fmt.Errorf("dedupe: throttle %s: %w", key, errors.New("no app id"))
	}
	age := max(0, time.Since(asked.Asked))
	_, err := s.run(ctx, "limit", scriptCall{
		script: s.scripts.throttle, key: key,
		args: []any{age.Microseconds(), int64(math.Round(turns.Pace * 1e6)), cmp.Or(rate, MaxRate)},
	})
	if err != nil {
		return fmt.Errorf("dedupe: throttle %s: %w", key, err)
	}
	return nil
}

// reservations are the scripts that ask for a slot, one for each limit. The
// application's rate is asked for even if there is none, because of what Alipay
// takes.
func (s *Store) reservations(appID string, slot Slot, token Token) []*scriptCall {
	query := 0
	if slot.Query {
		query = 1
	}
	turn := func(key string, rate int, usable time.Duration) *scriptCall {
		return &scriptCall{
			script: s.scripts.rate, key: key,
			args: []any{string(token), rate, query, usable.Microseconds(), lead.Microseconds()},
		}
	}
	calls := []*scriptCall{turn(s.rateKey(appID), slot.Rate, slot.usable(false))}
	if slot.Merchant != "" {
		calls = append(calls, turn(s.merchantKey(appID, slot.Merchant), 0, slot.usable(true)))
	}
	if slot.spaced() {
		calls = append(calls, &scriptCall{
			script: s.scripts.space, key: s.tradeKey(appID, slot.Trade),
			// The turn of a rate may be ahead, and so may the call.
			args: []any{string(token), slot.Spacing.Microseconds(), (lead + usable).Microseconds()},
		})
	}
	return calls
}

// usable is for how long after its turn a call may begin: by the last pace that
// it waits for, or an earlier one, beyond whose turn the last one's may lie.
func (s Slot) usable(last bool) time.Duration {
	if last || s.Merchant == "" {
		return usable
	}
	return lead + usable
}

// readGrant puts the answers together, and returns the calls that were granted.
func readGrant(asked []*scriptCall, slot Slot, began time.Time) (grant Grant, granted []*scriptCall, err error) {
	grant.Asked, grant.Start = began, began
	for i, call := range asked {
		r := call.answer
		word, span, valid := r.text(0), r.micros(1), lead+usable
		switch {
		case i == 0:
			grant.Turns, valid = readTurns(r, began), slot.usable(false)
		case i == 1 && slot.Merchant != "":
			grant.Merchant, valid = readTurns(r, began), slot.usable(true)
		}
		switch word {
		case "ok":
			granted = append(granted, call)
			turn := began.Add(span)
			if turn.After(grant.Start) {
				grant.Start = turn
			}
			if end := turn.Add(valid); grant.Deadline.IsZero() || end.Before(grant.Deadline) {
				grant.Deadline = end
			}
		case ReasonSpacing, ReasonRate, ReasonThrottled:
			if span > grant.Wait {
				grant.Wait, grant.Reason = span, word
			}
		default:
			r.err = errors.Join(r.err, errReply)
		}
		if r.err != nil {
			return Grant{}, nil, r.err
		}
	}
	grant.OK = len(granted) == len(asked)
	if !grant.OK {
		grant.Start, grant.Deadline = time.Time{}, time.Time{}
	}
	return grant, granted, nil
}

// readTurns reads what rate.lua says of the pace.
func readTurns(r *reply, began time.Time) Turns {
	t := Turns{Pace: float64(r.int(2)) / 1e6, Every: r.micros(4)}
	if next := r.micros(3); t.Every > 0 {
		t.Next = began.Add(next)
	}
	return t
}

// giveBack undoes what is of no use. That it may fail is fine: the next call
// waits for one that never comes, and no longer.
func (s *Store) giveBack(ctx context.Context, granted []*scriptCall, token Token) {
	if len(granted) > 0 {
		_ = s.undo(ctx, granted, token)
	}
}

func (s *Store) undo(ctx context.Context, calls []*scriptCall, token Token) error {
	defer s.observe("limit", time.Now())
	_, err := s.client.Pipelined(ctx, func(pipe redis.Pipeliner) error {
		for _, call := range calls {
			pipe.ZRem(ctx, call.key, string(token), "a:"+string(token), "s:"+string(token))
		}
		return nil
	})
	return err
}

func (s *Store) rateKey(appID string) string { return s.cfg.Prefix + "l:" + escape(appID) }

func (s *Store) merchantKey(appID, merchant string) string {
	return s.rateKey(appID) + ":" + escape(merchant)
}

func (s *Store) tradeKey(appID, trade string) string {
	return s.cfg.Prefix + "t:" + escape(appID) + ":" + trade
}

func checkSlot(appID string, slot Slot, token Token) error {
	if appID == "" {
		return errors.New("no app id")
	}
	if slot.Spacing < 0 {
		return fmt.Errorf("spacing %v is below zero", slot.Spacing)
	}
	if slot.Rate < 0 || slot.Rate > MaxRate {
		return fmt.Errorf("rate %d is not in 0..%d", slot.Rate, MaxRate)
	}
	return checkToken(token)
}
