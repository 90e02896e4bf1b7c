package doctor

import (
	"context"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"refundd/alipay"
	"refundd/cmd/internal/cli"
	"refundd/cmd/internal/config"
	"refundd/notifyhttp"
)

// alipay looks at keys, certificates and the notify URL, and asks if it may.
func (d *doctor) alipay(ctx context.Context) {
	d.keys()
	d.notifyURL()
	if d.live {
		d.gatewayClock(ctx)
		d.asked(ctx)
	}
}

func (d *doctor) keys() {
	key := &d.cfg.Secrets.PrivateKey.PublicKey
	d.add("app key", pick(key.N.BitLen() >= 2048, OK, Problem), "a key of 2048 bits (RSA2)", "%d bits; sha256 of its public half %s", key.N.BitLen(), printOf(key))
	certificates := d.cfg.Secrets.Certificates
	if certificates == nil {
		d.add("key pair", OK, "", "key mode: only Alipay knows whether the public half that it has is %s (--live asks); %d keys of Alipay's are pinned",
			printOf(key), len(d.cfg.Secrets.PublicKeys))
		return
	}
	d.add("key pair", OK, "", "the app's certificate is of REFUNDD_ALIPAY_PRIVATE_KEY_FILE, number %s", certificates.AppSN)
	end := certificates.NotAfter()
	left := time.Until(end)
	Severity := OK
	if left < 30*24*time.Hour {
		Severity = Warning
	}
	if left < 7*24*time.Hour {
		Severity = Problem
	}
	d.add("certificates", Severity, "get new ones from Alipay and put them into the files: they are read again without a restart", "the first of them runs out on %s, in %s", end.UTC().Format(time.DateOnly), cli.Ago(left))
}

func printOf(key *rsa.PublicKey) string {
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return "unknown"
	}
	sum := sha256.Sum256(der)
	return hex.EncodeToString(sum[:8])
}

func (d *doctor) notifyURL() {
	text := d.cfg.AlipayNotifyURL
	if text == "" {
		if d.cfg.TopicCouponRefund != "" {
			d.add("notify URL", OK, "", "REFUNDD_ALIPAY_NOTIFY_URL is not set: coupon refunds are settled by queries alone, which is enough")
		}
		return
	}
	u, err := url.Parse(text)
	if err != nil { // config has checked it
		return
	}
	addr, err := netip.ParseAddr(u.Hostname())
	private := u.Hostname() == "localhost" || err == nil && (addr.IsLoopback() || addr.IsPrivate() || addr.IsLinkLocalUnicast() || addr.IsUnspecified())
	switch {
	case private && !strings.HasPrefix(d.cfg.AlipayGateway, "http://"): // a local Alipay reaches it
		d.add("notify URL", Problem, "an address that can be reached from the internet", "Alipay cannot reach %s", u.Host)
	case d.cfg.HTTPAddr == "":
		d.add("notify URL", Warning, "REFUNDD_HTTP_ADDR, or no notify URL", "it is sent to Alipay, and the receiver is off here")
	case u.Path != notifyhttp.Path:
		d.add("notify URL", Warning, "end it with "+notifyhttp.Path+", unless a proxy rewrites the path", "its path is %q, and the receiver's is %s", u.Path, notifyhttp.Path)
	case u.Scheme != "https" && !private:
		d.add("notify URL", Warning, "https: notifications name refunds; forged ones are refused all the same", "it is plain http")
	default:
		d.add("notify URL", OK, "", "%s", text)
	}
}

// gatewayClock compares clocks by the Date of any answer.
func (d *doctor) gatewayClock(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodHead, d.cfg.AlipayGateway, nil)
	if err != nil {
		return
	}
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	defer client.CloseIdleConnections()
	answer, err := client.Do(request)
	if err != nil {
		d.add("alipay clock", Warning, "see name resolution, proxy and firewall between here and the gateway", "the gateway does not answer: %v", errors.Unwrap(err))
		return
	}
	_ = answer.Body.Close()
	theirs, err := http.ParseTime(answer.Header.Get("Date"))
	if err != nil {
		d.add("alipay clock", Warning, "none: whatever answers there tells no time", "the answer has no date")
		return
	}
	off := time.Since(theirs).Abs()
	Severity := OK
	if off > 30*time.Second {
		Severity = Warning
	}
	if off > 5*time.Minute {
		Severity = Problem
	}
	d.add("alipay clock", Severity, "run NTP: Alipay refuses requests whose timestamp is far from its own time", "the gateway and this machine differ by %s", off.Round(time.Second))
}

// mostAsked bounds how many merchants are asked for.
const mostAsked = 20

// asked queries for a trade that does not exist: a signed "not found" proves
// keys, permission, authorisation and network.
func (d *doctor) asked(ctx context.Context) {
	client, err := d.cfg.OpenAlipay()
	if err != nil {
		d.add("alipay", Problem, "the keys", "%v", err)
		return
	}
	defer client.CloseIdleConnections()
	names := append([]string{""}, d.cfg.Secrets.Merchants.Names()...)
	for i, name := range names {
		if i > mostAsked {
			d.add("alipay", Warning, "refundctl explain --live asks for any one", "%d more merchants were not asked for", len(names)-i)
			return
		}
		token, _ := d.cfg.Secrets.Merchants.Token(name)
		who := "the app itself"
		if name != "" {
			who = "merchant " + name
		}
		begin := time.Now()
		_, err := client.QueryRefund(ctx, &alipay.RefundQueryRequest{OutTradeNo: "refundd-doctor", OutRequestNo: "refundd-doctor", AppAuthToken: token})
		d.answered(who, err, time.Since(begin))
	}
}

func (d *doctor) answered(who string, err error, took time.Duration) {
	took = took.Round(time.Millisecond)
	failed, ok := errors.AsType[*alipay.Error](err)
	switch {
	case err == nil || ok && failed.Class == alipay.ClassNotFound && failed.Signed:
		d.add("alipay", OK, "", "%s: keys, permission and answers are in order, %s", who, took)
	case ok && failed.Class == alipay.ClassBlockedConfiguration:
		d.add("alipay", Problem, "what the code says: signature means the public key at Alipay is not that of the private key here; permission or token means the app or the merchant's authorisation",
			"%s: Alipay refuses our configuration: %s %s %s", who, failed.Code, failed.SubCode, failed.SubMsg)
	case ok && failed.Class == alipay.ClassLimited:
		d.add("alipay", Warning, "refundd slows down by itself; if it goes on, ask Alipay for the limit of the app, or set REFUNDD_RATE to a part of it", "%s: too many calls: %s", who, failed.SubCode)
	case ok:
		d.add("alipay", Problem, "see network and gateway; an answer whose signature does not verify means that REFUNDD_ALIPAY_PUBLIC_KEY_FILE or the certificate is not Alipay's",
			"%s: no answer that can be believed: %v", who, failed)
	default:
		d.add("alipay", Problem, "see network and gateway", "%s: %v", who, err)
	}
}

// times holds durations to each other and to what the brokers keep.
func (d *doctor) times() {
	c := d.cfg
	longest, sum := time.Duration(0), time.Duration(0)
	for _, delay := range c.RetryDelays {
		longest, sum = max(longest, delay), sum+delay
	}
	if d.retention > 0 {
		least := c.MaxAge + longest + d.retention
		d.add("REFUNDD_KEEP", pick(c.Keep > least, OK, Problem), fmt.Sprintf("REFUNDD_KEEP above %s: a command that comes from the broker after its record has expired is only asked for and parked (too_old)", cli.Ago(least)),
			"%s; REFUNDD_MAX_AGE %s, longest delay %s and retention %s are %s together", cli.Ago(c.Keep), cli.Ago(c.MaxAge), cli.Ago(longest), cli.Ago(d.retention), cli.Ago(least))
	} else {
		d.add("REFUNDD_KEEP", Warning, "see fileReservedTime of the brokers: KEEP must exceed REFUNDD_MAX_AGE, the longest delay and it together", "%s; what the brokers keep is not known", cli.Ago(c.Keep))
	}
	d.add("REFUNDD_LEASE", OK, "", "%s for calls of up to %s", cli.Ago(c.Lease), cli.Ago(c.AlipayTimeout))
	d.add("REFUNDD_MAX_AGE", pick(sum <= c.MaxAge, OK, Warning), "shorter REFUNDD_RETRY_DELAYS or a longer REFUNDD_MAX_AGE: as it is, age ends a command before its tries do", "%s; all retry delays are %s together", cli.Ago(c.MaxAge), cli.Ago(sum))
	d.add("REFUNDD_RETRY_DELAYS", pick(sum >= time.Hour, OK, Warning), "longer delays: a balance that is too low for an hour should not park every refund", "%d delays, %s together", len(c.RetryDelays), cli.Ago(sum))
	d.add("REFUNDD_QUERY_AFTER", pick(c.QueryAfter >= 10*time.Second, OK, Warning), "10s or more: within ten seconds of a call Alipay's query may not show it yet", "%s", cli.Ago(c.QueryAfter))
	d.add("REFUNDD_TRADE_SPACING", pick(c.TradeSpacing >= 3*time.Second, OK, Warning), "3s: Alipay asks for three seconds between refunds of one trade", "%s", cli.Ago(c.TradeSpacing))
}

// problemsOf takes a configuration's error apart.
func problemsOf(err error) []config.Problem {
	if all, ok := errors.AsType[*config.Error](err); ok {
		return all.Problems
	}
	return []config.Problem{{Variable: "configuration", Text: err.Error()}}
}
