package consumer

import (
	"cmp"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sirupsen/logrus"
)

// Part is a part of the service that others can fail.
type Part string

// The parts that a command needs.
const (
	PartRedis    Part = "redis"
	PartRocketMQ Part = "rocketmq"
)

// Grade says what follows once something has failed for three seconds.
type Grade int

const (
	// Degraded: it is named, and nothing else. The rest of the part does what most
	// commands need.
	Degraded Grade = iota
	// Unready: the instance is not ready. Intake is left as it is: nothing can
	// arrive, and a puller that was suspended resumes up to 30 s late.
	Unready
	// Suspended: not ready, and no command is begun.
	Suspended
)

// Finding is something of a part that does not work, as a probe found it.
type Finding struct {
	Of    string // such as "broker 10.0.0.1:10911"; unique among a part's findings
	Grade Grade
	Err   error
}

// troubleAfter is how long something must fail without a break before anything
// follows: a blocked puller would drop and re-pull its queue after 120 s.
const troubleAfter = 3 * time.Second

// forgottenAfter is how long a failure counts after it was last reported.
// Whoever meets one repeats at least every 15 s; if nobody does any more (a
// delivery that panicked while it published), nobody would ever report success
// either, and intake has to find out.
const forgottenAfter = 30 * time.Second

// Health learns from those who use a part, and from probes, whether it works. It
// is safe for concurrent use.
type Health struct {
	log logrus.FieldLogger

	mu     sync.Mutex
	failed map[piece]failure // without a break
	logged map[piece]bool
}

// piece is what fails and works by itself. Each has one kind of witness: what a
// probe finds, publishing a message does not refute.
type piece struct {
	part   Part
	of     string // a topic, a broker, a master; empty: the whole part
	probed bool
}

// failure is a piece's: since when, and when and how it was last seen.
type failure struct {
	since, seen time.Time
	grade       Grade
	err         error
}

// NewHealth starts with every part assumed to work.
func NewHealth(log logrus.FieldLogger) *Health {
	return &Health{log: log, failed: map[piece]failure{}, logged: map[piece]bool{}}
}

// Works says that the part just did what a command needs of it: Redis took a
// write. An answer to anything less is no reason to call it.
func (h *Health) Works(p Part) { h.works(piece{part: p}) }

// Fails says that the part just did not.
func (h *Health) Fails(p Part, err error) { h.fails(piece{part: p}, Suspended, err) }

// Published says how a publish to the topic ended: err is nil once the broker
// has confirmed it. The grade is what follows while it fails.
func (h *Health) Published(topic string, grade Grade, err error) {
	at := piece{part: PartRocketMQ, of: "topic " + topic}
	if err == nil {
		h.works(at)
		return
	}
	h.fails(at, grade, err)
}

// Wrote says how writing to each master of Redis ended. As long as one took it,
// intake goes on: its commands are not held up by another's.
func (h *Health) Wrote(masters map[string]error) {
	var findings []Finding
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(masters)) {
		if err := masters[name]; err != nil {
			findings = append(findings, Finding{Of: "master " + name, Grade: Degraded, Err: err})
			errs = append(errs, err)
		}
	}
	if len(masters) == 0 {
		errs = []error{errors.New("no master was asked")}
	}
	if len(errs) >= len(masters) {
		h.Fails(PartRedis, errors.Join(errs...))
		return
	}
	h.Found(PartRedis, findings)
	h.Works(PartRedis)
}

// Found replaces what the part's last probe had found. What takes the place of
// something as grave lasts since that began: a broker that is back and does not
// know us yet was never well in between.
func (h *Health) Found(p Part, findings []Finding) {
	h.mu.Lock()
	defer h.mu.Unlock()
	over := maps.Clone(h.failed)
	maps.DeleteFunc(over, func(at piece, _ failure) bool {
		return at.part != p || !at.probed || slices.ContainsFunc(findings, func(f Finding) bool { return f.Of == at.of })
	})
	for _, f := range findings {
		since := time.Now()
		for at, was := range over {
			if _, failing := h.failing(at); failing && was.grade >= f.Grade && was.since.Before(since) {
				since = was.since
			}
		}
		h.fail(piece{part: p, of: f.Of, probed: true}, f.Grade, f.Err, since)
	}
	for at := range over {
		h.work(at)
	}
}

func (h *Health) works(at piece) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.work(at)
}

// work needs the lock, as fail does.
func (h *Health) work(at piece) {
	delete(h.failed, at)
	if h.logged[at] {
		delete(h.logged, at)
		at.log(h.log).Info("works again")
	}
}

func (h *Health) fails(at piece, grade Grade, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.fail(at, grade, err, time.Now())
}

func (h *Health) fail(at piece, grade Grade, err error, since time.Time) {
	f, failing := h.failing(at)
	if !failing {
		f.since = since
	}
	f.seen, f.grade, f.err = time.Now(), grade, err
	h.failed[at] = f
	h.logLasting()
}

// logLasting logs once what has failed for long enough. It needs the lock.
func (h *Health) logLasting() {
	for at, f := range h.failed {
		if h.logged[at] || time.Since(f.since) < troubleAfter {
			continue
		}
		h.logged[at] = true
		log := at.log(h.log).WithError(f.err)
		switch f.grade {
		case Degraded:
			log.Warn("degraded: the rest works")
		case Unready:
			log.Error("in trouble: not ready")
		case Suspended:
			log.Error("in trouble: intake is suspended and resumes by itself")
		}
	}
}

func (at piece) log(log logrus.FieldLogger) logrus.FieldLogger {
	log = log.WithField("part", string(at.part))
	if at.of != "" {
		log = log.WithField("of", at.of)
	}
	return log
}

// failing needs the lock.
func (h *Health) failing(at piece) (failure, bool) {
	f, known := h.failed[at]
	return f, known && time.Since(f.seen) < forgottenAfter
}

// Failing reports whether the part's last use failed.
func (h *Health) Failing(p Part) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	_, failing := h.failing(piece{part: p})
	return failing
}

// Trouble reports whether something of the part that every command needs has
// failed for long enough to suspend intake.
func (h *Health) Trouble(p Part) bool {
	lasting := h.lasting(p)
	return len(lasting) > 0 && lasting[0].grade == Suspended
}

// Partly reports whether some of the part fails while the rest goes on.
func (h *Health) Partly(p Part) bool {
	lasting := h.lasting(p)
	return len(lasting) > 0 && lasting[0].grade == Degraded
}

// State says how the part is, in words, and whether the instance is ready as far
// as this part goes.
func (h *Health) State(p Part) (words string, ready bool) {
	lasting := h.lasting(p)
	if len(lasting) == 0 {
		return "ok", true
	}
	var causes []string // one cause is named once, with all that it stops
	stops := map[string][]string{}
	for _, f := range lasting {
		cause := strings.ReplaceAll(f.err.Error(), "\n", "; ")
		if !slices.Contains(causes, cause) {
			causes = append(causes, cause)
		}
		if f.of != "" {
			stops[cause] = append(stops[cause], f.of)
		}
	}
	for i, cause := range causes {
		if of := stops[cause]; len(of) > 0 {
			causes[i] = strings.Join(of, ", ") + ": " + cause
		}
	}
	switch list := strings.Join(causes, "; "); lasting[0].grade {
	case Degraded:
		return "degraded: " + list, true
	case Unready:
		return "in trouble: " + list, false
	case Suspended:
		fallthrough
	default:
		return "in trouble: intake is suspended: " + list, false
	}
}

type lastingFailure struct {
	piece
	failure
}

// lasting are the part's failures of more than a moment, the gravest first.
func (h *Health) lasting(p Part) []lastingFailure {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.logLasting()
	var all []lastingFailure
	for at := range h.failed {
		if f, failing := h.failing(at); at.part == p && failing && time.Since(f.since) >= troubleAfter {
			all = append(all, lastingFailure{at, f})
		}
	}
	slices.SortFunc(all, func(a, b lastingFailure) int {
		return cmp.Or(cmp.Compare(b.grade, a.grade), cmp.Compare(a.of, b.of))
	})
	return all
}
