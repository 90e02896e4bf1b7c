package admin

import (
	"context"
	"crypto/sha256"
	_ "embed" // the page
	"encoding/base64"
	"fmt"
	"html/template"
	"net/http"
	"strings"
	"time"
)

// Page is what the page for a person shows: what this process knows by itself, and what it read of its group in Redis a
// moment ago. The parts of [Readiness] stand beside it.
type Page struct {
	Version, Instance string
	Up                time.Duration

	InFlight, Workers int
	Outcomes          []Count // of deliveries
	Calls             []Count // of Alipay, by what they proved
	Waiting           []Count // commands sent to the retry topic, by reason
	Parked            []Count // commands handed to a person, by reason
	Doubt             Doubt
	Lag               []Lag
	Brakes            []Brake
	BrakesKnown       bool
	Errors            []Line // the newest first
}

// Count is how often something happened in this process.
type Count struct {
	Word         string
	Minute, Ever int // in the last minute, and since the start
	Last         time.Time
}

// Doubt is what the whole group does not know the outcome of.
type Doubt struct {
	Read          time.Time // when this was so; zero: it could not be read yet
	Failing       bool      // Redis could not be asked anew
	Count, Parked int
	Fen           int64
	Oldest        time.Time
}

// Lag is how many messages wait in the queues of a topic that this process consumes.
type Lag struct {
	Topic    string
	Messages int64
}

// Brake is what an operator has stopped.
type Brake struct {
	On, Reason, By string
	Since          time.Time
}

// Line is a warning or an error of the log.
type Line struct {
	Level, Text string
	Times       int // it was said
	Last        time.Time
}

// Question asks for one refund.
type Question struct {
	Number   string
	Kind     string // empty: both
	Merchant string // empty: all; "-": the app's own
	Trade    string // only under scope trade
}

// Answer is what is remembered of a number. It has no personal data.
type Answer struct {
	Trouble  string // why nothing can be said; empty if something can
	Searched string // where was looked
	Found    []Refund
}

// Refund is one refund of an Answer.
type Refund struct {
	Kind, Merchant string
	State          string
	Bad            bool // a person has to look
	Facts          []Fact
	// What is true, what happens next, and what a person should do.
	True, Next, Do string
}

// Fact is a line about a refund.
type Fact struct{ Name, Value string }

//go:embed page.html
var pageText string

// pagePolicy lets a browser do nothing with the page but show it, in its own style, and ask again.
func pagePolicy() string {
	_, style, _ := strings.Cut(pageText, "<style>")
	style, _, _ = strings.Cut(style, "</style>")
	sum := sha256.Sum256([]byte(style))
	return "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) +
		"'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
}

// servePage answers GET /, and GET /?number=… with the look-up on top. That one does not refresh itself: a person may be
// typing.
func servePage(cfg Config) http.HandlerFunc {
	page := template.Must(template.New("page").Funcs(template.FuncMap{
		"ago": ago, "short": short, "span": Span, "yuan": yuan, "clock": clock,
		"parts": func(word string) []string { return strings.Split(word, "_") },
	}).Parse(pageText))
	policy := pagePolicy()
	return func(w http.ResponseWriter, r *http.Request) {
		ready := cfg.Status()
		show := map[string]any{"Title": cfg.Title, "Ready": ready.Ready(), "Parts": ready.Parts, "Scoped": cfg.ScopeTrade}
		if cfg.Page != nil {
			show["Page"] = cfg.Page()
		}
		query := r.URL.Query()
		if cfg.LookUp != nil && query.Has("number") {
			q := Question{
				Number: strings.TrimSpace(query.Get("number")), Kind: query.Get("kind"),
				Merchant: strings.TrimSpace(query.Get("merchant")), Trade: strings.TrimSpace(query.Get("trade")),
			}
			show["Question"] = q
			if q.Number != "" {
				show["Answer"] = lookUp(r.Context(), cfg, q)
			}
		}
		show["CanLookUp"] = cfg.LookUp != nil
		w.Header().Set("Content-Security-Policy", policy)
		w.Header().Set("Referrer-Policy", "no-referrer") // the address has the number
		head(w, "text/html; charset=utf-8", http.StatusOK)
		_ = page.Execute(w, show)
	}
}

// lookUp refuses what can be no number before anybody is asked.
func lookUp(ctx context.Context, cfg Config, q Question) Answer {
	for _, c := range []byte(q.Number) {
		if c < 0x21 || c > 0x7e {
			return Answer{Trouble: "This cannot be the number of a refund: it has spaces or characters that are not ASCII."}
		}
	}
	switch {
	case len(q.Number) > 64:
		return Answer{Trouble: "This cannot be the number of a refund: it has more than 64 characters."}
	case len(q.Merchant) > 256 || len(q.Trade) > 64 || len(q.Kind) > 64:
		return Answer{Trouble: "Merchant, trade or kind is too long."}
	}
	return cfg.LookUp(ctx, q)
}

// clock is a moment, exactly.
func clock(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05Z") }

func ago(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return Span(time.Since(t)) + " ago"
}

// short is how long ago something was, in its greatest unit.
func short(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	parts := strings.Fields(Span(time.Since(t)))
	return parts[0] + " " + parts[1]
}

// Span is a duration in its two greatest units.
func Span(d time.Duration) string {
	s := int64(max(0, d).Seconds())
	switch {
	case s < 60:
		return fmt.Sprintf("%d s", s)
	case s < 3600:
		return fmt.Sprintf("%d min %d s", s/60, s%60)
	case s < 86400:
		return fmt.Sprintf("%d h %d min", s/3600, s%3600/60)
	}
	return fmt.Sprintf("%d d %d h", s/86400, s%86400/3600)
}

// yuan writes an amount with its thousands apart.
func yuan(fen int64) string {
	whole := fmt.Sprint(fen / 100)
	for i := len(whole) - 3; i > 0; i -= 3 {
		whole = whole[:i] + "," + whole[i:]
	}
	return fmt.Sprintf("%s.%02d", whole, fen%100)
}
