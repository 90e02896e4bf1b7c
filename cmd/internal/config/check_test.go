package config_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"flag"
	"os"
	"regexp"
	"strings"
	"testing"

	"refundd/cmd/internal/config"
)

var update = flag.Bool("update", false, "write testdata/check.golden") //nolint:gochecknoglobals // a test flag

func TestCheckShowsEverythingButSecrets(t *testing.T) {
	password := file(t, "canary-password")
	text, err := os.ReadFile("testdata/app_private_pkcs8.pem")
	if err != nil {
		t.Fatal(err)
	}
	key := file(t, string(text))
	for _, path := range []string{password, key} {
		if err := os.Chmod(path, 0o640); err != nil {
			t.Fatal(err)
		}
	}
	cfg, err := config.Load(environment(
		"REFUNDD_ALIPAY_PRIVATE_KEY_FILE="+key,
		"REFUNDD_REDIS_PASSWORD_FILE="+password,
		"REFUNDD_ROCKETMQ_ACCESS_KEY=canary-access",
		"REFUNDD_ROCKETMQ_SECRET_KEY_FILE="+password,
		"REFUNDD_LEASE=90s",
		"REFUNDD_ADMIN_ADDR=",
	))
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := cfg.WriteCheck(&out); err != nil {
		t.Fatal(err)
	}

	// The length of the temporary paths moves the columns.
	got := strings.NewReplacer(password, "PASSWORD", key, "KEY").Replace(out.String())
	got = regexp.MustCompile(` {2,}`).ReplaceAllString(got, "  ")
	const golden = "testdata/check.golden"
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("output differs from %s (go test -update writes it):\n%s", golden, got)
	}
	for _, secret := range append(pieces(t, text), "canary") {
		if strings.Contains(out.String(), secret) {
			t.Errorf("output shows %q", secret)
		}
	}
}

// pieces cuts the base64 of a key into pieces that are too long to occur by chance.
func pieces(t *testing.T, text []byte) []string {
	t.Helper()
	block, _ := pem.Decode(text)
	if block == nil {
		t.Fatal("no PEM block")
	}
	line := base64.StdEncoding.EncodeToString(block.Bytes)
	var list []string
	for i := 0; i+16 <= len(line); i += 16 {
		list = append(list, line[i:i+16])
	}
	return list
}

func TestVariablesMatchTheDocument(t *testing.T) {
	table, err := os.ReadFile("../../../deploy/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]config.Variable{}
	for _, v := range config.Variables() {
		known[v.Name] = v
	}
	name := regexp.MustCompile(`REFUNDD_[A-Z0-9_]*[A-Z0-9]`)
	rows := map[string]int{}
	for line := range strings.Lines(string(table)) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		if !strings.HasPrefix(line, "|") || len(cells) < 3 {
			continue
		}
		names := name.FindAllString(cells[0], -1)
		for _, n := range names {
			rows[n]++
		}
		if len(names) != 1 {
			continue
		}
		if v, ok := known[names[0]]; ok && strings.Trim(cells[1], " `") != v.Default {
			t.Errorf("configuration.md has default %q for %s, want %q", strings.Trim(cells[1], " `"), v.Name, v.Default)
		}
	}
	for n := range known {
		if rows[n] != 1 {
			t.Errorf("configuration.md has %d rows for %s, want 1; Markdown returns the table", rows[n], n)
		}
	}
	for n := range rows {
		if _, ok := known[n]; !ok {
			t.Errorf("configuration.md has a row for %s, which does not exist", n)
		}
	}
}

func TestVariablesAreComplete(t *testing.T) {
	vars := config.Variables()
	if len(vars) != 43 {
		t.Errorf("%d variables, the contract has 43", len(vars))
	}
	table := config.Markdown()
	for _, v := range vars {
		if v.Default == "" || v.Meaning == "" {
			t.Errorf("%+v is not whole", v)
		}
		if !strings.Contains(table, "| `"+v.Name+"` | "+v.Default+" | ") {
			t.Errorf("the table has no row for %s", v.Name)
		}
	}
}

func TestLoggerFollowsTheConfiguration(t *testing.T) {
	cfg, err := config.Load(environment("REFUNDD_LOG_LEVEL=warn"))
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	log := config.NewLogger(cfg, &out)
	log.Info("not wanted")
	log.WithField("subject", "R1").Warn("wanted")
	var line map[string]string
	if err := json.Unmarshal(out.Bytes(), &line); err != nil {
		t.Fatalf("%q: %v", out.String(), err)
	}
	if line["level"] != "warning" || line["msg"] != "wanted" || line["subject"] != "R1" || line["time"] == "" {
		t.Errorf("line is %v", line)
	}

	cfg.LogFormat = config.FormatText
	out.Reset()
	config.NewLogger(cfg, &out).Warn("wanted")
	if text := out.String(); !strings.Contains(text, "level=warning") || !strings.Contains(text, "msg=wanted") {
		t.Errorf("text is %q", text)
	}
}

func TestRedisSpeaksAtDebugOnly(t *testing.T) {
	var out bytes.Buffer
	for level, want := range map[string]bool{"info": false, "debug": true} {
		out.Reset()
		log := config.NewLogger(config.Config{LogLevel: level}, &out)
		config.RedisLogger{Log: log}.Printf(t.Context(), "dial %s", "failed")
		if got := strings.Contains(out.String(), `"msg":"dial failed"`); got != want {
			t.Errorf("at level %s: %q", level, &out)
		}
	}
}
