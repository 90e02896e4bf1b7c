package dedupe

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// sweeperLease is how long the sweeper's lock outlives a sweeper that died. One
// republish has to end within half of it.
const sweeperLease = time.Minute

// SweeperConfig says what a sweeper looks at and whom it calls.
type SweeperConfig struct {
	AppID string
	// Every is the pause between two rounds, above zero. Minutes are plenty.
	Every time.Duration
	// Grace is how long a command may be overdue before its record is asked for;
	// zero means two hours. It has to be long beside retry delays, queues, outages
	// and clock differences between machines, which look like a lost message.
	Grace time.Duration
	// Batch is how many overdue, and how many parked, entries one round looks at;
	// zero means 100.
	Batch int
	// Republish publishes what the record keeps: of an undecided one a copy of its
	// command, with the record's generation; if that one is parked, the parked copy
	// and its event; and of a decided one its event. It returns nil only if
	// the broker has it. Its context ends after half a minute.
	Republish func(ctx context.Context, key string, r Record) error
	// Alarm is called with every overdue entry before it is republished, with its
	// record, and every entry that cannot be read, without one. It may be nil.
	Alarm func(Undecided, Record)
	// Failed is called with why a round ended early or an entry was left as it is. It
	// may be nil.
	Failed func(error)
}

// Sweeper publishes from the records what the broker seems to have lost: a command
// that nobody tries any more, and an end that nobody published (DESIGN R10).
type Sweeper struct {
	store *Store
	cfg   SweeperConfig
	// overdue and parked are where the next look at such entries begins: entries that
	// stay do not keep the others from their turn.
	overdue, parked int
}

// NewSweeper returns a sweeper for one application.
func NewSweeper(store *Store, cfg SweeperConfig) (*Sweeper, error) {
	switch {
	case store == nil:
		return nil, errors.New("dedupe: sweeper: no store")
	case cfg.AppID == "":
		return nil, errors.New("dedupe: sweeper: no app id")
	case cfg.Every <= 0:
		return nil, fmt.Errorf("dedupe: sweeper: every %v is not above zero", cfg.Every)
	case cfg.Grace < 0 || cfg.Batch < 0:
		return nil, errors.New("dedupe: sweeper: negative grace or batch")
	case cfg.Republish == nil:
		return nil, errors.New("dedupe: sweeper: no republish")
	}
	if cfg.Grace == 0 {
		cfg.Grace = 2 * time.Hour
	}
	if cfg.Batch == 0 {
		cfg.Batch = 100
	}
	return &Sweeper{store: store, cfg: cfg}, nil
}

// Run sweeps at once and then after every pause, until ctx ends. Call it once.
func (w *Sweeper) Run(ctx context.Context) {
	pause := time.NewTicker(w.cfg.Every)
	defer pause.Stop()
	for {
		// A stop is not a failure (DESIGN R11).
		if err := w.round(ctx); err != nil && ctx.Err() == nil {
			w.failed(err)
		}
		select {
		case <-ctx.Done():
			return
		case <-pause.C:
		}
	}
}

// round sweeps once, unless another instance is at it. The lock only saves work:
// two sweepers at once would publish two copies, and copies merge.
func (w *Sweeper) round(ctx context.Context) error {
	lock, won, err := w.store.lockSweeper(ctx, w.cfg.AppID)
	if err != nil || !won {
		return err
	}
	return errors.Join(w.sweep(ctx, lock), lock.release(ctx))
}

func (w *Sweeper) sweep(ctx context.Context, lock *sweeperLock) error {
	overdue, err := w.store.overdueFrom(ctx, w.cfg.AppID, time.Now().Add(-w.cfg.Grace), w.overdue, w.cfg.Batch)
	if err != nil {
		return err
	}
	parked, err := w.store.parkedFrom(ctx, w.cfg.AppID, w.parked, w.cfg.Batch)
	if err != nil {
		return err
	}
	stayed, failed := 0, 0
	for _, u := range append(overdue, parked...) {
		if ours, err := lock.extend(ctx); err != nil || !ours {
			return err
		}
		dropped, err := w.look(ctx, u)
		if err != nil {
			// This entry stays as it is; the others should not suffer for it.
			if ctx.Err() != nil {
				return err
			}
			w.failed(err)
			if !u.Parked {
				failed++
			}
		}
		if u.Parked && !dropped {
			stayed++
		}
	}
	// Next time those behind these, and after the last the first.
	w.overdue, w.parked = w.overdue+failed, w.parked+stayed
	if len(overdue) < w.cfg.Batch {
		w.overdue = 0
	}
	if len(parked) < w.cfg.Batch {
		w.parked = 0
	}
	return nil
}

// look deals with one entry and reports whether it has left its place in the index.
func (w *Sweeper) look(ctx context.Context, u Undecided) (dropped bool, err error) {
	later := time.Now().Add(w.cfg.Grace)
	if u.Key == "" {
		w.alarm(u, Record{})
		return false, w.store.Reschedule(ctx, w.cfg.AppID, u.Entry, later)
	}
	r, err := w.store.ReadKey(ctx, u.Key)
	if err != nil {
		return false, err
	}
	switch {
	case !r.Exists:
		// A record that Redis lost cannot be published from, so an entry without
		// one is of no use. It is not needed either: the command's copies live at
		// the broker, and the next one to arrive makes record and entry anew.
		return true, w.store.Forget(ctx, w.cfg.AppID, u.Entry)
	case r.Decided: // and nobody has said that it is published
	case u.Parked && r.Parked:
		return false, nil
	case u.Parked:
		// It was taken up again before its entry was parked, and is looked at in time.
		return true, w.store.Reschedule(ctx, w.cfg.AppID, u.Entry, time.Now())
	case r.HeldFor > 0:
		// A delivery is in hand this very moment, so the broker has the message.
		return false, w.store.Reschedule(ctx, w.cfg.AppID, u.Entry, later)
	}
	w.alarm(u, r)
	short, cancel := context.WithTimeout(ctx, sweeperLease/2)
	defer cancel()
	if err := w.cfg.Republish(short, u.Key, r); err != nil {
		return false, fmt.Errorf("dedupe: republish %s: %w", u.Key, err)
	}
	switch {
	case r.Parked: // and its person was called just now
		return false, w.store.Reschedule(ctx, w.cfg.AppID, u.Entry, time.Time{})
	case r.Decided:
		return true, w.store.markPublished(ctx, w.cfg.AppID, u, r)
	}
	return false, w.store.Reschedule(ctx, w.cfg.AppID, u.Entry, later)
}

func (w *Sweeper) alarm(u Undecided, r Record) {
	if w.cfg.Alarm != nil {
		w.cfg.Alarm(u, r)
	}
}

func (w *Sweeper) failed(err error) {
	if w.cfg.Failed != nil {
		w.cfg.Failed(err)
	}
}

type sweeperLock struct {
	store *Store
	key   string
	token Token
}

func (s *Store) lockSweeper(ctx context.Context, appID string) (lock *sweeperLock, won bool, err error) {
	lock = &sweeperLock{store: s, key: s.indexKey(appID) + ":sweeper", token: NewToken()}
	defer s.observe("lock", time.Now())
	won, err = s.client.SetNX(ctx, lock.key, string(lock.token), sweeperLease).Result()
	if err != nil {
		return nil, false, fmt.Errorf("dedupe: lock %s: %w", lock.key, err)
	}
	return lock, won, nil
}

// extend gives the lock its full time again and reports whether it is still ours.
func (l *sweeperLock) extend(ctx context.Context) (ours bool, err error) {
	return l.run(ctx, "extend", sweeperLease)
}

// release gives the lock back, also when ctx has ended: a stop must not keep the
// others from sweeping.
func (l *sweeperLock) release(ctx context.Context) error {
	short, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	_, err := l.run(short, "release", 0)
	return err
}

func (l *sweeperLock) run(ctx context.Context, what string, lease time.Duration) (ours bool, err error) {
	defer l.store.observe("lock", time.Now())
	n, err := l.store.scripts.lock.Run(ctx, l.store.client, []string{l.key}, string(l.token), lease.Milliseconds()).Int()
	if err != nil {
		return false, fmt.Errorf("dedupe: %s lock %s: %w", what, l.key, err)
	}
	return n == 1, nil
}
