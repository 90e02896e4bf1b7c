package dedupe_test

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"refundd/dedupe"
)

func TestMarks(t *testing.T) {
	b := onMiniredis(t)
	now := time.UnixMilli(1_790_000_000_000)
	old := dedupe.Mark{Deed: "dropped", By: "ann", Why: "old", At: now.Add(-100 * 24 * time.Hour)}
	young := dedupe.Mark{Deed: "dropped", By: "ann", Why: "young", At: now.Add(-24 * time.Hour)}
	for message, mark := range map[string]dedupe.Mark{"M-1 1": old, "M-2 1": young} {
		if err := b.store.SetMark(t.Context(), appID, message, mark); err != nil {
			t.Fatal(err)
		}
	}
	again := dedupe.Mark{Deed: "requeued", By: "bob", Why: "again", At: now}
	if err := b.store.SetMark(t.Context(), appID, "M-3 1", again); err != nil {
		t.Fatal(err)
	}
	marks, err := b.store.Marks(t.Context(), appID)
	if want := map[string]dedupe.Mark{"M-2 1": young, "M-3 1": again}; err != nil || !reflect.DeepEqual(marks, want) {
		t.Errorf("marks %+v, %v, want %+v", marks, err, want)
	}
	if marks, err := b.store.Marks(t.Context(), "another"); err != nil || len(marks) != 0 {
		t.Errorf("of another app: %+v, %v", marks, err)
	}
	if err := b.store.SetMark(t.Context(), appID, "M", dedupe.Mark{Why: strings.Repeat("x", 513)}); err == nil {
		t.Error("a text of 513 bytes was taken")
	}
	if err := b.store.SetMark(t.Context(), appID, "", dedupe.Mark{}); err == nil {
		t.Error("a mark on nothing was taken")
	}
}
