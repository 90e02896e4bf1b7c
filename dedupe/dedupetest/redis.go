package dedupetest

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// Redis is a Redis in memory that knows the commands and scripts of package dedupe
// and nothing else. It is safe for concurrent use; every command is atomic.
type Redis struct {
	now func() time.Time

	mu      sync.Mutex             // guards all below
	scripts map[string]knownScript // by hash
	records map[string]Record
	sets    map[string]*set
	words   map[string]word
	undo    []func() // of the newest writes, oldest first
	refusal error    // of every write; nil: none
	// Seen is called for every script that ran on a record, before and after it. It
	// may be nil, and is called with the lock held.
	Seen func(Transition)
}

// Transition is one script that ran on a record.
type Transition struct {
	Op, Key       string // claim, settle, release, confirm, amend
	Token         string // of the request; empty for confirm and amend
	Generation    int64  // of the request, where it has one
	Answer        any    // dedupe.Answer, dedupe.Settlement, dedupe.Release, or whether it was amended
	Before, After Record
	Now           int64 // ms of Redis' clock
}

// set is a sorted set. Its expiry, and a word's, is in milliseconds, zero: never.
type set struct {
	scores  map[string]float64
	expires int64
}

type word struct {
	text    string
	expires int64
}

// remembered is how many of the newest writes RollBack can take back.
const remembered = 256

// NewRedis returns an empty Redis whose clock is now.
func NewRedis(now func() time.Time) *Redis {
	return &Redis{
		now: now, scripts: map[string]knownScript{}, records: map[string]Record{}, sets: map[string]*set{}, words: map[string]word{},
	}
}

// Wipe forgets everything but the scripts.
func (r *Redis) Wipe() {
	r.mu.Lock()
	defer r.mu.Unlock()
	clear(r.records)
	clear(r.sets)
	clear(r.words)
	r.undo = nil
}

// Refuse answers with the error, as OOM or READONLY, whatever would write, and goes
// on answering what only reads; nil ends it.
func (r *Redis) Refuse(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.refusal = err
}

// RollBack takes the newest k writes back, as a replica does that takes over before
// they reached it, and returns how many there were.
func (r *Redis) RollBack(k int) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	k = min(k, len(r.undo))
	for range k {
		last := len(r.undo) - 1
		r.undo[last]()
		r.undo = r.undo[:last]
	}
	return k
}

// Record returns the record that lies at a key.
func (r *Redis) Record(key string) Record {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.record(key)
}

// Records returns the keys of all records, in order.
func (r *Redis) Records() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Sorted(maps.Keys(r.records))
}

// Name says what a command is for: the name of its script, such as claim, or its
// own. A script that was not sent in full before is "script".
func (r *Redis) Name(command []any) string {
	name := strings.ToLower(text(command[0]))
	if name != "evalsha" && name != "eval" {
		return name
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	k, there := r.scripts[text(command[1])]
	if !there {
		k, _ = scriptOf(text(command[1]))
	}
	return cmp.Or(k.name, "script")
}

// Do carries out one command, spelt as a client sends it: a name and its arguments.
// The reply is a string, an int64, a bool, a []any or a []redis.Z, or an error as
// Redis would answer it.
func (r *Redis) Do(command []any) any {
	r.mu.Lock()
	defer r.mu.Unlock()
	args := make([]string, len(command))
	for i, arg := range command {
		args[i] = text(arg)
	}
	if r.refusal != nil && r.writes(args) {
		return r.refusal
	}
	reply, err := r.do(args)
	if err != nil {
		return err
	}
	return reply
}

// writes tries a command out and takes back what it wrote.
func (r *Redis) writes(args []string) bool {
	seen, before := r.Seen, r.undo
	defer func() { r.Seen, r.undo = seen, before }()
	r.Seen, r.undo = nil, nil
	_, _ = r.do(args)
	for _, undo := range slices.Backward(r.undo) {
		undo()
	}
	return len(r.undo) > 0
}

func text(arg any) string {
	switch v := arg.(type) {
	case string:
		return v
	case []byte:
		return string(v)
	case time.Duration:
		return strconv.FormatInt(int64(v), 10)
	default:
		return fmt.Sprint(v)
	}
}

func (r *Redis) do(args []string) (any, error) {
	name := strings.ToLower(args[0])
	switch {
	case name == "ping":
		return "PONG", nil
	case name == "evalsha":
		s, known := r.scripts[args[1]]
		if !known {
			return nil, redis.ErrNoScript
		}
		return s.script(r, args[3], args[4:])
	case name == "eval":
		s, err := scriptOf(args[1])
		if err != nil {
			return nil, err
		}
		r.scripts[redis.NewScript(args[1]).Hash()] = s
		return s.script(r, args[3], args[4:])
	case name == "zadd":
		return r.zadd(args[1], args[2:])
	case name == "zrem":
		return r.zrem(args[1], args[2:]...), nil
	case name == "zrange":
		return r.zrange(args)
	case name == "zrangebyscore":
		return r.zrangebyscore(args)
	case name == "set" && len(args) == 6 && strings.EqualFold(args[5], "nx"):
		return r.setnx(args[1], args[2], args[3:5])
	}
	return nil, fmt.Errorf("dedupetest: %s is not a command that dedupe sends", strings.Join(args[:min(2, len(args))], " "))
}

func (r *Redis) millis() int64 { return r.now().UnixMilli() }

// wrote remembers how to take a write back.
func (r *Redis) wrote(undo func()) {
	if len(r.undo) == remembered {
		r.undo = slices.Delete(r.undo, 0, 1)
	}
	r.undo = append(r.undo, undo)
}

func (r *Redis) record(key string) Record {
	rec := r.records[key]
	if rec.Expires > 0 && rec.Expires <= r.millis() {
		delete(r.records, key)
		return Record{}
	}
	return rec
}

func (r *Redis) put(key string, rec Record) {
	was, there := r.records[key]
	if was == rec && there == (rec != Record{}) {
		return
	}
	r.records[key] = rec
	r.wrote(func() {
		if there {
			r.records[key] = was
		} else {
			delete(r.records, key)
		}
	})
}

// set returns the sorted set at a key, or nil.
func (r *Redis) set(key string) *set {
	s := r.sets[key]
	if s != nil && s.expires != 0 && s.expires <= r.millis() {
		delete(r.sets, key)
		return nil
	}
	return s
}

// change changes a sorted set, as one write.
func (r *Redis) change(key string, change func(*set)) {
	var was, now *set
	if s := r.set(key); s != nil {
		was = s
		now = &set{scores: maps.Clone(s.scores), expires: s.expires}
	} else {
		now = &set{scores: map[string]float64{}}
	}
	change(now)
	if len(now.scores) == 0 {
		delete(r.sets, key)
	} else {
		r.sets[key] = now
	}
	r.wrote(func() {
		if was == nil {
			delete(r.sets, key)
		} else {
			r.sets[key] = was
		}
	})
}

// members are a set's, lowest score first.
func (r *Redis) members(key string) []redis.Z {
	s := r.set(key)
	if s == nil {
		return nil
	}
	all := make([]redis.Z, 0, len(s.scores))
	for _, name := range slices.Sorted(maps.Keys(s.scores)) {
		all = append(all, redis.Z{Score: s.scores[name], Member: name})
	}
	slices.SortStableFunc(all, func(a, b redis.Z) int { return cmp.Compare(a.Score, b.Score) })
	return all
}

func (r *Redis) zadd(key string, args []string) (any, error) {
	nx, xx := false, false
	for len(args) > 2 {
		switch strings.ToLower(args[0]) {
		case "nx":
			nx = true
		case "xx":
			xx = true
		default:
			return nil, fmt.Errorf("dedupetest: zadd %s", args[0])
		}
		args = args[1:]
	}
	score, err := parseScore(args[0])
	if err != nil {
		return nil, err
	}
	there, old := false, 0.0
	if s := r.set(key); s != nil {
		old, there = s.scores[args[1]]
	}
	if nx && there || xx && !there || there && old == score {
		return int64(0), nil
	}
	r.change(key, func(s *set) { s.scores[args[1]] = score })
	if there {
		return int64(0), nil
	}
	return int64(1), nil
}

func (r *Redis) zrem(key string, names ...string) int64 {
	s := r.set(key)
	if s == nil {
		return 0
	}
	n := int64(0)
	for _, name := range names {
		if _, there := s.scores[name]; there {
			n++
		}
	}
	if n > 0 {
		r.change(key, func(s *set) {
			for _, name := range names {
				delete(s.scores, name)
			}
		})
	}
	return n
}

func (r *Redis) zrange(args []string) (any, error) {
	start, err := strconv.Atoi(args[2])
	stop, err2 := strconv.Atoi(args[3])
	if err = errors.Join(err, err2); err != nil {
		return nil, fmt.Errorf("dedupetest: zrange: %w", err)
	}
	all := r.members(args[1])
	if stop < 0 {
		stop += len(all)
	}
	return all[min(start, len(all)):min(max(stop+1, start), len(all))], nil
}

func (r *Redis) zrangebyscore(args []string) (any, error) {
	lowest, err := parseScore(args[2])
	upTo, exclusive := strings.CutPrefix(args[3], "(")
	highest, err2 := parseScore(upTo)
	offset, count := 0, -1
	var err3, err4 error
	for i := 4; i < len(args); i++ {
		if strings.EqualFold(args[i], "limit") {
			offset, err3 = strconv.Atoi(args[i+1])
			count, err4 = strconv.Atoi(args[i+2])
		}
	}
	if err = errors.Join(err, err2, err3, err4); err != nil {
		return nil, fmt.Errorf("dedupetest: zrangebyscore: %w", err)
	}
	found := slices.DeleteFunc(r.members(args[1]), func(m redis.Z) bool {
		return m.Score < lowest || m.Score > highest || exclusive && m.Score == highest
	})
	found = found[min(offset, len(found)):]
	if count >= 0 {
		found = found[:min(count, len(found))]
	}
	return found, nil
}

func parseScore(s string) (float64, error) {
	switch strings.ToLower(s) {
	case "+inf", "inf":
		return math.Inf(1), nil
	case "-inf":
		return math.Inf(-1), nil
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil {
		return 0, fmt.Errorf("dedupetest: score: %w", err)
	}
	return f, nil
}

func (r *Redis) word(key string) (word, bool) {
	w, there := r.words[key]
	if there && w.expires <= r.millis() {
		delete(r.words, key)
		return word{}, false
	}
	return w, there
}

func (r *Redis) setnx(key, value string, expiry []string) (any, error) {
	n, err := strconv.ParseInt(expiry[1], 10, 64)
	if err != nil {
		return nil, fmt.Errorf("dedupetest: set: %w", err)
	}
	if strings.EqualFold(expiry[0], "ex") {
		n *= 1000
	}
	if _, there := r.word(key); there {
		return false, nil
	}
	r.words[key] = word{value, r.millis() + n}
	r.wrote(func() { delete(r.words, key) })
	return true, nil
}

// transition carries out a script on a record and reports it.
func (r *Redis) transition(t Transition, act func(rec *Record, now int64) any) any {
	rec := r.record(t.Key)
	t.Before, t.Now = rec, r.millis()
	t.Answer = act(&rec, t.Now)
	t.After = rec
	r.put(t.Key, rec)
	if r.Seen != nil {
		r.Seen(t)
	}
	return t.Answer
}
