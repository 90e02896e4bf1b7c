//go:build !race

// The RocketMQ SDK has data races of its own, in its pull and push consumers.

package main

import (
	"bytes"
	"context"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"refundd/cmd/internal/tap"
)

// screen is an output that can be read while it is written.
type screen struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.buf.Write(p)
}

func (s *screen) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.buf.String()
}

func (s *screen) wait(t *testing.T, ctx context.Context, pattern string) []string {
	t.Helper()
	re := regexp.MustCompile(pattern)
	for {
		if m := re.FindStringSubmatch(s.String()); m != nil {
			return m
		}
		select {
		case <-ctx.Done():
			t.Fatalf("no %q on the screen:\n%s", pattern, s)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func to(s *screen) console {
	return console{stdout: s, stderr: s, redirect: func(logrus.FieldLogger) {}}
}

func TestOnceTellsEveryCommandsEndAndAgrees(t *testing.T) {
	var out screen
	if code := run(t.Context(), []string{"-once"}, to(&out)); code != 0 {
		t.Fatalf("exit code %d\n%s", code, &out)
	}
	text := out.String()
	rows := map[string]string{
		"plain refund":                         "12.50  call: moved  succeeded (response)",
		"with metadata":                        "15.00  call: moved  succeeded (response) ticket=A-17",
		"partial refund 1 of 3":                "400.00  call: moved  succeeded (response)",
		"partial refund 2 of 3":                "400.00  call: moved  succeeded (response)",
		"partial refund 3 of 3":                "100.00  call: moved  succeeded (response)",
		"answer lost, money moved":             "16.00  call: moved, answer lost; query: found  succeeded (query)",
		"answer lost, money not moved":         "16.50  call: answer lost; query: not found",
		"connection reset, money moved":        "17.00  call: moved, reset; query: found  succeeded (query)",
		"no answer in time, money moved":       "17.50  call: moved, silence; query: found  succeeded (query)",
		"gateway busy (20000)":                 "18.00  call: ",
		"SYSTEM_ERROR, money moved":            "18.50  call: moved, SYSTEM_ERROR; query: found  succeeded (query)",
		"proxy says 502, money not moved":      "19.00  call: 502; query: not found",
		"success with a bad signature":         "19.50  call: moved, signature is wrong; query: found  succeeded (query)",
		"code that nobody documented":          "20.00  call: moved, BRAND_NEW_STATE; query: found  succeeded (query)",
		"rate limit for a while (40005)":       "20.50  call: isv.app-call-limited x2; call: moved  succeeded (response)",
		"definite refusal":                     "13.00  call: TRADE_STATUS_ERROR; query: not found  failed refused: TRADE_STATUS_ERROR",
		"refusal that is written in GBK":       "25.00  call: TRADE_STATUS_ERROR; query: not found  failed refused: TRADE_STATUS_ERROR",
		"trade does not exist":                 "21.00  call: TRADE_NOT_EXIST; query: TRADE_NOT_EXIST  failed refused: TRADE_NOT_EXIST",
		"number used elsewhere, other amount":  "21.50  call: DISCORDANT_REPEAT_REQUEST; query: other amount  unresolved conflict_at_alipay: ",
		"another merchant's refund":            "24.50  call: moved  succeeded (response)",
		"red packet, one part":                 "5.00  call: moved  succeeded (response)",
		"red packet, answer lost, money moved": "5.50  call: moved, answer lost; query: found  succeeded (query)",
		"red packet, accepted for later":       "6.00  call: accepted, INIT; query: INIT",
		"red packet, accepted, then closed":    "6.50  call: accepted, INIT; query: INIT",
		"red packet, in process (10003)":       "7.00  call: moved, 10003; query: found  succeeded (query)",
		"not JSON":                             "not called  rejected unreadable: ",
		"unknown member":                       `22.00  not called  rejected invalid: "color" is not a known member`,
		"amount as a number":                   `not called  rejected invalid: "refund_amount" is not a string`,
		"no request number":                    `23.00  not called  rejected invalid: "out_request_no" is missing`,
		"the plain one again":                  "12.50  not called  succeeded (response), the same event again",
		"its number, another amount":           "99.00  not called  rejected conflict: ",
		"the refused one again":                "13.00  not called  failed refused: TRADE_STATUS_ERROR, the same event again",
		"more than is left of the trade":       "100.01  ",
		"balance too low, then topped up":      "23.50  call: SELLER_BALANCE_NOT_ENOUGH",
	}
	lines := map[string]string{}
	spaces := regexp.MustCompile(` {2,}`)
	for line := range strings.Lines(text) {
		cells := spaces.Split(strings.TrimSpace(line), 3)
		if len(cells) == 3 {
			lines[cells[1]] = spaces.ReplaceAllString(cells[2], "  ")
		}
	}
	for what, want := range rows {
		if got, ok := lines[what]; !ok || !strings.HasPrefix(got, want) {
			t.Errorf("row %q is %q, want %q", what, got, want)
		}
	}
	for _, what := range []string{"answer lost, money not moved", "gateway busy (20000)", "proxy says 502, money not moved", "balance too low, then topped up"} {
		if !strings.HasSuffix(lines[what], "call: moved  succeeded (response)") {
			t.Errorf("row %q is %q, want a last call that moved the money", what, lines[what])
		}
	}
	if !strings.Contains(lines["more than is left of the trade"], "failed refused: ") {
		t.Errorf("more than is left: %q", lines["more than is left of the trade"])
	}
	twins := []string{lines["same command twice at once, 1st"], lines["same command twice at once, 2nd"]}
	if n := strings.Count(strings.Join(twins, "\n"), "call: moved  succeeded"); n != 1 {
		t.Errorf("of two copies %d moved money: %q", n, twins)
	}
	if n := strings.Count(strings.Join(twins, "\n"), "not called  succeeded (response), the same event again"); n != 1 {
		t.Errorf("of two copies %d got the stored event: %q", n, twins)
	}
	if strings.Contains(text, "\x1b") {
		t.Error("escape codes, and this is no terminal")
	}
	last := strings.Split(strings.TrimSpace(text), "\n")
	if got := last[len(last)-1]; got != "verdict: ledger and events agree" {
		t.Errorf("the last line is %q", got)
	}
	for what, want := range map[string]string{
		"red packet, accepted for later":    "; query: SUCCESS  succeeded (query)",
		"red packet, accepted, then closed": "; query: CLOSED  failed closed",
	} {
		if !strings.HasSuffix(lines[what], want) {
			t.Errorf("row %q is %q, want %q at its end", what, lines[what], want)
		}
	}
	if !strings.Contains(text, "a forged notification is answered with 400 fail") {
		t.Error("the forged notification was not refused")
	}
	if want := "22 refunds succeeded and moved once each (1196.00 yuan), 5 failed and 5 messages rejected without a movement, " +
		"1 parked for a person; 23 notifications, an event each"; !strings.Contains(text, want) {
		t.Errorf("summary is %q, want %q in it", last[len(last)-2], want)
	}
}

func TestStaysUpForOthersUntilItIsStopped(t *testing.T) {
	deadline, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	ctx, stop := context.WithCancel(deadline)
	defer stop()
	var out screen
	code := make(chan int, 1)
	go func() { code <- run(ctx, nil, to(&out)) }()
	server := out.wait(t, deadline, `refundctl events --nameserver (\S+) `)[1]

	sender, err := tap.NewSender(tap.Cluster{NameServers: []string{server}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = sender.Close() }()
	if _, err := sender.Send(deadline, tap.Outgoing{Topic: topicRefund, Body: []byte(refund("my-1", "my-trade", "0.01"))}); err != nil {
		t.Fatal(err)
	}
	out.wait(t, deadline, `from outside: my-1 +0\.01  call: moved +succeeded`)

	stop()
	select {
	case got := <-code:
		if got != 0 {
			t.Errorf("exit code %d after the stop\n%s", got, &out)
		}
	case <-deadline.Done():
		t.Fatal("it does not stop")
	}
}
