package dedupe

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

const (
	// brakePoll is the pause between two looks at the brakes. With one exchange
	// it stays well below the second within which calls have to stop.
	brakePoll = 300 * time.Millisecond
	// brakeTimeout is how long one look may take.
	brakeTimeout = time.Second
	// brakeText is how long Reason and By may be, in bytes: every instance reads
	// them three times a second.
	brakeText = 512
)

// Brake says which new refund calls a person has stopped, and why.
type Brake struct {
	Kind     string // refund or coupon_refund, which is not checked; empty: both
	Merchant string // empty: all, the application's own refunds included
	Reason   string // up to 512 bytes
	By       string // up to 512 bytes
	Since    time.Time
}

// brakeValue is what is stored of a brake beside its place.
type brakeValue struct {
	Reason string `json:"reason"`
	By     string `json:"by"`
	Since  int64  `json:"since"` // ms
}

// Pause puts a brake on, in place of one on the same kind and merchant. It stays
// until Resume or until Redis forgets. A zero Since means now, by the local clock.
func (s *Store) Pause(ctx context.Context, appID string, brake Brake) error {
	key := s.brakeKey(appID)
	if err := checkBrake(appID, brake); err != nil {
		return fmt.Errorf("dedupe: pause in %s: %w", key, err)
	}
	if brake.Since.IsZero() {
		brake.Since = time.Now()
	}
	value, err := json.Marshal(brakeValue{Reason: brake.Reason, By: brake.By, Since: brake.Since.UnixMilli()})
	if err != nil {
		return fmt.Errorf("dedupe: pause in %s: %w", key, err)
	}
	defer s.observe("brake", time.Now())
	if err := s.client.HSet(ctx, key, place{brake.Kind, brake.Merchant}.field(), value).Err(); err != nil {
		return fmt.Errorf("dedupe: pause in %s: %w", key, err)
	}
	return nil
}

// Resume takes off the brake on exactly this kind and merchant, and reports
// whether it was on. Others that stop the same calls stay. If the client had to
// send it twice, it may report false although it took the brake off.
func (s *Store) Resume(ctx context.Context, appID, kind, merchant string) (bool, error) {
	key := s.brakeKey(appID)
	if err := checkBrake(appID, Brake{}); err != nil {
		return false, fmt.Errorf("dedupe: resume in %s: %w", key, err)
	}
	defer s.observe("brake", time.Now())
	n, err := s.client.HDel(ctx, key, place{kind, merchant}.field()).Result()
	if err != nil {
		return false, fmt.Errorf("dedupe: resume in %s: %w", key, err)
	}
	return n > 0, nil
}

// Brakes returns the brakes that are on, by kind and merchant. One that cannot
// be read is on all the same, without reason, name and time.
func (s *Store) Brakes(ctx context.Context, appID string) ([]Brake, error) {
	key := s.brakeKey(appID)
	if err := checkBrake(appID, Brake{}); err != nil {
		return nil, fmt.Errorf("dedupe: read brakes %s: %w", key, err)
	}
	defer s.observe("brake", time.Now())
	fields, err := s.client.HGetAll(ctx, key).Result()
	if err != nil {
		return nil, fmt.Errorf("dedupe: read brakes %s: %w", key, err)
	}
	brakes := make([]Brake, 0, len(fields))
	for field, text := range fields {
		at := parsePlace(field)
		brake := Brake{Kind: at.kind, Merchant: at.merchant}
		var value brakeValue
		if err := json.Unmarshal([]byte(text), &value); err == nil {
			brake.Reason, brake.By, brake.Since = value.Reason, value.By, time.UnixMilli(value.Since)
		}
		brakes = append(brakes, brake)
	}
	slices.SortFunc(brakes, func(a, b Brake) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Merchant, b.Merchant))
	})
	return brakes, nil
}

func (s *Store) brakeKey(appID string) string { return s.cfg.Prefix + "p:" + escape(appID) }

func checkBrake(appID string, brake Brake) error {
	if appID == "" {
		return errors.New("no app id")
	}
	if len(brake.Reason) > brakeText || len(brake.By) > brakeText {
		return fmt.Errorf("reason or name is longer than %d bytes", brakeText)
	}
	return nil
}

// place is what a brake is on.
type place struct{ kind, merchant string }

func (p place) field() string { return escape(p.kind) + ":" + escape(p.merchant) }

// parsePlace undoes field. What a person wrote without a colon is a kind.
func parsePlace(field string) place {
	kind, merchant, _ := strings.Cut(field, ":")
	plain := strings.NewReplacer("%3A", ":", "%25", "%")
	return place{kind: plain.Replace(kind), merchant: plain.Replace(merchant)}
}

// BrakeWatch knows which brakes are on, a moment ago. Its methods may be called
// from many goroutines at once, and only Run talks to Redis. While Redis cannot
// be read, what was read last stays. That is enough where one node holds all
// keys, since nothing can be claimed then; on a Cluster that has lost just the
// node of this key, a new brake is not seen until it is back.
type BrakeWatch struct {
	store *Store
	appID string
	last  atomic.Pointer[map[place]Brake] // nil: nothing was read yet
}

// NewBrakeWatch returns a watch on the brakes of one application. It sends nothing.
func NewBrakeWatch(store *Store, appID string) (*BrakeWatch, error) {
	switch {
	case store == nil:
		return nil, errors.New("dedupe: brake watch: no store")
	case appID == "":
		return nil, errors.New("dedupe: brake watch: no app id")
	}
	return &BrakeWatch{store: store, appID: appID}, nil
}

// Run reads the brakes at once and then every 300 ms, until ctx ends.
func (w *BrakeWatch) Run(ctx context.Context) {
	pause := time.NewTicker(brakePoll)
	defer pause.Stop()
	for {
		w.look(ctx)
		select {
		case <-ctx.Done():
			return
		case <-pause.C:
		}
	}
}

// look reports no error: whoever claims meets the same one, and
// Config.Observe has seen the exchange.
func (w *BrakeWatch) look(ctx context.Context) {
	short, cancel := context.WithTimeout(ctx, brakeTimeout)
	defer cancel()
	brakes, err := w.store.Brakes(short, w.appID)
	if err != nil {
		return
	}
	on := make(map[place]Brake, len(brakes))
	for _, brake := range brakes {
		on[place{brake.Kind, brake.Merchant}] = brake
	}
	w.last.Store(&on)
}

// Paused reports whether new refund calls of a kind and merchant are stopped, and
// by which brake: the one that says most about them. Until the brakes were read
// once everything is, by a brake without a time: an instance that starts into a
// pause must not call.
func (w *BrakeWatch) Paused(kind, merchant string) (Brake, bool) {
	on := w.last.Load()
	if on == nil {
		return Brake{Reason: "the brakes were not read yet"}, true
	}
	for _, at := range []place{{kind, merchant}, {"", merchant}, {kind, ""}, {}} {
		if brake, there := (*on)[at]; there {
			return brake, true
		}
	}
	return Brake{}, false
}

// On returns the brakes that are on, in no order, and whether they were read yet.
func (w *BrakeWatch) On() (brakes []Brake, known bool) {
	on := w.last.Load()
	if on == nil {
		return nil, false
	}
	return slices.Collect(maps.Values(*on)), true
}
