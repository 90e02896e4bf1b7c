package notice

import (
	"bytes"
	"crypto/rsa"
	"encoding/base64"
	"errors"
	"fmt"
	"html"
	"math/big"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/encoding/simplifiedchinese"

	"refundd/alipay"
	"refundd/cmd/internal/config"
)

// detective finds out why a notification does not verify.
type detective struct {
	verifier  *alipay.Verifier
	keys      []*rsa.PublicKey
	seller    string            // the app's own; empty: any seller is accepted
	merchants *config.Merchants // whose sellers are accepted, too; may be nil
}

// judge checks a body as the receiver does, and looks for reasons.
func (d *detective) judge(body []byte) Judgement {
	j := Judgement{}
	pairs := split(body, url.QueryUnescape)
	for _, p := range pairs {
		j.Names = append(j.Names, safeName(p.name))
	}
	slices.Sort(j.Names)
	n, err := d.verifier.ParseNotification(body)
	switch {
	case err == nil:
		j.Class, j.Scheme, j.Valid = n.Class.String(), n.Scheme, true
		d.parties(&j, n)
		return j
	case errors.Is(err, alipay.ErrNotifyApp):
		j.Check = "app"
		j.Findings = append(j.Findings, "the signature is good: Alipay sent it, for another app_id (or with none) than the one that is configured")
	case errors.Is(err, alipay.ErrNotifySeller):
		j.Check = "seller"
	case errors.Is(err, alipay.ErrNotifyDuplicate):
		j.Check = "duplicate"
		j.Findings = append(j.Findings, twice(pairs)...)
	case errors.Is(err, alipay.ErrNotifyMalformed):
		j.Check = "malformed"
		j.Findings = append(j.Findings, malformed(body)...)
	default:
		j.Check = "signature"
		j.Findings = append(j.Findings, d.signature(pairs)...)
	}
	j.Error = err.Error()
	if j.Check == "app" || j.Check == "seller" {
		return j
	}
	if what := d.repair(body, pairs); what != "" {
		j.Findings = append(j.Findings, what)
	} else if j.Check == "signature" {
		j.Findings = append(j.Findings, "no single change that is known to happen on the way makes it valid")
	}
	return j
}

// parties are the receiver's own checks after the signature.
func (d *detective) parties(j *Judgement, n *alipay.Notification) {
	if n.NotifyID == "" {
		j.Valid, j.Check, j.Error = false, "malformed", "the signature is good, but there is no notify_id: repeats could not be told apart, so the receiver refuses it"
		return
	}
	known := n.SellerID == d.seller || n.SellerID == "" && n.Class != alipay.NotificationRefund
	if d.merchants != nil && !known {
		_, known = d.merchants.OfSeller(n.SellerID)
	}
	if known || d.seller == "" {
		return
	}
	j.Valid, j.Check, j.Error = false, "seller", alipay.ErrNotifySeller.Error()
	j.Findings = append(j.Findings, "the signature is good: Alipay sent it, for a seller_id that is not configured")
}

// pair is a parameter.
type pair struct{ name, value string }

// split takes a form apart. What cannot be decoded stays as it is.
func split(body []byte, decode func(string) (string, error)) []pair {
	var pairs []pair
	for text := range strings.SplitSeq(string(body), "&") {
		if text == "" {
			continue
		}
		name, value, _ := strings.Cut(text, "=")
		p := pair{name, value}
		if decoded, err := decode(name); err == nil {
			p.name = decoded
		}
		if decoded, err := decode(value); err == nil {
			p.value = decoded
		}
		pairs = append(pairs, p)
	}
	return pairs
}

// form puts it together again.
func form(pairs []pair) []byte {
	var b bytes.Buffer
	for i, p := range pairs {
		if i > 0 {
			b.WriteByte('&')
		}
		b.WriteString(url.QueryEscape(p.name) + "=" + url.QueryEscape(p.value))
	}
	return b.Bytes()
}

func twice(pairs []pair) []string {
	count := map[string]int{}
	var found []string
	for _, p := range pairs {
		if count[p.name]++; count[p.name] == 2 {
			found = append(found, "more than once: "+safeName(p.name))
		}
	}
	return found
}

func malformed(body []byte) []string {
	var found []string
	trimmed := bytes.TrimSpace(body)
	switch {
	case len(body) > 64<<10:
		return append(found, fmt.Sprintf("it has at least %d bytes; Alipay's have about a thousand", len(body)))
	case len(trimmed) == 0:
		return append(found, "there is nothing in it")
	}
	for text := range strings.SplitSeq(string(body), "&") {
		name, value, _ := strings.Cut(text, "=")
		if _, err := url.QueryUnescape(name); err != nil {
			found = append(found, "a name has a percent sign that begins no code: was it decoded before?")
		} else if _, err := url.QueryUnescape(value); err != nil {
			found = append(found, fmt.Sprintf("the value of %s has a percent sign that begins no code: was it decoded before?", safeName(name)))
		}
	}
	return found
}

// signature says what the signature itself tells: a key opens what it has
// signed, whatever became of the text.
func (d *detective) signature(pairs []pair) []string {
	var found []string
	sign, signType, charset, present := "", "", "", false
	for _, p := range pairs {
		switch p.name {
		case "sign":
			sign, present = strings.ReplaceAll(strings.TrimSpace(p.value), " ", "+"), true
		case "sign_type":
			signType = p.value
		case "charset":
			charset = p.value
		}
	}
	switch {
	case bytes.HasPrefix(bytes.TrimSpace(form(pairs)), []byte("%7B")):
		return append(found, "it begins like JSON: something turned the form into it; the receiver needs the form")
	case !present:
		return append(found, "there is no sign parameter: not a notification, or not all of it")
	}
	if signType != "" && signType != "RSA2" {
		found = append(found, "its sign_type is not RSA2: the app's signing mode at Alipay has to be RSA2")
	}
	raw, err := base64.StdEncoding.DecodeString(sign)
	if err != nil {
		return append(found, "the signature is not base64, even with spaces read as plus signs: it was cut or changed")
	}
	for i, key := range d.keys {
		switch hash := opened(key, raw); hash {
		case "SHA-256":
			return append(found, fmt.Sprintf("the signature was made with the key that belongs to configured key %d, so the key is right and the text was changed", i+1))
		case "SHA-1":
			return append(found, fmt.Sprintf("the signature was made with the key that belongs to configured key %d, but by the old way RSA (SHA-1); RSA2 is required", i+1))
		}
	}
	found = append(found, fmt.Sprintf("the signature was made with none of the %d configured keys: Alipay's key of another app, of the sandbox, from before a rotation, or no key of Alipay's", len(d.keys)))
	if charset != "" && !strings.EqualFold(charset, "utf-8") {
		found = append(found, "its charset is not UTF-8; that is fine, the signature is over the bytes as they are")
	}
	return found
}

// opened undoes an RSA signature with the public key and tells which digest is
// in it; nothing if the key did not make it. It proves nothing about any text.
func opened(key *rsa.PublicKey, signature []byte) string {
	if len(signature) != key.Size() {
		return ""
	}
	plain := new(big.Int).Exp(new(big.Int).SetBytes(signature), big.NewInt(int64(key.E)), key.N).FillBytes(make([]byte, key.Size()))
	// PKCS #1 v1.5: 0x00 0x01, 0xff…, 0x00, then the digest with its name before it.
	rest, ok := bytes.CutPrefix(plain, []byte{0, 1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff})
	if !ok {
		return ""
	}
	rest, ok = bytes.CutPrefix(bytes.TrimLeft(rest, "\xff"), []byte{0})
	switch {
	case !ok:
	case len(rest) == 19+32 && bytes.HasPrefix(rest, []byte("\x30\x31\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x01\x05\x00\x04\x20")):
		return "SHA-256"
	case len(rest) == 15+20 && bytes.HasPrefix(rest, []byte("\x30\x21\x30\x09\x06\x05\x2b\x0e\x03\x02\x1a\x05\x00\x04\x14")):
		return "SHA-1"
	}
	return ""
}

// genuine reports whether the signature of a body is good.
func (d *detective) genuine(body []byte) bool {
	_, err := d.verifier.ParseNotification(body)
	return err == nil || errors.Is(err, alipay.ErrNotifyApp) || errors.Is(err, alipay.ErrNotifySeller)
}

// repair tries what is known to happen to bodies on their way, and says which
// undoing makes the signature good.
func (d *detective) repair(body []byte, pairs []pair) string {
	if len(body) > 64<<10+16 {
		return ""
	}
	literally := func(s string) (string, error) { return s, nil }
	undo := []struct {
		says string
		body []byte
	}{
		{"valid without the white space around it: an editor or a shell added a line break", bytes.TrimSpace(bytes.TrimPrefix(body, []byte("\uFEFF")))},
		{"valid if it is taken as decoded already: something decoded the body once; the receiver needs it as it was posted", form(split(bytes.TrimSpace(body), literally))},
		{"valid with the spaces in sign read as plus signs: a plus sign was not encoded, or was decoded, on the way", form(each(pairs, plusInSign))},
		{"valid if it is decoded once more: something encoded the body a second time", form(each(pairs, again))},
		{"valid with &amp; read as &: it was escaped for HTML or XML", []byte(html.UnescapeString(string(body)))},
		{"valid with its text converted back from UTF-8 to GBK: something converted the charset on the way", form(each(pairs, toGBK))},
		{"valid with its text converted back from GBK to UTF-8: something converted the charset on the way", form(each(pairs, fromGBK))},
		{"valid with white space around values cut off: something added it", form(each(pairs, trimmed))},
	}
	for _, u := range undo {
		if !bytes.Equal(u.body, body) && d.genuine(u.body) {
			return u.says
		}
	}
	return d.repairByLeavingOut(pairs)
}

// repairByLeavingOut looks for parameters that do not belong here.
func (d *detective) repairByLeavingOut(pairs []pair) string {
	if len(pairs) > 200 {
		return ""
	}
	for i, p := range pairs {
		if d.genuine(form(slices.Delete(slices.Clone(pairs), i, i+1))) {
			return fmt.Sprintf("valid without its parameter %s: something on the way, such as a proxy or a router, added it", safeName(p.name))
		}
	}
	known := slices.DeleteFunc(slices.Clone(pairs), func(p pair) bool { return !slices.Contains(notifyNames(), p.name) })
	if len(known) > 0 && len(known) < len(pairs) && d.genuine(form(known)) {
		var added []string
		for _, p := range pairs {
			if !slices.Contains(notifyNames(), p.name) {
				added = append(added, safeName(p.name))
			}
		}
		return fmt.Sprintf("valid without its parameters %s: something on the way, such as a proxy or a router, added them", strings.Join(added, ", "))
	}
	return ""
}

// each changes every parameter.
func each(pairs []pair, change func(pair) pair) []pair {
	out := make([]pair, 0, len(pairs))
	for _, p := range pairs {
		out = append(out, change(p))
	}
	return out
}

func plusInSign(p pair) pair {
	if p.name == "sign" {
		p.value = strings.ReplaceAll(p.value, " ", "+")
	}
	return p
}

func again(p pair) pair {
	for _, s := range []*string{&p.name, &p.value} {
		if decoded, err := url.QueryUnescape(*s); err == nil {
			*s = decoded
		}
	}
	return p
}

func toGBK(p pair) pair {
	if converted, err := simplifiedchinese.GBK.NewEncoder().String(p.value); err == nil {
		p.value = converted
	}
	return p
}

func fromGBK(p pair) pair {
	if converted, err := simplifiedchinese.GBK.NewDecoder().String(p.value); err == nil && !utf8.ValidString(p.value) {
		p.value = converted
	}
	return p
}

func trimmed(p pair) pair { return pair{strings.TrimSpace(p.name), strings.TrimSpace(p.value)} }
