package consumer

import (
	"fmt"
	"strings"

	"github.com/sirupsen/logrus"
)

// sdkLog is the SDK's logger. Its info lines are our debug (it writes one per
// queue every five seconds), its fatal ones do not end the process, and fields
// that would print whole messages are left out: they hold payment data, and
// printing them races with the SDK itself.
type sdkLog struct{ log logrus.FieldLogger }

func (s sdkLog) fields(in map[string]any) logrus.FieldLogger {
	out := logrus.Fields{}
	for name, value := range in {
		lower := strings.ToLower(name)
		if lower == "messages" || lower == "message" || lower == "body" || lower == "msg" {
			continue
		}
		switch v := value.(type) {
		case string, bool, int, int8, int16, int32, int64, uint, uint32, uint64, float64, nil:
			out["sdk_"+name] = v
		case error:
			out["sdk_"+name] = v.Error()
		case fmt.Stringer:
			// Queues and requests print themselves; messages were left out.
			out["sdk_"+name] = fmt.Sprintf("%T", v)
		default:
			out["sdk_"+name] = fmt.Sprintf("%T", v)
		}
	}
	return s.log.WithFields(out)
}

func (s sdkLog) Debug(string, map[string]any) {}

// Info keeps the one line that tells of lost queues at a level that is seen.
func (s sdkLog) Info(msg string, fields map[string]any) {
	if strings.Contains(msg, "remove unnecessary mq") {
		s.fields(fields).Warn("rocketmq: " + msg)
		return
	}
	s.fields(fields).Debug("rocketmq: " + msg)
}

func (s sdkLog) Warning(msg string, fields map[string]any) { s.fields(fields).Warn("rocketmq: " + msg) }

func (s sdkLog) Error(msg string, fields map[string]any) { s.fields(fields).Error("rocketmq: " + msg) }

func (s sdkLog) Fatal(msg string, fields map[string]any) {
	s.fields(fields).Error("rocketmq (fatal): " + msg)
}
func (s sdkLog) Level(string)            {}
func (s sdkLog) OutputPath(string) error { return nil }
