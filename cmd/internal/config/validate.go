package config

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"refundd/alipay"
	"refundd/dedupe"
	"refundd/producer"
)

const (
	maxTopic = 127 // bytes; the broker's limit
	// maxGroup leaves room for "%RETRY%" before the group: the SDK reads no topic longer than maxTopic.
	maxGroup       = maxTopic - len("%RETRY%")
	maxConcurrency = 10000
)

// validate holds the rules that one variable's type cannot express. It skips those whose variables have a problem
// already.
func (c Config) validate(p *problems) {
	c.validateRocketMQ(p)
	c.validateRedis(p)
	c.validateAlipay(p)
	c.validateTimes(p)
	c.validateProcess(p)
}

func (c Config) validateRocketMQ(p *problems) {
	if name := "REFUNDD_ROCKETMQ_NAMESERVERS"; p.fine(name) {
		for _, addr := range c.RocketMQNameservers {
			if err := checkHostPort(addr, 1, true); err != nil {
				p.add(name, "%q is not host:port: %v", addr, err)
			}
		}
	}
	if name := "REFUNDD_ROCKETMQ_GROUP"; p.fine(name) {
		if !isName(c.RocketMQGroup, maxGroup) {
			p.add(name, "%q is not 1 to %d letters, digits, _, - and %%", c.RocketMQGroup, maxGroup)
		}
	}
	if key, secret := "REFUNDD_ROCKETMQ_ACCESS_KEY", "REFUNDD_ROCKETMQ_SECRET_KEY_FILE"; p.fine(key, secret) {
		switch {
		case c.RocketMQAccessKey != "" && c.RocketMQSecretKeyFile == "":
			p.add(secret, "is required with %s", key)
		case c.RocketMQAccessKey == "" && c.RocketMQSecretKeyFile != "":
			p.add(key, "is required with %s", secret)
		}
	}
	c.validateTopics(p)
}

func (c Config) validateTopics(p *problems) {
	topics := []struct{ name, topic string }{
		{"REFUNDD_TOPIC_REFUND", c.TopicRefund},
		{"REFUNDD_TOPIC_COUPON_REFUND", c.TopicCouponRefund},
		{"REFUNDD_TOPIC_EVENT", c.TopicEvent},
		{"REFUNDD_TOPIC_RETRY", c.TopicRetry},
		{"REFUNDD_TOPIC_PARKED", c.TopicParked},
	}
	if p.fine("REFUNDD_TOPIC_REFUND", "REFUNDD_TOPIC_COUPON_REFUND") && c.TopicRefund == "" && c.TopicCouponRefund == "" {
		p.add("REFUNDD_TOPIC_REFUND", "and REFUNDD_TOPIC_COUPON_REFUND are both off, so there is nothing to do")
	}
	first := map[string]string{}
	for _, t := range topics {
		if t.topic == "" || !p.fine(t.name) {
			continue
		}
		if other, taken := first[t.topic]; taken {
			p.add(t.name, "is %q, which %s is already", t.topic, other)
			continue
		}
		first[t.topic] = t.name
		if !isName(t.topic, maxTopic) {
			p.add(t.name, "%q is not 1 to %d letters, digits, _, - and %%", t.topic, maxTopic)
		}
	}
}

func (c Config) validateRedis(p *problems) {
	p.oneOf("REFUNDD_REDIS_MODE", c.RedisMode, ModeStandalone, ModeCluster, ModeSentinel)
	if name := "REFUNDD_REDIS_URL"; p.fine(name, "REFUNDD_REDIS_MODE") {
		if err := c.checkRedisURL(); err != nil {
			p.add(name, "%v", err)
		}
	}
	if name := "REFUNDD_REDIS_PREFIX"; p.fine(name) && !isPrintable(c.RedisPrefix) {
		p.add(name, "has characters other than printable ASCII")
	}
	p.oneOf("REFUNDD_DEDUPE_SCOPE", c.DedupeScope, ScopeMerchant, ScopeTrade)
}

func (c Config) validateAlipay(p *problems) {
	p.url("REFUNDD_ALIPAY_GATEWAY", c.AlipayGateway)
	p.url("REFUNDD_ALIPAY_V3_URL", c.AlipayV3URL)
	if u, err := url.Parse(c.AlipayV3URL); err == nil && p.fine("REFUNDD_ALIPAY_V3_URL") && u.Path != "" && u.Path != "/" {
		p.add("REFUNDD_ALIPAY_V3_URL", "has a path; it must be the base, such as https://openapi.alipay.com")
	}
	p.oneOf("REFUNDD_ALIPAY_PROTOCOL", c.AlipayProtocol, ProtocolV2, ProtocolV3)
	p.oneOf("REFUNDD_ALIPAY_SIGNER", c.AlipaySigner, SignerGo, SignerOpenSSL)
	if name := "REFUNDD_ALIPAY_APP_ID"; p.fine(name) && !isAppID(c.AlipayAppID) {
		p.add(name, "%q is not 1 to 32 letters and digits", c.AlipayAppID)
	}
	if name := "REFUNDD_ALIPAY_SELLER_ID"; p.fine(name) && (len(c.AlipaySellerID) > maxSellerID || !isPrintable(c.AlipaySellerID)) {
		p.add(name, "%q is not up to %d printable ASCII characters", c.AlipaySellerID, maxSellerID)
	}
	if name := "REFUNDD_ALIPAY_NOTIFY_URL"; c.AlipayNotifyURL != "" && p.fine(name) {
		if err := checkNotifyURL(c.AlipayNotifyURL); err != nil {
			p.add(name, "%v", err)
		}
	}
	for _, option := range c.AlipayQueryOptions {
		p.oneOf("REFUNDD_ALIPAY_QUERY_OPTIONS", option, alipay.RefundQueryOptions()...)
	}
	p.keyMode(c)
}

// keyMode demands key mode or certificate mode, whole and alone.
func (p *problems) keyMode(c Config) {
	certificates := []string{"REFUNDD_ALIPAY_APP_CERT_FILE", "REFUNDD_ALIPAY_CERT_FILE", "REFUNDD_ALIPAY_ROOT_CERT_FILE"}
	paths := []string{c.AlipayAppCertFile, c.AlipayCertFile, c.AlipayRootCertFile}
	var given, absent []string
	for i, name := range certificates {
		if paths[i] != "" {
			given = append(given, name)
		} else {
			absent = append(absent, name)
		}
	}
	key := "REFUNDD_ALIPAY_PUBLIC_KEY_FILE"
	switch {
	case c.AlipayPublicKeyFile != "" && len(given) > 0:
		p.add(key, "is key mode and %s certificate mode; give one of them", strings.Join(given, ", "))
	case c.AlipayPublicKeyFile == "" && len(given) == 0:
		p.add(key, "is required, unless the certificate files are set")
	case c.AlipayPublicKeyFile == "":
		for _, name := range absent {
			p.add(name, "is required with %s", strings.Join(given, ", "))
		}
	}
}

func (c Config) validateTimes(p *problems) {
	positive := []struct {
		name  string
		value time.Duration
	}{
		{"REFUNDD_KEEP", c.Keep},
		{"REFUNDD_LEASE", c.Lease},
		{"REFUNDD_ALIPAY_TIMEOUT", c.AlipayTimeout},
		{"REFUNDD_QUERY_AFTER", c.QueryAfter},
		{"REFUNDD_MAX_AGE", c.MaxAge},
		{"REFUNDD_DRAIN", c.Drain},
	}
	for _, d := range positive {
		switch {
		case !p.fine(d.name):
		case d.value <= 0:
			p.add(d.name, "is %s, must be more than 0", short(d.value))
		case d.value%time.Millisecond != 0:
			p.add(d.name, "is %s, must be whole milliseconds", d.value)
		}
	}
	if name := "REFUNDD_TRADE_SPACING"; p.fine(name) && c.TradeSpacing < 0 {
		p.add(name, "is %s, must not be negative", short(c.TradeSpacing))
	}
	if name := "REFUNDD_RETRY_DELAYS"; p.fine(name) {
		for _, d := range c.RetryDelays {
			if _, ok := producer.DelayLevel(d); !ok {
				p.add(name, "%s is not a RocketMQ delay level (1s 5s 10s 30s 1m 2m 3m 4m 5m 6m 7m 8m 9m 10m 20m 30m 1h 2h)", short(d))
				break
			}
		}
	}
	if p.fine("REFUNDD_LEASE", "REFUNDD_ALIPAY_TIMEOUT") && c.Lease < 2*c.AlipayTimeout {
		p.add("REFUNDD_LEASE", "is %s, must be at least twice REFUNDD_ALIPAY_TIMEOUT, %s", short(c.Lease), short(2*c.AlipayTimeout))
	}
	if p.fine("REFUNDD_QUERY_AFTER", "REFUNDD_MAX_AGE") && c.QueryAfter >= c.MaxAge {
		p.add("REFUNDD_QUERY_AFTER", "is %s, must be less than REFUNDD_MAX_AGE, %s", short(c.QueryAfter), short(c.MaxAge))
	}
	if p.fine("REFUNDD_KEEP", "REFUNDD_MAX_AGE", "REFUNDD_RETRY_DELAYS") && len(c.RetryDelays) > 0 {
		if least := c.MaxAge + slices.Max(c.RetryDelays); c.Keep <= least {
			p.add("REFUNDD_KEEP", "is %s, must be more than REFUNDD_MAX_AGE and the longest of REFUNDD_RETRY_DELAYS together, %s", short(c.Keep), short(least))
		}
	}
}

func (c Config) validateProcess(p *problems) {
	if name := "REFUNDD_CONCURRENCY"; p.fine(name) && (c.Concurrency < 1 || c.Concurrency > maxConcurrency) {
		p.add(name, "is %d, must be 1 to %d", c.Concurrency, maxConcurrency)
	}
	if name := "REFUNDD_RATE"; p.fine(name) && (c.Rate < 0 || c.Rate > dedupe.MaxRate) {
		p.add(name, "is %d, must be 0 to %d", c.Rate, dedupe.MaxRate)
	}
	for name, addr := range map[string]string{"REFUNDD_HTTP_ADDR": c.HTTPAddr, "REFUNDD_ADMIN_ADDR": c.AdminAddr} {
		if addr == "" || !p.fine(name) {
			continue
		}
		if err := checkHostPort(addr, 0, false); err != nil {
			p.add(name, "%q is not host:port: %v", addr, err)
		}
	}
	if name := "REFUNDD_HTTP_ADDR"; p.fine(name) && c.HTTPAddr != "" && c.HTTPAddr == c.AdminAddr {
		p.add(name, "is that of REFUNDD_ADMIN_ADDR; Alipay reaches the one, nobody outside must reach the other")
	}
	p.oneOf("REFUNDD_LOG_LEVEL", c.LogLevel, "error", "warn", "info", "debug", "trace")
	p.oneOf("REFUNDD_LOG_FORMAT", c.LogFormat, FormatJSON, FormatText)
}

func (p *problems) oneOf(name, value string, words ...string) {
	if p.fine(name) && !slices.Contains(words, value) {
		p.add(name, "%q is not one of %s", value, strings.Join(words, ", "))
	}
}

// url demands an absolute https URL, or an http one to a loopback host. It does not print the URL, which might hold a
// password.
func (p *problems) url(name, text string) {
	if text == "" || !p.fine(name) {
		return
	}
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Host == "" || u.Hostname() == "":
		p.add(name, "is not an absolute URL")
	case u.User != nil || u.RawQuery != "" || u.Fragment != "":
		p.add(name, "has a user, query or fragment, which is not allowed")
	case u.Scheme == "http" && !isLoopback(u.Hostname()):
		p.add(name, "is plain http to %s; that is allowed to loopback hosts only", u.Hostname())
	case u.Scheme != "http" && u.Scheme != "https":
		p.add(name, "is not an https URL")
	}
}

// maxNotifyURL is Alipay's limit, in characters.
const maxNotifyURL = 256

// checkNotifyURL accepts what Alipay may call: that it can be reached from there only Alipay knows.
func checkNotifyURL(text string) error {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Hostname() == "" || !isPrintable(text):
		return errors.New("is not an absolute URL")
	case u.Scheme != "https" && u.Scheme != "http":
		return errors.New("is neither an https nor an http URL")
	case u.User != nil || u.Fragment != "":
		return errors.New("has a user or a fragment, which is not allowed")
	case len(text) > maxNotifyURL:
		return fmt.Errorf("is longer than %d characters", maxNotifyURL)
	}
	return nil
}

func isLoopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.Unmap().IsLoopback()
}

// checkHostPort accepts a numeric port from least to 65535.
func checkHostPort(addr string, least int, wantHost bool) error {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		if e, ok := errors.AsType[*net.AddrError](err); ok {
			return errors.New(e.Err) // without the address, which the caller prints
		}
		return err
	}
	if n, err := strconv.Atoi(port); err != nil || n < least || n > 65535 {
		return fmt.Errorf("port is not a number from %d to 65535", least)
	}
	if wantHost && host == "" {
		return errors.New("no host")
	}
	if strings.ContainsAny(host, " /@;,") {
		return errors.New("host has characters that no host has")
	}
	return nil
}

// isName follows the broker's rule for topics and groups.
func isName(s string, most int) bool {
	return s != "" && len(s) <= most && strings.Trim(s, lettersDigits+"_-%") == ""
}

func isAppID(s string) bool {
	return s != "" && len(s) <= 32 && strings.Trim(s, lettersDigits) == ""
}

const lettersDigits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"

// isPrintable reports whether s is 0x21 to 0x7E only.
func isPrintable(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r < 0x21 || r > 0x7e })
}

// short prints a duration without its zero parts: 1h, not 1h0m0s.
func short(d time.Duration) string {
	if d == 0 {
		return "0"
	}
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
