package replay

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"refundd/alipay"
	"refundd/cmd/internal/cli"
	"refundd/cmd/internal/match"
)

// Verdict is the result of a replay.
type Verdict struct {
	Source  string       `json:"source"`
	Topic   string       `json:"topic"`
	Sent    int64        `json:"sent"`
	NotSent int64        `json:"not_confirmed"`
	Bad     int64        `json:"bad_commands"`
	NotHeld int64        `json:"not_held,omitempty"`
	Seconds float64      `json:"seconds"`
	Rate    float64      `json:"per_second"`
	Stopped bool         `json:"stopped"`
	Result  match.Result `json:"result"`
	Verdict string       `json:"verdict"`
	Rows    []Row        `json:"rows,omitempty"` // the first of those that do not match
}

// Row is one that does not match, for people and files.
type Row struct {
	State    match.State `json:"state"`
	Number   string      `json:"out_request_no"`
	Amount   string      `json:"amount,omitempty"`
	Commands int64       `json:"commands"`
	Sent     time.Time   `json:"sent"`
	Detail   string      `json:"detail"`
	EventIDs []string    `json:"event_ids,omitempty"`
}

func out(r match.Row) Row {
	row := Row{State: r.State, Number: r.Number, Commands: r.Commands, Sent: r.Sent.UTC(), Detail: r.Detail, EventIDs: r.EventIDs}
	if r.Amount > 0 {
		row.Amount = alipay.Amount(r.Amount).String()
	}
	return row
}

// ShownRows is how many rows are printed; a file takes all.
const ShownRows = 20

// tell joins for the last time, writes the report and prints the result. It
// returns cli.ErrFound unless everything matches.
func (o *Options) tell(env cli.Env, table *match.Table, v Verdict) error {
	switch {
	case table == nil && v.NotSent == 0:
		v.Verdict = "sent, not reconciled"
	case table == nil:
		v.Verdict = "not everything was sent"
	default:
		var err error
		if v.Result, v.Rows, err = Judge(table, o.Report); err != nil {
			return err
		}
		v.Verdict = VerdictOf(v.Result)
	}
	if o.Format.JSON() {
		if err := cli.PrintJSON(env.Stdout, v); err != nil {
			return err
		}
	} else if err := v.print(env.Stdout, table != nil, o.Report); err != nil {
		return err
	}
	if v.NotSent > 0 && table == nil || table != nil && !v.Result.Clean() {
		return cli.ErrFound
	}
	return nil
}

// VerdictOf is the verdict in words.
func VerdictOf(r match.Result) string {
	if r.Clean() {
		return "all matched"
	}
	return "NOT ALL MATCHED"
}

// Judge joins and writes the rows that do not match to a file, if one is named.
// It returns the first of them.
func Judge(table *match.Table, name string) (match.Result, []Row, error) {
	file, err := openRowReport(name)
	if err != nil {
		return match.Result{}, nil, err
	}
	var first []Row
	result, err := table.Join(func(r match.Row) error {
		row := out(r)
		if len(first) < ShownRows {
			first = append(first, row)
		}
		return file.Write(row)
	})
	return result, first, errors.Join(err, file.Close())
}

func openRowReport(name string) (*ReportFile[Row], error) {
	return OpenReport(name, []string{"state", "out_request_no", "amount", "commands", "sent", "detail", "event_ids"}, func(r Row) []string {
		return []string{
			string(r.State), r.Number, r.Amount, strconv.FormatInt(r.Commands, 10), r.Sent.Format(time.RFC3339Nano), r.Detail, strings.Join(r.EventIDs, " "),
		}
	})
}

func (v Verdict) print(w io.Writer, reconciled bool, file string) error {
	stopped := ""
	if v.Stopped {
		stopped = " (stopped before the end)"
	}
	_, _ = fmt.Fprintf(w, "sent %d messages of %s to %s in %.1f s, %.0f a second%s\n", v.Sent, v.Source, v.Topic, v.Seconds, v.Rate, stopped)
	if v.NotSent > 0 {
		_, _ = fmt.Fprintf(w, "not confirmed by the broker: %d\n", v.NotSent)
	}
	if v.Bad > 0 {
		_, _ = fmt.Fprintf(w, "bad commands among them, sent as they were: %d\n", v.Bad)
	}
	if reconciled {
		if err := errors.Join(PrintResult(w, v.Result), PrintRows(w, v.Rows, v.Result, file)); err != nil {
			return err
		}
	}
	if _, err := fmt.Fprintf(w, "verdict: %s\n", v.Verdict); err != nil {
		return fmt.Errorf("print: %w", err)
	}
	return nil
}

// PrintResult prints the counts.
func PrintResult(w io.Writer, r match.Result) error {
	t := cli.NewTable(w)
	t.Row("commands", r.Commands)
	t.Row("  matched", r.Matched, fmt.Sprintf("succeeded %d, failed %d, rejected %d", r.Succeeded, r.Failed, r.Rejected))
	t.Row("  missing", r.Missing)
	t.Row("  unresolved", r.Unresolved)
	t.Row("  conflicting", r.Conflicting)
	if r.Unsure > 0 {
		t.Row("  unconfirmed", r.Unsure, "and without an event")
	}
	foreign := ""
	if r.Foreign > 0 {
		foreign = fmt.Sprintf("; %d of others", r.Foreign)
	}
	t.Row("events", r.Events, fmt.Sprintf("of these commands, %d repeats of an id among them (fine)%s", r.Repeats, foreign))
	if r.Again > 0 {
		t.Row("again", r.Again, "of the commands repeat an earlier one, number and content")
	}
	if l := r.Latency; l.Count() > 0 {
		t.Row("latency", "", fmt.Sprintf("sent to event stored: p50 %s  p90 %s  p99 %s  max %s", l.Quantile(0.5), l.Quantile(0.9), l.Quantile(0.99), l.Quantile(1)))
	}
	return t.Flush()
}

// PrintRows prints the rows that do not match.
func PrintRows(w io.Writer, rows []Row, r match.Result, file string) error {
	t := cli.NewTable(w)
	if len(rows) > 0 {
		t.Row("state", "number", "yuan", "sent", "")
	}
	for _, row := range rows {
		t.Row(row.State, row.Number, cli.OrQuestion(row.Amount), cli.Clock(row.Sent), row.Detail)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	switch bad := r.Missing + r.Unresolved + r.Conflicting + r.Unsure; {
	case file != "" && bad > 0:
		_, _ = fmt.Fprintf(w, "the rows that do not match are in %s\n", file)
	case len(rows) == ShownRows:
		_, _ = fmt.Fprintln(w, "… --report FILE has them all")
	}
	return nil
}
