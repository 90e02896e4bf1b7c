package config

import (
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"reflect"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
)

// Variable is one variable of the environment, for people.
type Variable struct {
	Name    string // such as REFUNDD_KEEP
	Default string // as it would be set; "required" or "none" where there is no default
	Meaning string // one clause
}

// Variables lists every variable in the order of [Config].
func Variables() []Variable {
	fields := variableFields()
	list := make([]Variable, 0, len(fields))
	for _, f := range fields {
		v := Variable{Name: f.name, Default: f.standard, Meaning: f.meaning}
		switch {
		case f.required:
			v.Default = "required"
		case f.standard == "":
			v.Default = "none"
		}
		list = append(list, v)
	}
	return list
}

// Markdown returns the table of Variables for deploy/configuration.md.
func Markdown() string {
	var b strings.Builder
	b.WriteString("| variable | default | meaning |\n|---|---|---|\n")
	for _, v := range Variables() {
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", v.Name, strings.ReplaceAll(v.Default, "|", `\|`), strings.ReplaceAll(v.Meaning, "|", `\|`))
	}
	return b.String()
}

// WriteCheck writes every variable with the value that would be used and where it came from, then warnings. Of secrets
// it shows where they are, how long a key is, and the beginning of the SHA-256 of its public half in DER.
func (c Config) WriteCheck(w io.Writer) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	v := reflect.ValueOf(c)
	for _, f := range variableFields() {
		origin := "default"
		if c.given[f.name] {
			origin = "set"
		}
		_, _ = fmt.Fprintf(table, "%s\t%s\t%s\n", f.name, c.show(f.name, v.FieldByIndex(f.index)), origin)
	}
	if c.Traces {
		_, _ = fmt.Fprintln(table, "OTEL_TRACES_EXPORTER\totlp\tset")
	}
	if err := table.Flush(); err != nil {
		return fmt.Errorf("print configuration: %w", err)
	}
	for _, warning := range c.Warnings() {
		if _, err := fmt.Fprintln(w, warning); err != nil {
			return fmt.Errorf("print configuration: %w", err)
		}
	}
	return nil
}

// show prints the value of a variable for WriteCheck.
func (c Config) show(name string, v reflect.Value) string {
	if v.IsZero() && v.Kind() == reflect.String {
		return "(off)"
	}
	switch name {
	case "REFUNDD_ROCKETMQ_ACCESS_KEY":
		return "(hidden)"
	case "REFUNDD_ALIPAY_PRIVATE_KEY_FILE":
		if c.Secrets.PrivateKey != nil {
			return v.String() + " (" + describeKey(&c.Secrets.PrivateKey.PublicKey) + ")"
		}
	case "REFUNDD_ALIPAY_ENCRYPT_KEY_FILE":
		return fmt.Sprintf("%s (%d bits)", v.String(), 8*len(c.Secrets.EncryptKey))
	case "REFUNDD_ALIPAY_PUBLIC_KEY_FILE":
		var keys []string
		for _, key := range c.Secrets.PublicKeys {
			keys = append(keys, describeKey(key))
		}
		return v.String() + " (" + strings.Join(keys, "; ") + ")"
	}
	if text := c.contents[name]; text != "" {
		return v.String() + " (" + text + ")"
	}
	switch value := v.Interface().(type) {
	case time.Duration:
		return short(value)
	case []time.Duration:
		texts := make([]string, 0, len(value))
		for _, d := range value {
			texts = append(texts, short(d))
		}
		return strings.Join(texts, ",")
	case []string:
		return strings.Join(value, ",")
	case int:
		return strconv.Itoa(value)
	default:
		return v.String()
	}
}

// describeKey returns length and identity of a key by its public half.
func describeKey(key *rsa.PublicKey) string {
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return strconv.Itoa(key.N.BitLen()) + " bits"
	}
	sum := sha256.Sum256(der)
	return fmt.Sprintf("%d bits, sha256 %s", key.N.BitLen(), hex.EncodeToString(sum[:8]))
}

// Warnings returns what is allowed and still worth a look.
func (c Config) Warnings() []string {
	var list []string
	for _, f := range []struct{ name, path string }{
		{"REFUNDD_ALIPAY_PRIVATE_KEY_FILE", c.AlipayPrivateKeyFile},
		{"REFUNDD_ALIPAY_ENCRYPT_KEY_FILE", c.AlipayEncryptKeyFile},
		{"REFUNDD_MERCHANTS_FILE", c.MerchantsFile},
		{"REFUNDD_REDIS_PASSWORD_FILE", c.RedisPasswordFile},
		{"REFUNDD_ROCKETMQ_SECRET_KEY_FILE", c.RocketMQSecretKeyFile},
	} {
		if info, err := os.Stat(f.path); err == nil && info.Mode().Perm()&0o077 != 0 {
			list = append(list, fmt.Sprintf("warning: %s: %s has mode %04o, so others than its owner may use it", f.name, f.path, info.Mode().Perm()))
		}
	}
	if strings.Contains(c.RedisURL, "skip_verify=") {
		list = append(list, "warning: REFUNDD_REDIS_URL: skip_verify lets anybody between here and Redis pose as Redis")
	}
	list = append(list, c.certificateWarnings()...)
	if c.TopicCouponRefund != "" && c.Secrets.Certificates == nil {
		list = append(list, "note: REFUNDD_TOPIC_COUPON_REFUND: Alipay offers coupon refunds in certificate mode only, and these are keys")
	}
	return append(list, "note: REFUNDD_KEEP must also exceed REFUNDD_MAX_AGE, the longest delay and the retention of the command topics together; only the broker knows that retention")
}
