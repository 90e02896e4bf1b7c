package service

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/sirupsen/logrus/hooks/test"
)

func TestTally(t *testing.T) {
	var tally tally
	tally.know("succeeded", "failed")
	start := time.Unix(1_000_000_017, 0)
	for second := range 90 {
		tally.add("succeeded", start.Add(time.Duration(second)*time.Second))
	}
	tally.add("retried", start.Add(30*time.Second))
	for _, row := range []struct {
		after                 time.Duration
		minute, ever, retried int
	}{
		{89 * time.Second, 60, 90, 1},
		{90 * time.Second, 59, 90, 0},
		{120 * time.Second, 29, 90, 0},
		{time.Hour, 0, 90, 0},
		{-time.Hour, 0, 90, 0}, // a clock that was set back hides nothing of the sum
	} {
		got := tally.counts(start.Add(row.after))
		if len(got) != 3 || got[0].Word != "succeeded" || got[1].Word != "failed" || got[2].Word != "retried" {
			t.Fatalf("words are %+v", got)
		}
		if got[0].Minute != row.minute || got[0].Ever != row.ever || got[2].Minute != row.retried || got[1].Ever != 0 {
			t.Errorf("after %v: %+v", row.after, got)
		}
	}
}

func TestLastLines(t *testing.T) {
	var lines lastLines
	log, _ := test.NewNullLogger()
	log.AddHook(&lines)
	log.Info("not kept")
	for range 3 {
		log.WithError(errors.New("no route")).WithField("part", "redis").Warn("waiting")
	}
	log.WithFields(logrus.Fields{"out_request_no": "R1", "stack": "CANARY", "sdk_x": "CANARY", "reason": ""}).Error("unresolved")
	got := lines.all()
	if len(got) != 2 || got[0].Text != "unresolved out_request_no=R1" || got[0].Level != "error" ||
		got[1].Text != "waiting part=redis error=no route" || got[1].Times != 3 {
		t.Errorf("lines are %+v", got)
	}
	log.WithError(errors.New("no route")).WithField("part", "redis").Warn("waiting")
	if got := lines.all(); len(got) != 2 || got[0].Times != 4 {
		t.Errorf("what is said again is not on top: %+v", got)
	}
	for i := range 2 * mostLines {
		log.Error(fmt.Sprint(i) + strings.Repeat("退", mostText))
	}
	got = lines.all()
	if len(got) != mostLines || len(got[0].Text) > mostText+len("…") || !strings.HasPrefix(got[0].Text, fmt.Sprint(2*mostLines-1)) {
		t.Errorf("%d lines, the newest with %d bytes", len(got), len(got[0].Text))
	}
}
