package consumer

import (
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/sirupsen/logrus/hooks/test"

	"refundd/producer"
)

// TestLogFieldsAreThoseOfTheList: whoever searches the service's log finds every
// field in this package's comment, and none there is only a memory.
func TestLogFieldsAreThoseOfTheList(t *testing.T) {
	doc, err := os.ReadFile("doc.go")
	check(t, err)
	listed := map[string]bool{}
	_, list, _ := strings.Cut(string(doc), "# The log")
	for line := range strings.Lines(list) {
		row := regexp.MustCompile(`^//\t([a-z_]+(?:, [a-z_]+)*)  +`).FindStringSubmatch(line)
		if row == nil {
			continue
		}
		for name := range strings.SplitSeq(row[1], ", ") {
			listed[name] = true
		}
	}
	used := map[string]bool{"error": true} // WithError's
	var files []string
	for _, folder := range []string{".", "../notifyhttp", "../cmd/refundd", "../cmd/internal/service", "../cmd/internal/config", "../cmd/internal/tracing"} {
		found, err := filepath.Glob(filepath.Join(folder, "*.go"))
		check(t, err)
		files = append(files, found...)
	}
	for _, file := range files {
		if !strings.HasSuffix(file, "_test.go") {
			parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
			check(t, err)
			collectFields(parsed, used)
		}
	}
	if len(used) < 15 {
		t.Fatalf("only %d fields were found in the code", len(used))
	}
	if got, want := slices.Sorted(maps.Keys(used)), slices.Sorted(maps.Keys(listed)); !slices.Equal(got, want) {
		t.Errorf("the code has\n%q\nthe list\n%q", got, want)
	}
}

// collectFields finds what WithField and logrus.Fields name.
func collectFields(file *ast.File, into map[string]bool) {
	name := func(e ast.Expr) {
		if literal, ok := e.(*ast.BasicLit); ok && literal.Kind == token.STRING {
			text, _ := strconv.Unquote(literal.Value)
			into[text] = true
		}
	}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.CallExpr:
			if sel, ok := n.Fun.(*ast.SelectorExpr); ok && sel.Sel.Name == "WithField" {
				name(n.Args[0])
			}
		case *ast.CompositeLit:
			if sel, ok := n.Type.(*ast.SelectorExpr); ok && sel.Sel.Name == "Fields" {
				for _, e := range n.Elts {
					name(e.(*ast.KeyValueExpr).Key)
				}
			}
		}
		return true
	})
}

// TestOneLineForEachEnd: each delivery ends in one line, with the fields that its
// outcome has, and these have their values.
func TestOneLineForEachEnd(t *testing.T) {
	b := newBench(t, func(c *Config) { c.RetryDelays = []time.Duration{time.Second} })
	const traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	log, hook := test.NewNullLogger()
	b.handler = NewHandler(b.cfg, Dependencies{b.client, b.store, b.publish, b.gate, b.health, b.metrics, log})
	always := []string{"kind", "message_id", "outcome"}
	ours := append([]string{"out_request_no", "traceparent"}, always...)
	rows := []struct {
		name, body, outcome string
		fields              []string
		text                map[string]string
	}{
		{
			"succeeded", refundBody("R1", "T1", "1.00"), "succeeded",
			append([]string{"calls", "event_id", "reason", "sub_code"}, ours...),
			map[string]string{"out_request_no": "R1", "kind": "refund", "reason": ""},
		},
		{
			"duplicate", refundBody("R1", "T1", "1.00"), "duplicate",
			append([]string{"event_id"}, ours...),
			map[string]string{"out_request_no": "R1"},
		},
		{
			"conflict", refundBody("R1", "T1", "2.00"), "rejected",
			append([]string{"detail", "event_id", "reason"}, ours...),
			map[string]string{"reason": "conflict"},
		},
		{
			"unreadable", "{", "rejected",
			append([]string{"detail", "event_id", "reason", "traceparent"}, always...),
			map[string]string{"reason": "unreadable"},
		},
		{
			"failed", refundBody("fault-refused-TRADE_STATUS_ERROR-1", "T3", "1.00"), "failed",
			append([]string{"calls", "event_id", "reason", "sub_code"}, ours...),
			map[string]string{"reason": "refused", "sub_code": "ACQ.TRADE_STATUS_ERROR"},
		},
		{
			"retried", refundBody("fault-html-502-before-1", "T4", "1.00"), "retried",
			append([]string{"delay", "generation", "reason", "try"}, ours...),
			map[string]string{"reason": "unknown_outcome"},
		},
		{
			"unresolved", refundBody("R5", "T5", "1.00"), "unresolved",
			append([]string{"event_id", "park", "reason", "try"}, ours...),
			map[string]string{"reason": "too_old"},
		},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			d := b.command(row.body)
			d.Properties = map[string]string{producer.PropertyTraceparent: traceparent}
			if row.outcome == "unresolved" {
				d.Born = d.Born.Add(-2 * b.cfg.Keep)
			}
			hook.Reset()
			b.handle(d)
			var lines []logrus.Fields
			for _, e := range hook.AllEntries() {
				if _, ends := e.Data["outcome"]; ends {
					lines = append(lines, e.Data)
				}
			}
			if len(lines) != 1 {
				t.Fatalf("%d lines with an outcome: %v", len(lines), lines)
			}
			line := lines[0]
			if line["outcome"] != row.outcome {
				t.Errorf("outcome %v, want %s", line["outcome"], row.outcome)
			}
			slices.Sort(row.fields)
			if got := slices.Sorted(maps.Keys(line)); !slices.Equal(got, row.fields) {
				t.Errorf("fields\n%q, want\n%q", got, row.fields)
			}
			for name, want := range row.text {
				if line[name] != want {
					t.Errorf("%s is %v, want %s", name, line[name], want)
				}
			}
		})
	}
}
