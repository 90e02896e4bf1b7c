package main

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/sirupsen/logrus"

	"refundd/cmd/internal/cli"
)

// terminal is what a run leaves behind. It can be read while it is written.
type terminal struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (s *terminal) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.buf.Write(p)
}

func (s *terminal) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.buf.String()
}

type session struct {
	code           int
	stdout, stderr string
}

// ctl runs a command line to its end.
func ctl(ctx context.Context, vars map[string]string, stdin string, args ...string) session {
	var out, errs terminal
	environ := make([]string, 0, len(vars))
	for name, value := range vars {
		environ = append(environ, name+"="+value)
	}
	code := run(ctx, args, cli.Env{
		Getenv: func(name string) string { return vars[name] }, Environ: environ, Stdin: strings.NewReader(stdin),
		Stdout: &out, Stderr: &errs, Redirect: func(logrus.FieldLogger) {},
		OpenTerminal: func() (io.ReadWriteCloser, error) { return nil, os.ErrNotExist },
	})
	return session{code, out.String(), errs.String()}
}

func TestUsage(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "nothing")
	for name, c := range map[string]struct {
		args []string
		vars map[string]string
		code int
		want string
	}{
		"nothing":               {nil, nil, 2, "Usage:\n  refundctl [command]"},
		"help":                  {[]string{"-h"}, nil, 0, "Usage:\n  refundctl [command]"},
		"help of send":          {[]string{"send", "-h"}, nil, 0, "refundctl send -f -"},
		"help of events":        {[]string{"events", "-h"}, nil, 0, "--from beginning"},
		"unknown command":       {[]string{"sned"}, nil, 2, `unknown command "sned" for refundctl; did you mean send?`},
		"unknown help":          {[]string{"help", "sned"}, nil, 2, `did you mean send?`},
		"help of a group":       {[]string{"help", "parked"}, nil, 0, "requeue"},
		"unknown in a group":    {[]string{"parked", "lst"}, nil, 2, `unknown command "lst" for refundctl parked; did you mean list?`},
		"version":               {[]string{"version"}, nil, 0, "refundctl "},
		"version by flag":       {[]string{"--version"}, nil, 0, "refundctl "},
		"version as JSON":       {[]string{"version", "-o", "json"}, nil, 0, `{"version":"`},
		"one dash":              {[]string{"resume", "-merchant=shop"}, nil, 2, "-merchant: write --merchant"},
		"one dash for help":     {[]string{"send", "-help"}, nil, 2, "-help: write --help"},
		"unknown flag":          {[]string{"send", "--amnt", "1"}, nil, 2, "--amnt"},
		"argument":              {[]string{"events", "now"}, nil, 2, `unexpected argument "now"`},
		"nothing to send":       {[]string{"send"}, nil, 2, "nothing to send"},
		"file and flags":        {[]string{"send", "--file", "-", "--amount", "1"}, nil, 2, "--file and --amount"},
		"parked alone":          {[]string{"parked"}, nil, 2, "parked takes one of: drop, list, requeue, show"},
		"parked show nothing":   {[]string{"parked", "show"}, nil, 2, "the out_request_no is missing"},
		"parked drop all":       {[]string{"parked", "drop", "--reason-text", "x"}, nil, 2, "say which"},
		"parked no reason":      {[]string{"parked", "drop", "--every"}, nil, 2, "--reason-text is required"},
		"parked no actor":       {[]string{"parked", "drop", "--every", "--reason-text", "x"}, nil, 2, "--actor is required"},
		"parked no terminal":    {[]string{"parked", "drop", "--every", "--reason-text", "x", "--actor", "a"}, nil, 2, "--yes is required"},
		"parked every and some": {[]string{"parked", "drop", "--every", "--number", "R-1"}, nil, 2, "contradict"},
		"parked age":            {[]string{"parked", "list", "--older", "3w"}, nil, 2, "7d"},
		"parked of no app":      {[]string{"parked", "list", "--nameserver", "a:1"}, nil, 2, "REFUNDD_ALIPAY_APP_ID is required"},
		"parked scope":          {[]string{"parked", "list", "--app-id", "1", "--nameserver", "a:1"}, map[string]string{"REFUNDD_DEDUPE_SCOPE": "x"}, 2, "REFUNDD_DEDUPE_SCOPE"},
		"file that is not":      {[]string{"send", "--file", secret, "--dry-run"}, nil, 2, "--file: "},
		"kind":                  {[]string{"send", "--kind", "payment", "--amount", "1"}, nil, 2, `"payment" for "-k, --kind" flag: want one of refund, coupon_refund`},
		"flag of another kind":  {[]string{"send", "--auth-no", "1"}, nil, 2, "--auth-no: not a member of kind refund"},
		"metadata":              {[]string{"send", "--metadata", "a"}, nil, 2, "not key=value"},
		"metadata twice":        {[]string{"send", "--metadata", "a=1", "--metadata", "a=2"}, nil, 2, "given twice"},
		"traceparent":           {[]string{"send", "--amount", "1", "--traceparent", "x"}, nil, 2, "--traceparent"},
		"concurrency":           {[]string{"send", "--file", "-", "--concurrency", "0"}, nil, 2, "--concurrency"},
		"rate":                  {[]string{"send", "--file", "-", "--rate", "-1"}, nil, 2, "--rate"},
		"no name server":        {[]string{"events"}, nil, 2, "REFUNDD_ROCKETMQ_NAMESERVERS is required"},
		"name server":           {[]string{"events", "--nameserver", "here"}, nil, 2, `--nameserver: "here" is not host:port`},
		"name server variable":  {[]string{"events"}, map[string]string{"REFUNDD_ROCKETMQ_NAMESERVERS": ":1"}, 2, "REFUNDD_ROCKETMQ_NAMESERVERS: "},
		"secret without a key":  {[]string{"events", "--nameserver", "a:1"}, map[string]string{"REFUNDD_ROCKETMQ_SECRET_KEY_FILE": "x"}, 2, "REFUNDD_ROCKETMQ_ACCESS_KEY is required"},
		"secret that is not":    {[]string{"events", "--nameserver", "a:1"}, map[string]string{"REFUNDD_ROCKETMQ_ACCESS_KEY": "x", "REFUNDD_ROCKETMQ_SECRET_KEY_FILE": secret}, 2, "REFUNDD_ROCKETMQ_SECRET_KEY_FILE: "},
		"from":                  {[]string{"events", "--from", "yesterday"}, nil, 2, `"yesterday" for "--from" flag: want now, beginning, how long ago (10m, 7d)`},
		"output":                {[]string{"events", "-o", "xml"}, nil, 2, `"xml" for "-o, --output" flag: want one of text, json`},
		"type":                  {[]string{"events", "--type", "finished"}, nil, 2, `"finished" for "-t, --type" flag: want one of succeeded, failed`},
		"reason":                {[]string{"parked", "list", "-r", "held,blockd"}, nil, 2, "want one of unreadable, invalid"},
		"timeout":               {[]string{"events", "--timeout", "-1s"}, nil, 2, "want a duration such as"},
		"count":                 {[]string{"events", "-n", "-1"}, nil, 2, "--count: "},
		"the service's group":   {[]string{"events", "--group", "refundd"}, nil, 2, "--group: "},
		"the configured group":  {[]string{"events", "--group", "g"}, map[string]string{"REFUNDD_ROCKETMQ_GROUP": "g"}, 2, "--group: "},
		"nobody at the address": {[]string{"send", "--nameserver", "127.0.0.1:1", "--out-request-no", "R", "--trade-no", "T", "--amount", "1"}, nil, 1, "127.0.0.1:1"},
	} {
		t.Run(name, func(t *testing.T) {
			got := ctl(t.Context(), c.vars, "", c.args...)
			if got.code != c.code || !strings.Contains(got.stdout+got.stderr, c.want) {
				t.Errorf("%+v, want code %d and %q", got, c.code, c.want)
			}
			if c.code == 0 && got.stderr != "" || c.code != 0 && got.stdout != "" {
				t.Errorf("help belongs to standard output, mistakes to standard error: %+v", got)
			}
		})
	}
}

func TestDryRunPrintsTheCommand(t *testing.T) {
	for name, c := range map[string]struct {
		args   []string
		code   int
		stdout string
		stderr string
	}{
		"all members": {
			[]string{
				"--out-request-no", "R", "--out-trade-no", "O", "--trade-no", "T", "--amount", "1.50", "--reason", `"ok" ü`, "--currency", "CNY",
				"--merchant", "m", "--metadata", "b=2", "--metadata", "a=1=1",
			},
			0,
			`{"out_request_no":"R","out_trade_no":"O","trade_no":"T","refund_amount":"1.50","refund_reason":"\"ok\" ü","refund_currency":"CNY","merchant":"m","metadata":{"a":"1=1","b":"2"}}` + "\n", "",
		},
		"coupon": {
			[]string{"--kind", "coupon_refund", "--out-request-no", "R", "--auth-no", "A", "--amount", "1", "--remark", "r", "--out-order-no", "O"},
			0,
			`{"out_request_no":"R","auth_no":"A","amount":"1","remark":"r","out_order_no":"O"}` + "\n", "",
		},
		"invalid":        {[]string{"--out-request-no", "R", "--trade-no", "T", "--amount", "1.505"}, 1, "", `invalid: "refund_amount"`},
		"empty is given": {[]string{"--out-request-no", "", "--trade-no", "T", "--amount", "1"}, 1, "", `invalid: "out_request_no"`},
		"forced": {
			[]string{"--out-request-no", "R", "--amount", "1", "--force"}, 0, `{"out_request_no":"R","refund_amount":"1"}` + "\n", `"out_trade_no" or "trade_no" is missing`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			got := ctl(t.Context(), nil, "", append([]string{"send", "--dry-run"}, c.args...)...)
			if got.code != c.code || got.stdout != c.stdout || !strings.Contains(got.stderr, c.stderr) {
				t.Errorf("%+v, want %+v", got, c)
			}
		})
	}
}

const good = `{"out_request_no":"R","trade_no":"T","refund_amount":"1.00"}`

func TestDryRunOfAFileNamesTheLines(t *testing.T) {
	text := good + "\n\n  " + good + "\r\n" + `{"out_request_no":"R","trade_no":"T","refund_amount":1}` + "\nno JSON\n" + good // without a line end
	path := filepath.Join(t.TempDir(), "commands.jsonl")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, got := range map[string]session{
		"file":           ctl(t.Context(), nil, "", "send", "--dry-run", "--file", path),
		"standard input": ctl(t.Context(), nil, text, "send", "--dry-run", "--file", "-"),
	} {
		t.Run(name, func(t *testing.T) {
			if got.code != 1 || got.stdout != good+"\n"+good+"\n"+good+"\n" {
				t.Errorf("%+v", got)
			}
			for _, want := range []string{
				"line 4: invalid: \"refund_amount\" is not a string\n", "line 5: unreadable: ", "5 commands: 3 printed, 2 invalid, 0 failed\n",
			} {
				if !strings.Contains(got.stderr, want) {
					t.Errorf("%q is not in %q", want, got.stderr)
				}
			}
		})
	}
}
