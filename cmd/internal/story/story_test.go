package story_test

import (
	"strings"
	"testing"
	"time"

	"refundd/cmd/internal/story"
	"refundd/consumer"
	"refundd/dedupe"
	"refundd/producer"
)

// TestConclude: each state, and what is said of it.
func TestConclude(t *testing.T) {
	now := time.Date(2026, 11, 27, 8, 0, 0, 0, time.UTC)
	event := func(o producer.Outcome) producer.Event {
		return producer.Event{Outcome: o, Reason: producer.ReasonConflict, ConfirmedBy: producer.ByQuery, TradeNo: "T"}
	}
	undecided := dedupe.Record{Exists: true, Generation: 2}
	parked := dedupe.Record{Exists: true, Generation: 2, Parked: true}
	acted := func(deed consumer.Deed, park int) consumer.Summary {
		return consumer.Summary{Acts: []consumer.Act{{Deed: deed, By: "ann", Why: "why", At: now.Add(-time.Minute), Park: park}}}
	}
	copies := []story.Copy{{Park: 1, Generation: 1}, {Reason: producer.ReasonBlockedMerchant, Park: 2, Generation: 2}}
	for name, row := range map[string]struct {
		facts  story.Facts
		stands story.State
		says   string
	}{
		"nothing":                 {story.Facts{}, story.Unknown, "nothing here knows this number"},
		"succeeded":               {story.Facts{Record: dedupe.Record{Exists: true, Decided: true, Succeeded: true}, Events: []producer.Event{event(producer.Succeeded)}}, story.Succeeded, "proven by query; Alipay's trade is T"},
		"succeeded, no event":     {story.Facts{Record: dedupe.Record{Exists: true, Decided: true, Succeeded: true}}, story.Succeeded, "the money moved"},
		"failed":                  {story.Facts{Record: dedupe.Record{Exists: true, Decided: true}}, story.Failed, "did not move"},
		"not published":           {story.Facts{Record: dedupe.Record{Exists: true, Decided: true}, Unpublished: true}, story.Failed, "publishes it from the record"},
		"by its event alone":      {story.Facts{Events: []producer.Event{event(producer.Failed)}}, story.Failed, "expired or was lost"},
		"both events":             {story.Facts{Events: []producer.Event{event(producer.Failed), event(producer.Succeeded)}}, story.Contradiction, "tell accounting"},
		"contradiction":           {story.Facts{Record: dedupe.Record{Exists: true, Decided: true, Contradiction: true}}, story.Contradiction, "succeeded counts"},
		"parked as contradiction": {story.Facts{Record: dedupe.Record{Exists: true, Decided: true}, Copies: []story.Copy{{Reason: producer.ReasonContradiction}}}, story.Contradiction, "tell accounting"},
		"rejected":                {story.Facts{Events: []producer.Event{event(producer.Rejected)}}, story.Rejected, "the first command with this number counts"},
		"forgotten":               {story.Facts{Retried: true}, story.Forgotten, "asks Alipay before anything is called"},
		"forgotten and parked":    {story.Facts{Copies: copies}, story.Forgotten, "nothing by itself: it is parked"},
		"working":                 {story.Facts{Record: dedupe.Record{Exists: true, HeldFor: time.Minute}}, story.Working, "for another 1m at most"},
		"retrying":                {story.Facts{Record: undecided, Due: now.Add(time.Hour), Summary: consumer.Summary{Next: "query"}}, story.Retrying, "is due at 2026-11-27T09:00:00Z, in 1h0m; then Alipay is asked"},
		"late":                    {story.Facts{Record: undecided, Due: now.Add(-time.Hour)}, story.Retrying, "see that refundd runs and how far it lags"},
		"very late":               {story.Facts{Record: undecided, Due: now.Add(-3 * time.Hour)}, story.Retrying, "publishes it again from its record"},
		"retrying after a copy":   {story.Facts{Record: undecided, Copies: copies[:1]}, story.Retrying, "its next try comes"},
		"parked":                  {story.Facts{Record: parked, Copies: copies}, story.Parked, "mend the merchant's funds"},
		"parked, reason unknown":  {story.Facts{Number: "R-1", Record: parked}, story.Parked, "see why with refundctl parked show R-1"},
		"parked by its copy":      {story.Facts{Record: undecided, Copies: copies}, story.Parked, "mend the merchant's funds"},
		"requeued":                {story.Facts{Record: parked, Copies: copies, Summary: acted(consumer.Requeued, 2)}, story.Requeued, "1m by now"},
		"requeued before":         {story.Facts{Record: parked, Copies: copies, Summary: acted(consumer.Requeued, 1)}, story.Parked, "mend the merchant's funds"},
		"dropped":                 {story.Facts{Record: parked, Summary: acted(consumer.Dropped, 2)}, story.Dropped, "dropped by ann at 2026-11-27T07:59:00Z: why"},
		"paused":                  {story.Facts{Record: undecided, Brakes: []dedupe.Brake{{By: "bob", Reason: "prices", Since: now}}}, story.Retrying, "refundctl resume"},
		"failed, and it is there": {story.Facts{Record: dedupe.Record{Exists: true, Decided: true}, Alipay: "ours"}, story.Failed, "CONTRADICTION"},
		"succeeded, not there":    {story.Facts{Record: dedupe.Record{Exists: true, Decided: true, Succeeded: true}, Alipay: "absent"}, story.Succeeded, "does not show the refund now"},
		"parked, and it is there": {story.Facts{Record: parked, Alipay: "old"}, story.Parked, "requeue it, so that succeeded is published"},
		"unknown, but there":      {story.Facts{Alipay: "ours"}, story.Unknown, "nothing here knows of it"},
		"retrying, it is there":   {story.Facts{Record: undecided, Alipay: "ours"}, story.Retrying, "the next try will find it"},
	} {
		t.Run(name, func(t *testing.T) {
			got := story.Conclude(row.facts, now)
			if got.Stands != row.stands || !strings.Contains(got.True+"\n"+got.Next+"\n"+got.Do, row.says) {
				t.Errorf("%+v, want %s and %q", got, row.stands, row.says)
			}
		})
	}
}
