package dedupetest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// Server is a real redis-server of a test's own.
type Server struct {
	Addr string        // host:port
	Do   *redis.Client // as a user who may do everything

	cmd *exec.Cmd
}

// StartServer starts redis-server with more lines of configuration, and ends it
// with the test. Without redis-server in the PATH the test is skipped.
func StartServer(t testing.TB, config ...string) *Server {
	t.Helper()
	if _, err := exec.LookPath("redis-server"); err != nil {
		t.Skip("needs redis-server in the PATH: go run ./deploy/stack puts it there")
	}
	port, dir := freePort(t), t.TempDir()
	s := &Server{Addr: "127.0.0.1:" + port}
	lines := append([]string{"port " + port, "bind 127.0.0.1", "dir " + dir, "protected-mode no", `save ""`, "appendonly no"}, config...)
	path := filepath.Join(dir, "redis.conf")
	if err := os.WriteFile(path, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.cmd = exec.Command("redis-server", path) //nolint:noctx,gosec // ended by Kill; the path is ours
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Kill)
	s.Do = redis.NewClient(&redis.Options{Addr: s.Addr, MaxRetries: -1})
	t.Cleanup(func() { _ = s.Do.Close() })
	Until(t, "redis-server to answer", func() bool { return s.Do.Ping(t.Context()).Err() == nil })
	return s
}

// Kill ends the server at once. It may be called again.
func (s *Server) Kill() {
	_ = s.cmd.Process.Kill()
	_ = s.cmd.Wait()
}

// StartCluster starts a Redis Cluster of so many masters without replicas. With
// one of them down the others go on.
func StartCluster(t testing.TB, masters int) []*Server {
	t.Helper()
	ctx := t.Context()
	all := make([]*Server, masters)
	for i := range all {
		all[i] = StartServer(t, "cluster-enabled yes", "cluster-node-timeout 1000", "cluster-require-full-coverage no",
			"cluster-port "+freePort(t))
		must(t, all[i].Do.ClusterAddSlotsRange(ctx, i*16384/masters, (i+1)*16384/masters-1).Err())
	}
	host, port, _ := strings.Cut(all[0].Addr, ":")
	bus, err := all[0].Do.ConfigGet(ctx, "cluster-port").Result()
	must(t, err)
	for _, s := range all[1:] {
		must(t, s.Do.Do(ctx, "CLUSTER", "MEET", host, port, bus["cluster-port"]).Err())
	}
	Until(t, "the nodes to meet", func() bool {
		for _, s := range all {
			slots, err := s.Do.ClusterSlots(ctx).Result() //nolint:staticcheck // as the client asks
			if err != nil || len(slots) != masters {
				return false
			}
			info, err := s.Do.ClusterInfo(ctx).Result()
			if err != nil || !strings.Contains(info, "cluster_state:ok") {
				return false
			}
		}
		return true
	})
	return all
}

// ClusterURL names all of them, as REFUNDD_REDIS_URL does.
func ClusterURL(all []*Server) string {
	var others []string
	for _, s := range all[1:] {
		others = append(others, "addr="+s.Addr)
	}
	return "redis://" + all[0].Addr + "?" + strings.Join(others, "&")
}

// Until waits for a condition, for as long as a busy machine needs.
func Until(t testing.TB, what string, happened func() bool) {
	t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); !happened(); <-time.After(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited two minutes for %s", what)
		}
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// FreeAddr gives an address of 127.0.0.1 that nobody listens on, and gives it
// to nobody else of this process. Its port is below those that the system hands
// out by itself: one of those could be another's connection before its user
// listens there.
func FreeAddr(t testing.TB) string {
	t.Helper()
	for {
		addr := fmt.Sprintf("127.0.0.1:%d", 10_000+rand.IntN(10_000)) //nolint:gosec // not a secret
		if _, again := given.LoadOrStore(addr, true); again {
			continue
		}
		if l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", addr); err == nil {
			must(t, l.Close())
			return addr
		}
	}
}

var given sync.Map //nolint:gochecknoglobals // addresses are the machine's, and tests run at once

func freePort(t testing.TB) string {
	t.Helper()
	_, port, _ := strings.Cut(FreeAddr(t), ":")
	return port
}
