package simulation

import (
	"reflect"

	"github.com/redis/go-redis/v9"

	"refundd/consumer/history"
	"refundd/dedupe"
	"refundd/dedupe/dedupetest"
)

// known is what Redis knows of one refund, and of what calls share.
type known struct {
	record  dedupetest.Record
	entry   redis.Z // of the index
	entered bool
}

// knows reads all of it, in the order of the refunds.
func (w *world) knows() (each []known, limits any) {
	entries := map[string]redis.Z{}
	members, _ := w.redis.Do([]any{"zrangebyscore", prefix + "u:" + appID, "-inf", "+inf"}).([]redis.Z)
	for _, m := range members {
		name, _ := m.Member.(string)
		if u, err := dedupe.ParseEntry(name); err == nil {
			entries[u.Key] = m
		}
	}
	for _, cmd := range w.refunds {
		key := w.names.Key(cmd.identity())
		entry, entered := entries[key]
		each = append(each, known{w.redis.Record(key), entry, entered})
	}
	return each, w.redis.Do([]any{"zrangebyscore", prefix + "l:" + appID, "-inf", "+inf"})
}

// forget lets Redis lose something, and writes down whose it was.
func (w *world) forget(how string, lose func()) {
	before, shared := w.knows()
	lose()
	after, left := w.knows()
	for i, cmd := range w.refunds {
		if before[i] == after[i] {
			continue
		}
		w.fact(cmd.bare(history.Fact{What: history.Redis, Result: how}))
		if after[i].entered != before[i].entered {
			w.fact(cmd.bare(history.Fact{What: history.Index, Result: word(after[i].entered)}))
		}
	}
	if !reflect.DeepEqual(shared, left) {
		w.fact(history.Fact{What: history.Redis, Result: how, Name: history.Limits})
	}
}

func word(entered bool) string {
	if entered {
		return history.Entered
	}
	return history.Left
}

// do carries out one command of a client, and writes down what entered or left the
// index by it.
func (w *world) do(o *op, command []any) any {
	reply := w.redis.Do(command)
	entered := command[0] == "zadd"
	if n, ok := reply.(int64); !ok || n == 0 || command[1] != prefix+"u:"+appID || !entered && command[0] != "zrem" {
		return reply
	}
	name, _ := command[len(command)-1].(string)
	u, err := dedupe.ParseEntry(name)
	if cmd, known := w.keys[u.Key]; known && err == nil {
		w.fact(o.by(cmd.bare(history.Fact{What: history.Index, Result: word(entered)})))
	}
	return reply
}
