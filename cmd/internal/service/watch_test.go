package service

import (
	"testing"

	"refundd/cmd/internal/config"
	"refundd/consumer/remoting"
	"refundd/consumer/rocketmqtest"
)

// TestMissingGroupIsNotWhatABrokerKeepsToItself: a broker with access control
// may refuse the question, and that is no missing group. The question is signed.
func TestMissingGroupIsNotWhatABrokerKeepsToItself(t *testing.T) {
	broker, err := rocketmqtest.Start(rocketmqtest.Config{Topics: map[string]int{"refund-command": 1}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = broker.Close() })
	cfg := config.Config{RocketMQNameservers: []string{broker.Addr()}, RocketMQGroup: "refundd", RocketMQAccessKey: "refundd"}
	cfg.Secrets.RocketMQSecretKey = "secret"
	s := &service{cfg: cfg}
	if !s.groupMissing(t.Context()) {
		t.Error("a group that is not there is not missed")
	}
	broker.SetHook(func(r rocketmqtest.Request) rocketmqtest.Action {
		if r.Code != rocketmqtest.CodeConsumerList {
			return rocketmqtest.Action{}
		}
		if r.ExtFields["AccessKey"] != "refundd" || r.ExtFields["Signature"] == "" {
			t.Errorf("it is asked without a signature: %v", r.ExtFields)
		}
		return rocketmqtest.Action{Kind: rocketmqtest.Refuse, Code: remoting.CodeNoPermission}
	})
	if s.groupMissing(t.Context()) {
		t.Error("a group that one may not ask for is taken for missing")
	}
}
