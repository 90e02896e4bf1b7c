package config_test

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"refundd/cmd/internal/config"
)

func TestParseMerchants(t *testing.T) {
	m, err := config.ParseMerchants([]byte(`{"shop": {"app_auth_token": "canary-1", "seller_id": "2088000000000002"}, "店 2": {"app_auth_token": "canary-2"}}`))
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"shop": "canary-1", "店 2": "canary-2"} {
		if token, ok := m.Token(name); !ok || token != want {
			t.Errorf("%s: found %v, another token", name, ok)
		}
	}
	if name, ok := m.OfSeller("2088000000000002"); name != "shop" || !ok {
		t.Errorf("seller is %q, %v", name, ok)
	}
	if _, ok := m.Token("nobody"); ok {
		t.Error("nobody has a token")
	}
	for _, id := range []string{"", "2088000000000009"} {
		if name, ok := m.OfSeller(id); ok {
			t.Errorf("seller %q is %q", id, name)
		}
	}
	if text := fmt.Sprintf("%v %+v %#v", m, m, m); m.Len() != 2 || strings.Contains(text, "canary") {
		t.Errorf("%d merchants print as %s", m.Len(), text)
	}
	var none *config.Merchants
	if _, ok := none.Token("shop"); ok || none.Len() != 0 {
		t.Error("nil knows somebody")
	}
	if m, err := config.ParseMerchants([]byte("{}")); err != nil || m.Len() != 0 {
		t.Errorf("%v", err)
	}
}

func TestParseMerchantsRefuses(t *testing.T) {
	const a = `"a": {"app_auth_token": "canary", "seller_id": "2088"}`
	for name, tt := range map[string]struct{ text, want string }{
		"no JSON":              {`{"a": canary}`, "is not JSON"},
		"cut":                  {`{` + a, "is not JSON"},
		"not UTF-8":            {"{\"a\xff\": {}}", "is not UTF-8"},
		"an array":             {`[]`, "is not a JSON object"},
		"null":                 {`null`, "is not a JSON object"},
		"two objects":          {`{} {}`, "has more after its JSON object"},
		"rubbish behind":       {`{} canary`, "has more after its JSON object"},
		"no object":            {`{"a": "canary"}`, `merchant "a": is not a JSON object`},
		"name twice":           {`{` + a + `, "a": {"app_auth_token": "canary2"}}`, `merchant "a" stands twice`},
		"name twice, spelled":  {`{` + a + `, "\u0061": {"app_auth_token": "canary2"}}`, `merchant "a" stands twice`},
		"empty name":           {`{"": {"app_auth_token": "canary"}}`, "a merchant has an empty name"},
		"long name":            {`{"` + strings.Repeat("店", 65) + `": {"app_auth_token": "canary"}}`, "more than 64 characters"},
		"control character":    {`{"a\u0007": {"app_auth_token": "canary"}}`, `merchant "a\a" has control characters`},
		"unknown member":       {`{"a": {"app_auth_token": "x", "canary": "y"}}`, `merchant "a": has a member other than`},
		"member twice":         {`{"a": {"app_auth_token": "x", "app_auth_token": "canary"}}`, `merchant "a": app_auth_token stands twice`},
		"no token":             {`{"a": {"seller_id": "2088"}}`, `merchant "a": app_auth_token is missing`},
		"empty token":          {`{"a": {"app_auth_token": ""}}`, `merchant "a": app_auth_token is not a text`},
		"token with a line":    {`{"a": {"app_auth_token": "canary\n"}}`, `merchant "a": app_auth_token is not a text`},
		"token too long":       {`{"a": {"app_auth_token": "` + strings.Repeat("canary", 30) + `"}}`, `app_auth_token is not a text of 1 to 128`},
		"token is a number":    {`{"a": {"app_auth_token": 1}}`, `merchant "a": app_auth_token is not a text`},
		"seller is null":       {`{"a": {"app_auth_token": "canary", "seller_id": null}}`, `merchant "a": seller_id is not a text`},
		"one token, two names": {`{` + a + `, "b": {"app_auth_token": "canary"}}`, `merchants "a" and "b" have the same app_auth_token`},
		"one seller, two":      {`{` + a + `, "b": {"app_auth_token": "canary2", "seller_id": "2088"}}`, `merchants "a" and "b" have the same seller_id`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := config.ParseMerchants([]byte(tt.text))
			if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "canary") {
				t.Errorf("error is %v, want %q in it", err, tt.want)
			}
		})
	}
}

func FuzzParseMerchants(f *testing.F) {
	f.Add([]byte(`{"a": {"app_auth_token": "t", "seller_id": "2088"}, "b": {"app_auth_token": "u"}}`))
	f.Add([]byte(`{"a": [[[[`))
	f.Fuzz(func(t *testing.T, text []byte) {
		m, err := config.ParseMerchants(text)
		if (err == nil) != (m != nil) {
			t.Errorf("%v and %v", m, err)
		}
		if token, ok := m.Token(""); ok || token != "" {
			t.Error("a merchant has no name")
		}
	})
}

func TestCheckNamesMerchantsOnly(t *testing.T) {
	path := file(t, `{"b": {"app_auth_token": "canary-1", "seller_id": "2088"}, "a": {"app_auth_token": "canary-2"}}`)
	cfg, err := config.Load(environment("REFUNDD_MERCHANTS_FILE=" + path))
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	if err := cfg.WriteCheck(&out); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), path+` (2 merchants: "a", "b")`) || strings.Contains(out.String(), "canary") {
		t.Errorf("output is\n%s", &out)
	}
}

func TestReload(t *testing.T) {
	merchants := file(t, `{"a": {"app_auth_token": "canary-1"}}`)
	text, err := os.ReadFile("testdata/alipay_public.pem")
	if err != nil {
		t.Fatal(err)
	}
	key := file(t, string(text))
	cfg, err := config.Load(environment("REFUNDD_MERCHANTS_FILE="+merchants, "REFUNDD_ALIPAY_PUBLIC_KEY_FILE="+key))
	if err != nil {
		t.Fatal(err)
	}
	before := config.Stamp(merchants, key)
	for path, content := range map[string]string{
		merchants: `{"a": {"app_auth_token": "canary-3"}, "b": {"app_auth_token": "canary-2"}}`,
		key:       string(text) + string(text), // a rotation that has not gone far
	} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if config.Stamp(merchants, key) == before {
		t.Error("the stamp of other files is the same")
	}

	later, err := cfg.ReloadMerchants()
	if err != nil {
		t.Fatal(err)
	}
	if token, _ := later.Secrets.Merchants.Token("a"); token != "canary-3" || later.Secrets.Merchants.Len() != 2 {
		t.Errorf("%d merchants", later.Secrets.Merchants.Len())
	}
	later, err = cfg.ReloadKeys()
	if err != nil {
		t.Fatal(err)
	}
	if len(later.Secrets.PublicKeys) != 2 || !later.Secrets.PrivateKey.Equal(cfg.Secrets.PrivateKey) {
		t.Errorf("%d public keys", len(later.Secrets.PublicKeys))
	}
	if token, _ := cfg.Secrets.Merchants.Token("a"); token != "canary-1" || len(cfg.Secrets.PublicKeys) != 1 {
		t.Error("the configuration before has changed")
	}

	for _, path := range []string{merchants, key} {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := cfg.ReloadMerchants(); err == nil || !strings.Contains(err.Error(), "REFUNDD_MERCHANTS_FILE") {
		t.Errorf("error is %v", err)
	}
	if _, err := cfg.ReloadKeys(); err == nil || !strings.Contains(err.Error(), "REFUNDD_ALIPAY_PUBLIC_KEY_FILE") {
		t.Errorf("error is %v", err)
	}
	if c, err := (config.Config{Lease: time.Second}).ReloadKeys(); err != nil || c.Lease != time.Second {
		t.Errorf("without files: %v", err)
	}
}
