package rocketmqtest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"sync"
	"time"
)

// Config describes a broker. The zero value is an empty, closed one.
type Config struct {
	// Addr to listen on, an IPv4 address; default 127.0.0.1:0, any free port.
	Addr string
	// Topics to create, with their number of queues.
	Topics map[string]int
	// Groups to create, each with its %RETRY% topic.
	Groups []string
	// AutoCreate makes a topic of 4 queues with the first send to it and a
	// group with its first heartbeat. Without it a send to an unknown topic is
	// refused, and the heartbeat of an unknown group is answered with success
	// and has no effect, as on a production broker.
	AutoCreate bool
	// DelayScale divides all message delays, so that at 1000 a level of 10s
	// takes 10ms. 0 and 1 mean real time.
	DelayScale int
}

// Broker is a running broker and name server. Its methods are safe for
// concurrent use.
type Broker struct {
	addr    string
	store   *store
	members *members
	hooks   *hooks
	done    chan struct{}
	work    sync.WaitGroup

	restarting sync.Mutex // one Restart at a time

	mu       sync.Mutex // guards what follows
	server   *server
	closed   bool
	settings map[string]string // as in broker.conf; they change nothing here
}

// ErrClosed is returned by methods of a closed broker.
var ErrClosed = errors.New("rocketmqtest: broker is closed")

// Start opens the port and serves until Close.
func Start(cfg Config) (*Broker, error) {
	if cfg.Addr == "" {
		cfg.Addr = "127.0.0.1:0"
	}
	var listen net.ListenConfig
	ln, err := listen.Listen(context.Background(), "tcp4", cfg.Addr)
	if err != nil {
		return nil, fmt.Errorf("rocketmqtest: %w", err)
	}
	addr, err := netip.ParseAddrPort(ln.Addr().String())
	if err != nil {
		return nil, errors.Join(fmt.Errorf("rocketmqtest: %w", err), ln.Close())
	}
	if addr.Addr().IsUnspecified() {
		addr = netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), addr.Port())
	}
	b := &Broker{
		addr:    addr.String(),
		store:   newStore(hostOf(addr), cfg.DelayScale),
		members: newMembers(cfg.AutoCreate),
		hooks:   newHooks(),
		done:    make(chan struct{}),
	}
	b.settings = defaultSettings(cfg.AutoCreate)
	if cfg.AutoCreate {
		b.store.createTopic(defaultTopic, autoCreateQueues)
	}
	for name, queues := range cfg.Topics {
		b.CreateTopic(name, queues)
	}
	// Every broker has this group from birth; tools read topics in its name.
	b.CreateGroup("TOOLS_CONSUMER")
	for _, name := range cfg.Groups {
		b.CreateGroup(name)
	}
	b.work.Go(func() { b.store.schedule(b.done) })
	b.server = b.serve(ln)
	return b, nil
}

// Addr is the host:port that clients use as name server; routes name the same
// address as broker.
func (b *Broker) Addr() string { return b.addr }

// Close drops all connections and returns when all goroutines have ended. What
// was stored can still be read. Closing again does nothing.
func (b *Broker) Close() error {
	b.mu.Lock()
	if b.closed {
		b.mu.Unlock()
		return nil
	}
	b.closed = true
	close(b.done)
	server := b.server
	b.mu.Unlock()

	err := server.stop()
	b.work.Wait()
	if err != nil {
		return fmt.Errorf("rocketmqtest: close: %w", err)
	}
	return nil
}

// Restart drops all connections, refuses new ones for downFor, and serves again
// on the same address. Messages, delays and committed offsets stay; members are
// forgotten until they send their next heartbeat. It returns when the broker
// accepts connections again.
func (b *Broker) Restart(downFor time.Duration) error {
	b.restarting.Lock()
	defer b.restarting.Unlock()
	b.mu.Lock()
	server := b.server
	b.mu.Unlock()
	if err := server.stop(); err != nil {
		return fmt.Errorf("rocketmqtest: restart: %w", err)
	}
	if !b.sleep(downFor) {
		return ErrClosed
	}
	ln, err := b.listenAgain()
	if err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return errors.Join(ErrClosed, ln.Close())
	}
	b.server = b.serve(ln)
	return nil
}

// listenAgain tries for some seconds: for a moment another socket of this
// machine may have the port.
func (b *Broker) listenAgain() (net.Listener, error) {
	var listen net.ListenConfig
	for tries := 0; ; tries++ {
		ln, err := listen.Listen(context.Background(), "tcp4", b.addr)
		if err == nil {
			return ln, nil
		}
		if tries == 100 {
			return nil, fmt.Errorf("rocketmqtest: restart: %w", err)
		}
		if !b.sleep(50 * time.Millisecond) {
			return nil, ErrClosed
		}
	}
}

// sleep reports false if the broker was closed meanwhile.
func (b *Broker) sleep(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-b.done:
		return false
	}
}

// CreateTopic makes a topic with this many queues; an existing one can grow but
// not shrink. The SDK sees a change within 30 seconds.
func (b *Broker) CreateTopic(name string, queues int) { b.store.createTopic(name, queues) }

// DeleteTopic removes a topic and its committed offsets. Messages still lists
// what it held.
func (b *Broker) DeleteTopic(name string) { b.store.deleteTopic(name) }

// CreateGroup makes a consumer group and its %RETRY% topic of one queue.
func (b *Broker) CreateGroup(name string) {
	b.members.create(name)
	b.store.createTopic(retryTopic(name), 1)
}

// Messages is everything ever stored in a topic, in store order. A delayed
// message is not there before its time.
func (b *Broker) Messages(topic string) []Message { return b.store.messages(topic) }

// Scheduled is what will be stored in a topic when its delay has passed,
// earliest first.
func (b *Broker) Scheduled(topic string) []Message { return b.store.scheduled(topic) }

// Committed is a group's committed offset by queue, without the queues that
// have none.
func (b *Broker) Committed(group, topic string) map[int]int64 {
	return b.store.allCommitted(group, topic)
}

// Members are the client ids now in a consumer group, sorted.
func (b *Broker) Members(group string) []string { return b.members.ids(group) }

// Append stores a message as it is, at once and unchecked by any hook: a body
// that SysFlag wrongly calls compressed, no UNIQ_KEY, a property DELAY without
// effect. It needs Topic; BornTimestamp defaults to now, and a negative QueueID
// means any. It returns the message as stored.
func (b *Broker) Append(m Message) (Message, error) {
	r := &record{
		topic:      m.Topic,
		queueID:    int32(m.QueueID), //nolint:gosec // put refuses what is out of range
		sysFlag:    m.SysFlag,
		born:       m.BornTimestamp,
		bornHost:   b.store.host,
		reconsumes: int32(m.ReconsumeTimes), //nolint:gosec // a small count
		body:       append([]byte(nil), m.Body...),
		properties: make(map[string]string, len(m.Properties)),
	}
	maps.Copy(r.properties, m.Properties)
	if r.born == 0 {
		r.born = time.Now().UnixMilli()
	}
	if no := b.store.put(r); no != nil {
		return Message{}, fmt.Errorf("rocketmqtest: append to %s: code %d: %s", m.Topic, no.Code, no.Remark)
	}
	return r.message(), nil
}
