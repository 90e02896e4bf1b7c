package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"refundd/consumer/remoting"
)

// The parts of a stack, as the control address and the engines call them.
const (
	partNameServer = "namesrv"
	partBroker     = "broker"
	partSecond     = "broker-b" // a second broker under the same name server; with -brokers 2 only
	partRedis      = "redis"
)

const (
	rocketmqVersion = "5.4.0"

	// readyLimit bounds a part's way from its start to its first answer. On an
	// idle machine a broker takes 3 s; with busy cores 13 s have been seen.
	readyLimit = 90 * time.Second
)

// engine runs the parts, one way or another.
type engine interface {
	// start begins to run a part and does not wait until it answers.
	start(ctx context.Context, part string) error
	// stop ends a part by this signal and keeps its store. A part that does
	// not run is no error.
	stop(ctx context.Context, part string, signal syscall.Signal) error
	// failed says why a started part has ended by itself, or nil.
	failed(part string) error
	// output gives the last lines that a part has printed.
	output(part string) string
	// close ends all parts and drops their stores.
	close() error
}

// settings are what every engine and config file needs to know.
type settings struct {
	ports     ports
	syncFlush bool
}

// ports are on 127.0.0.1. A broker takes a second port, two below its own.
type ports struct {
	nameServer, broker, brokerHA, redis, second, secondHA int
}

func (p ports) address(part string) string {
	port := map[string]int{partNameServer: p.nameServer, partBroker: p.broker, partRedis: p.redis, partSecond: p.second}[part]
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
}

// stack is a running set of parts. Its methods may be called from several
// goroutines; one part is changed at a time.
type stack struct {
	mu     sync.Mutex
	engine engine
	ports  ports
	parts  []string
	topics []string
	log    io.Writer
}

// startStack returns when every part answers and every topic has a route.
func startStack(ctx context.Context, opts options, folder string, log io.Writer) (*stack, error) {
	free, err := freePorts(ctx)
	if err != nil {
		return nil, err
	}
	chosen, err := chooseEngine(ctx, opts.engine, folder, settings{ports: free, syncFlush: opts.syncFlush}, log)
	if err != nil {
		return nil, err
	}
	s := &stack{engine: chosen, ports: free, parts: []string{partNameServer, partBroker, partRedis}, topics: opts.topics, log: log}
	if opts.brokers > 1 {
		s.parts = append(s.parts, partSecond)
	}
	if err := s.bringUp(ctx, opts); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func (s *stack) bringUp(ctx context.Context, opts options) error {
	for _, part := range s.parts {
		if err := s.engine.start(ctx, part); err != nil {
			return err
		}
	}
	for _, part := range s.parts {
		if err := s.waitReady(ctx, part); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, readyLimit)
	defer cancel()
	for _, part := range s.brokers() {
		broker := s.ports.address(part)
		for _, topic := range opts.topics {
			if err := remoting.CreateTopic(ctx, broker, topic, opts.queues); err != nil {
				return err
			}
		}
		if opts.group != "" {
			if err := remoting.CreateGroup(ctx, broker, opts.group); err != nil {
				return err
			}
		}
	}
	return s.waitRoutes(ctx)
}

func (s *stack) brokers() []string {
	return slices.DeleteFunc(slices.Clone(s.parts), func(part string) bool { return !isBroker(part) })
}

func isBroker(part string) bool { return part == partBroker || part == partSecond }

func (s *stack) waitRoutes(ctx context.Context) error {
	for _, topic := range s.topics {
		if err := remoting.WaitRoute(ctx, s.ports.address(partNameServer), topic); err != nil {
			return err
		}
	}
	return nil
}

// waitReady returns when the part answers; a broker also has to be known to the
// name server.
func (s *stack) waitReady(ctx context.Context, part string) error {
	ctx, cancel := context.WithTimeout(ctx, readyLimit)
	defer cancel()
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	address := s.ports.address(part)
	err := remoting.Wait(ctx, func(ctx context.Context) error {
		if failure := s.engine.failed(part); failure != nil {
			fail(failure)
			return failure
		}
		switch part {
		case partNameServer:
			_, err := remoting.Brokers(ctx, address)
			return err
		case partBroker, partSecond:
			// Left alone, a fresh broker registers 10 s after its start.
			return remoting.Configure(ctx, address, map[string]string{"brokerPermission": "6"})
		default:
			return pingRedis(ctx, address)
		}
	})
	if err == nil && isBroker(part) {
		err = remoting.Wait(ctx, func(ctx context.Context) error {
			known, err := remoting.Brokers(ctx, s.ports.address(partNameServer))
			if err == nil && !slices.Contains(known, address) {
				err = errors.New("it has not registered")
			}
			return err
		})
	}
	failure := s.engine.failed(part)
	switch {
	case err == nil:
		return nil
	case failure != nil:
		return failure
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("wait for %s: %w\n%s", part, err, s.engine.output(part))
	default: // asked to stop
		return fmt.Errorf("wait for %s: %w", part, err)
	}
}

// startPart starts a stopped part and returns when it is ready again.
func (s *stack) startPart(ctx context.Context, part string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !slices.Contains(s.parts, part) {
		return fmt.Errorf("start %s: the stack has none", part)
	}
	if err := s.engine.start(ctx, part); err != nil {
		return err
	}
	if err := s.waitReady(ctx, part); err != nil {
		return err
	}
	switch part {
	case partNameServer:
		// It has forgotten the brokers, which report by themselves only every 30 s.
		for _, broker := range s.brokers() {
			if err := s.waitReady(ctx, broker); err != nil {
				return err
			}
		}
		return nil
	case partBroker, partSecond:
		return s.waitRoutes(ctx)
	default:
		return nil
	}
}

// stopPart ends a part by this signal and returns when it is gone.
func (s *stack) stopPart(ctx context.Context, part string, signal syscall.Signal) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.engine.stop(ctx, part, signal)
}

func (s *stack) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.engine.close(); err != nil {
		fmt.Fprintln(s.log, "stack:", err)
	}
}

// variables are in the form of a process environment.
func (s *stack) variables() []string {
	nameServer := s.ports.address(partNameServer)
	redis := "redis://" + s.ports.address(partRedis) + "/0"
	return []string{
		"REFUNDD_ROCKETMQ_NAMESERVERS=" + nameServer,
		"REFUNDD_REDIS_URL=" + redis,
		"REFUNDD_TEST_NAMESERVERS=" + nameServer,
		"REFUNDD_TEST_REDIS=" + redis,
	}
}

// pingRedis also fails while Redis is still loading its data.
func pingRedis(ctx context.Context, address string) error {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(time.Second)); err != nil {
		return err
	}
	if _, err := io.WriteString(conn, "PING\r\n"); err != nil {
		return err
	}
	answer, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		return err
	}
	if answer = strings.TrimSpace(answer); answer != "+PONG" {
		return errors.New("redis answers " + answer)
	}
	return nil
}

// freePorts picks ports that nobody listens on now. They are below the range
// that systems give to outgoing connections, so that a port stays free while
// its part is stopped.
func freePorts(ctx context.Context) (ports, error) {
	for range 100 {
		// broker-2, broker, brokerHA, name server, redis, second-2, second, secondHA
		base := 20000 + rand.IntN(12000) //nolint:gosec // not a secret
		p := ports{broker: base + 2, brokerHA: base + 3, nameServer: base + 4, redis: base + 5, second: base + 8, secondHA: base + 9}
		if allFree(ctx, base, p.broker, p.brokerHA, p.nameServer, p.redis, base+6, p.second, p.secondHA) {
			return p, nil
		}
	}
	return ports{}, errors.New("no free ports between 20000 and 32000")
}

func allFree(ctx context.Context, candidates ...int) bool {
	for _, port := range candidates {
		var config net.ListenConfig
		// The broker listens on all addresses, so all have to be free.
		listener, err := config.Listen(ctx, "tcp", ":"+strconv.Itoa(port))
		if err != nil {
			return false
		}
		_ = listener.Close()
	}
	return true
}
