//go:build !race

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// node is one redis-server that the test has started, behind a proxy of its own.
// All that others learn of its address, clients, Sentinels and replicas alike, is
// the proxy's.
type node struct {
	t     *testing.T
	name  string // of its proxy
	dir   string
	port  int
	proxy string // host:port
	conf  string
	args  []string // besides the configuration
	cmd   *exec.Cmd
	own   *redis.Client // past the proxy
}

// redises is a Redis of several nodes: one master with two replicas and three
// Sentinels, or a Cluster of three masters with a replica each.
type redises struct {
	t         *testing.T
	nodes     []*node
	sentinels []*redis.SentinelClient
	url       string // as REFUNDD_REDIS_URL has it
	cluster   bool
}

const sentinelMaster = "refunds"

// clusterBus is how far a node's second port is from its first.
const clusterBus = 10000

// startNodes starts so many redis-servers, all with these settings.
func startNodes(t *testing.T, toxi *toxiproxy, count int, settings func(i int, all []*node) []string) []*node {
	t.Helper()
	if _, err := exec.LookPath("redis-server"); err != nil {
		t.Skip("needs redis-server in the PATH: make chaos puts it there")
	}
	var nodes []*node
	for i, port := range freeRedisPorts(t, count) {
		n := &node{t: t, name: fmt.Sprintf("redis-%d", i), dir: filepath.Join(t.TempDir(), strconv.Itoa(port)), port: port}
		check(t, os.Mkdir(n.dir, 0o700))
		n.proxy = toxi.proxy(n.name, n.addr())
		n.own = redis.NewClient(&redis.Options{Addr: n.addr(), MaxRetries: -1, DialTimeout: time.Second, ReadTimeout: time.Second})
		t.Cleanup(func() { _ = n.own.Close() })
		nodes = append(nodes, n)
	}
	for i, n := range nodes {
		lines := append([]string{
			fmt.Sprintf("port %d", n.port), "bind 127.0.0.1", "dir " + n.dir, "protected-mode no",
			`save ""`, "appendonly yes", "maxmemory-policy noeviction",
			"repl-diskless-sync-delay 0", "repl-timeout 5", "repl-ping-replica-period 1",
		}, settings(i, nodes)...)
		n.conf = filepath.Join(n.dir, "redis.conf") // Sentinels write a new role into it
		check(t, os.WriteFile(n.conf, []byte(strings.Join(lines, "\n")+"\n"), 0o600))
		n.start()
		t.Cleanup(n.end)
	}
	for _, n := range nodes {
		waitFor(t, "redis to answer", time.Minute, func() bool { return n.own.Ping(t.Context()).Err() == nil })
	}
	return nodes
}

// freeRedisPorts leave room for the Cluster's second ports, and are below the
// range of outgoing connections, so that they stay free while a node is down.
func freeRedisPorts(t *testing.T, count int) (ports []int) {
	t.Helper()
	free := func(port int) bool {
		l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:"+strconv.Itoa(port))
		if err != nil {
			return false
		}
		return l.Close() == nil
	}
	for port := 11000 + os.Getpid()%8000; len(ports) < count; port++ {
		if free(port) && free(port+clusterBus) {
			ports = append(ports, port)
		}
	}
	return ports
}

func (n *node) addr() string { return "127.0.0.1:" + strconv.Itoa(n.port) }

func (n *node) proxyPort() string {
	_, port, _ := strings.Cut(n.proxy, ":")
	return port
}

func (n *node) start() {
	n.cmd = exec.Command("redis-server", append([]string{n.conf}, n.args...)...) //nolint:noctx // ended by signal
	log, err := os.OpenFile(filepath.Join(n.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	check(n.t, err)
	defer func() { _ = log.Close() }()
	n.cmd.Stdout, n.cmd.Stderr = log, log
	check(n.t, n.cmd.Start())
}

func (n *node) end() {
	_ = n.cmd.Process.Kill()
	_ = n.cmd.Wait()
}

func (n *node) freeze() { check(n.t, n.cmd.Process.Signal(syscall.SIGSTOP)) }
func (n *node) thaw()   { check(n.t, n.cmd.Process.Signal(syscall.SIGCONT)) }

// role is master or slave, and for a replica whether it follows its master now;
// for a master, whether anybody follows it.
func (n *node) role() (role string, linked bool) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	answer, err := n.own.Do(ctx, "ROLE").Slice()
	if err != nil || len(answer) < 3 {
		return "", false
	}
	role, _ = answer[0].(string)
	if role == "master" {
		followers, _ := answer[2].([]any)
		return role, len(followers) > 0
	}
	return role, len(answer) > 3 && answer[3] == "connected"
}

func startSentinels(t *testing.T, toxi *toxiproxy) *redises {
	t.Helper()
	r := &redises{t: t}
	r.nodes = startNodes(t, toxi, 3, func(i int, all []*node) []string {
		lines := []string{"replica-announce-ip 127.0.0.1", "replica-announce-port " + all[i].proxyPort()}
		if i > 0 {
			lines = append(lines, "replicaof 127.0.0.1 "+all[0].proxyPort())
		}
		return lines
	})
	var addrs []string
	for _, port := range freeRedisPorts(t, 3) {
		dir := t.TempDir()
		conf := filepath.Join(dir, "sentinel.conf")
		check(t, os.WriteFile(conf, fmt.Appendf(nil, `port %d
bind 127.0.0.1
dir %s
protected-mode no
sentinel announce-ip 127.0.0.1
sentinel monitor %[3]s 127.0.0.1 %s 2
sentinel down-after-milliseconds %[3]s 1500
sentinel failover-timeout %[3]s 5000
sentinel parallel-syncs %[3]s 2
`, port, dir, sentinelMaster, r.nodes[0].proxyPort()), 0o600))
		s := &node{t: t, dir: dir, port: port, conf: conf, args: []string{"--sentinel"}}
		s.start()
		t.Cleanup(s.end)
		addrs = append(addrs, s.addr())
		client := redis.NewSentinelClient(&redis.Options{Addr: s.addr()})
		t.Cleanup(func() { _ = client.Close() })
		r.sentinels = append(r.sentinels, client)
	}
	r.url = fmt.Sprintf("redis://%s?addr=%s&addr=%s&master_name=%s", addrs[0], addrs[1], addrs[2], sentinelMaster)
	return r
}

func startCluster(t *testing.T, toxi *toxiproxy) *redises {
	t.Helper()
	r := &redises{t: t, cluster: true}
	r.nodes = startNodes(t, toxi, 6, func(i int, all []*node) []string {
		return []string{
			"cluster-enabled yes", "cluster-node-timeout 2000", "cluster-replica-validity-factor 0",
			"cluster-announce-ip 127.0.0.1", "cluster-announce-port " + all[i].proxyPort(),
			fmt.Sprintf("cluster-announce-bus-port %d", all[i].port+clusterBus),
		}
	})
	ctx := t.Context()
	first := r.nodes[0]
	for i, n := range r.nodes {
		if i < 3 {
			check(t, n.own.ClusterAddSlotsRange(ctx, i*16384/3, (i+1)*16384/3-1).Err())
		}
		if n != first {
			check(t, n.own.Do(ctx, "CLUSTER", "MEET", "127.0.0.1", first.proxyPort(), first.port+clusterBus).Err())
		}
	}
	for i := range 3 {
		id, err := r.nodes[i].own.Do(ctx, "CLUSTER", "MYID").Text()
		check(t, err)
		waitFor(t, "the nodes to meet", time.Minute, func() bool { return r.nodes[i+3].own.ClusterReplicate(ctx, id).Err() == nil })
	}
	r.url = "redis://" + first.proxy + "?addr=" + r.nodes[1].proxy
	for _, n := range r.nodes[2:] {
		r.url += "&addr=" + n.proxy
	}
	return r
}

// settle waits until every node has the role that it will keep and every replica
// follows its master.
func (r *redises) settle() {
	r.t.Helper()
	waitFor(r.t, "the nodes of Redis to agree", 2*time.Minute, r.agreed)
}

func (r *redises) agreed() bool {
	masters := 0
	for _, n := range r.nodes {
		role, linked := n.role()
		if !linked {
			return false
		}
		if role == "master" {
			masters++
		}
	}
	if r.cluster {
		for _, n := range r.nodes {
			info, err := n.own.ClusterInfo(r.t.Context()).Result()
			if err != nil || !strings.Contains(info, "cluster_state:ok") || !strings.Contains(info, "cluster_known_nodes:6") {
				return false
			}
		}
		return masters == 3
	}
	for _, s := range r.sentinels {
		addr, err := s.GetMasterAddrByName(r.t.Context(), sentinelMaster).Result()
		if err != nil || "127.0.0.1:"+addr[1] != r.masters()[0].proxy {
			return false
		}
		peers, err := s.Sentinels(r.t.Context(), sentinelMaster).Result()
		if err != nil || len(peers) != 2 {
			return false
		}
	}
	return masters == 1
}

func (r *redises) withRole(role string) []*node {
	return slices.DeleteFunc(slices.Clone(r.nodes), func(n *node) bool {
		is, _ := n.role()
		return is != role
	})
}

func (r *redises) masters() []*node { return r.withRole("master") }

// watch reports every change of masters, also one that no trouble was to bring about,
// until the test ends. While more nodes than should be call themselves a master, each
// takes writes of its own: divided gets the time that one look vouches for, from the
// look before it on.
func (r *redises) watch(changed func(), divided func(since time.Duration)) {
	most := 1
	if r.cluster {
		most = 3
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	r.t.Cleanup(func() {
		cancel()
		wg.Wait()
	})
	wg.Go(func() {
		before, last := time.Now(), r.masters()
		for ctx.Err() == nil {
			<-time.After(100 * time.Millisecond)
			began := time.Now()
			now := r.masters()
			if !slices.Equal(now, last) {
				changed()
			}
			if len(now) > most || len(last) > most {
				divided(time.Since(before))
			}
			before, last = began, now
		}
	})
}

// serving are the masters when the nodes agree.
func (r *redises) serving() []*node {
	r.t.Helper()
	r.settle()
	return r.masters()
}

// replicas of a master.
func (r *redises) replicas(of *node) []*node {
	return slices.DeleteFunc(r.withRole("slave"), func(n *node) bool {
		answer, err := n.own.Do(r.t.Context(), "ROLE").Slice()
		return err != nil || fmt.Sprint(answer[2]) != of.proxyPort()
	})
}

// handOver lets a replica take the place of a master that lives.
func (r *redises) handOver(master *node) error {
	if !r.cluster {
		return r.sentinels[0].Failover(r.t.Context(), sentinelMaster).Err()
	}
	for _, n := range r.replicas(master) {
		return n.own.ClusterFailover(r.t.Context()).Err()
	}
	return errors.New("the master has no replica")
}

// promoted waits until somebody serves who was no master before.
func (r *redises) promoted(before []*node) {
	r.t.Helper()
	waitFor(r.t, "a failover", 90*time.Second, func() bool {
		return slices.ContainsFunc(r.masters(), func(n *node) bool { return !slices.Contains(before, n) })
	})
}
