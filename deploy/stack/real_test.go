package main

import (
	"context"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"refundd/consumer/remoting"
)

// TestRealStack runs inside a stack, as `make test` does, and uses it as the
// tests of the other packages do.
func TestRealStack(t *testing.T) {
	nameServer, control := os.Getenv("REFUNDD_TEST_NAMESERVERS"), os.Getenv("REFUNDD_TEST_STACK")
	if control == "" {
		t.Skip("needs a stack: go run ./deploy/stack -- go test ./deploy/stack")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()

	broker, err := remoting.WaitBroker(ctx, nameServer)
	if err != nil {
		t.Fatal(err)
	}
	topic := "stack-test-" + strconv.FormatInt(time.Now().UnixNano(), 36)
	if err := remoting.CreateTopic(ctx, broker, topic, 2); err != nil {
		t.Fatal(err)
	}
	if err := remoting.CreateGroup(ctx, broker, topic); err != nil {
		t.Fatal(err)
	}
	if err := remoting.WaitRoute(ctx, nameServer, topic); err != nil {
		t.Fatal(err)
	}

	t.Run("a topic outlives restarts", func(t *testing.T) {
		for _, change := range []string{"/broker/restart", "/namesrv/restart"} {
			post(ctx, t, control+change)
			if err := remoting.WaitRoute(ctx, nameServer, topic); err != nil {
				t.Errorf("after %s: %v", change, err)
			}
		}
	})
	t.Run("redis goes and comes", func(t *testing.T) {
		redis := strings.TrimSuffix(strings.TrimPrefix(os.Getenv("REFUNDD_TEST_REDIS"), "redis://"), "/0")
		if err := pingRedis(ctx, redis); err != nil {
			t.Fatal(err)
		}
		post(ctx, t, control+"/redis/stop")
		if conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", redis); err == nil {
			_ = conn.Close()
			t.Error("a stopped Redis answers")
		}
		post(ctx, t, control+"/redis/start")
		if err := pingRedis(ctx, redis); err != nil {
			t.Error(err)
		}
	})
	t.Run("a deleted topic is gone", func(t *testing.T) {
		if err := remoting.DeleteGroup(ctx, broker, topic); err != nil {
			t.Error(err)
		}
		if err := remoting.DeleteTopic(ctx, nameServer, broker, topic); err != nil {
			t.Error(err)
		}
		if masters, err := remoting.Route(ctx, nameServer, topic); err == nil {
			t.Errorf("route %v", masters)
		}
	})
}

func post(ctx context.Context, t *testing.T, url string) {
	t.Helper()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusNoContent {
		t.Fatalf("%s: %s", url, response.Status)
	}
}
