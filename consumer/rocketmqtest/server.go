package rocketmqtest

import (
	"bufio"
	"errors"
	"net"
	"sync"
	"time"
)

// writeTimeout bounds a write to a client that does not read.
const writeTimeout = 5 * time.Second

// server is the listening life of a broker between two restarts.
type server struct {
	listener net.Listener
	stopped  chan struct{} // closed when all its goroutines have ended
}

// conn is one client connection.
type conn struct {
	net     net.Conn
	done    chan struct{} // closed when the connection is
	closing sync.Once
	writing sync.Mutex
	work    sync.WaitGroup // suspended pulls and delayed answers
}

// serve accepts connections until the listener is closed.
func (b *Broker) serve(ln net.Listener) *server {
	s := &server{listener: ln, stopped: make(chan struct{})}
	go func() {
		defer close(s.stopped)
		var (
			mu    sync.Mutex
			conns = make(map[*conn]bool)
			work  sync.WaitGroup
		)
		for {
			accepted, err := ln.Accept()
			if errors.Is(err, net.ErrClosed) {
				break
			}
			if err != nil { // out of descriptors or the like: it may pass
				time.Sleep(10 * time.Millisecond) //nolint:forbidigo // nothing says when descriptors are free again
				continue
			}
			c := &conn{net: accepted, done: make(chan struct{})}
			mu.Lock()
			conns[c] = true
			mu.Unlock()
			work.Go(func() {
				b.read(c)
				mu.Lock()
				delete(conns, c)
				mu.Unlock()
			})
		}
		mu.Lock()
		for c := range conns {
			c.close()
		}
		mu.Unlock()
		work.Wait()
	}()
	return s
}

// stop closes listener and connections and waits for their goroutines. It may
// be called again.
func (s *server) stop() error {
	err := s.listener.Close()
	<-s.stopped
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// read serves the requests of one connection in order.
func (b *Broker) read(c *conn) {
	reader := bufio.NewReader(c.net)
	for {
		f, err := readFrame(reader)
		if err != nil {
			break
		}
		if f.Flag&flagResponse == 0 {
			b.treat(c, f)
		}
	}
	c.close()
	c.work.Wait()
	b.tell(b.members.leave("", c))
}

// treat does with a request what the hook says.
func (b *Broker) treat(c *conn, f *frame) {
	act := b.hooks.decide(c, f)
	var reply *frame
	var suspended func() *frame
	switch act.Kind {
	case Silent:
		b.hooks.count(f.Code, Silent, false)
		return
	case Refuse:
		reply = refusal(act.Code, "%s", act.Remark)
	case Reset:
	case Duplicate:
		reply, suspended = b.do(c, f)
		if reply == nil || reply.Code != Success || !stores(f.Code) {
			act.Kind = Pass
		} else if again, _ := b.do(c, f); again.Code != Success {
			act.Kind = Pass
		}
	case Pass, StoreButStaySilent, ResetAfter, Status, Reorder:
		reply, suspended = b.do(c, f)
	}
	if suspended == nil && act.Delay <= 0 {
		b.finish(c, f, act, reply)
		return
	}
	c.work.Go(func() {
		if suspended != nil {
			reply = suspended()
		}
		if c.sleep(act.Delay) {
			b.finish(c, f, act, reply)
		}
	})
}

// finish answers, or does not, and counts what was done.
func (b *Broker) finish(c *conn, f *frame, act Action, reply *frame) {
	kind := act.Kind
	failed := reply == nil || reply.Code != Success
	switch kind {
	case Reset, ResetAfter:
		b.hooks.count(f.Code, kind, act.Delay > 0)
		c.reset()
		return
	case StoreButStaySilent:
		if !failed {
			b.hooks.count(f.Code, kind, act.Delay > 0)
			return
		}
		kind = Pass
	case Status:
		if failed {
			kind = Pass
		} else {
			reply.Code, reply.Remark = act.Code, act.Remark
		}
	case Reorder:
		if failed || !reply.reverse() {
			kind = Pass
		}
	case Pass, Refuse, Silent, Duplicate:
	}
	b.hooks.count(f.Code, kind, act.Delay > 0)
	if reply == nil { // a pull that ended with its connection
		return
	}
	reply.Opaque, reply.Flag = f.Opaque, flagResponse
	c.write(reply)
}

// tell sends a change of membership to those who remain.
func (b *Broker) tell(groups map[string][]*conn) {
	for group, conns := range groups {
		for _, c := range conns {
			c.write(&frame{Code: codeMembersChanged, Ext: map[string]string{"consumerGroup": group}})
		}
	}
}

// write sends a frame; on failure it closes the connection, which the reader
// then notices.
func (c *conn) write(f *frame) {
	data, err := f.encode()
	if err != nil {
		c.close()
		return
	}
	c.writing.Lock()
	defer c.writing.Unlock()
	if err := c.net.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		c.close()
		return
	}
	if _, err := c.net.Write(data); err != nil {
		c.close()
	}
}

// sleep reports false if the connection closed meanwhile.
func (c *conn) sleep(d time.Duration) bool {
	if d <= 0 {
		return true
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-c.done:
		return false
	}
}

func (c *conn) close() {
	c.closing.Do(func() {
		close(c.done)
		_ = c.net.Close() // nothing is left to lose
	})
}

// reset closes so that the client's next read fails instead of ending.
func (c *conn) reset() {
	if tcp, ok := c.net.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // fails only on a connection already gone
	}
	c.close()
}
