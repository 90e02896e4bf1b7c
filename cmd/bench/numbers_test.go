package main

import (
	"math"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"refundd/alipay/alipaytest"
)

func TestQuantile(t *testing.T) {
	var hundred []float64
	for i := range 101 {
		hundred = append(hundred, float64(100-i))
	}
	for _, c := range []struct {
		values  []float64
		q, want float64
	}{
		{[]float64{3}, 0.5, 3},
		{[]float64{9, 1, 5}, 0.5, 5},
		{[]float64{4, 1, 3, 2}, 0.5, 2.5},
		{[]float64{1, 2}, 0.75, 1.75},
		{hundred, 0, 0},
		{hundred, 0.99, 99},
		{hundred, 1, 100},
	} {
		if got := quantile(c.values, c.q); got != c.want {
			t.Errorf("quantile of %v at %v = %v, want %v", c.values, c.q, got, c.want)
		}
	}
	for _, unknown := range [][]float64{nil, {1, math.NaN(), 2}} {
		if got := quantile(unknown, 0.5); !math.IsNaN(got) {
			t.Errorf("quantile of %v = %v, want NaN", unknown, got)
		}
	}
}

// Ratios are of runs in the same round, whatever the rounds are among each other.
func TestTable(t *testing.T) {
	of := func(cpu ...time.Duration) (results []result) {
		for _, one := range cpu {
			results = append(results, result{cpu: one, signature: 100, verdict: clean})
		}
		return results
	}
	peer := contender{name: rolePeer}
	results := of(50, 500, 80)
	results[1].verdict = "R-1 has moved money twice"
	table := table{name: "backlog", title: "three rounds", goals: "few", columns: costs(), rounds: 3, rows: []row{
		{name: "image", c: contender{name: "image"}, results: results},
		{name: "image, TLS", c: contender{name: "image"}, l: load{tls: true}, results: of(70, 70, 70)},
		{name: "peer", c: peer, results: of(100, 1000, 100)},
	}}
	var out strings.Builder
	table.print(&out)
	for _, want := range []string{
		"| backlog ", "| image ", "| 0.80 ", "| 0.50 (0.50 to 0.80) ", "| R-1 has moved money twice |", "| peer ", "| 1.00 (1.00 to 1.00) ", "Goals: few",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("there is no %q in\n%s", want, out.String())
		}
	}
	for line := range strings.Lines(out.String()) {
		if strings.HasPrefix(line, "| image, TLS") && !strings.Contains(line, "| –") {
			t.Errorf("compared with a peer without TLS: %s", line)
		}
	}
}

func TestThrottled(t *testing.T) {
	at := time.Date(2026, 11, 27, 12, 0, 0, 500_000_000, time.UTC)
	var calls []alipaytest.Call
	for second := range 60 { // ten a second, of which two are refused; twenty from the 40th second on
		for i := range 10 {
			c := alipaytest.Call{Start: at.Add(time.Duration(second)*time.Second + time.Duration(i)*10*time.Millisecond), Code: "10000"}
			if i > 7 {
				c.Code = "40005"
			}
			calls = append(calls, c)
			if second >= 40 {
				c.Code = "10000"
				calls = append(calls, c, c)
			}
		}
	}
	slices.Reverse(calls)
	got := throttledBy(8, calls)
	if rate, refused := got.perSecond(0, foundAfter), got.refusedShare(0, foundAfter); rate != 8 || refused != 0.2 {
		t.Errorf("%v a second and %v refused, want 8 and 0.2", rate, refused)
	}
	if got := got.doubled(); got != 10.6 {
		t.Errorf("doubled after %v s, want 10.6", got)
	}
	if got := throttledBy(8, calls[len(calls)-300:]).doubled(); !math.IsNaN(got) {
		t.Errorf("doubled after %v s where it never was", got)
	}
	if got := throttledBy(8, nil).refusedShare(0, foundAfter); got != 0 {
		t.Errorf("%v of no calls refused", got)
	}
}

func TestImageSettings(t *testing.T) {
	own, shared := imageSettings("FROM scratch\nENV REFUNDD_ALIPAY_SIGNER=openssl \\\n    GOMAXPROCS=1\nENV GOGC=200\nRUN CGO_ENABLED=0 true\n")
	if !slices.Equal(own, []string{"REFUNDD_ALIPAY_SIGNER=openssl"}) || !slices.Equal(shared, []string{"GOMAXPROCS=1", "GOGC=200"}) {
		t.Errorf("own %q, shared %q", own, shared)
	}
	dockerfile, err := os.ReadFile("../../deploy/Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	if own, _ := imageSettings(string(dockerfile)); !slices.Contains(own, "REFUNDD_ALIPAY_SIGNER=openssl") {
		t.Errorf("the image sets %q", own)
	}
}

func TestPlan(t *testing.T) {
	contenders := []contender{{name: "image"}, {name: "plain"}, {name: rolePeer}}
	for _, c := range []struct {
		args string
		rows int
	}{
		{"backlog", 6}, {"-tls off backlog", 3}, {"-tls on rate", 3}, {"-only image rate", 2}, {"limit", 6}, {"-only peer limit", 2}, {"instances", 3},
	} {
		o, err := parse(strings.Fields(c.args))
		if err != nil {
			t.Fatal(err)
		}
		b := &bench{options: o}
		if got := b.plan(o.tables[0], contenders); len(got.rows) != c.rows || len(got.columns) == 0 {
			t.Errorf("%s: %d rows of %d columns, want %d rows", c.args, len(got.rows), len(got.columns), c.rows)
		}
	}
	for _, wrong := range []string{"-rounds 0", "nonsense", "-tls maybe", "-only me"} {
		if _, err := parse(strings.Fields(wrong)); err == nil {
			t.Errorf("%s: no error", wrong)
		}
	}
}
