package dedupetest

import (
	"context"
	"errors"
	"fmt"
	"net"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// Exchange carries out the commands that a client sends at once, and returns one
// reply for each, as Redis.Do gives them. An error is a broken connection: the caller
// does not learn which commands were carried out. It runs in the caller's goroutine.
type Exchange func(ctx context.Context, commands [][]any) (replies []any, err error)

// Client returns a client that never opens a connection: its exchanges are carried
// out by r, or by the given function, which calls Redis.Do when it pleases.
func (r *Redis) Client(exchange Exchange) *redis.Client {
	if exchange == nil {
		exchange = func(_ context.Context, commands [][]any) ([]any, error) {
			replies := make([]any, len(commands))
			for i, command := range commands {
				replies[i] = r.Do(command)
			}
			return replies, nil
		}
	}
	client := redis.NewClient(&redis.Options{
		Addr: "memory:0", MaxRetries: -1,
		// They would start goroutines, and announce servers that are not there.
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	})
	client.AddHook(hook{exchange})
	return client
}

// hook takes the place of go-redis' connections.
type hook struct{ exchange Exchange }

// DialHook refuses: nothing is dialled.
func (h hook) DialHook(redis.DialHook) redis.DialHook {
	return func(context.Context, string, string) (net.Conn, error) {
		return nil, errors.New("dedupetest: there is nothing to connect to")
	}
}

// ProcessHook carries out one command.
func (h hook) ProcessHook(redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error { return h.process(ctx, []redis.Cmder{cmd}) }
}

// ProcessPipelineHook carries out a pipeline.
func (h hook) ProcessPipelineHook(redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return h.process
}

func (h hook) process(ctx context.Context, cmds []redis.Cmder) error {
	commands := make([][]any, len(cmds))
	for i, cmd := range cmds {
		commands[i] = cmd.Args()
	}
	replies, err := h.exchange(ctx, commands)
	if err != nil {
		for _, cmd := range cmds {
			cmd.SetErr(err)
		}
		return err
	}
	var first error
	for i, cmd := range cmds {
		if err := answer(cmd, replies[i]); err != nil {
			cmd.SetErr(err)
			if first == nil {
				first = err
			}
		}
	}
	return first
}

// answer puts a reply into the command.
func answer(cmd redis.Cmder, reply any) error {
	if err, failed := reply.(error); failed {
		return err
	}
	ok := false
	switch c := cmd.(type) {
	case *redis.Cmd:
		c.SetVal(reply)
		ok = true
	case *redis.IntCmd:
		var n int64
		if n, ok = reply.(int64); ok {
			c.SetVal(n)
		}
	case *redis.BoolCmd:
		var b bool
		if b, ok = reply.(bool); ok {
			c.SetVal(b)
		}
	case *redis.StatusCmd:
		var s string
		if s, ok = reply.(string); ok {
			c.SetVal(s)
		}
	case *redis.ZSliceCmd:
		var z []redis.Z
		if z, ok = reply.([]redis.Z); ok {
			c.SetVal(z)
		}
	}
	if !ok {
		return fmt.Errorf("dedupetest: %s expects another answer than %T", cmd.Name(), reply)
	}
	return nil
}
