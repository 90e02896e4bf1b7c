package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"refundd/consumer/remoting"
)

const (
	masters = 3
	slots   = 16384 // of a Redis Cluster
	// busDistance is how far a node's second port is from its first.
	busDistance = 10000
)

// redisCluster is a Redis Cluster of three masters on loopback, each set up as the
// stack's one Redis is. It has no replicas: what they cost is other cores' work.
type redisCluster struct {
	url    string // as REFUNDD_REDIS_URL has it
	client *redis.ClusterClient
	nodes  []*exec.Cmd
}

func startCluster(ctx context.Context, folder string) (*redisCluster, error) {
	if _, err := exec.LookPath("redis-server"); err != nil {
		return nil, fmt.Errorf("a Redis Cluster needs redis-server in the PATH: %w", err)
	}
	c := &redisCluster{}
	ports, err := clusterPorts(ctx)
	if err != nil {
		return nil, err
	}
	addrs := make([]string, masters)
	for i, port := range ports {
		addrs[i] = net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
		if err := c.startNode(folder, port); err != nil {
			c.close()
			return nil, err
		}
	}
	c.url = "redis://" + addrs[0] + "?addr=" + strings.Join(addrs[1:], "&addr=")
	c.client = redis.NewClusterClient(&redis.ClusterOptions{Addrs: addrs})
	if err := join(ctx, addrs); err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

func (c *redisCluster) startNode(folder string, port int) error {
	dir := filepath.Join(folder, "redis-"+strconv.Itoa(port))
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	cmd := exec.Command("redis-server", //nolint:noctx // close ends it
		"--port", strconv.Itoa(port), "--bind", "127.0.0.1", "--dir", dir, "--protected-mode", "no",
		"--save", "", "--appendonly", "yes", "--appendfsync", "everysec", "--maxmemory-policy", "noeviction", "--logfile", "log",
		"--cluster-enabled", "yes", "--cluster-node-timeout", "5000")
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start redis-server: %w", err)
	}
	c.nodes = append(c.nodes, cmd)
	return nil
}

// join gives each node its slots, lets them meet, and waits until all agree.
func join(ctx context.Context, addrs []string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	host, port, err := net.SplitHostPort(addrs[0])
	if err != nil {
		return err
	}
	nodes := make([]*redis.Client, len(addrs))
	for i, addr := range addrs {
		nodes[i] = redis.NewClient(&redis.Options{Addr: addr})
		defer func() { _ = nodes[i].Close() }()
		if err := remoting.Wait(ctx, func(ctx context.Context) error { return nodes[i].Ping(ctx).Err() }); err != nil {
			return fmt.Errorf("wait for redis-server %s: %w", addr, err)
		}
		if err := nodes[i].ClusterAddSlotsRange(ctx, i*slots/masters, (i+1)*slots/masters-1).Err(); err != nil {
			return fmt.Errorf("slots of %s: %w", addr, err)
		}
	}
	for _, node := range nodes[1:] {
		if err := node.ClusterMeet(ctx, host, port).Err(); err != nil {
			return fmt.Errorf("redis nodes meet: %w", err)
		}
	}
	err = remoting.Wait(ctx, func(ctx context.Context) error {
		for _, node := range nodes {
			info, err := node.ClusterInfo(ctx).Result()
			if err != nil {
				return err
			}
			if !strings.Contains(info, "cluster_state:ok") || !strings.Contains(info, fmt.Sprintf("cluster_known_nodes:%d", masters)) {
				return errors.New("the nodes do not agree yet")
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("wait for the Redis Cluster: %w", err)
	}
	return nil
}

func (c *redisCluster) close() {
	if c.client != nil {
		_ = c.client.Close()
	}
	for _, node := range c.nodes {
		_ = node.Process.Kill()
		_ = node.Wait()
	}
}

// clusterPorts are free, and so are their second ones. They are below the range
// that systems give to outgoing connections.
func clusterPorts(ctx context.Context) (ports []int, err error) {
	free := func(port int) bool {
		l, err := new(net.ListenConfig).Listen(ctx, "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		return err == nil && l.Close() == nil
	}
	for port := 11000 + os.Getpid()%8000; port < 20000; port++ {
		if free(port) && free(port+busDistance) {
			ports = append(ports, port)
		}
		if len(ports) == masters {
			return ports, nil
		}
	}
	return nil, errors.New("no free ports for a Redis Cluster")
}
