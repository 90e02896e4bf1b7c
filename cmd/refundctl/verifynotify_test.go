package main

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/text/encoding/simplifiedchinese"

	"refundd/alipay/alipaytest"
	"refundd/cmd/internal/notice"
)

// refundNotice is a refund notification; its values are canaries.
func refundNotice() map[string]string {
	return map[string]string{
		"notify_time": "2026-11-25 20:00:00", "notify_type": "trade_status_sync", "notify_id": "canary-id", "app_id": "A", "seller_id": "S",
		"charset": "utf-8", "version": "1.0", "trade_no": "2026112522001", "out_trade_no": "canary-trade", "out_biz_no": "canary-number",
		"refund_fee": "12.50", "gmt_refund": "2026-11-25 20:00:00.123", "trade_status": "TRADE_SUCCESS",
		"buyer_logon_id": "canary***@example.com", "subject": "红茶 + canary & co.", "body": "100% canary",
	}
}

// signed is the notification as Alipay would post it.
func signed(t *testing.T, key *rsa.PrivateKey, hash crypto.Hash, params map[string]string) url.Values {
	t.Helper()
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(params)) {
		parts = append(parts, name+"="+params[name])
	}
	text := []byte(strings.Join(parts, "&"))
	sum := sha256.Sum256(text)
	digest := sum[:]
	if hash == crypto.SHA1 {
		old := sha1.Sum(text)
		digest = old[:]
	}
	signature, err := rsa.SignPKCS1v15(nil, key, hash, digest)
	if err != nil {
		t.Fatal(err)
	}
	values := url.Values{}
	for name, value := range params {
		values.Set(name, value)
	}
	values.Set("sign_type", "RSA2")
	values.Set("sign", base64.StdEncoding.EncodeToString(signature))
	return values
}

// raw is a form that is not encoded.
func raw(v url.Values) string {
	var parts []string
	for name := range v {
		parts = append(parts, name+"="+v.Get(name))
	}
	return strings.Join(parts, "&")
}

func TestVerifyNotify(t *testing.T) {
	dir := t.TempDir()
	keys, err := alipaytest.LoadOrCreateKeys(dir)
	if err != nil {
		t.Fatal(err)
	}
	vars := map[string]string{
		"REFUNDD_ALIPAY_PUBLIC_KEY_FILE": filepath.Join(dir, "alipay_public_key.pem"), "REFUNDD_ALIPAY_APP_ID": "A", "REFUNDD_ALIPAY_SELLER_ID": "S",
	}
	good := signed(t, keys.AlipayPrivate, crypto.SHA256, refundNotice())
	for strings.Count(good.Get("sign"), "+") == 0 { // a signature with a plus sign
		n := refundNotice()
		n["notify_id"] += good.Get("sign")[:4]
		good = signed(t, keys.AlipayPrivate, crypto.SHA256, n)
	}
	changed := func(change func(url.Values)) string {
		v := url.Values{}
		maps.Copy(v, good)
		change(v)
		return v.Encode()
	}
	with := func(name, value string) string { return changed(func(v url.Values) { v.Set(name, value) }) }
	other := func(name, value string) map[string]string {
		n := refundNotice()
		if n[name] = value; value == "" {
			delete(n, name)
		}
		return n
	}
	sign := func(n map[string]string) string { return signed(t, keys.AlipayPrivate, crypto.SHA256, n).Encode() }
	plain := other("subject", "tea")
	plain["body"], plain["buyer_logon_id"] = "tea", "a"
	for name, c := range map[string]struct {
		body  string
		check string // empty: valid
		want  string
	}{
		"as posted":           {good.Encode(), "", "valid: class refund, signed as v1_skip_empty"},
		"nothing":             {"", "malformed", "there is nothing in it"},
		"large":               {strings.Repeat("a=b&", 20_000), "malformed", "at least 80000 bytes"},
		"a broken code":       {good.Encode() + "&subject2=%zz", "malformed", "(something of 8 bytes) has a percent sign"},
		"twice":               {good.Encode() + "&sign_type=RSA2", "duplicate", "more than once: sign_type"},
		"JSON":                {`{"sign":"x"}`, "signature", "it begins like JSON"},
		"no sign":             {changed(func(v url.Values) { v.Del("sign") }), "signature", "there is no sign parameter"},
		"half a sign":         {with("sign", good.Get("sign")[:100]+"*"), "signature", "not base64"},
		"another key":         {signed(t, keys.AppPrivate, crypto.SHA256, refundNotice()).Encode(), "signature", "none of the 1 configured keys"},
		"the old way":         {signed(t, keys.AlipayPrivate, crypto.SHA1, refundNotice()).Encode(), "signature", "by the old way RSA (SHA-1)"},
		"a value changed":     {with("refund_fee", "12.51"), "signature", "so the key is right and the text was changed"},
		"nothing known":       {with("refund_fee", "12.51"), "signature", "no single change"},
		"a line break":        {good.Encode() + "\n", "signature", "a line break"},
		"a route":             {with("route", "x"), "signature", "valid without its parameter route"},
		"two of a proxy":      {changed(func(v url.Values) { v.Set("route", "x"); v.Set("zone", "y") }), "signature", "valid without its parameters route, zone"},
		"spaces in sign":      {with("sign", strings.ReplaceAll(good.Get("sign"), "+", " ")), "signature", "the spaces in sign read as plus signs"},
		"decoded already":     {raw(signed(t, keys.AlipayPrivate, crypto.SHA256, plain)), "", ""},
		"encoded twice":       {changed(func(v url.Values) { encodeAgain(v) }), "signature", "decoded once more"},
		"escaped for HTML":    {strings.ReplaceAll(good.Encode(), "&", "&amp;"), "signature", "&amp; read as &"},
		"converted":           {changed(func(v url.Values) { gbk(t, v) }), "signature", "converted back from GBK to UTF-8"},
		"spaces added":        {with("trade_no", good.Get("trade_no")+" "), "signature", "white space around values"},
		"another app":         {sign(other("app_id", "B")), "app", "for another app_id"},
		"another seller":      {sign(other("seller_id", "B")), "seller", "for a seller_id that is not configured"},
		"without a notify_id": {sign(other("notify_id", "")), "malformed", "there is no notify_id"},
	} {
		t.Run(name, func(t *testing.T) {
			got := ctl(t.Context(), vars, c.body, "verify-notify")
			if name == "decoded already" { // depends on the plus signs of its own signature
				if got.code == 0 || strings.Contains(got.stdout, "decoded already") {
					return
				}
				c.check, c.want = "signature", "decoded already"
			}
			code := 0
			if c.check != "" {
				code = 1
			}
			if got.code != code || !strings.Contains(got.stdout, c.want) || c.check != "" && !strings.Contains(got.stdout, "NOT VALID: "+c.check+"\n") {
				t.Errorf("%d, want %d, %q and %q\n%s%s", got.code, code, c.check, c.want, got.stdout, got.stderr)
			}
			asJSON := ctl(t.Context(), vars, c.body, "verify-notify", "-o", "json")
			var j notice.Judgement
			if err := json.Unmarshal([]byte(asJSON.stdout), &j); err != nil || j.Valid != (code == 0) || j.Check != c.check || asJSON.code != code {
				t.Errorf("%v %+v", err, asJSON)
			}
			if all := got.stdout + got.stderr + asJSON.stdout + asJSON.stderr; strings.Contains(all, "canary") || strings.Contains(all, "12.5") {
				t.Errorf("tells values: %s", all)
			}
		})
	}
	if got := ctl(t.Context(), vars, good.Encode(), "verify-notify", "--key", filepath.Join(dir, "alipay_cert.pem")); got.code != 0 {
		t.Errorf("by the certificate: %+v", got)
	}
}

func encodeAgain(v url.Values) {
	for name := range v {
		v.Set(name, url.QueryEscape(v.Get(name)))
	}
}

func gbk(t *testing.T, v url.Values) {
	t.Helper()
	text, err := simplifiedchinese.GBK.NewEncoder().String(v.Get("subject"))
	if err != nil {
		t.Fatal(err)
	}
	v.Set("subject", text)
}

func TestVerifyNotifyUsage(t *testing.T) {
	dir := t.TempDir()
	if _, err := alipaytest.LoadOrCreateKeys(dir); err != nil {
		t.Fatal(err)
	}
	key, empty := filepath.Join(dir, "alipay_public_key.pem"), filepath.Join(dir, "empty")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for args, want := range map[string]string{
		"":                         "--key, REFUNDD_ALIPAY_PUBLIC_KEY_FILE or REFUNDD_ALIPAY_CERT_FILE is required",
		"--key nothing":            "--key: open nothing",
		"--key " + empty:           "--key: ",
		"--key " + key:             "--app-id or REFUNDD_ALIPAY_APP_ID is required",
		"--key " + key + " -o xml": "-o",
		"--key " + filepath.Join(dir, "app_private_key.pem") + " --app-id A": "private key",
		"--app-id A --file nothing --key " + key:                             "--file: open nothing",
		"--app-id A --encrypt-key nothing --key " + key:                      "--encrypt-key",
	} {
		if got := ctl(t.Context(), nil, "", append([]string{"verify-notify"}, strings.Fields(args)...)...); got.code != exitUsage || !strings.Contains(got.stderr, want) {
			t.Errorf("%s: %+v, want %q", args, got, want)
		}
	}
}
