package notifyhttp

import (
	"crypto/sha256"
	"sync"
	"time"
)

const (
	// mostRemembered bounds a generation, of which there are two: 2 MB together.
	mostRemembered = 16 << 10
	// rememberedFor is how long Alipay delivers again what was not accepted.
	rememberedFor = 25 * time.Hour
)

// memory knows the events that were published lately, so that a notification that
// somebody sends over and over costs neither messages nor calls. What is forgotten
// is published once more, which readers drop by its id.
type memory struct {
	mu         sync.Mutex
	young, old map[[sha256.Size]byte]struct{}
	since      time.Time // of young
}

// knows reports whether an event of this content was published.
func (m *memory) knows(event []byte) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.age()
	key := sha256.Sum256(event)
	_, young := m.young[key]
	_, old := m.old[key]
	return young || old
}

// keep remembers an event that is durably published.
func (m *memory) keep(event []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.age()
	m.young[sha256.Sum256(event)] = struct{}{}
}

func (m *memory) age() {
	now := time.Now()
	if m.young != nil && len(m.young) < mostRemembered && now.Sub(m.since) < rememberedFor {
		return
	}
	m.young, m.old, m.since = map[[sha256.Size]byte]struct{}{}, m.young, now
}
