package notifyhttp

import (
	"fmt"
	"testing"
	"time"
)

func TestMemoryIsBounded(t *testing.T) {
	var m memory
	for n := range 3 * mostRemembered {
		m.keep(fmt.Append(nil, n))
		if !m.knows(fmt.Append(nil, n)) || !m.knows(fmt.Append(nil, max(n-mostRemembered+1, 0))) {
			t.Fatalf("%d is forgotten too early", n)
		}
	}
	if n := len(m.young) + len(m.old); n > 2*mostRemembered {
		t.Errorf("%d are remembered", n)
	}
	if m.knows([]byte("0")) {
		t.Error("the first is remembered for ever")
	}
	last := fmt.Append(nil, 3*mostRemembered-1)
	for range 2 {
		m.since = time.Now().Add(-rememberedFor)
		m.age()
	}
	if m.knows(last) {
		t.Error("the last is remembered for ever")
	}
}
