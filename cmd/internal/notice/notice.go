// Package notice says whether a notification is Alipay's, exactly as the receiver
// judges it, and if it is not, why.
package notice

import (
	"bytes"
	"cmp"
	"crypto/rsa"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"refundd/alipay"
	"refundd/cmd/internal/cli"
	"refundd/cmd/internal/config"
)

// Options say what is judged, and by which keys.
type Options struct {
	File           string // with the raw body; "-" is standard input
	KeyFile        string
	AppID, Seller  string
	EncryptKeyFile string
	Format         cli.Format
}

// Judgement is the result.
type Judgement struct {
	Valid    bool     `json:"valid"`
	Check    string   `json:"failed_check,omitempty"` // malformed, duplicate, signature, app, seller
	Error    string   `json:"error,omitempty"`
	Findings []string `json:"findings,omitempty"`
	Class    string   `json:"class,omitempty"`
	Scheme   string   `json:"scheme,omitempty"`
	Names    []string `json:"parameters"`
}

// Verify judges one body, prints why, and returns cli.ErrFound if it is not valid.
func (o *Options) Verify(env cli.Env) error {
	d, err := o.detective(env)
	if err != nil {
		return err
	}
	body, err := o.body(env)
	if err != nil {
		return err
	}
	j := d.judge(body)
	if o.Format.JSON() {
		err = cli.PrintJSON(env.Stdout, j)
	} else {
		err = j.print(env.Stdout)
	}
	if err == nil && !j.Valid {
		err = cli.ErrFound
	}
	return err
}

// body reads a little more than a receiver would, so as to say how much it is.
func (o *Options) body(env cli.Env) ([]byte, error) {
	in := env.Stdin
	if o.File != "-" {
		file, err := os.Open(o.File)
		if err != nil {
			return nil, cli.WrongUsage("--file: %v", err)
		}
		defer func() { _ = file.Close() }()
		in = file
	}
	body, err := io.ReadAll(io.LimitReader(in, 1<<20))
	if err != nil {
		return nil, fmt.Errorf("read the body: %w", err)
	}
	return body, nil
}

// detective reads keys and parties.
func (o *Options) detective(env cli.Env) (*detective, error) {
	name, path := "--key", o.KeyFile
	for _, variable := range []string{"REFUNDD_ALIPAY_PUBLIC_KEY_FILE", "REFUNDD_ALIPAY_CERT_FILE"} {
		if path == "" {
			name, path = variable, env.Getenv(variable)
		}
	}
	if path == "" {
		return nil, cli.WrongUsage("--key, REFUNDD_ALIPAY_PUBLIC_KEY_FILE or REFUNDD_ALIPAY_CERT_FILE is required")
	}
	text, err := os.ReadFile(path) //nolint:gosec // the operator names the file
	if err != nil {
		return nil, cli.WrongUsage("%s: %v", name, err)
	}
	d := &detective{}
	if d.keys, err = notifyKeys(text); err != nil {
		return nil, cli.WrongUsage("%s: %s: %v", name, path, err)
	}
	cfg := alipay.VerifierConfig{Keys: d.keys, AppID: cmp.Or(o.AppID, env.Getenv("REFUNDD_ALIPAY_APP_ID"))}
	if cfg.AppID == "" {
		return nil, cli.WrongUsage("--app-id or REFUNDD_ALIPAY_APP_ID is required")
	}
	if path := cmp.Or(o.EncryptKeyFile, env.Getenv("REFUNDD_ALIPAY_ENCRYPT_KEY_FILE")); path != "" {
		text, err := os.ReadFile(path) //nolint:gosec // the operator names the file
		if err != nil {
			return nil, cli.WrongUsage("--encrypt-key or REFUNDD_ALIPAY_ENCRYPT_KEY_FILE: %v", err)
		}
		if cfg.EncryptKey, err = alipay.ParseEncryptKey(text); err != nil {
			return nil, cli.WrongUsage("--encrypt-key or REFUNDD_ALIPAY_ENCRYPT_KEY_FILE: %s: %v", path, err)
		}
	}
	if err := o.sellers(d, env); err != nil {
		return nil, err
	}
	if d.verifier, err = alipay.NewVerifier(cfg); err != nil {
		return nil, cli.WrongUsage("%s: %v", name, err)
	}
	return d, nil
}

func (o *Options) sellers(d *detective, env cli.Env) error {
	if o.Seller != "" {
		d.seller = o.Seller
		return nil
	}
	d.seller = env.Getenv("REFUNDD_ALIPAY_SELLER_ID")
	path := env.Getenv("REFUNDD_MERCHANTS_FILE")
	if path == "" {
		return nil
	}
	text, err := os.ReadFile(path) //nolint:gosec // the operator's own variable
	if err != nil {
		return cli.WrongUsage("REFUNDD_MERCHANTS_FILE: %v", err)
	}
	if d.merchants, err = config.ParseMerchants(text); err != nil {
		return cli.WrongUsage("REFUNDD_MERCHANTS_FILE: %s: %v", path, err)
	}
	return nil
}

// notifyKeys reads public keys, or those of certificates that sign.
func notifyKeys(text []byte) ([]*rsa.PublicKey, error) {
	if bytes.Contains(text, []byte("CERTIFICATE-----")) {
		return alipay.ParseCertificateKeys(text)
	}
	return alipay.ParsePublicKeys(text)
}

func (j Judgement) print(w io.Writer) error {
	var b strings.Builder
	if j.Valid {
		fmt.Fprintf(&b, "valid: class %s, signed as %s\n", j.Class, j.Scheme)
	} else {
		fmt.Fprintf(&b, "NOT VALID: %s\n  %s\n", j.Check, j.Error)
	}
	for _, f := range j.Findings {
		fmt.Fprintf(&b, "  - %s\n", f)
	}
	if len(j.Names) > 0 {
		fmt.Fprintf(&b, "parameters: %s\n", strings.Join(j.Names, ", "))
	}
	if _, err := io.WriteString(w, b.String()); err != nil {
		return fmt.Errorf("print: %w", err)
	}
	return nil
}

// notifyNames are the parameters that Alipay's notifications are known to have.
func notifyNames() []string {
	return []string{
		"notify_time", "notify_type", "notify_id", "app_id", "auth_app_id", "charset", "version", "sign_type", "sign", "trade_no", "out_trade_no",
		"out_biz_no", "buyer_id", "buyer_open_id", "buyer_logon_id", "seller_id", "seller_email", "trade_status", "total_amount", "receipt_amount",
		"invoice_amount", "buyer_pay_amount", "point_amount", "refund_fee", "send_back_fee", "subject", "body", "gmt_create", "gmt_payment",
		"gmt_refund", "gmt_close", "fund_bill_list", "voucher_detail_list", "passback_params", "auth_no", "out_order_no", "operation_id",
		"out_request_no", "operation_type", "amount", "status", "gmt_trans", "payer_logon_id", "payer_user_id", "utc_timestamp", "msg_method",
		"msg_type", "msg_app_id", "biz_content", "encrypt_type",
	}
}

// safeName is a parameter's name for print. A body that was split in the wrong
// place has pieces of values where names belong, so only what looks like a name
// is shown.
func safeName(name string) string {
	if slices.Contains(notifyNames(), name) {
		return name
	}
	ok := name != "" && len(name) <= 40 && !strings.ContainsFunc(name, func(r rune) bool { return (r < 'a' || r > 'z') && r != '_' })
	if ok {
		return name
	}
	return fmt.Sprintf("(something of %d bytes)", len(name))
}
