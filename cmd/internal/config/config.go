// Package config is refundd's configuration: one flat [Config], filled from the environment by [Load], which refuses
// everything that could only go wrong later. It reads the environment and the files that the environment names,
// nothing else: it connects to nothing, and only the caller prints or logs.
//
// Secrets come from files, never from a variable, and live in [Secrets], which no printing verb and no encoder shows.
// No error of this package holds the content of a file or the value of a variable that might be a secret.
package config

import (
	"time"
)

// Config is what refundd runs with. Every field with an envconfig tag is one variable of the environment; the tag desc
// is its meaning for an operator, as `refundd -check`, `refundd -h` and deploy/configuration.md show it. A value without a default
// is off when it is empty, unless it is required. `empty:"off"` marks the variables that have a default and may still
// be switched off by setting them to nothing.
//
// A Config made by [Load] is valid. A program that changes a field afterwards answers for the rules itself.
type Config struct {
	// RocketMQNameservers are host:port pairs, at least one. Host names are allowed; the SDK wants those as
	// http://host:port, so whoever makes the clients adds that.
	RocketMQNameservers []string `envconfig:"REFUNDD_ROCKETMQ_NAMESERVERS" required:"true" desc:"name servers, comma-separated host:port; host names allowed"`
	// RocketMQGroup is the consumer group, at most 120 characters: the broker puts %RETRY% before it.
	RocketMQGroup string `envconfig:"REFUNDD_ROCKETMQ_GROUP" default:"refundd" desc:"consumer group; exists before the service starts"`
	// RocketMQAccessKey and RocketMQSecretKeyFile are the broker's ACL, both set or both empty.
	RocketMQAccessKey     string `envconfig:"REFUNDD_ROCKETMQ_ACCESS_KEY" desc:"broker ACL: access key"`
	RocketMQSecretKeyFile string `envconfig:"REFUNDD_ROCKETMQ_SECRET_KEY_FILE" desc:"broker ACL: file with the secret key"`

	// TopicRefund and TopicCouponRefund carry the commands; an empty one means that this kind is off.
	TopicRefund       string `envconfig:"REFUNDD_TOPIC_REFUND" default:"refund-command" empty:"off" desc:"topic of refund commands; empty = kind off"`
	TopicCouponRefund string `envconfig:"REFUNDD_TOPIC_COUPON_REFUND" default:"coupon-refund-command" empty:"off" desc:"topic of coupon refund commands; empty = kind off"`
	// TopicEvent, TopicRetry and TopicParked are never empty, and no two of the five topics are the same.
	TopicEvent  string `envconfig:"REFUNDD_TOPIC_EVENT" default:"refund-event" desc:"topic that events are published to"`
	TopicRetry  string `envconfig:"REFUNDD_TOPIC_RETRY" default:"refund-retry" desc:"topic of commands to be tried again later"`
	TopicParked string `envconfig:"REFUNDD_TOPIC_PARKED" default:"refund-parked" desc:"topic of commands that need a person"`

	// RedisURL holds no password (see RedisPasswordFile). Use [Config.OpenRedis] rather than parsing it again.
	RedisURL string `envconfig:"REFUNDD_REDIS_URL" required:"true" desc:"redis://, rediss:// or unix:// URL, without a password"`
	// RedisMode is one of ModeStandalone, ModeCluster and ModeSentinel.
	RedisMode string `envconfig:"REFUNDD_REDIS_MODE" default:"standalone" desc:"standalone, cluster or sentinel; the URL then names all nodes, as go-redis spells it"`
	// RedisPasswordFile is the path of the file; its content is Secrets.RedisPassword.
	RedisPasswordFile string `envconfig:"REFUNDD_REDIS_PASSWORD_FILE" desc:"file with the Redis password"`
	// RedisPrefix stands before every key. It is printable ASCII.
	RedisPrefix string `envconfig:"REFUNDD_REDIS_PREFIX" default:"refundd:" desc:"before every Redis key"`

	// Keep is longer than MaxAge and the longest of RetryDelays together. That it also exceeds the retention of the
	// command topics is the operator's to see: only the broker knows it.
	Keep time.Duration `envconfig:"REFUNDD_KEEP" default:"168h" desc:"how long a decided refund is remembered; more than MAX_AGE + the longest delay + the retention of the command topics"`
	// Lease is at least twice AlipayTimeout.
	Lease time.Duration `envconfig:"REFUNDD_LEASE" default:"60s" desc:"how long one worker may hold a refund; at least twice ALIPAY_TIMEOUT"`
	// DedupeScope is ScopeMerchant or ScopeTrade.
	DedupeScope string `envconfig:"REFUNDD_DEDUPE_SCOPE" default:"merchant" desc:"merchant or trade: whether out_request_no is unique per merchant or only per trade"`

	// AlipayGateway is an absolute URL without user, query and fragment; https, or http to a loopback host.
	AlipayGateway string `envconfig:"REFUNDD_ALIPAY_GATEWAY" default:"https://openapi.alipay.com/gateway.do" desc:"v2 gateway; plain http only for loopback hosts"`
	// AlipayV3URL follows the same rules as AlipayGateway.
	AlipayV3URL string `envconfig:"REFUNDD_ALIPAY_V3_URL" default:"https://openapi.alipay.com" desc:"V3 base"`
	// AlipayProtocol is ProtocolV2 or ProtocolV3.
	AlipayProtocol string `envconfig:"REFUNDD_ALIPAY_PROTOCOL" default:"v2" desc:"v2 or v3, for trade refunds; coupon refunds are always v2"`
	// AlipayAppID is 1 to 32 ASCII letters and digits; it is part of Redis keys and of every event's source.
	AlipayAppID string `envconfig:"REFUNDD_ALIPAY_APP_ID" required:"true" desc:"app id at Alipay"`
	// AlipaySellerID is empty when notifications of every seller are welcome; at most 32 printable characters.
	AlipaySellerID string `envconfig:"REFUNDD_ALIPAY_SELLER_ID" desc:"if set, notifications of other sellers are refused"`
	// AlipayPrivateKeyFile is the path of the file; the key itself is Secrets.PrivateKey.
	AlipayPrivateKeyFile string `envconfig:"REFUNDD_ALIPAY_PRIVATE_KEY_FILE" required:"true" desc:"file with the app's private key: PKCS#1 or PKCS#8, with or without PEM armour"`
	// AlipayPublicKeyFile is the path of the file; the keys are Secrets.PublicKeys. Empty in certificate mode.
	AlipayPublicKeyFile string `envconfig:"REFUNDD_ALIPAY_PUBLIC_KEY_FILE" desc:"key mode: file with Alipay's public key, or several for rotation; required unless the certificate files are set"`
	// AlipayAppCertFile, AlipayCertFile and AlipayRootCertFile are certificate mode: all three, and no public key file.
	AlipayAppCertFile  string `envconfig:"REFUNDD_ALIPAY_APP_CERT_FILE" desc:"certificate mode: the app's certificate"`
	AlipayCertFile     string `envconfig:"REFUNDD_ALIPAY_CERT_FILE" desc:"certificate mode: Alipay's certificate"`
	AlipayRootCertFile string `envconfig:"REFUNDD_ALIPAY_ROOT_CERT_FILE" desc:"certificate mode: Alipay's root certificates"`
	// AlipayEncryptKeyFile is empty when contents are not encrypted.
	AlipayEncryptKeyFile string `envconfig:"REFUNDD_ALIPAY_ENCRYPT_KEY_FILE" desc:"file with the AES key of content encryption"`
	// AlipayTimeout bounds one whole call: dial, TLS, write, read.
	AlipayTimeout time.Duration `envconfig:"REFUNDD_ALIPAY_TIMEOUT" default:"15s" desc:"one whole call"`
	// AlipaySigner is SignerGo or SignerOpenSSL.
	AlipaySigner string `envconfig:"REFUNDD_ALIPAY_SIGNER" default:"go" desc:"go, or in builds with the tag openssl (the image is one) openssl, the system's libcrypto"`
	// AlipayQueryOptions are of alipay.RefundQueryOptions; none when it is off.
	AlipayQueryOptions []string `envconfig:"REFUNDD_ALIPAY_QUERY_OPTIONS" default:"refund_detail_item_list,deposit_back_info" empty:"off" desc:"query_options sent with trade refunds and their queries whose command names none; each only with the call that knows it; empty = off"`
	// AlipayNotifyURL is empty when coupon refunds are sent without one.
	AlipayNotifyURL string `envconfig:"REFUNDD_ALIPAY_NOTIFY_URL" desc:"notify_url sent with coupon refunds"`
	// MerchantsFile is the path of a JSON object: name to app_auth_token and seller_id.
	MerchantsFile string `envconfig:"REFUNDD_MERCHANTS_FILE" desc:"JSON object: name to {\"app_auth_token\", \"seller_id\"}; read again when it changes"`

	// QueryAfter counts from the end of the last refund call.
	QueryAfter time.Duration `envconfig:"REFUNDD_QUERY_AFTER" default:"10s" desc:"an absent refund in a query means nothing before this much time after the last refund call"`
	// TradeSpacing is 0 when calls on one trade are not spaced.
	TradeSpacing time.Duration `envconfig:"REFUNDD_TRADE_SPACING" default:"3s" desc:"least time between two refund calls on one trade, over all instances; 0 = off"`
	// RetryDelays has at least one element, each one exactly a RocketMQ delay level; N delays are N+1 tries.
	RetryDelays []time.Duration `envconfig:"REFUNDD_RETRY_DELAYS" default:"10s,30s,1m,2m,5m,10m,30m,1h,2h,2h,2h,2h,2h,2h,2h,2h,2h,2h,2h" desc:"waiting times between tries, each a RocketMQ delay level; N delays are N+1 tries, then unresolved"`
	// MaxAge counts from when a command was first seen, and from its requeue.
	MaxAge time.Duration `envconfig:"REFUNDD_MAX_AGE" default:"72h" desc:"undecided this long after it was first seen: unresolved and parked"`
	// Concurrency is 1 to 10000.
	Concurrency int `envconfig:"REFUNDD_CONCURRENCY" default:"128" desc:"commands being worked on at once, per process"`
	// Rate is calls per second; 0 when there is no limit.
	Rate int `envconfig:"REFUNDD_RATE" default:"0" desc:"Alipay calls per second per app id over all instances, at most; 0 = no limit of ours, and Alipay's is found and kept to"`

	// HTTPAddr is the address of the notification receiver, empty when it is off. It is not AdminAddr.
	HTTPAddr string `envconfig:"REFUNDD_HTTP_ADDR" default:":8080" empty:"off" desc:"notification receiver; empty = off"`
	// AdminAddr is the address of health, metrics and status page, empty when it is off.
	AdminAddr string `envconfig:"REFUNDD_ADMIN_ADDR" default:"127.0.0.1:9090" empty:"off" desc:"health, metrics, status page; empty = off"`
	// Drain is the whole budget from the stop signal to the end of the process.
	Drain time.Duration `envconfig:"REFUNDD_DRAIN" default:"25s" desc:"the whole budget of a stop; within a second of the signal no new Alipay call begins"`

	// LogLevel is a level of logrus other than panic and fatal.
	LogLevel string `envconfig:"REFUNDD_LOG_LEVEL" default:"info" desc:"error, warn, info, debug or trace"`
	// LogFormat is FormatJSON or FormatText.
	LogFormat string `envconfig:"REFUNDD_LOG_FORMAT" default:"json" desc:"json or text, to standard error"`

	// Traces: OpenTelemetry's own variables ask for spans to be exported. What else they say its SDK reads itself.
	Traces bool `ignored:"true"`

	// Secrets is what the files of the variables above contain.
	Secrets Secrets `ignored:"true"`

	given    map[string]bool   // names of the variables that the environment sets, for -check
	contents map[string]string // what is in the file that a variable names, for -check; never a secret
}

// The words that variables with a fixed choice may hold.
const (
	ModeStandalone = "standalone"
	ModeCluster    = "cluster"
	ModeSentinel   = "sentinel"

	ScopeMerchant = "merchant"
	ScopeTrade    = "trade"

	ProtocolV2 = "v2"
	ProtocolV3 = "v3"

	SignerGo      = "go"
	SignerOpenSSL = "openssl"

	FormatJSON = "json"
	FormatText = "text"
)
