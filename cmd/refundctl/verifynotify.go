package main

import (
	"github.com/spf13/cobra"

	"refundd/cmd/internal/cli"
	"refundd/cmd/internal/flags"
	"refundd/cmd/internal/notice"
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

func verifyNotifyCommand(env cli.Env) *cobra.Command {
	o := notice.Options{File: "-"}
	var out flags.Output
	cmd := &cobra.Command{
		Use: "verify-notify", Short: "say whether a notification is Alipay's, and if not, why", Long: verifyNotifyLong, Example: verifyNotifyExample,
		RunE: func(*cobra.Command, []string) error {
			o.Format = out.Format
			return o.Verify(env)
		},
	}
	out.Register(cmd)
	flags.File(cmd, &o.File, "file", "f", "`file` with the raw body; - is standard input")
	flags.File(cmd, &o.KeyFile, "key", "", "`file` with Alipay's public keys or certificate; default REFUNDD_ALIPAY_PUBLIC_KEY_FILE or REFUNDD_ALIPAY_CERT_FILE")
	cmd.Flags().StringVar(&o.AppID, "app-id", "", "`id` of the app at Alipay; default REFUNDD_ALIPAY_APP_ID")
	cmd.Flags().StringVar(&o.Seller, "seller-id", "", "`id` of the one seller expected; default REFUNDD_ALIPAY_SELLER_ID and those of REFUNDD_MERCHANTS_FILE, or any")
	flags.File(cmd, &o.EncryptKeyFile, "encrypt-key", "", "`file` with the AES key of content encryption; default REFUNDD_ALIPAY_ENCRYPT_KEY_FILE")
	return cmd
}
