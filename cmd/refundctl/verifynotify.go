package main

import (
	"bytes"
	"cmp"
	"crypto/rsa"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"refundd/alipay"
	"refundd/cmd/internal/cli"
	"refundd/cmd/internal/config"
)

const verifyNotifyLong = `Says whether a notification is Alipay's, exactly as the receiver judges it, and if it
is not, why: which check failed, whether the key or the text is wrong, and what
happened to the body on its way if that can be found out (decoded once too often,
plus signs turned into spaces, a parameter added, text converted to another
charset, a line break added).

It takes the body as it was posted, with the percent signs, for instance from a
capture of the network; what a framework prints has been decoded. Nothing of the
values is printed, only names of parameters. Nothing is connected to.

Exit codes: 0 valid, 1 not, 2 wrong usage.`

const verifyNotifyExample = `  refundctl verify-notify -f body.txt
  printf %s "$BODY" | refundctl verify-notify --key alipay_public_key.pem --app-id 2021000000000001`

type verifyNotifyOptions struct {
	output
	file, keyFile, appID, seller, encryptKeyFile string
}

// judgement is the result.
type judgement struct {
	Valid    bool     `json:"valid"`
	Check    string   `json:"failed_check,omitempty"` // malformed, duplicate, signature, app, seller
	Error    string   `json:"error,omitempty"`
	Findings []string `json:"findings,omitempty"`
	Class    string   `json:"class,omitempty"`
	Scheme   string   `json:"scheme,omitempty"`
	Names    []string `json:"parameters"`
}

func verifyNotifyCommand(env cli.Env) *cobra.Command {
	o := verifyNotifyOptions{file: "-"}
	cmd := &cobra.Command{
		Use: "verify-notify", Short: "say whether a notification is Alipay's, and if not, why", Long: verifyNotifyLong, Example: verifyNotifyExample,
		RunE: func(*cobra.Command, []string) error { return o.verify(env) },
	}
	o.register(cmd)
	fileFlag(cmd, &o.file, "file", "f", "`file` with the raw body; - is standard input")
	fileFlag(cmd, &o.keyFile, "key", "", "`file` with Alipay's public keys or certificate; default REFUNDD_ALIPAY_PUBLIC_KEY_FILE or REFUNDD_ALIPAY_CERT_FILE")
	cmd.Flags().StringVar(&o.appID, "app-id", "", "`id` of the app at Alipay; default REFUNDD_ALIPAY_APP_ID")
	cmd.Flags().StringVar(&o.seller, "seller-id", "", "`id` of the one seller expected; default REFUNDD_ALIPAY_SELLER_ID and those of REFUNDD_MERCHANTS_FILE, or any")
	fileFlag(cmd, &o.encryptKeyFile, "encrypt-key", "", "`file` with the AES key of content encryption; default REFUNDD_ALIPAY_ENCRYPT_KEY_FILE")
	return cmd
}

func (o *verifyNotifyOptions) verify(env cli.Env) error {
	d, err := o.detective(env)
	if err != nil {
		return err
	}
	body, err := o.body(env)
	if err != nil {
		return err
	}
	j := d.judge(body)
	if o.JSON() {
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
func (o *verifyNotifyOptions) body(env cli.Env) ([]byte, error) {
	in := env.Stdin
	if o.file != "-" {
		file, err := os.Open(o.file)
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
func (o *verifyNotifyOptions) detective(env cli.Env) (*detective, error) {
	name, path := "--key", o.keyFile
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
	cfg := alipay.VerifierConfig{Keys: d.keys, AppID: cmp.Or(o.appID, env.Getenv("REFUNDD_ALIPAY_APP_ID"))}
	if cfg.AppID == "" {
		return nil, cli.WrongUsage("--app-id or REFUNDD_ALIPAY_APP_ID is required")
	}
	if path := cmp.Or(o.encryptKeyFile, env.Getenv("REFUNDD_ALIPAY_ENCRYPT_KEY_FILE")); path != "" {
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

func (o *verifyNotifyOptions) sellers(d *detective, env cli.Env) error {
	if o.seller != "" {
		d.seller = o.seller
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

func (j judgement) print(w io.Writer) error {
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
