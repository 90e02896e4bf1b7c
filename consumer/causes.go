package consumer

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/sirupsen/logrus"

	"refundd/alipay"
)

// mostCauses bounds what causes remembers; beyond it, further ones are at debug.
const mostCauses = 64

// causes logs why calls to Alipay prove nothing: a wrong CA, a proxy that refuses,
// a page of a proxy, a name that is not found, a signature that does not verify.
// Each cause has one line at warn in an interval, however many calls it fails.
type causes struct {
	every time.Duration
	mu    sync.Mutex
	seen  map[string]time.Time
}

// log writes the line of one answer, err being nil where Alipay answered.
func (c *causes) log(entry *logrus.Entry, line string, err error) {
	e, ok := errors.AsType[*alipay.Error](err)
	if !ok || e.Err == nil {
		entry.Debug(line)
		return
	}
	entry = entry.WithError(err)
	silent := e.Class == alipay.ClassUnknown || e.Class == alipay.ClassNotSent
	if silent && !errors.Is(err, context.Canceled) && c.isNew(e.Err.Error()) {
		entry.Warn("a call to Alipay proves nothing; more of this cause are at debug for a while")
		return
	}
	entry.Debug(line)
}

// isNew reports whether a cause was not logged within the interval.
func (c *causes) isNew(cause string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	for known, at := range c.seen {
		if now.Sub(at) >= c.every {
			delete(c.seen, known)
		}
	}
	if _, known := c.seen[cause]; known || len(c.seen) >= mostCauses {
		return false
	}
	c.seen[cause] = now
	return true
}
