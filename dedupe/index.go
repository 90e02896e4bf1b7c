package dedupe

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// indexPage is how many entries one command reads while summing up.
const indexPage = 500

// Undecided is one entry of the index: of a command that is undecided, or whose end
// may not have been published.
type Undecided struct {
	Entry     string    // as stored: what Reschedule and Forget take
	FirstBorn time.Time // when the command's first message was born
	Fen       int64     // the amount at stake
	Due       time.Time // when it should have been tried again, or published; zero when Parked
	Parked    bool      // never due: it waits for a person, who was called
	Key       string    // of the record; empty if the entry cannot be read
}

// Totals sums up the index. What was decided counts until it is published.
type Totals struct {
	Count  int       // all entries, parked ones included
	Parked int       // those never due
	Fen    int64     // sum of the amounts
	Oldest time.Time // earliest FirstBorn, zero if there is none
}

// Entry returns the index entry of a command: when its first message was born,
// its amount, and its record's key. The same three always give the same entry.
func (s *Store) Entry(firstBorn time.Time, fen int64, id Identity) string {
	return strconv.FormatInt(firstBorn.UnixMilli(), 10) + ":" + strconv.FormatInt(fen, 10) + ":" + s.Key(id)
}

// ParseEntry reads what Store.Entry wrote. Due and Parked are not part of it.
func ParseEntry(entry string) (Undecided, error) {
	born, rest, ok := strings.Cut(entry, ":")
	fen, key, ok2 := strings.Cut(rest, ":")
	if !ok || !ok2 || key == "" {
		return Undecided{Entry: entry}, errors.New("dedupe: index entry has fewer than three parts")
	}
	bornMillis, err := strconv.ParseInt(born, 10, 64)
	if err != nil {
		return Undecided{Entry: entry}, fmt.Errorf("dedupe: index entry: time of birth: %w", err)
	}
	amount, err := strconv.ParseInt(fen, 10, 64)
	if err != nil {
		return Undecided{Entry: entry}, fmt.Errorf("dedupe: index entry: amount: %w", err)
	}
	return Undecided{Entry: entry, FirstBorn: time.UnixMilli(bornMillis), Fen: amount, Key: key}, nil
}

// Overdue returns up to n entries that were due before a time, the longest
// overdue first. Parked entries are never due. An entry that cannot be read
// comes back with an empty Key.
func (s *Store) Overdue(ctx context.Context, appID string, before time.Time, n int) ([]Undecided, error) {
	return s.overdueFrom(ctx, appID, before, 0, n)
}

func (s *Store) overdueFrom(ctx context.Context, appID string, before time.Time, offset, n int) ([]Undecided, error) {
	return s.byScore(ctx, appID, &redis.ZRangeBy{
		Min: "-inf", Max: "(" + strconv.FormatInt(before.UnixMilli(), 10), Offset: int64(offset), Count: int64(n),
	})
}

// parkedFrom returns up to n parked entries, from an offset in an order that
// does not change while none are added or removed.
func (s *Store) parkedFrom(ctx context.Context, appID string, offset, n int) ([]Undecided, error) {
	return s.byScore(ctx, appID, &redis.ZRangeBy{Min: "+inf", Max: "+inf", Offset: int64(offset), Count: int64(n)})
}

func (s *Store) byScore(ctx context.Context, appID string, page *redis.ZRangeBy) ([]Undecided, error) {
	if page.Count <= 0 {
		return nil, nil
	}
	defer s.observe("index", time.Now())
	members, err := s.client.ZRangeByScoreWithScores(ctx, s.indexKey(appID), page).Result()
	if err != nil {
		return nil, fmt.Errorf("dedupe: read index %s: %w", s.indexKey(appID), err)
	}
	entries := make([]Undecided, 0, len(members))
	for _, member := range members {
		entries = append(entries, undecidedOf(member))
	}
	return entries, nil
}

func undecidedOf(member redis.Z) Undecided {
	entry, _ := member.Member.(string)
	u, err := ParseEntry(entry)
	if err != nil {
		u = Undecided{Entry: entry}
	}
	if math.IsInf(member.Score, 1) {
		u.Parked = true
	} else {
		u.Due = time.UnixMilli(int64(member.Score))
	}
	return u
}

// UndecidedOf returns the identities with this number that the index of an
// application names, whatever their merchant, kind and trade. It reads the whole
// index, page by page.
func (s *Store) UndecidedOf(ctx context.Context, appID, outRequestNo string) ([]Identity, error) {
	var found []Identity
	for start := int64(0); ; start += indexPage {
		began := time.Now()
		members, err := s.client.ZRange(ctx, s.indexKey(appID), start, start+indexPage-1).Result()
		s.observe("index", began)
		if err != nil {
			return nil, fmt.Errorf("dedupe: look for %s in index %s: %w", outRequestNo, s.indexKey(appID), err)
		}
		for _, member := range members {
			u, err := ParseEntry(member)
			if err != nil {
				continue
			}
			if id, ok := s.identityOf(appID, outRequestNo, u.Key); ok && !slices.Contains(found, id) {
				found = append(found, id)
			}
		}
		if len(members) < indexPage {
			return found, nil
		}
	}
}

// identityOf reads a record's key, if it is of this number.
func (s *Store) identityOf(appID, outRequestNo, key string) (Identity, bool) {
	rest, ok := strings.CutPrefix(key, s.cfg.Prefix+"r:"+escape(appID)+":")
	merchant, rest, ok2 := strings.Cut(rest, ":")
	kind, rest, ok3 := strings.Cut(rest, ":")
	if !ok || !ok2 || !ok3 {
		return Identity{}, false
	}
	if merchant == "-" {
		merchant = ""
	}
	plain := strings.NewReplacer("%25", "%", "%3A", ":", "%2D", "-")
	id := Identity{AppID: appID, Merchant: plain.Replace(merchant), Kind: plain.Replace(kind), OutRequestNo: outRequestNo}
	if rest == outRequestNo {
		return id, true
	}
	id.Trade, ok = strings.CutPrefix(rest, escape(outRequestNo)+":")
	return id, ok
}

// Entered returns what the index says of one entry, and whether it is there.
func (s *Store) Entered(ctx context.Context, appID, entry string) (Undecided, bool, error) {
	defer s.observe("index", time.Now())
	score, err := s.client.ZScore(ctx, s.indexKey(appID), entry).Result()
	switch {
	case errors.Is(err, redis.Nil):
		return Undecided{}, false, nil
	case err != nil:
		return Undecided{}, false, fmt.Errorf("dedupe: read index %s: %w", s.indexKey(appID), err)
	}
	return undecidedOf(redis.Z{Score: score, Member: entry}), true, nil
}

// Enter puts a refund into the index, due at a time. One that is there stays as it
// is. Whoever acknowledges a message of an undecided command has it entered before.
func (s *Store) Enter(ctx context.Context, r Refund, due time.Time) error {
	return s.enter(ctx, r.AppID, s.Entry(r.Born, r.Fen, r.Identity), due)
}

func (s *Store) enter(ctx context.Context, appID, entry string, due time.Time) error {
	defer s.observe("index", time.Now())
	if err := s.client.ZAddNX(ctx, s.indexKey(appID), redis.Z{Score: score(due), Member: entry}).Err(); err != nil {
		return fmt.Errorf("dedupe: enter in %s: %w", s.indexKey(appID), err)
	}
	return nil
}

// Reschedule moves an entry to another due time, zero for never (parked). An
// entry that has left the index in the meantime does not come back.
func (s *Store) Reschedule(ctx context.Context, appID, entry string, due time.Time) error {
	defer s.observe("index", time.Now())
	err := s.client.ZAddXX(ctx, s.indexKey(appID), redis.Z{Score: score(due), Member: entry}).Err()
	if err != nil {
		return fmt.Errorf("dedupe: reschedule in %s: %w", s.indexKey(appID), err)
	}
	return nil
}

// Forget removes an entry from the index. The record is not touched.
func (s *Store) Forget(ctx context.Context, appID, entry string) error {
	defer s.observe("index", time.Now())
	if err := s.client.ZRem(ctx, s.indexKey(appID), entry).Err(); err != nil {
		return fmt.Errorf("dedupe: forget in %s: %w", s.indexKey(appID), err)
	}
	return nil
}

// Totals sums up the index of an application, page by page, so that no single
// command holds Redis up. Entries that come and go meanwhile may be missed or
// counted twice. Entries that cannot be read are counted and nothing more.
func (s *Store) Totals(ctx context.Context, appID string) (Totals, error) {
	var totals Totals
	for start := int64(0); ; start += indexPage {
		began := time.Now()
		members, err := s.client.ZRangeWithScores(ctx, s.indexKey(appID), start, start+indexPage-1).Result()
		s.observe("index", began)
		if err != nil {
			return Totals{}, fmt.Errorf("dedupe: sum up index %s: %w", s.indexKey(appID), err)
		}
		for _, member := range members {
			totals.add(undecidedOf(member))
		}
		if len(members) < indexPage {
			return totals, nil
		}
	}
}

func (t *Totals) add(u Undecided) {
	t.Count++
	if u.Parked {
		t.Parked++
	}
	if u.Key == "" {
		return
	}
	t.Fen += u.Fen
	if t.Oldest.IsZero() || u.FirstBorn.Before(t.Oldest) {
		t.Oldest = u.FirstBorn
	}
}

func (s *Store) indexKey(appID string) string {
	return s.cfg.Prefix + "u:" + escape(appID)
}

// MarkPublished takes the entry of a decided refund out of the index, because its
// event is published. If the record holds something else that has to be published,
// such as a contradiction settled in between, or is undecided, because Redis was
// rolled back, the entry comes back, due at once.
func (s *Store) MarkPublished(ctx context.Context, r Refund, event []byte) error {
	if err := errors.Join(checkIdentity(r.Identity), checkFingerprint(r.Fingerprint)); err != nil {
		return fmt.Errorf("dedupe: mark %s published: %w", s.Key(r.Identity), err)
	}
	u := Undecided{Entry: s.Entry(r.Born, r.Fen, r.Identity), Key: s.Key(r.Identity)}
	return s.markPublished(ctx, r.AppID, u, Record{Fingerprint: r.Fingerprint, Event: event})
}

// markPublished takes out u, of which what the record held is published.
func (s *Store) markPublished(ctx context.Context, appID string, u Undecided, published Record) error {
	forget := redis.NewIntCmd(ctx, "zrem", s.indexKey(appID), u.Entry)
	now, err := s.readKey(ctx, "index", u.Key, forget)
	if err != nil {
		return fmt.Errorf("dedupe: mark %s published: %w", u.Key, err)
	}
	if !now.Exists || now.Fingerprint != published.Fingerprint || now.Decided && bytes.Equal(now.Event, published.Event) {
		return nil
	}
	return s.enter(ctx, appID, u.Entry, time.Now())
}

// announce puts an entry in the index before its record is changed, so that a crash
// in between leaves an entry too many (the sweeper looks at the record) and never a
// record that nobody looks for. Since the record may turn out to be another's, only
// a finite time is ever written; that of no due time is now.
func (s *Store) announce(ctx context.Context, appID, entry string, due time.Time) redis.Cmder {
	if due.IsZero() {
		due = time.Now()
	}
	return redis.NewIntCmd(ctx, "zadd", s.indexKey(appID), due.UnixMilli(), entry)
}

func score(due time.Time) float64 {
	if due.IsZero() {
		return math.Inf(1)
	}
	return float64(due.UnixMilli())
}
