package rocketmqtest

import (
	"maps"
	"slices"
	"sync"
)

// members knows the consumer groups and who is in them.
type members struct {
	open bool // groups appear with their first heartbeat

	mu     sync.Mutex
	groups map[string]map[*conn]member
}

type member struct {
	clientID string
	topics   []string
}

func newMembers(open bool) *members {
	return &members{open: open, groups: make(map[string]map[*conn]member)}
}

func (m *members) create(group string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.groups[group] == nil {
		m.groups[group] = make(map[*conn]member)
	}
}

func (m *members) exists(group string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.open || m.groups[group] != nil
}

func (m *members) names() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Sorted(maps.Keys(m.groups))
}

// join registers a member and returns whom to notify, nobody if nothing changed.
// It reports false for a group that does not exist and may not be made.
func (m *members) join(group string, c *conn, joining member) (tell []*conn, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.groups[group] == nil {
		if !m.open {
			return nil, false
		}
		m.groups[group] = make(map[*conn]member)
	}
	old, known := m.groups[group][c]
	m.groups[group][c] = joining
	if known && old.clientID == joining.clientID && slices.Equal(old.topics, joining.topics) {
		return nil, true
	}
	return slices.Collect(maps.Keys(m.groups[group])), true
}

// leave removes a connection from one group, or from all if group is empty, and
// returns whom to notify, by group.
func (m *members) leave(group string, c *conn) map[string][]*conn {
	m.mu.Lock()
	defer m.mu.Unlock()
	tell := make(map[string][]*conn)
	for name, in := range m.groups {
		if _, ok := in[c]; !ok || (group != "" && group != name) {
			continue
		}
		delete(in, c)
		tell[name] = slices.Collect(maps.Keys(in))
	}
	return tell
}

// ids are the client ids in a group, sorted, each once.
func (m *members) ids(group string) []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	ids := make([]string, 0, len(m.groups[group]))
	for _, in := range m.groups[group] {
		ids = append(ids, in.clientID)
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// subscribed reports whether a member of the group has subscribed to the topic.
func (m *members) subscribed(group, topic string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, in := range m.groups[group] {
		if slices.Contains(in.topics, topic) {
			return true
		}
	}
	return false
}

// topics is what any member of the group has subscribed to, sorted.
func (m *members) topics(group string) []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	var all []string
	for _, in := range m.groups[group] {
		all = append(all, in.topics...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}
