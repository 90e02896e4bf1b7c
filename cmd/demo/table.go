package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"refundd/alipay/alipaytest"
	"refundd/producer"
)

// Widths of the columns; the last one has none.
const (
	widthWhat   = 35
	widthAmount = 7
	widthAlipay = 58
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

// elsewhere is the fault by which somebody else has used the number before.
const elsewhere = "discordant"

// later are the faults by which Alipay accepts a coupon refund with INIT and
// carries it out, or not, some time later.
func later(fault string) bool { return fault == "coupon-init" || fault == "coupon-closed" }

// callsText says what reached Alipay because of this command and how it ended.
func callsText(r *row) string {
	if len(r.calls) == 0 {
		return "not called"
	}
	var rounds []round
	moved, other, pending := false, false, false
	for i, c := range r.calls {
		pending = pending || later(c.Fault)
		if c.Fault == elsewhere { // what moved is somebody else's refund
			c.Moved, other = false, true
		}
		moved = moved || c.Moved
		text := callText(c, moved)
		switch {
		case other && text == "query: not found":
			text = "query: other amount"
		case pending && !isQuery(c):
			text = "call: accepted, INIT"
		case pending && text == "query: not found": // it moves or closes between two calls
			text = "query: INIT"
			if i == len(r.calls)-1 && r.final() {
				text = "query: " + couponStatus(r.event)
			}
		}
		if !isQuery(c) || rounds == nil {
			rounds = append(rounds, round{})
		}
		rounds[len(rounds)-1].add(text)
	}
	var texts []string
	for i := 0; i < len(rounds); {
		next := i + 1
		for next < len(rounds) && slices.Equal(rounds[next].texts, rounds[i].texts) {
			next++
		}
		texts = append(texts, rounds[i].text(next-i))
		i = next
	}
	return strings.Join(texts, "; ")
}

// couponStatus is what the query showed that decided.
func couponStatus(ev producer.Event) string {
	if ev.Outcome == producer.Succeeded {
		return "SUCCESS"
	}
	return "CLOSED"
}

// round is a call and the queries after it.
type round struct {
	texts []string // without repeats
	times []int
}

func (r *round) add(text string) {
	if n := len(r.texts); n > 0 && r.texts[n-1] == text {
		r.times[n-1]++
		return
	}
	r.texts, r.times = append(r.texts, text), append(r.times, 1)
}

// text is the round, or so many equal ones.
func (r *round) text(times int) string {
	if times > 1 && len(r.texts) == 1 {
		return fmt.Sprintf("%s x%d", r.texts[0], times)
	}
	if times > 1 {
		return fmt.Sprintf("(%s) x%d", strings.Join(r.texts, "; "), times)
	}
	texts := slices.Clone(r.texts)
	for i, n := range r.times {
		if n > 1 {
			texts[i] += fmt.Sprintf(" x%d", n)
		}
	}
	return strings.Join(texts, "; ")
}

func isQuery(c alipaytest.Call) bool { return strings.HasSuffix(c.Method, ".query") }

// callText is one exchange in the words of the table: a call asks for money to
// move, a query asks what became of it.
func callText(c alipaytest.Call, moved bool) string {
	answer := short(c.SubCode, c.Code)
	switch {
	case c.Code == "":
		answer = lostText(c.Fault)
	case c.Fault == "bad-sign" || c.Fault == "no-sign":
		answer = "signature is wrong"
	}
	if isQuery(c) {
		switch {
		case answer != "10000":
			return "query: " + answer
		case moved:
			return "query: found"
		}
		return "query: not found"
	}
	switch {
	case !c.Moved && answer == "10000":
		return "call: had moved before"
	case !c.Moved:
		return "call: " + answer
	case answer == "10000":
		return "call: moved"
	}
	return "call: moved, " + answer
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
	var text strings.Builder
	text.WriteString(string(ev.Outcome))
	switch ev.Outcome {
	case producer.Succeeded:
		text.WriteString(" (" + string(ev.ConfirmedBy) + ")")
	case producer.Failed:
		text.WriteString(" " + string(ev.Reason))
		if ev.Reason == producer.ReasonRefused {
			text.WriteString(": " + short(ev.AlipaySubCode, ev.AlipayCode))
		}
	case producer.Rejected, producer.Unresolved:
		text.WriteString(" " + string(ev.Reason) + ": " + ev.Detail)
	case producer.Notified, producer.DepositBack:
	}
	for _, key := range sortedKeys(ev.Metadata) {
		text.WriteString(" " + key + "=" + ev.Metadata[key])
	}
	if again {
		text.WriteString(", the same event again")
	}
	return text.String()
}

func yuan(fen int64) string { return fmt.Sprintf("%d.%02d", fen/100, fen%100) }
