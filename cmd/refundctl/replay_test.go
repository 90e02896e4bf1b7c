package main

import (
	"strings"
	"testing"
)

func TestReplayUsage(t *testing.T) {
	vars := map[string]string{"REFUNDD_ROCKETMQ_NAMESERVERS": "127.0.0.1:1"}
	for args, want := range map[string]string{
		"replay --topic x --renumber L":                                   "one of --file and --source",
		"replay --file a --source b --topic x --renumber L":               "one of --file and --source",
		"replay --file a --renumber L":                                    "--topic is required",
		"replay --file a --topic x":                                       "commands move money",
		"replay --file a --topic x --renumber L --same-numbers":           "commands move money",
		"replay --file a --topic x --same-numbers --renumber-trades":      "--renumber-trades needs --renumber",
		"replay --file a --topic x --renumber " + strings.Repeat("x", 25): "--renumber: 25 characters",
		"replay --file a --topic x --renumber \u00e9":                     "--renumber: only characters",
		"replay --file a --topic x --renumber L --pace slow":              "--pace",
		"replay --file a --topic x --renumber L --speed 0":                "--speed",
		"replay --file a --topic x --renumber L --kind other":             "--kind",
		"replay --file a --topic x --renumber L -o xml":                   "-o",
		"replay --file a --topic x --renumber L":                          "--yes is required",
		"replay --source a --from x --topic x --renumber L --yes":         "--from",
		"replay --source a --topic x --renumber L --yes":                  "name server",
		"record --file x":  "--topic is required",
		"record --topic x": "--file is required",
		"record --topic x --file y --from yesterday":          "--from",
		"record --topic x --file y --from offset:-1":          "--from",
		"record --topic x --file y --to 2999-01-01T00:00:00Z": "--to: 2999-01-01T00:00:00Z is still to come",
		"record --topic x --file y --group refundd":           "--group",
		"record --topic x --file y -n -1":                     "--count",
	} {
		got := ctl(t.Context(), vars, "", strings.Fields(args)...)
		wantCode := exitUsage
		if want == "name server" {
			wantCode = exitFailed
		}
		if got.code != wantCode || !strings.Contains(got.stderr, want) || got.stdout != "" {
			t.Errorf("%s: %+v, want %q", args, got, want)
		}
	}
}
