package remoting_test

import (
	"errors"
	"os"
	"strings"
	"testing"

	"refundd/consumer/remoting"
	"refundd/consumer/rocketmqtest"
)

// TestMayPublishStoresNothing on any broker, and tells of a topic that is not there.
func TestMayPublishStoresNothing(t *testing.T) {
	onEach := map[string]string{}
	embedded, err := rocketmqtest.Start(rocketmqtest.Config{Topics: map[string]int{"probed": 1}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = embedded.Close() })
	onEach["embedded"] = embedded.Addr()
	if servers := os.Getenv("REFUNDD_TEST_NAMESERVERS"); servers != "" {
		brokers, err := remoting.Brokers(t.Context(), strings.Split(servers, ",")[0])
		if err != nil {
			t.Fatal(err)
		}
		onEach["real"] = brokers[0]
		if err := remoting.CreateTopic(t.Context(), brokers[0], "probed", 1); err != nil {
			t.Fatal(err)
		}
	}
	for name, broker := range onEach {
		t.Run(name, func(t *testing.T) {
			if err := remoting.MayPublish(t.Context(), broker, "prober", "probed"); err != nil {
				t.Error(err)
			}
			behind, _, err := remoting.Lag(t.Context(), broker, "prober", "probed", 1)
			if err != nil || behind != 0 {
				t.Errorf("%d messages are stored, %v", behind, err)
			}
			err = remoting.MayPublish(t.Context(), broker, "prober", "unheard-of")
			if refused, ok := errors.AsType[*remoting.RefusedError](err); !ok || refused.Code != remoting.CodeTopicNotExist {
				t.Errorf("a topic that is not there: %v", err)
			}
			if err := remoting.MayConsume(t.Context(), broker, "prober", "probed"); err != nil {
				t.Errorf("a group without a position: %v", err)
			}
		})
	}
}

// TestMayPublishBelievesRefusals, and says so if a broker takes everything.
func TestMayPublishBelievesRefusals(t *testing.T) {
	broker, err := rocketmqtest.Start(rocketmqtest.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = broker.Close() })
	refuse := func(code int) func(rocketmqtest.Request) rocketmqtest.Action {
		return func(rocketmqtest.Request) rocketmqtest.Action {
			return rocketmqtest.Action{Kind: rocketmqtest.Refuse, Code: code}
		}
	}
	broker.SetHook(refuse(rocketmqtest.Success))
	if err := remoting.MayPublish(t.Context(), broker.Addr(), "g", "t"); !errors.Is(err, remoting.ErrStored) {
		t.Errorf("it was stored: %v", err)
	}
	for _, code := range []int{rocketmqtest.NoPermission, rocketmqtest.ServiceNotAvailable, rocketmqtest.SystemBusy} {
		broker.SetHook(refuse(code))
		if err := remoting.MayPublish(t.Context(), broker.Addr(), "g", "t"); err == nil {
			t.Errorf("refused with code %d, and it may", code)
		}
	}
}
