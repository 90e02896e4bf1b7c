package metrics_test

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"refundd/cmd/internal/metrics"
)

// TestRulesAndDashboardUseWhatIsCounted: an alert on a name or a word that does
// not exist never fires, and nobody notices.
func TestRulesAndDashboardUseWhatIsCounted(t *testing.T) {
	m := newMetrics(t)
	useAll(m)
	known := catalogue{"refundd_consumer_lag": {"topic": nil}} // what the group has
	for series := range scrape(t, m) {
		known.add(series)
	}
	for _, file := range []string{"alerts.yaml", "alerts_test.yaml", "dashboard.json", "keda.yaml"} {
		text, err := os.ReadFile("../../../deploy/" + file)
		if err != nil {
			t.Fatal(err)
		}
		// A JSON string holds its quotes escaped.
		used := selector.FindAllStringSubmatch(strings.ReplaceAll(string(text), `\"`, `"`), -1)
		if len(used) == 0 {
			t.Errorf("%s uses no metric", file)
		}
		for _, match := range used {
			known.check(t, file, match[1], match[2])
		}
	}
}

// selector finds a metric and the labels behind it.
var selector = regexp.MustCompile(`\b((?:refundd|go|process)_[a-z_]+)(?:\{([^}]*)\})?`)

var matcher = regexp.MustCompile(`(\w+)\s*(=~|!~|!=|=)\s*"([^"]*)"`)

// catalogue is metric -> label -> its values.
type catalogue map[string]map[string][]string

func (c catalogue) add(series string) {
	name, labels, _ := strings.Cut(strings.TrimSuffix(series, "}"), "{")
	if c[name] == nil {
		c[name] = map[string][]string{}
	}
	for _, pair := range matcher.FindAllStringSubmatch(labels, -1) {
		c[name][pair[1]] = append(c[name][pair[1]], pair[3])
	}
}

func (c catalogue) check(t *testing.T, file, name, labels string) {
	t.Helper()
	there, known := c[name]
	if !known {
		t.Errorf("%s uses %s, which is not counted", file, name)
		return
	}
	for _, pair := range matcher.FindAllStringSubmatch(labels, -1) {
		label := pair[1]
		if label == "job" || label == "instance" {
			continue // Prometheus gives them
		}
		values, known := there[label]
		if !known {
			t.Errorf("%s: %s has no label %s", file, name, label)
			continue
		}
		if label == "topic" {
			continue // from the configuration
		}
		for value := range strings.SplitSeq(pair[3], "|") {
			if !slices.Contains(values, value) {
				t.Errorf("%s: %s is never %s of %s", file, value, label, name)
			}
		}
	}
}

// useAll makes the series that are not there from the start.
func useAll(m *metrics.Metrics) {
	for _, kind := range []string{"refund", "coupon_refund"} {
		for _, outcome := range []string{"succeeded", "failed", "rejected", "unresolved"} {
			m.Command(kind, outcome, time.Now())
		}
	}
	for _, op := range []string{ // dedupe.Config.Observe lists them
		"claim", "settle", "release", "confirm", "amend", "read", "reject", "probe", "probe_failed", "index", "lock", "limit", "brake",
	} {
		m.RedisCall(op, time.Millisecond)
	}
	m.PublishFailed("refund-event")
}
