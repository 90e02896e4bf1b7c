package consumer

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sirupsen/logrus"
)

func quietLog() *logrus.Logger {
	log := logrus.New()
	log.SetOutput(io.Discard)
	return log
}

// TestHealth: a part is in trouble when it has failed for three seconds
// without a break.
func TestHealth(t *testing.T) {
	fails, works, wait := func(h *Health) { h.Fails(PartRedis, errors.New("down")) }, func(h *Health) { h.Works(PartRedis) },
		func(d time.Duration) func(*Health) { return func(*Health) { <-time.After(d) } }
	type steps []func(*Health)
	rows := []struct {
		name             string
		steps            steps
		failing, trouble bool
	}{
		{"nothing known", steps{}, false, false},
		{"first failure", steps{fails}, true, false},
		{"shortly before", steps{fails, wait(troubleAfter - 1)}, true, false},
		{"long enough", steps{fails, wait(troubleAfter)}, true, true},
		{"repeated", steps{fails, wait(2 * time.Second), fails, wait(time.Second)}, true, true},
		{"with a break", steps{fails, wait(2 * time.Second), works, fails, wait(2 * time.Second)}, true, false},
		{"works again", steps{fails, wait(time.Minute), fails, works}, false, false},
		{"in trouble for long", steps{fails, wait(20 * time.Second), fails, wait(20 * time.Second), fails}, true, true},
		// Nobody is at it any more, so nobody would report success either.
		{"last seen long ago", steps{fails, wait(forgottenAfter)}, false, false},
		{"seen anew", steps{fails, wait(forgottenAfter), fails, wait(troubleAfter - 1)}, true, false},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := NewHealth(quietLog())
				for _, step := range row.steps {
					step(h)
				}
				if got := h.Failing(PartRedis); got != row.failing {
					t.Errorf("failing is %v", got)
				}
				if got := h.Trouble(PartRedis); got != row.trouble {
					t.Errorf("trouble is %v", got)
				}
				if h.Failing(PartRocketMQ) || h.Trouble(PartRocketMQ) {
					t.Error("another part is touched")
				}
			})
		})
	}
}

// TestHealthTells once that a part is in trouble, and once that it works again.
func TestHealthTells(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		log := logrus.New()
		log.SetOutput(&out)
		h := NewHealth(log)
		h.Fails(PartRedis, errors.New("first"))
		h.Works(PartRedis)
		if out.Len() != 0 {
			t.Errorf("a short failure was told: %s", &out)
		}
		for range 10 {
			h.Fails(PartRedis, errors.New("connection refused"))
			<-time.After(time.Second)
		}
		h.Works(PartRedis)
		h.Works(PartRedis)
		for _, want := range []string{"in trouble", "connection refused", "works again"} {
			if n := strings.Count(out.String(), want); n != 1 {
				t.Errorf("%q stands %d times in the log:\n%s", want, n, &out)
			}
		}
	})
}
