package main

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"refundd/alipay/alipaytest"
	"refundd/producer"
)

// Widths of the columns; the last one has none.
const (
	widthWhat   = 35
	widthAmount = 7
	widthAlipay = 46
)

// table prints one line per command, as soon as its end is known.
type table struct {
	out    io.Writer
	colour bool // escape codes: only for a terminal
}

func (t table) head() {
	t.line("  sec", "command", "yuan", "what Alipay did", "event")
	t.line("-----", strings.Repeat("-", widthWhat), strings.Repeat("-", widthAmount), strings.Repeat("-", widthAlipay), strings.Repeat("-", 30))
}

func (t table) row(r *row) {
	what := r.what
	if what == "" {
		what = "from outside: " + r.number
	}
	amount := ""
	if r.fen > 0 {
		amount = yuan(r.fen)
	}
	t.line(fmt.Sprintf("%5.1f", r.took.Seconds()), what, amount, callsText(r), t.paint(r.event, eventText(r.event, r.again)))
}

// news prints an event that is nobody's end.
func (t table) news(ev producer.Event) {
	t.line("", "later about "+ev.Subject, "", "", t.paint(ev, eventText(ev, false)))
}

// note prints what the demo itself does.
func (t table) note(text string) { t.line("", "-- "+text+" --", "", "", "") }

func (t table) line(took, what, amount, alipay, event string) {
	text := fmt.Sprintf("%-5s  %s  %*s  %s  %s", took, pad(what, widthWhat), widthAmount, amount, pad(alipay, widthAlipay), event)
	_, _ = fmt.Fprintln(t.out, strings.TrimRight(text, " "))
}

func pad(s string, width int) string {
	return s + strings.Repeat(" ", max(0, width-utf8.RuneCountInString(s)))
}

func (t table) paint(ev producer.Event, text string) string {
	if !t.colour {
		return text
	}
	code := "33" // yellow
	switch ev.Outcome {
	case producer.Succeeded:
		code = "32"
	case producer.Failed, producer.Rejected:
		code = "31"
	case producer.Unresolved, producer.Notified, producer.DepositBack:
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

// callsText says what reached Alipay because of this command and how it ended.
func callsText(r *row) string {
	if len(r.calls) == 0 {
		return "not called"
	}
	var texts []string
	times := 1
	moved := false
	for _, c := range r.calls {
		moved = moved || c.Moved
		text := callText(c, moved)
		if n := len(texts); n > 0 && texts[n-1] == text {
			times++
			continue
		}
		texts = repeat(texts, times)
		texts, times = append(texts, text), 1
	}
	return strings.Join(repeat(texts, times), "; ")
}

// repeat notes that the last text stands for several.
func repeat(texts []string, times int) []string {
	if times > 1 {
		texts[len(texts)-1] += fmt.Sprintf(" x%d", times)
	}
	return texts
}

func callText(c alipaytest.Call, moved bool) string {
	if strings.HasSuffix(c.Method, ".query") {
		switch {
		case c.Code == "":
			return "query: no answer"
		case c.Code != "10000" || c.SubCode != "":
			return "query: " + short(c.SubCode, c.Code)
		case moved:
			return "query: found"
		}
		return "query: not found"
	}
	text := "refund: "
	switch {
	case c.Moved:
		text += "moved"
	case c.Code == "10000":
		text += "had moved before"
	case c.Code != "":
		return text + short(c.SubCode, c.Code)
	default:
		text += "not moved"
	}
	switch {
	case c.Code == "":
		text += ", " + lostText(c.Fault)
	case c.Code != "10000":
		text += ", " + short(c.SubCode, c.Code)
	case c.Fault != "":
		text += ", " + c.Fault
	}
	return text
}

// lostText says what came instead of an answer.
func lostText(fault string) string {
	for _, t := range []struct{ prefix, text string }{
		{"answer-lost", "answer lost"}, {"reset", "reset"}, {"late", "reset"}, {"timeout", "silence"}, {"html-502", "502"},
	} {
		if strings.HasPrefix(fault, t.prefix) {
			return t.text
		}
	}
	return "no answer"
}

func short(subCode, code string) string {
	if subCode == "" {
		return code
	}
	return strings.TrimPrefix(subCode, "ACQ.")
}

// eventText is the event in a line.
func eventText(ev producer.Event, again bool) string {
	text := string(ev.Outcome)
	switch ev.Outcome {
	case producer.Succeeded:
		text += " (" + string(ev.ConfirmedBy) + ")"
	case producer.Failed:
		text += " " + string(ev.Reason) + ": " + short(ev.AlipaySubCode, ev.AlipayCode)
	case producer.Rejected, producer.Unresolved:
		text += " " + string(ev.Reason) + ": " + ev.Detail
	case producer.Notified, producer.DepositBack:
	}
	for _, key := range sortedKeys(ev.Metadata) {
		text += " " + key + "=" + ev.Metadata[key]
	}
	if again {
		text += ", the same event again"
	}
	return text
}

func yuan(fen int64) string { return fmt.Sprintf("%d.%02d", fen/100, fen%100) }
