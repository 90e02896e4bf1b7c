package deploy_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"
)

// rules is a file of Prometheus rules, as far as ours go.
type rules struct {
	Groups []struct {
		Name  string
		Rules []alert
	}
}

type alert struct {
	Alert         string
	Expr          string
	For           time.Duration
	KeepFiringFor time.Duration `yaml:"keep_firing_for"`
	Labels        map[string]string
	Annotations   map[string]string
}

func alerts(t *testing.T) []alert {
	t.Helper()
	decoder := yaml.NewDecoder(strings.NewReader(read(t, "alerts.yaml")))
	decoder.KnownFields(true)
	var file rules
	if err := decoder.Decode(&file); err != nil {
		t.Fatal(err)
	}
	var all []alert
	for _, group := range file.Groups {
		all = append(all, group.Rules...)
	}
	if len(all) == 0 {
		t.Fatal("no alerts")
	}
	return all
}

// TestEveryAlertHasARunbookStep: whoever is woken up finds what to do under the
// alert's name, and the runbook tells of no alert that is not there.
func TestEveryAlertHasARunbookStep(t *testing.T) {
	steps := map[string]string{} // heading -> text
	sections := regexp.MustCompile(`(?m)^## `).Split(read(t, "runbook.md"), -1)
	for _, section := range sections[1:] {
		name, text, _ := strings.Cut(section, "\n")
		steps[name] = text
	}
	var names []string
	for _, a := range alerts(t) {
		names = append(names, a.Alert)
		text, there := steps[a.Alert]
		if !there {
			t.Errorf("runbook.md has no heading %q", "## "+a.Alert)
		}
		if !strings.Contains(text, "```") {
			t.Errorf("runbook.md, %s: no command to run", a.Alert)
		}
		if want := "https://EXAMPLE/deploy/runbook.md#" + strings.ToLower(a.Alert); a.Annotations["runbook_url"] != want {
			t.Errorf("%s: runbook_url %q, want %q", a.Alert, a.Annotations["runbook_url"], want)
		}
		for _, annotation := range []string{"summary", "description"} {
			if a.Annotations[annotation] == "" {
				t.Errorf("%s has no %s", a.Alert, annotation)
			}
		}
		if !slices.Contains([]string{"critical", "warning", "info"}, a.Labels["severity"]) {
			t.Errorf("%s: severity %q", a.Alert, a.Labels["severity"])
		}
		if !strings.Contains(read(t, "alerts_test.yaml"), `alertname="`+a.Alert+`"`) {
			t.Errorf("alerts_test.yaml does not show %s firing", a.Alert)
		}
	}
	for step := range steps {
		if strings.HasPrefix(step, "Refundd") && !slices.Contains(names, step) {
			t.Errorf("runbook.md: there is no alert %s", step)
		}
	}
}

// TestNamesOfAlertsExist: what the documents and the dashboard call an alert is one.
func TestNamesOfAlertsExist(t *testing.T) {
	var names []string
	for _, a := range alerts(t) {
		names = append(names, a.Alert)
	}
	for _, file := range []string{"README.md", "runbook.md", "dashboard.json", "alerts.yaml", "prometheus.yaml"} {
		for _, name := range regexp.MustCompile(`\bRefundd[A-Z]\w+`).FindAllString(read(t, file), -1) {
			if !slices.Contains(names, name) {
				t.Errorf("%s names %s, which is no alert", file, name)
			}
		}
	}
}

// panel is what an operator needs of one.
type panel struct {
	Title, Type, Description string
	Targets                  []struct{ Expr string }
	FieldConfig              struct {
		Defaults struct{ Unit string }
	}
}

func panels(t *testing.T) []panel {
	t.Helper()
	var board struct{ Panels []panel }
	if err := json.Unmarshal([]byte(read(t, "dashboard.json")), &board); err != nil {
		t.Fatal(err)
	}
	return slices.DeleteFunc(board.Panels, func(p panel) bool { return p.Type == "row" })
}

func TestEveryPanelExplainsItself(t *testing.T) {
	all := panels(t)
	if len(all) == 0 {
		t.Fatal("no panels")
	}
	for _, p := range all {
		if p.Description == "" || p.FieldConfig.Defaults.Unit == "" || len(p.Targets) == 0 {
			t.Errorf("panel %q: description %q, unit %q, %d queries", p.Title, p.Description, p.FieldConfig.Defaults.Unit, len(p.Targets))
		}
	}
}

// promtool is Prometheus' own judge; make test brings one (.ci/promtool).
func promtool(t *testing.T, args ...string) {
	t.Helper()
	program := os.Getenv("REFUNDD_TEST_PROMTOOL")
	if program == "" {
		var err error
		if program, err = exec.LookPath("promtool"); err != nil {
			t.Skip("needs promtool, of Debian's package prometheus or REFUNDD_TEST_PROMTOOL; make test fetches it")
		}
	}
	if output, err := exec.CommandContext(t.Context(), program, args...).CombinedOutput(); err != nil {
		t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, output)
	}
}

func TestAlertsFireWhenTheyShould(t *testing.T) {
	promtool(t, "test", "rules", "alerts_test.yaml")
}

func TestPrometheusTakesTheConfiguration(t *testing.T) {
	promtool(t, "check", "config", "prometheus.yaml")
}

// TestDashboardQueriesAreQueries has promtool read each as a rule.
func TestDashboardQueriesAreQueries(t *testing.T) {
	var file bytes.Buffer
	fmt.Fprintln(&file, "groups:\n- name: dashboard\n  rules:")
	variables := strings.NewReplacer("$__rate_interval", "5m", "$job", ".*", "$instance", ".*")
	n := 0
	for _, p := range panels(t) {
		for _, target := range p.Targets {
			n++
			fmt.Fprintf(&file, "  - {record: 'panel:%d', expr: '%s'}\n", n, variables.Replace(target.Expr))
		}
	}
	path := filepath.Join(t.TempDir(), "dashboard.yaml")
	if err := os.WriteFile(path, file.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	promtool(t, "check", "rules", path)
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
