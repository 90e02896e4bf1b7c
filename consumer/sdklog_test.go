package consumer

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/sirupsen/logrus"
)

// TestSDKLogIsDiscreet: whatever the SDK puts into its fields, no message gets
// into the log, and what tells of trouble does.
func TestSDKLogIsDiscreet(t *testing.T) {
	const canary = "2088000000000009"
	message := &primitive.MessageExt{Message: *primitive.NewMessage("T", []byte(canary))}
	message.WithProperty("buyer", canary)
	fields := map[string]any{
		"messages": []*primitive.MessageExt{message}, "message": message, "Message": canary, "body": []byte(canary), "msg": canary,
		"other": message, "many": []*primitive.MessageExt{message}, "bytes": []byte(canary), "map": map[string]string{"a": canary},
		"MessageQueue": primitive.MessageQueue{Topic: "T"}, "topic": "refund-command", "count": 7, "underlayError": errors.New("broken pipe"),
	}
	rows := []struct {
		name  string
		write func(sdkLog, string, map[string]any)
		level string // "" = not written
	}{
		{"debug", sdkLog.Debug, ""},
		{"info", sdkLog.Info, "debug"},
		{"warning", sdkLog.Warning, "warning"},
		{"error", sdkLog.Error, "error"},
		{"fatal", sdkLog.Fatal, "error"}, // and the process lives
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			var out bytes.Buffer
			log := logrus.New()
			log.SetOutput(&out)
			log.SetLevel(logrus.TraceLevel)
			log.ExitFunc = func(int) { t.Error("the process would have ended") }
			row.write(sdkLog{log: log}, "something happened", fields)
			got := out.String()
			if strings.Contains(got, canary) {
				t.Errorf("a message got into the log: %s", got)
			}
			if row.level == "" {
				if got != "" {
					t.Errorf("written: %s", got)
				}
				return
			}
			for _, want := range []string{"level=" + row.level, "something happened", "refund-command", "sdk_count=7", "broken pipe"} {
				if !strings.Contains(got, want) {
					t.Errorf("%q is missing: %s", want, got)
				}
			}
		})
	}
}

// TestSDKLogKeepsLostQueues: that queues were taken away is at INFO in the SDK,
// and has to be seen.
func TestSDKLogKeepsLostQueues(t *testing.T) {
	var out bytes.Buffer
	log := logrus.New()
	log.SetOutput(&out)
	s := sdkLog{log: log}
	s.Info("remove unnecessary mq when updateProcessQueueTable", map[string]any{"MessageQueue": "q0"})
	s.Info("start beginning", nil)
	if got := out.String(); !strings.Contains(got, "level=warning") || !strings.Contains(got, "q0") || strings.Contains(got, "beginning") {
		t.Errorf("log: %s", got)
	}
	s.Level("debug")
	if err := s.OutputPath("somewhere"); err != nil {
		t.Error(err)
	}
}
