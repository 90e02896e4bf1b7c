package dedupe

import (
	"context"
	_ "embed" // the scripts
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
)

var (
	//go:embed record.lua
	recordLua string
	//go:embed claim.lua
	claimLua string
	//go:embed settle.lua
	settleLua string
	//go:embed release.lua
	releaseLua string
	//go:embed confirm.lua
	confirmLua string
	//go:embed amend.lua
	amendLua string
	//go:embed read.lua
	readLua string
	//go:embed reject.lua
	rejectLua string
	//go:embed lock.lua
	lockLua string
	//go:embed limit.lua
	limitLua string
	//go:embed space.lua
	spaceLua string
	//go:embed pace.lua
	paceLua string
	//go:embed rate.lua
	rateLua string
	//go:embed throttle.lua
	throttleLua string
)

type scripts struct {
	claim, settle, release, confirm, amend, read, reject *redis.Script
	lock, probe, space, rate, throttle                   *redis.Script
}

func loadScripts() scripts {
	return scripts{
		claim:   redis.NewScript(recordLua + claimLua),
		settle:  redis.NewScript(recordLua + settleLua),
		release: redis.NewScript(recordLua + releaseLua),
		confirm: redis.NewScript(recordLua + confirmLua),
		amend:   redis.NewScript(recordLua + amendLua),
		read:    redis.NewScript(recordLua + readLua),
		reject:  redis.NewScript(recordLua + rejectLua + readLua),
		lock:    redis.NewScript(lockLua),
		probe:   redis.NewScript(probeLua),

		space:    redis.NewScript(limitLua + spaceLua),
		rate:     redis.NewScript(limitLua + paceLua + rateLua),
		throttle: redis.NewScript(limitLua + paceLua + throttleLua),
	}
}

// ErrUnreadable is wrapped where a record is not one that this version can read. It
// is a fault of that one record, and not of Redis.
var ErrUnreadable = errors.New("the record cannot be read")

// errReply means that a script answered in a form that this version does not know.
var errReply = errors.New("reply not understood")

// scriptCall is a script on one key, and its answer once there was an exchange.
type scriptCall struct {
	script *redis.Script
	key    string
	args   []any
	before redis.Cmder // run's: it travels in the same exchange
	answer *reply      // exchange's
}

// run sends a script on one key and returns its answer. On one node Redis carries out
// the command of before first; on a Cluster each node gets its own part, in no order
// between them.
func (s *Store) run(ctx context.Context, op string, call scriptCall) (*reply, error) {
	defer s.observe(op, time.Now())
	if call.before == nil {
		return readReply(call.script.Run(ctx, s.client, []string{call.key}, call.args...))
	}
	cmd, err := s.pipeline(ctx, call.script.EvalSha, call)
	if redis.HasErrorPrefix(cmd.Err(), "NOSCRIPT") {
		// A pipeline cannot fall back by itself. The command before was carried out;
		// that it is once more changes nothing.
		cmd, err = s.pipeline(ctx, call.script.Eval, call)
	}
	if err != nil {
		return nil, ofRecord(err)
	}
	return readReply(cmd)
}

func (s *Store) pipeline(
	ctx context.Context, eval func(context.Context, redis.Scripter, []string, ...any) *redis.Cmd, call scriptCall,
) (*redis.Cmd, error) {
	pipe := s.client.Pipeline()
	_ = pipe.Process(ctx, call.before) // queues; Exec reports
	cmd := eval(ctx, pipe, []string{call.key}, call.args...)
	_, err := pipe.Exec(ctx)
	return cmd, err
}

// exchange sends several scripts at once, in their order where they have the
// same node. If it fails, any of them may have run.
func (s *Store) exchange(ctx context.Context, op string, calls []*scriptCall) error {
	defer s.observe(op, time.Now())
	unknown, err := s.sendAll(ctx, (*redis.Script).EvalSha, calls)
	if err != nil || len(unknown) == 0 {
		return err
	}
	if unknown, err = s.sendAll(ctx, (*redis.Script).Eval, unknown); err == nil && len(unknown) > 0 {
		err = errReply
	}
	return err
}

// sendAll reads the answers, and returns the calls whose script Redis does not
// have: a pipeline cannot fall back by itself.
func (s *Store) sendAll(
	ctx context.Context, eval func(*redis.Script, context.Context, redis.Scripter, []string, ...any) *redis.Cmd,
	calls []*scriptCall,
) (unknown []*scriptCall, err error) {
	pipe := s.client.Pipeline()
	cmds := make([]*redis.Cmd, 0, len(calls))
	for _, call := range calls {
		cmds = append(cmds, eval(call.script, ctx, pipe, []string{call.key}, call.args...))
	}
	_, _ = pipe.Exec(ctx) // every command has its own error
	for i, call := range calls {
		if redis.HasErrorPrefix(cmds[i].Err(), "NOSCRIPT") {
			unknown = append(unknown, call)
			continue
		}
		if call.answer, err = readReply(cmds[i]); err != nil {
			return nil, err
		}
	}
	return unknown, nil
}

// reply reads the fields of a script's answer. The first field that is missing
// or not of its type makes err non-nil, and all later ones zero.
type reply struct {
	fields []string
	err    error
}

// ofRecord sets what a script says of its record apart from what Redis says of itself.
func ofRecord(err error) error {
	if redis.HasErrorPrefix(err, "DEDUPE") {
		return fmt.Errorf("%w: %w", ErrUnreadable, err)
	}
	return err
}

func readReply(cmd *redis.Cmd) (*reply, error) {
	fields, err := cmd.StringSlice()
	if err != nil {
		return nil, ofRecord(err)
	}
	return &reply{fields: fields}, nil
}

func (r *reply) text(i int) string {
	if r.err == nil && i >= len(r.fields) {
		r.err = fmt.Errorf("%w: field %d of %d", errReply, i, len(r.fields))
	}
	if r.err != nil {
		return ""
	}
	return r.fields[i]
}

func (r *reply) bytes(i int) []byte {
	text := r.text(i)
	if text == "" {
		return nil
	}
	return []byte(text)
}

func (r *reply) int(i int) int64 {
	text := r.text(i)
	if r.err != nil {
		return 0
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		r.err = fmt.Errorf("%w: field %d is not a number", errReply, i)
	}
	return n
}

func (r *reply) bool(i int) bool { return r.int(i) == 1 }

func (r *reply) millis(i int) time.Duration { return time.Duration(r.int(i)) * time.Millisecond }

func (r *reply) micros(i int) time.Duration { return time.Duration(r.int(i)) * time.Microsecond }
