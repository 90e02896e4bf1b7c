package config_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"refundd/cmd/internal/config"
)

// environment is the least that Load accepts, with the given lines after it: later ones win.
func environment(more ...string) []string {
	return append([]string{
		"PATH=/bin",
		"REFUNDD_ROCKETMQ_NAMESERVERS=127.0.0.1:9876",
		"REFUNDD_REDIS_URL=redis://127.0.0.1:6379/0",
		"REFUNDD_ALIPAY_APP_ID=2021000000000001",
		"REFUNDD_ALIPAY_PRIVATE_KEY_FILE=testdata/app_private_pkcs8.pem",
		"REFUNDD_ALIPAY_PUBLIC_KEY_FILE=testdata/alipay_public.pem",
	}, more...)
}

// file writes a file of the test's own and returns its path.
func file(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestLoadFillsDefaults(t *testing.T) {
	cfg, err := config.Load(environment())
	if err != nil {
		t.Fatal(err)
	}
	want := []time.Duration{
		10 * time.Second, 30 * time.Second, time.Minute, 2 * time.Minute, 5 * time.Minute, 10 * time.Minute,
		30 * time.Minute, time.Hour,
	}
	want = append(want, slices.Repeat([]time.Duration{2 * time.Hour}, 11)...)
	if !slices.Equal(cfg.RetryDelays, want) {
		t.Errorf("retry delays are %v", cfg.RetryDelays)
	}
	for _, c := range []struct {
		name      string
		got, want any
	}{
		{"group", cfg.RocketMQGroup, "refundd"},
		{"refund topic", cfg.TopicRefund, "refund-command"},
		{"coupon topic", cfg.TopicCouponRefund, "coupon-refund-command"},
		{"receiver", cfg.HTTPAddr, ":8080"},
		{"spacing", cfg.TradeSpacing, 3 * time.Second},
		{"rate", cfg.Rate, 0},
		{"keep", cfg.Keep, 168 * time.Hour},
		{"lease", cfg.Lease, time.Minute},
		{"gateway", cfg.AlipayGateway, "https://openapi.alipay.com/gateway.do"},
		{"concurrency", cfg.Concurrency, 128},
		{"admin", cfg.AdminAddr, "127.0.0.1:9090"},
		{"drain", cfg.Drain, 25 * time.Second},
		{"prefix", cfg.RedisPrefix, "refundd:"},
		{"private key bits", cfg.Secrets.PrivateKey.N.BitLen(), 2048},
		{"public keys", len(cfg.Secrets.PublicKeys), 1},
		{"password", cfg.Secrets.RedisPassword, ""},
	} {
		if c.got != c.want {
			t.Errorf("%s is %v, want %v", c.name, c.got, c.want)
		}
	}
}

func TestLoadTakesWhatIsSet(t *testing.T) {
	password := file(t, "s3cret word\n")
	cfg, err := config.Load(environment(
		"REFUNDD_ROCKETMQ_NAMESERVERS= ns-0.mq:9876 , ns-1.mq:9876",
		"REFUNDD_ROCKETMQ_ACCESS_KEY=ak",
		"REFUNDD_ROCKETMQ_SECRET_KEY_FILE="+password,
		"REFUNDD_REDIS_PASSWORD_FILE="+password,
		"REFUNDD_RETRY_DELAYS=1s, 5s,2h",
		"REFUNDD_DRAIN=1m30s",
		"REFUNDD_ADMIN_ADDR=",
		"REFUNDD_ALIPAY_SELLER_ID=",
		"REFUNDD_TOPIC_COUPON_REFUND=",
		"REFUNDD_TRADE_SPACING=0s",
		"REFUNDD_RATE=0",
		"REFUNDD_HTTP_ADDR=",
		"REFUNDD_ALIPAY_PROTOCOL=v2",
		"REFUNDD_ALIPAY_NOTIFY_URL=https://a.example/"+strings.Repeat("n", 238),
		"REFUNDD_ALIPAY_GATEWAY=http://[::1]:9800/gateway.do",
		"DRAIN=1h", // envconfig alone would take this
	))
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(cfg.RocketMQNameservers, []string{"ns-0.mq:9876", "ns-1.mq:9876"}) {
		t.Errorf("name servers are %q", cfg.RocketMQNameservers)
	}
	if !slices.Equal(cfg.RetryDelays, []time.Duration{time.Second, 5 * time.Second, 2 * time.Hour}) {
		t.Errorf("retry delays are %v", cfg.RetryDelays)
	}
	if cfg.Drain != 90*time.Second || cfg.AdminAddr != "" {
		t.Errorf("drain %v, admin %q", cfg.Drain, cfg.AdminAddr)
	}
	if cfg.Secrets.RedisPassword != "s3cret word" || cfg.Secrets.RocketMQSecretKey != "s3cret word" {
		t.Error("the files' line is not what the secrets are")
	}
}

func TestLoadRefuses(t *testing.T) {
	empty := file(t, "\n")
	twoLines := file(t, "canary-one\ncanary-two\n")
	large := file(t, strings.Repeat("canary", 20000))
	tests := map[string]struct {
		set  string   // lines, separated by spaces
		want []string // all of it has to be in the error
	}{
		"required, empty":            {"REFUNDD_REDIS_URL=", []string{"REFUNDD_REDIS_URL: is required"}},
		"required, blank":            {"REFUNDD_ALIPAY_APP_ID=\t", []string{"REFUNDD_ALIPAY_APP_ID: is required"}},
		"default, set to nothing":    {"REFUNDD_KEEP=", []string{"REFUNDD_KEEP: is set to nothing", "168h"}},
		"list, set to nothing":       {"REFUNDD_RETRY_DELAYS=", []string{"REFUNDD_RETRY_DELAYS: is set to nothing"}},
		"prefix, set to nothing":     {"REFUNDD_REDIS_PREFIX=", []string{"REFUNDD_REDIS_PREFIX: is set to nothing"}},
		"event topic, nothing":       {"REFUNDD_TOPIC_EVENT=", []string{"REFUNDD_TOPIC_EVENT: is set to nothing"}},
		"no duration":                {"REFUNDD_LEASE=canary", []string{"REFUNDD_LEASE: is not a duration such as"}},
		"traces, other exporter":     {"OTEL_TRACES_EXPORTER=zipkin", []string{"OTEL_TRACES_EXPORTER: is \"zipkin\", must be none or otlp"}},
		"traces, other protocol":     {"OTEL_TRACES_EXPORTER=otlp OTEL_EXPORTER_OTLP_PROTOCOL=grpc", []string{"OTEL_EXPORTER_OTLP_PROTOCOL: is \"grpc\", must be http/protobuf"}},
		"traces, no URL":             {"OTEL_TRACES_EXPORTER=otlp OTEL_EXPORTER_OTLP_ENDPOINT=canary:4318", []string{"OTEL_EXPORTER_OTLP_ENDPOINT: is not a URL such as"}},
		"traces, user in the URL":    {"OTEL_TRACES_EXPORTER=otlp OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=http://u:canary@h", []string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: has a user"}},
		"traces, no sampler":         {"OTEL_TRACES_EXPORTER=otlp OTEL_TRACES_SAMPLER=half", []string{"OTEL_TRACES_SAMPLER: is \"half\", must be one of"}},
		"traces, no share":           {"OTEL_TRACES_EXPORTER=otlp OTEL_TRACES_SAMPLER=traceidratio OTEL_TRACES_SAMPLER_ARG=2", []string{"OTEL_TRACES_SAMPLER_ARG: is not a number from 0 to 1"}},
		"no duration unit":           {"REFUNDD_LEASE=60", []string{"REFUNDD_LEASE: is not a duration such as"}},
		"no number":                  {"REFUNDD_CONCURRENCY=many", []string{"REFUNDD_CONCURRENCY: is not a whole number"}},
		"no list of durations":       {"REFUNDD_RETRY_DELAYS=10s,,1m", []string{"REFUNDD_RETRY_DELAYS: is not a comma-separated list of durations"}},
		"several at once":            {"REFUNDD_LEASE=x REFUNDD_REDIS_MODE=y", []string{"REFUNDD_LEASE: ", "REFUNDD_REDIS_MODE: "}},
		"lease below two timeouts":   {"REFUNDD_LEASE=29s", []string{"REFUNDD_LEASE: is 29s", "REFUNDD_ALIPAY_TIMEOUT, 30s"}},
		"keep too short":             {"REFUNDD_KEEP=74h", []string{"REFUNDD_KEEP: is 74h", "74h"}},
		"query after the max age":    {"REFUNDD_QUERY_AFTER=72h", []string{"REFUNDD_QUERY_AFTER: is 72h, must be less than REFUNDD_MAX_AGE"}},
		"drain zero":                 {"REFUNDD_DRAIN=0", []string{"REFUNDD_DRAIN: is 0, must be more than 0"}},
		"negative timeout":           {"REFUNDD_ALIPAY_TIMEOUT=-1s", []string{"REFUNDD_ALIPAY_TIMEOUT: is -1s"}},
		"below a millisecond":        {"REFUNDD_QUERY_AFTER=1500us", []string{"REFUNDD_QUERY_AFTER: is 1.5ms, must be whole milliseconds"}},
		"no delay level":             {"REFUNDD_RETRY_DELAYS=10s,15s", []string{"REFUNDD_RETRY_DELAYS: 15s is not a RocketMQ delay level"}},
		"concurrency zero":           {"REFUNDD_CONCURRENCY=0", []string{"REFUNDD_CONCURRENCY: is 0"}},
		"scope":                      {"REFUNDD_DEDUPE_SCOPE=shop", []string{`REFUNDD_DEDUPE_SCOPE: "shop" is not one of merchant, trade`}},
		"log level":                  {"REFUNDD_LOG_LEVEL=fatal", []string{"REFUNDD_LOG_LEVEL: "}},
		"log format":                 {"REFUNDD_LOG_FORMAT=xml", []string{"REFUNDD_LOG_FORMAT: "}},
		"app id":                     {"REFUNDD_ALIPAY_APP_ID=20:21", []string{`REFUNDD_ALIPAY_APP_ID: "20:21"`}},
		"admin without port":         {"REFUNDD_ADMIN_ADDR=127.0.0.1", []string{`REFUNDD_ADMIN_ADDR: "127.0.0.1" is not host:port: missing port in address`}},
		"admin with a bad port":      {"REFUNDD_ADMIN_ADDR=:http", []string{"REFUNDD_ADMIN_ADDR: ", "port is not a number"}},
		"name server without port":   {"REFUNDD_ROCKETMQ_NAMESERVERS=a:1,b", []string{`REFUNDD_ROCKETMQ_NAMESERVERS: "b"`}},
		"name server without host":   {"REFUNDD_ROCKETMQ_NAMESERVERS=:9876", []string{"no host"}},
		"name server with semicolon": {"REFUNDD_ROCKETMQ_NAMESERVERS=a:1;b:2", []string{"REFUNDD_ROCKETMQ_NAMESERVERS: "}},
		"group too long":             {"REFUNDD_ROCKETMQ_GROUP=" + strings.Repeat("g", 121), []string{"REFUNDD_ROCKETMQ_GROUP: "}},
		"topic with a slash":         {"REFUNDD_TOPIC_EVENT=a/b", []string{"REFUNDD_TOPIC_EVENT: "}},
		"both kinds off":             {"REFUNDD_TOPIC_REFUND= REFUNDD_TOPIC_COUPON_REFUND=", []string{"REFUNDD_TOPIC_REFUND: ", "REFUNDD_TOPIC_COUPON_REFUND are both off"}},
		"topic twice":                {"REFUNDD_TOPIC_RETRY=refund-command", []string{`REFUNDD_TOPIC_RETRY: is "refund-command", which REFUNDD_TOPIC_REFUND is already`}},
		"access key alone":           {"REFUNDD_ROCKETMQ_ACCESS_KEY=canary", []string{"REFUNDD_ROCKETMQ_SECRET_KEY_FILE: is required with"}},
		"secret key alone":           {"REFUNDD_ROCKETMQ_SECRET_KEY_FILE=" + twoLines, []string{"REFUNDD_ROCKETMQ_ACCESS_KEY: is required with"}},

		"redis mode":                {"REFUNDD_REDIS_MODE=solo", []string{"REFUNDD_REDIS_MODE: "}},
		"redis scheme":              {"REFUNDD_REDIS_URL=http://127.0.0.1", []string{"REFUNDD_REDIS_URL: cannot be used", "scheme"}},
		"redis is no URL":           {"REFUNDD_REDIS_URL=redis://:canary@%zz", []string{"REFUNDD_REDIS_URL: is not a URL"}},
		"redis password in the URL": {"REFUNDD_REDIS_URL=redis://u:canary@127.0.0.1:6379", []string{"REFUNDD_REDIS_URL: holds a password", "REFUNDD_REDIS_PASSWORD_FILE"}},
		"sentinel password":         {"REFUNDD_REDIS_MODE=sentinel REFUNDD_REDIS_URL=redis://h:1?master_name=m&password=canary", []string{"REFUNDD_REDIS_URL: holds a password"}},
		"sentinel without a name":   {"REFUNDD_REDIS_MODE=sentinel", []string{"REFUNDD_REDIS_URL: has no master_name"}},
		"cluster over unix":         {"REFUNDD_REDIS_MODE=cluster REFUNDD_REDIS_URL=unix:///run/redis.sock", []string{"REFUNDD_REDIS_URL: "}},
		"password file of two":      {"REFUNDD_REDIS_PASSWORD_FILE=" + twoLines, []string{"REFUNDD_REDIS_PASSWORD_FILE: ", "more than one line"}},
		"password file empty":       {"REFUNDD_REDIS_PASSWORD_FILE=" + empty, []string{"REFUNDD_REDIS_PASSWORD_FILE: ", "it is empty"}},
		"password file too large":   {"REFUNDD_REDIS_PASSWORD_FILE=" + large, []string{"larger than"}},

		"gateway over http":      {"REFUNDD_ALIPAY_GATEWAY=http://openapi.alipay.com/gateway.do", []string{"REFUNDD_ALIPAY_GATEWAY: is plain http to openapi.alipay.com"}},
		"gateway called local":   {"REFUNDD_ALIPAY_GATEWAY=http://127.0.0.1.example.com/", []string{"REFUNDD_ALIPAY_GATEWAY: is plain http"}},
		"gateway with a user":    {"REFUNDD_ALIPAY_GATEWAY=https://u:canary@openapi.alipay.com/", []string{"REFUNDD_ALIPAY_GATEWAY: has a user"}},
		"gateway with a query":   {"REFUNDD_ALIPAY_GATEWAY=https://openapi.alipay.com/?a=b", []string{"REFUNDD_ALIPAY_GATEWAY: has a user, query"}},
		"gateway without scheme": {"REFUNDD_ALIPAY_GATEWAY=openapi.alipay.com", []string{"REFUNDD_ALIPAY_GATEWAY: is not an absolute URL"}},
		"gateway by ftp":         {"REFUNDD_ALIPAY_GATEWAY=ftp://openapi.alipay.com", []string{"REFUNDD_ALIPAY_GATEWAY: is not an https URL"}},

		"no public key":              {"REFUNDD_ALIPAY_PUBLIC_KEY_FILE=", []string{"REFUNDD_ALIPAY_PUBLIC_KEY_FILE: is required"}},
		"private key file absent":    {"REFUNDD_ALIPAY_PRIVATE_KEY_FILE=testdata/nothing", []string{`REFUNDD_ALIPAY_PRIVATE_KEY_FILE: "testdata/nothing" cannot be read: no such file`}},
		"private key is a directory": {"REFUNDD_ALIPAY_PRIVATE_KEY_FILE=testdata", []string{"it is a directory"}},
		"private key is public":      {"REFUNDD_ALIPAY_PRIVATE_KEY_FILE=testdata/app_public.pem", []string{"REFUNDD_ALIPAY_PRIVATE_KEY_FILE: ", "public key"}},
		"public key is private":      {"REFUNDD_ALIPAY_PUBLIC_KEY_FILE=testdata/alipay_private_pkcs8.pem", []string{"REFUNDD_ALIPAY_PUBLIC_KEY_FILE: ", "private key"}},
		"public key is the app's":    {"REFUNDD_ALIPAY_PUBLIC_KEY_FILE=testdata/app_public.pem", []string{"REFUNDD_ALIPAY_PUBLIC_KEY_FILE: ", "the app's own public key"}},
		"key file of something else": {"REFUNDD_ALIPAY_PRIVATE_KEY_FILE=" + twoLines, []string{"REFUNDD_ALIPAY_PRIVATE_KEY_FILE: "}},
		"key and certificate mode":   {"REFUNDD_ALIPAY_CERT_FILE=a.pem", []string{"REFUNDD_ALIPAY_PUBLIC_KEY_FILE: is key mode and REFUNDD_ALIPAY_CERT_FILE certificate mode"}},
		"typo":                       {"REFUNDD_QUERY_AFTR=5s", []string{"REFUNDD_QUERY_AFTR: is unknown; did you mean REFUNDD_QUERY_AFTER?"}},
		"typo in a long name":        {"REFUNDD_ROCKETMQ_NAME_SERVER=a:1", []string{"did you mean REFUNDD_ROCKETMQ_NAMESERVERS?"}},
		"a secret in the variable":   {"REFUNDD_REDIS_PASSWORD=canary", []string{"REFUNDD_REDIS_PASSWORD: is unknown", "a file that REFUNDD_REDIS_PASSWORD_FILE names"}},
		"seller id":                  {"REFUNDD_ALIPAY_SELLER_ID=" + strings.Repeat("2", 33), []string{"REFUNDD_ALIPAY_SELLER_ID: "}},
		"notify URL is no URL":       {"REFUNDD_ALIPAY_NOTIFY_URL=a.example/n", []string{"REFUNDD_ALIPAY_NOTIFY_URL: is not an absolute URL"}},
		"notify URL by ftp":          {"REFUNDD_ALIPAY_NOTIFY_URL=ftp://a.example/n", []string{"REFUNDD_ALIPAY_NOTIFY_URL: is neither"}},
		"notify URL with a user":     {"REFUNDD_ALIPAY_NOTIFY_URL=https://u:canary@a.example/", []string{"REFUNDD_ALIPAY_NOTIFY_URL: has a user"}},
		"notify URL too long":        {"REFUNDD_ALIPAY_NOTIFY_URL=https://a.example/" + strings.Repeat("n", 239), []string{"REFUNDD_ALIPAY_NOTIFY_URL: is longer than 256"}},
		"coupon topic twice":         {"REFUNDD_TOPIC_COUPON_REFUND=refund-command", []string{`REFUNDD_TOPIC_COUPON_REFUND: is "refund-command"`}},
		"receiver without port":      {"REFUNDD_HTTP_ADDR=127.0.0.1", []string{"REFUNDD_HTTP_ADDR: "}},
		"receiver on the admin's":    {"REFUNDD_HTTP_ADDR=127.0.0.1:9090", []string{"REFUNDD_HTTP_ADDR: is that of REFUNDD_ADMIN_ADDR"}},
		"rate out of range":          {"REFUNDD_RATE=10001", []string{"REFUNDD_RATE: is 10001, must be 0 to 10000"}},
		"spacing set to nothing":     {"REFUNDD_TRADE_SPACING=", []string{"REFUNDD_TRADE_SPACING: "}},
		"protocol set to nothing":    {"REFUNDD_ALIPAY_PROTOCOL=", []string{"REFUNDD_ALIPAY_PROTOCOL: "}},
		"protocol":                   {"REFUNDD_ALIPAY_PROTOCOL=v4", []string{`REFUNDD_ALIPAY_PROTOCOL: "v4" is not one of v2, v3`}},
		"V3 over http":               {"REFUNDD_ALIPAY_V3_URL=http://openapi.alipay.com", []string{"REFUNDD_ALIPAY_V3_URL: is plain http"}},
		"V3 with a path":             {"REFUNDD_ALIPAY_V3_URL=https://openapi.alipay.com/v3", []string{"REFUNDD_ALIPAY_V3_URL: has a path"}},
		"one certificate of three":   {"REFUNDD_ALIPAY_PUBLIC_KEY_FILE= REFUNDD_ALIPAY_CERT_FILE=a", []string{"REFUNDD_ALIPAY_APP_CERT_FILE: is required with REFUNDD_ALIPAY_CERT_FILE", "REFUNDD_ALIPAY_ROOT_CERT_FILE: is required"}},
		"encrypt key is no base64":   {"REFUNDD_ALIPAY_ENCRYPT_KEY_FILE=" + twoLines, []string{"REFUNDD_ALIPAY_ENCRYPT_KEY_FILE: ", "not base64"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := config.Load(environment(strings.Split(tt.set, " ")...))
			problem, ok := errors.AsType[*config.Error](err)
			if !ok {
				t.Fatalf("error is %v, want a *config.Error", err)
			}
			for _, want := range tt.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error is %q, want %q in it", err, want)
				}
			}
			if strings.Contains(err.Error(), "canary") {
				t.Errorf("error shows a value: %q", err)
			}
			seen := map[string]bool{}
			for _, p := range problem.Problems {
				if seen[p.Variable] {
					t.Errorf("%s is named twice: %q", p.Variable, err)
				}
				seen[p.Variable] = true
			}
		})
	}
}

// TestTracesAreOffByThemselves: OpenTelemetry's variables count only where traces
// are asked for, and then only what cannot be used is refused.
func TestTracesAreOffByThemselves(t *testing.T) {
	for set, want := range map[string]bool{
		"":                          false,
		"OTEL_TRACES_EXPORTER=none": false,
		"OTEL_EXPORTER_OTLP_PROTOCOL=grpc OTEL_METRICS_EXPORTER=otlp": false,
		"OTEL_TRACES_EXPORTER=otlp OTEL_SDK_DISABLED=true":            false,
		"OTEL_TRACES_EXPORTER=otlp":                                   true,
		"OTEL_TRACES_EXPORTER=otlp OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4318 OTEL_TRACES_SAMPLER=parentbased_traceidratio OTEL_TRACES_SAMPLER_ARG=0.1": true,
	} {
		cfg, err := config.Load(environment(strings.Fields(set)...))
		if err != nil || cfg.Traces != want {
			t.Errorf("%q: traces %t, %v", set, cfg.Traces, err)
		}
	}
}

func TestEmptyEnvironmentNamesAllThatIsRequired(t *testing.T) {
	_, err := config.Load(nil)
	problem, ok := errors.AsType[*config.Error](err)
	if !ok {
		t.Fatalf("error is %v", err)
	}
	var got []string
	for _, p := range problem.Problems {
		got = append(got, p.Variable)
	}
	want := []string{
		"REFUNDD_ROCKETMQ_NAMESERVERS", "REFUNDD_REDIS_URL", "REFUNDD_ALIPAY_APP_ID", "REFUNDD_ALIPAY_PRIVATE_KEY_FILE",
		"REFUNDD_ALIPAY_PUBLIC_KEY_FILE",
	}
	if !slices.Equal(got, want) {
		t.Errorf("problems with %q, want %q", got, want)
	}
}

func TestLoadLeavesStrangersAlone(t *testing.T) {
	for _, line := range []string{
		"REFUNDD_TEST_ROCKETMQ_NAMESERVER=a:1", "REFUNDD_VECTORS=/somewhere", "REFUNDCTL_KEEP=1",
		// What Kubernetes sets for services named refundd, refundd-admin and refundd-redis.
		"REFUNDD_SERVICE_HOST=10.0.0.1", "REFUNDD_SERVICE_PORT=8080", "REFUNDD_SERVICE_PORT_HTTP=8080",
		"REFUNDD_PORT=tcp://10.0.0.1:8080", "REFUNDD_PORT_8080_TCP=tcp://10.0.0.1:8080",
		"REFUNDD_PORT_8080_TCP_PROTO=tcp", "REFUNDD_PORT_8080_TCP_PORT=8080", "REFUNDD_PORT_8080_TCP_ADDR=10.0.0.1",
		"REFUNDD_ADMIN_SERVICE_HOST=10.0.0.1", "REFUNDD_ADMIN_SERVICE_PORT=9090", "REFUNDD_ADMIN_PORT=tcp://10.0.0.1:9090",
		"REFUNDD_ADMIN_PORT_9090_TCP_ADDR=10.0.0.1", "REFUNDD_REDIS_SERVICE_HOST=10.0.0.1", "REFUNDD_REDIS_PORT=tcp://10.0.0.1:6379",
		"REFUNDD_REDIS_PORT_6379_TCP=x", "REFUNDD_HTTP_PORT=tcp://10.0.0.1:8080",
	} {
		if _, err := config.Load(environment(line)); err != nil {
			t.Errorf("%s: %v", line, err)
		}
	}
}

func TestSecretsDoNotPrint(t *testing.T) {
	cfg, err := config.Load(environment("REFUNDD_REDIS_PASSWORD_FILE=" + file(t, "canary-password")))
	if err != nil {
		t.Fatal(err)
	}
	encoded, err := json.Marshal(cfg)
	if err != nil {
		t.Fatal(err)
	}
	modulus := cfg.Secrets.PrivateKey.D.String()
	for name, text := range map[string]string{
		"%v":   fmt.Sprintf("%v", cfg),
		"%+v":  fmt.Sprintf("%+v", cfg),
		"%#v":  fmt.Sprintf("%#v", cfg),
		"%s":   fmt.Sprintf("%s", cfg.Secrets),
		"&%+v": fmt.Sprintf("%+v", &cfg),
		"JSON": string(encoded),
	} {
		if strings.Contains(text, "canary") || strings.Contains(text, modulus) {
			t.Errorf("%s shows a secret", name)
		}
	}
}

func TestOpenRedis(t *testing.T) {
	password := file(t, "canary-password")
	for mode, url := range map[string]string{
		config.ModeStandalone: "redis://user@127.0.0.1:1/2",
		config.ModeCluster:    "rediss://127.0.0.1:1?addr=127.0.0.1:2",
		config.ModeSentinel:   "redis://127.0.0.1:1?master_name=main&addr=127.0.0.1:2",
	} {
		t.Run(mode, func(t *testing.T) {
			cfg, err := config.Load(environment("REFUNDD_REDIS_MODE="+mode, "REFUNDD_REDIS_URL="+url, "REFUNDD_REDIS_PASSWORD_FILE="+password))
			if err != nil {
				t.Fatal(err)
			}
			client, err := cfg.OpenRedis()
			if err != nil {
				t.Fatal(err)
			}
			if err := client.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	if _, err := (config.Config{RedisMode: "solo"}).OpenRedis(); err == nil {
		t.Error("an unknown mode is accepted")
	}
	if _, err := (config.Config{RedisMode: config.ModeStandalone, RedisURL: "redis://:canary@%zz"}).OpenRedis(); err == nil || strings.Contains(err.Error(), "canary") {
		t.Errorf("error is %v", err)
	}
}

func TestARedisThatIsSilentIsLeftWhenTheContextEnds(t *testing.T) {
	silent, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = silent.Close() }()
	// Without the context's deadline the client would wait an hour.
	url := "redis://" + silent.Addr().String() + "?read_timeout=1h&max_retries=-1"
	cfg, err := config.Load(environment("REFUNDD_REDIS_URL=" + url))
	if err != nil {
		t.Fatal(err)
	}
	client, err := cfg.OpenRedis()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Close() }()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := client.Ping(ctx).Err(); err == nil {
		t.Error("a silent Redis answers")
	}
}
