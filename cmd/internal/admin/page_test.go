package admin_test

import (
	"context"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"refundd/cmd/internal/admin"
)

// busy is a page with something in every place.
func busy() admin.Page {
	ago := func(d time.Duration) time.Time { return time.Now().Add(-d) }
	return admin.Page{
		Version: "v1.2.3 0123456789abcdef", Instance: "refundd-node-17-1-abcdef", Up: 26*time.Hour + 4*time.Minute,
		InFlight: 17, Workers: 128,
		Outcomes: []admin.Count{
			{Word: "succeeded", Minute: 31234, Ever: 123456789, Last: ago(0)},
			{Word: "failed", Minute: 1, Ever: 12, Last: ago(50 * time.Second)},
			{Word: "rejected"},
			{Word: "unresolved"},
			{Word: "retried", Minute: 12, Ever: 345, Last: ago(time.Minute)},
			{Word: "duplicate"},
		},
		Calls:   []admin.Count{{Word: "ok", Minute: 31234, Ever: 123456789, Last: ago(0)}, {Word: "not_sent", Ever: 1, Last: ago(25 * time.Hour)}},
		Waiting: []admin.Count{{Word: "blocked_configuration", Minute: 8, Ever: 9, Last: ago(3 * time.Second)}},
		Parked:  []admin.Count{{Word: "conflict_at_alipay", Ever: 1, Last: ago(3 * time.Hour)}},
		Doubt:   admin.Doubt{Read: ago(2 * time.Second), Count: 1234, Parked: 2, Fen: 123456789, Oldest: ago(50 * time.Hour)},
		Lag:     []admin.Lag{{Topic: "refund-command-of-a-very-long-name-in-some-region", Messages: 123456}},
		Brakes:  []admin.Brake{{On: "every kind corner-shop", Reason: "<i>their bank</i>", By: "Wang", Since: ago(time.Hour)}}, BrakesKnown: true,
		Errors: []admin.Line{
			{Level: "error", Text: "Alipay refuses " + strings.Repeat("sub_code=ACQ.SELLER_BALANCE_NOT_ENOUGH", 4) + " <script>alert(1)</script>", Times: 3, Last: ago(time.Second)},
			{Level: "warning", Text: "command rejected kind=refund reason=invalid", Times: 1, Last: ago(time.Minute)},
		},
	}
}

func withPage() admin.Config {
	cfg := config(parts(true, true))
	cfg.Page = busy
	cfg.LookUp = func(_ context.Context, q admin.Question) admin.Answer {
		return admin.Answer{Searched: "both kinds", Found: []admin.Refund{{
			Kind: "refund", Merchant: q.Merchant, State: "parked", Bad: true, True: "It waits for a person",
			Facts: []admin.Fact{{Name: "amount", Value: "1.00 yuan"}, {Name: "event", Value: strings.Repeat("a91a5537d7c1e4f6", 4)}},
		}}}
	}
	return cfg
}

func page(t *testing.T, cfg admin.Config, path string) *httptest.ResponseRecorder {
	t.Helper()
	w := httptest.NewRecorder()
	admin.Handler(cfg).ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), "GET", path, nil))
	if w.Code != 200 || w.Header().Get("Cache-Control") != "no-store" {
		t.Errorf("%s: %d, %q", path, w.Code, w.Header())
	}
	return w
}

func TestPageShowsWhatIsGoingOn(t *testing.T) {
	body := page(t, withPage(), "/").Body.String()
	for _, want := range []string{
		`http-equiv="refresh"`, "v1.2.3 0123456789abcdef, up 1 d 2 h", "17 in hand, of 128",
		`<td>succeeded</td><td class="n">31234</td><td class="n">123456789</td>`, "1234</span> refunds, 1,234,567.89 yuan",
		"2 parked", "blocked_<wbr>configuration", "conflict_<wbr>at_<wbr>alipay", "123456</td>", "&lt;i&gt;their bank&lt;/i&gt;, by Wang",
		"&lt;script&gt;", "(3 times)", "not_<wbr>sent", `href="/?number="`,
	} {
		if !strings.Contains(body, want) {
			t.Errorf("the page has no %q", want)
		}
	}
	if strings.Contains(body, "<script") || strings.Contains(body, "<form") {
		t.Error("the page has a script, or a form that its refresh would empty")
	}
}

func TestPageBeforeAnythingIsKnown(t *testing.T) {
	cfg := config(parts(true, true))
	cfg.Page = func() admin.Page { return admin.Page{Doubt: admin.Doubt{}} }
	body := page(t, cfg, "/").Body.String()
	for _, want := range []string{"Redis could not be asked yet", "Not read yet: until they are, no refund is called", "No queue is consumed"} {
		if !strings.Contains(body, want) {
			t.Errorf("the page has no %q", want)
		}
	}
	cfg.Page = func() admin.Page {
		return admin.Page{Doubt: admin.Doubt{Read: time.Now().Add(-time.Minute), Failing: true}, BrakesKnown: true}
	}
	if body := page(t, cfg, "/").Body.String(); !strings.Contains(body, "Redis does not answer") || strings.Contains(body, "Look up one") {
		t.Error("the page does not say that what it knows is old, or offers a look-up that there is not")
	}
}

func TestLookUp(t *testing.T) {
	tests := map[string]struct {
		query string
		asked *admin.Question // nil: nobody is
		want  string
	}{
		"form":                 {"number=", nil, "<form"},
		"a number":             {"number=+R-1+", &admin.Question{Number: "R-1"}, "parked</span>"},
		"of a merchant":        {"number=R-1&kind=refund&merchant=a+b&trade=T1", &admin.Question{Number: "R-1", Kind: "refund", Merchant: "a b", Trade: "T1"}, "of a b"},
		"markup":               {"number=" + url.QueryEscape(`"><b>`), &admin.Question{Number: `"><b>`}, `value="&#34;&gt;&lt;b&gt;"`},
		"spaces in it":         {"number=" + url.QueryEscape("a b"), nil, "cannot be the number"},
		"other characters":     {"number=" + url.QueryEscape("退款"), nil, "cannot be the number"},
		"too long":             {"number=" + strings.Repeat("a", 65), nil, "more than 64"},
		"a merchant too long":  {"number=R-1&merchant=" + strings.Repeat("a", 257), nil, "too long"},
		"no number, other key": {"kind=refund", nil, `http-equiv="refresh"`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			cfg := withPage()
			var asked *admin.Question
			answer := cfg.LookUp
			cfg.LookUp = func(ctx context.Context, q admin.Question) admin.Answer { asked = &q; return answer(ctx, q) }
			body := page(t, cfg, "/?"+tt.query).Body.String()
			if !strings.Contains(body, tt.want) {
				t.Errorf("the page has no %q", tt.want)
			}
			if (asked == nil) != (tt.asked == nil) || asked != nil && *asked != *tt.asked {
				t.Errorf("asked %+v, want %+v", asked, tt.asked)
			}
			if strings.HasPrefix(tt.query, "number=") && strings.Contains(body, "http-equiv") {
				t.Error("the form would be emptied by a refresh")
			}
		})
	}
}

func TestLookUpSaysWhatItCannotSay(t *testing.T) {
	cfg := withPage()
	cfg.ScopeTrade = true
	cfg.LookUp = func(context.Context, admin.Question) admin.Answer { return admin.Answer{Searched: "both kinds"} }
	body := page(t, cfg, "/?number=R-1").Body.String()
	for _, want := range []string{"Nothing is remembered", "Looked for both kinds", "trade or auth_no"} {
		if !strings.Contains(body, want) {
			t.Errorf("the page has no %q", want)
		}
	}
	cfg.LookUp = func(context.Context, admin.Question) admin.Answer {
		return admin.Answer{Trouble: "Redis does not answer."}
	}
	body = page(t, cfg, "/?number=R-1").Body.String()
	if !strings.Contains(body, "Redis does not answer.") || strings.Contains(body, "Nothing is remembered") {
		t.Error("an answer that nobody gave is taken for a no")
	}
}
