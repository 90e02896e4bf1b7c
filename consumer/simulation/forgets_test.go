package simulation

import (
	"fmt"
	"maps"
	"reflect"
	"slices"

	"github.com/redis/go-redis/v9"

	"refundd/consumer/history"
	"refundd/dedupe"
	"refundd/dedupe/dedupetest"
)

// known is what Redis knows of one refund: its record, and its entries in the index
// with when they are due.
type known struct {
	record  dedupetest.Record
	entries map[string]float64
}

// knows reads that of every refund, and what calls share.
func (w *world) knows() (each []known, shared any) {
	entries := map[string]map[string]float64{}
	members, _ := w.redis.Do([]any{"zrangebyscore", prefix + "u:" + appID, "-inf", "+inf"}).([]redis.Z)
	for _, m := range members {
		if key, name := w.entry(m.Member); key != "" {
			if entries[key] == nil {
				entries[key] = map[string]float64{}
			}
			entries[key][name] = m.Score
		}
	}
	for _, cmd := range w.refunds {
		key := w.names.Key(cmd.identity())
		each = append(each, known{w.redis.Record(key), entries[key]})
	}
	return each, w.redis.Do([]any{"zrangebyscore", prefix + "l:" + appID, "-inf", "+inf"})
}

// entry reads an entry of the index: whose it is, and a name for it.
func (w *world) entry(member any) (key, name string) {
	text, _ := member.(string)
	u, err := dedupe.ParseEntry(text)
	if err != nil {
		return "", ""
	}
	return u.Key, fmt.Sprintf("born %d, %d fen", u.FirstBorn.Sub(w.begin).Milliseconds(), u.Fen)
}

// forget lets Redis lose something, and writes down whose it was.
func (w *world) forget(how string, lose func()) {
	before, shared := w.knows()
	lose()
	after, left := w.knows()
	for i, cmd := range w.refunds {
		if reflect.DeepEqual(before[i], after[i]) {
			continue
		}
		w.fact(cmd.bare(history.Fact{What: history.Redis, Result: how}))
		w.indexed(cmd, before[i].entries, after[i].entries, history.Left)
		w.indexed(cmd, after[i].entries, before[i].entries, history.Entered)
	}
	if !reflect.DeepEqual(shared, left) {
		w.fact(history.Fact{What: history.Redis, Result: how, Name: history.Limits})
	}
}

// indexed writes down the entries that only one of two sets has.
func (w *world) indexed(cmd command, has, hasNot map[string]float64, result string) {
	for _, name := range slices.Sorted(maps.Keys(has)) {
		if _, both := hasNot[name]; !both {
			w.fact(cmd.bare(history.Fact{What: history.Index, Name: name, Result: result}))
		}
	}
}

// do carries out one command of a client, and writes down what entered or left the
// index by it.
func (w *world) do(o *op, command []any) any {
	reply := w.redis.Do(command)
	result := map[any]string{"zadd": history.Entered, "zrem": history.Left}[command[0]]
	if n, ok := reply.(int64); !ok || n == 0 || result == "" || command[1] != prefix+"u:"+appID {
		return reply
	}
	key, name := w.entry(command[len(command)-1])
	if cmd, known := w.keys[key]; known {
		w.fact(o.by(cmd.bare(history.Fact{What: history.Index, Name: name, Result: result})))
	}
	return reply
}
